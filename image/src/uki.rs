//! One signed file per slot: systemd's stub, the kernel, and the command line it must have.

use std::path::Path;

use crate::Error;
use crate::layout::Slot;
use crate::pe;
use crate::root::Root;
use crate::tool::{read, write};

/// Where Debian's systemd-boot-efi puts the stub.
pub(crate) const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// The kernel command line of a slot. It is signed with the kernel, so that neither the root
/// hash nor the reaction to a fault can be changed from outside. `gpt` lets the kernel use the second
/// partition table where a power cut tore the first one, while `data` made DATA grow.
/// `no_timer_check` skips a probe of the 8254's wiring by busy waiting, which a virtual machine on a
/// loaded host fails: it then panics before anything runs.
pub(crate) fn command_line(slot: Slot, root: &Root) -> String {
    format!(
        "console=tty0 console=ttyS0,115200 quiet loglevel=4 \
         gpt no_timer_check root=/dev/dm-0 rootfstype=erofs ro init=/init \
         dm-mod.waitfor=PARTUUID={partition} dm-mod.create=\"{table}\" \
         page_alloc.shuffle=1 panic=5 oops=panic softlockup_panic=1 watchdog.open_timeout=60 lockdown=integrity \
         x0.slot={letter}",
        partition = slot.root().id,
        table = root.device_mapper_table(slot),
        letter = slot.letter(),
    )
}

/// Writes the unsigned image of one slot.
pub(crate) fn build(
    stub: &Path,
    kernel: &Path,
    kernel_release: &str,
    os_release: &str,
    command_line: &str,
    out: &Path,
) -> Result<(), Error> {
    let kernel = read(kernel)?;
    let sections: [(&str, &[u8]); 4] = [
        (".osrel", os_release.as_bytes()),
        (".cmdline", command_line.as_bytes()),
        (".uname", kernel_release.as_bytes()),
        (".linux", &kernel),
    ];
    let image = pe::append_sections(&read(stub)?, &sections).map_err(|source| Error::Stub {
        path: stub.to_owned(),
        source,
    })?;
    write(out, image)?;
    Ok(())
}
