//! How much memory there is, and page-aligned buffers: every firmware's block devices can read into
//! them.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};
use uefi::mem::memory_map::MemoryMap as _;

/// With less the kernel cannot even unpack itself. QEMU with 128 MiB has a little more than this,
/// and gets healthy.
pub(crate) const NEEDED_MIB: u64 = 116;

/// How many MiB there are, whoever uses them now. None: the firmware does not tell.
pub(crate) fn total_mib() -> Option<u64> {
    let map = boot::memory_map(MemoryType::LOADER_DATA).ok()?;
    let pages: u64 = map
        .entries()
        .filter(|entry| {
            matches!(
                entry.ty,
                MemoryType::ACPI_NON_VOLATILE
                    | MemoryType::ACPI_RECLAIM
                    | MemoryType::BOOT_SERVICES_CODE
                    | MemoryType::BOOT_SERVICES_DATA
                    | MemoryType::CONVENTIONAL
                    | MemoryType::LOADER_CODE
                    | MemoryType::LOADER_DATA
                    | MemoryType::RUNTIME_SERVICES_CODE
                    | MemoryType::RUNTIME_SERVICES_DATA
            )
        })
        .map(|entry| entry.page_count)
        .sum();
    Some(pages * PAGE_SIZE as u64 / (1024 * 1024))
}

/// Zeroed memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
    pages: usize,
}

impl Pages {
    pub(crate) fn new(bytes: usize) -> uefi::Result<Self> {
        let pages = bytes.div_ceil(PAGE_SIZE).max(1);
        let start = boot::allocate_pages(AllocateType::AnyPages, MemoryType::LOADER_DATA, pages)?;
        // SAFETY: the firmware just gave us `pages` pages at `start`.
        unsafe { start.write_bytes(0, pages * PAGE_SIZE) };
        Ok(Self {
            start,
            bytes,
            pages,
        })
    }

    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points to `bytes` initialised bytes that only `self` owns.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same count; every reference into it
        // borrowed `self`. An error leaves the pages allocated, which is harmless.
        let _ = unsafe { boot::free_pages(self.start, self.pages) };
    }
}
