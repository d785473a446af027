//! What a virtual machine is made of, and QEMU's command line for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::accelerator::Accelerator;
use crate::firmware::Firmware;

/// Names of the virtio ports that the appliance knows.
pub(crate) const CONTROL_PORT: &str = "org.x0tta6bl4.control";
pub(crate) const BUS_PORT: &str = "org.x0tta6bl4.bus";
pub(crate) const TEST_PORT: &str = "org.x0tta6bl4.test";

/// A machine before it is started.
#[derive(Clone, Debug)]
pub struct Machine {
    pub accelerator: Accelerator,
    pub memory_mib: u32,
    pub processors: u32,
    pub boot: Boot,
    /// Raw images; the first is the boot disk.
    pub disks: Vec<PathBuf>,
    /// In the order in which the kernel numbers them.
    pub cards: Vec<Card>,
    pub serial: SerialLine,
    /// Folder of the sockets `qmp`, `serial`, `control`, `bus` and `test`. Its path has to be short;
    /// [`crate::Vm`] sets it.
    pub sockets: PathBuf,
    /// Waits for `cont` from the monitor before the first instruction.
    pub paused: bool,
    /// A reset ends QEMU instead.
    pub no_reboot: bool,
}

/// How the kernel gets started.
#[derive(Clone, Debug)]
pub enum Boot {
    /// As on hardware: firmware, selector, slot.
    Firmware(Firmware),
    /// QEMU loads the kernel; the disk's slots are not looked at.
    Direct {
        kernel: PathBuf,
        command_line: String,
    },
}

/// A network card, and what its cable leads to.
#[derive(Clone, Debug)]
pub enum Card {
    /// A segment that all machines with this multicast port share.
    Segment { port: u16 },
    /// A tap device in the network namespace that QEMU runs in.
    Tap { name: String },
    /// Everything sent is lost, and nothing comes.
    Silent,
    /// QEMU's own DHCP server and NAT to the host's network.
    User,
}

/// Where the first serial port leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialLine {
    /// The socket `serial`.
    Socket,
    /// The terminal that QEMU is started from; Ctrl-A X leaves.
    Terminal,
}

impl Machine {
    /// A machine that boots `disk`: 512 MiB, one processor, no cards.
    #[must_use]
    pub fn new(accelerator: Accelerator, boot: Boot, disk: PathBuf) -> Self {
        Self {
            accelerator,
            memory_mib: 512,
            processors: 1,
            boot,
            disks: vec![disk],
            cards: Vec::new(),
            serial: SerialLine::Socket,
            sockets: PathBuf::new(),
            paused: false,
            no_reboot: false,
        }
    }

    /// Where the socket `name` is.
    #[must_use]
    pub fn socket(&self, name: &str) -> PathBuf {
        self.sockets.join(name)
    }

    /// QEMU's arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        arguments.all([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-vga",
            "std",
        ]);
        arguments.all(self.accelerator.arguments());
        let secure = matches!(&self.boot, Boot::Firmware(firmware) if firmware.secure_boot);
        arguments.pair(
            "-machine",
            if secure { "q35,smm=on" } else { "q35,smm=off" },
        );
        arguments.pair("-m", format!("{}M", self.memory_mib));
        arguments.pair("-smp", self.processors.to_string());
        arguments.pair("-device", "virtio-rng-pci");
        // Resets the machine when nobody pets it; only the guest arms it.
        arguments.all(["-device", "i6300esb", "-action", "watchdog=reset"]);
        match &self.boot {
            Boot::Firmware(firmware) => arguments.all(firmware.arguments()),
            Boot::Direct {
                kernel,
                command_line,
            } => {
                arguments.pair("-kernel", kernel);
                arguments.pair("-append", command_line);
            }
        }
        self.disk_arguments(&mut arguments);
        for (number, card) in self.cards.iter().enumerate() {
            card.arguments(number, self.mac(number), &mut arguments);
        }
        self.port_arguments(&mut arguments);
        if self.paused {
            arguments.all(["-S"]);
        }
        if self.no_reboot {
            arguments.all(["-no-reboot"]);
        }
        arguments.0
    }

    /// The address of card `number`: the same for the same socket folder and number, different
    /// between machines on one segment.
    #[must_use]
    pub fn mac(&self, number: usize) -> String {
        let folder = self.sockets.as_os_str().as_encoded_bytes();
        let hash = folder.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        let [high, middle, low, _] = hash.to_be_bytes();
        format!("52:54:{high:02x}:{middle:02x}:{low:02x}:{number:02x}")
    }

    fn disk_arguments(&self, arguments: &mut Arguments) {
        for (number, disk) in self.disks.iter().enumerate() {
            let mut drive = OsString::from(format!("if=none,id=disk{number},format=raw,file="));
            drive.push(disk);
            arguments.pair("-drive", drive);
            // QEMU's own kernel loader has the first place where it is used.
            let order = match self.boot {
                Boot::Firmware(_) if number == 0 => ",bootindex=0",
                _ => "",
            };
            arguments.pair(
                "-device",
                format!("virtio-blk-pci,drive=disk{number}{order}"),
            );
        }
    }

    fn port_arguments(&self, arguments: &mut Arguments) {
        let socket = |id: &str| socket_chardev(id, &self.socket(id));
        match self.serial {
            SerialLine::Socket => {
                arguments.pair("-chardev", socket("serial"));
                arguments.pair("-serial", "chardev:serial");
            }
            SerialLine::Terminal => arguments.pair("-serial", "mon:stdio"),
        }
        arguments.pair("-chardev", socket("qmp"));
        arguments.pair("-mon", "chardev=qmp,mode=control");
        arguments.pair("-device", "virtio-serial-pci");
        let ports = [
            ("control", CONTROL_PORT),
            ("bus", BUS_PORT),
            ("test", TEST_PORT),
        ];
        for (id, name) in ports {
            arguments.pair("-chardev", socket(id));
            arguments.pair(
                "-device",
                format!("virtserialport,chardev={id},name={name}"),
            );
        }
    }
}

impl Card {
    fn arguments(&self, number: usize, mac: String, arguments: &mut Arguments) {
        let backend = match self {
            Self::Segment { port } => {
                format!("socket,id=card{number},mcast=230.0.0.1:{port},localaddr=127.0.0.1")
            }
            Self::Tap { name } => {
                format!("tap,id=card{number},ifname={name},script=no,downscript=no")
            }
            Self::Silent => format!("socket,id=card{number},udp=127.0.0.1:9,localaddr=127.0.0.1:0"),
            Self::User => format!("user,id=card{number}"),
        };
        arguments.pair("-netdev", backend);
        // Without its ROM a card can't be booted from, and the firmware starts sooner.
        let device = format!("virtio-net-pci,netdev=card{number},mac={mac},romfile=");
        arguments.pair("-device", device);
    }
}

fn socket_chardev(id: &str, path: &Path) -> OsString {
    let mut chardev = OsString::from(format!("socket,id={id},server=on,wait=off,path="));
    chardev.push(path);
    chardev
}

#[derive(Debug, Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn all<A: Into<OsString>>(&mut self, arguments: impl IntoIterator<Item = A>) {
        self.0.extend(arguments.into_iter().map(Into::into));
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_on_one_segment_have_different_addresses() {
        let direct = Boot::Direct {
            kernel: "k".into(),
            command_line: String::new(),
        };
        let machine = |sockets: &str| {
            let mut machine = Machine::new(Accelerator::Tcg, direct.clone(), "disk".into());
            machine.sockets = sockets.into();
            machine
        };
        let [one, two] = [machine("/tmp/one"), machine("/tmp/two")];
        assert_ne!(one.mac(0), two.mac(0));
        assert_ne!(one.mac(0), one.mac(1));
        assert!(one.mac(0).starts_with("52:54:"));
    }
}
