//! Intel 6300ESB watchdog timer (datasheet 300641, chapter 16), also in QEMU.
//!
//! Reached through the PCI root bridge protocol only, so it works on every
//! processor that has such a device behind PCI.
//!
//! It has two timers of 20 bits that count milliseconds (33 MHz / 2^15). The
//! first one's end can raise an interrupt, which we switch off; it then starts
//! the second one, whose end resets the machine.

use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol, SearchType};
use uefi::proto::pci::PciIoAddress;
use uefi::proto::pci::root_bridge::PciRootBridgeIo;

const VENDOR_AND_DEVICE: u32 = 0x25ab_8086;

const COMMAND: u8 = 0x04;
const COMMAND_MEMORY: u16 = 1 << 1;
const HEADER_TYPE: u8 = 0x0e;
const MULTI_FUNCTION: u8 = 0x80;
const BAR0: u8 = 0x10;
const CONFIG: u8 = 0x60;
/// Reset output on, 1 kHz, no interrupt.
const CONFIG_RESET_ONLY: u16 = 0x0003;
const LOCK: u8 = 0x68;
const LOCK_LOCKED: u8 = 1 << 0;
const LOCK_ENABLED: u8 = 1 << 1;

const TIMER1: u64 = 0x00;
const TIMER2: u64 = 0x04;
const RELOAD: u64 = 0x0c;
const RELOAD_NOW: u16 = 1 << 8;
const RELOAD_EXPIRED: u16 = 1 << 9;
/// Written before each write to a timer or to the reload bit.
const UNLOCK: [u16; 2] = [0x80, 0x86];

pub(super) struct I6300esb {
    bridge: ScopedProtocol<PciRootBridgeIo>,
    address: PciIoAddress,
    base: u64,
}

impl I6300esb {
    pub(super) fn find() -> Option<Self> {
        let bridges =
            boot::locate_handle_buffer(SearchType::from_proto::<PciRootBridgeIo>()).ok()?;
        bridges.iter().find_map(|handle| {
            let params = OpenProtocolParams {
                handle: *handle,
                agent: boot::image_handle(),
                controller: None,
            };
            // SAFETY: root bridges do not go away, and an exclusive open would
            // take the bus from the firmware's own driver.
            let bridge = unsafe {
                boot::open_protocol::<PciRootBridgeIo>(params, OpenProtocolAttributes::GetProtocol)
            };
            Self::find_behind(bridge.ok().filter(|bridge| bridge.get().is_some())?)
        })
    }

    /// Whether it ended the last boot. The flag stays set for the kernel's
    /// driver, which reports and clears it.
    pub(super) fn has_expired(&mut self) -> bool {
        self.unlock()
            .and_then(|()| self.bridge.memory().read_one::<u16>(self.base + RELOAD))
            .is_ok_and(|reload| reload & RELOAD_EXPIRED != 0)
    }

    /// Starts it so that nothing but a reset stops it again.
    pub(super) fn arm(&mut self, timeout_s: u16) -> uefi::Result {
        let config = self.address.with_register(CONFIG);
        let lock = self.address.with_register(LOCK);
        self.bridge.pci().write_one(config, CONFIG_RESET_ONLY)?;
        self.bridge.pci().write_one(lock, 0u8)?;
        // Two timers in a row, 1024 steps per second: 512 each.
        let steps = u32::from(timeout_s) << 9;
        for timer in [TIMER1, TIMER2] {
            self.unlock()?;
            self.bridge.memory().write_one(self.base + timer, steps)?;
        }
        self.reload()?;
        self.bridge
            .pci()
            .write_one(lock, LOCK_ENABLED | LOCK_LOCKED)?;
        let set = self.bridge.pci().read_one::<u8>(lock)?;
        if set & LOCK_ENABLED == 0 {
            return Err(uefi::Status::DEVICE_ERROR.into());
        }
        Ok(())
    }

    pub(super) fn reload(&mut self) -> uefi::Result {
        self.unlock()?;
        self.bridge
            .memory()
            .write_one(self.base + RELOAD, RELOAD_NOW)
    }

    fn unlock(&mut self) -> uefi::Result {
        for key in UNLOCK {
            self.bridge.memory().write_one(self.base + RELOAD, key)?;
        }
        Ok(())
    }

    /// Asks every function on every bus of this bridge. The firmware has no list
    /// that can be had without the `alloc` half of the `uefi` crate.
    fn find_behind(mut bridge: ScopedProtocol<PciRootBridgeIo>) -> Option<Self> {
        for bus in 0..=u8::MAX {
            for device in 0..32 {
                let first = PciIoAddress::new(bus, device, 0);
                // An error: the bus is not behind this bridge.
                let Ok(identity) = bridge.pci().read_one::<u32>(first) else {
                    break;
                };
                if identity == u32::MAX {
                    continue;
                }
                let header = bridge
                    .pci()
                    .read_one::<u8>(first.with_register(HEADER_TYPE));
                let multiple = header.is_ok_and(|header| header & MULTI_FUNCTION != 0);
                for function in 0..if multiple { 8 } else { 1 } {
                    let address = first.with_function(function);
                    if bridge.pci().read_one::<u32>(address) == Ok(VENDOR_AND_DEVICE) {
                        let base = enable(&mut bridge, address)?;
                        return Some(Self {
                            bridge,
                            address,
                            base,
                        });
                    }
                }
            }
        }
        None
    }
}

/// The address of its registers, which firmware without a driver for it may not
/// have switched on.
fn enable(bridge: &mut PciRootBridgeIo, address: PciIoAddress) -> Option<u64> {
    let bar = bridge
        .pci()
        .read_one::<u32>(address.with_register(BAR0))
        .ok()?;
    let base = u64::from(bar & !0xf);
    let command_at = address.with_register(COMMAND);
    let command = bridge.pci().read_one::<u16>(command_at).ok()?;
    bridge
        .pci()
        .write_one(command_at, command | COMMAND_MEMORY)
        .ok()?;
    (base != 0 && bar & 1 == 0).then_some(base)
}
