//! Which block devices a volume may be on, from sysfs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// So many are looked at; more than any machine has that a person provisions by hand.
const DEVICES_MAX: usize = 64;

/// Devices by kernel name, with their folder in sysfs.
pub type Devices = BTreeMap<String, PathBuf>;

/// Every disk and partition that has a medium, except for those of the boot disk, virtual ones
/// (`dm-0` is the root itself), and drives that are slow to find out that they are empty.
///
/// # Errors
/// When sysfs cannot be read.
pub fn candidates(sys: &Path, boot_disk: Option<&str>) -> io::Result<Devices> {
    let mut devices = Devices::new();
    for entry in fs::read_dir(sys.join("class/block"))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Ok(folder) = fs::canonicalize(entry.path()) else {
            continue;
        };
        let virtual_one = folder
            .components()
            .any(|part| part.as_os_str() == "virtual");
        let on_boot_disk = boot_disk.is_some_and(|disk| {
            name == disk || folder.parent().and_then(Path::file_name) == Some(disk.as_ref())
        });
        let slow = ["sr", "fd", "mtdblock"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        let empty = fs::read_to_string(folder.join("size")).is_ok_and(|size| size.trim() == "0");
        if !(virtual_one || on_boot_disk || slow || empty) && devices.len() < DEVICES_MAX {
            devices.insert(name, folder);
        }
    }
    Ok(devices)
}

/// What USB may still bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usb {
    /// There are ports to plug a stick into.
    pub has_ports: bool,
    /// A stick is plugged in whose block device is not there yet.
    pub is_pending: bool,
}

impl Usb {
    /// Looks at the USB devices that the kernel knows by now.
    #[must_use]
    pub fn look(sys: &Path) -> Self {
        const MASS_STORAGE: &str = "08";
        let mut usb = Self {
            has_ports: false,
            is_pending: false,
        };
        let Ok(entries) = fs::read_dir(sys.join("bus/usb/devices")) else {
            return usb;
        };
        let mut storage = Vec::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            usb.has_ports = true;
            let class = fs::read_to_string(path.join("bInterfaceClass"));
            if class.is_ok_and(|class| class.trim() == MASS_STORAGE)
                && let Ok(path) = fs::canonicalize(path)
            {
                storage.push(path);
            }
        }
        if storage.is_empty() {
            return usb;
        }
        let blocks: Vec<PathBuf> = fs::read_dir(sys.join("class/block"))
            .into_iter()
            .flatten()
            .filter_map(|entry| fs::canonicalize(entry.ok()?.path()).ok())
            .collect();
        usb.is_pending = storage
            .iter()
            .any(|stick| !blocks.iter().any(|block| block.starts_with(stick)));
        usb
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A sysfs with block devices at these places below `devices`.
    fn sysfs(places: &[(&str, &str)]) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("class/block")).unwrap();
        for (place, size) in places {
            let folder = top.path().join("devices").join(place);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("size"), size).unwrap();
            let name = folder.file_name().unwrap();
            symlink(&folder, top.path().join("class/block").join(name)).unwrap();
        }
        top
    }

    #[test]
    fn leaves_out_the_boot_disk_and_what_is_virtual() {
        let sys = sysfs(&[
            ("pci0/virtio0/block/vda", "100\n"),
            ("pci0/virtio0/block/vda/vda7", "100\n"),
            ("pci0/virtio1/block/vdb", "100\n"),
            ("pci0/usb1/1-1/1-1:1.0/host2/block/sda", "100\n"),
            ("pci0/usb1/1-1/1-1:1.0/host2/block/sda/sda1", "50\n"),
            ("pci0/usb1/1-2/1-2:1.0/host3/block/sdb", "0\n"),
            ("pci0/ata1/block/sr0", "100\n"),
            ("virtual/block/dm-0", "100\n"),
        ]);
        let found = candidates(sys.path(), Some("vda")).unwrap();
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["sda", "sda1", "vdb"]);
        assert_eq!(candidates(sys.path(), None).unwrap().len(), 5);
    }

    #[test]
    fn a_stick_is_pending_until_its_disk_is_there() {
        let sys = sysfs(&[("pci0/virtio0/block/vda", "100\n")]);
        assert!(!Usb::look(sys.path()).has_ports);
        let interface = sys.path().join("devices/pci0/usb1/1-1/1-1:1.0");
        fs::create_dir_all(&interface).unwrap();
        fs::write(interface.join("bInterfaceClass"), "08\n").unwrap();
        let bus = sys.path().join("bus/usb/devices");
        fs::create_dir_all(&bus).unwrap();
        symlink(&interface, bus.join("1-1:1.0")).unwrap();
        let pending = Usb {
            has_ports: true,
            is_pending: true,
        };
        assert_eq!(Usb::look(sys.path()), pending);
        let disk = interface.join("host2/block/sda");
        fs::create_dir_all(&disk).unwrap();
        symlink(&disk, sys.path().join("class/block/sda")).unwrap();
        assert!(!Usb::look(sys.path()).is_pending);
    }
}
