//! Where everything lies on the disk. Generous, because partitions can't grow in the field.

use crate::gpt::Guid;

/// Bytes of a logical sector; the image is made for disks with this size.
pub const SECTOR_BYTES: u64 = 512;
/// Partitions start and end on this boundary: it suits every flash erase block seen so far.
pub const ALIGNMENT_BYTES: u64 = MIB;
/// Bytes of one mebibyte.
pub const MIB: u64 = 1024 * 1024;

/// The disk's identity, the same in every image: the signed command lines refer to partitions by
/// their UUID, so an update must find those that the first flashing laid down.
pub const DISK: Guid = Guid::from_u128(0x7830_0000_6ba4_4e0a_9c1e_d15c_0000_0001);

const ESP_TYPE: Guid = Guid::from_u128(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b);
const LINUX_TYPE: Guid = Guid::from_u128(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4);
const BOOTSTATE_TYPE: Guid = Guid::from_u128(0x7830_0000_6ba4_4e0a_9c1e_7e9e_0000_0001);
const BOOT_TYPE: Guid = Guid::from_u128(0x7830_0000_6ba4_4e0a_9c1e_7e9e_0000_0002);
const ROOT_TYPE: Guid = Guid::from_u128(0x7830_0000_6ba4_4e0a_9c1e_7e9e_0000_0003);

/// One partition of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// GPT name, by which init and the selector find it.
    pub name: &'static str,
    /// GPT type.
    pub kind: Guid,
    /// GPT unique id.
    pub id: Guid,
    /// Size in the image; DATA grows on first boot.
    pub bytes: u64,
}

/// The partitions in the order in which they lie on the disk.
pub const PARTITIONS: [Partition; 7] = [
    partition("ESP", ESP_TYPE, 1, 64 * MIB),
    partition("BOOTSTATE", BOOTSTATE_TYPE, 2, MIB),
    partition("BOOT-A", BOOT_TYPE, 3, 96 * MIB),
    partition("ROOT-A", ROOT_TYPE, 4, 512 * MIB),
    partition("BOOT-B", BOOT_TYPE, 5, 96 * MIB),
    partition("ROOT-B", ROOT_TYPE, 6, 512 * MIB),
    partition("DATA", LINUX_TYPE, 7, 64 * MIB),
];

/// One of the two copies of the system on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The slot that a fresh disk boots first.
    A,
    /// Its fallback.
    B,
}

impl Slot {
    /// Both, in the order of the disk.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// How the kernel command line names the slot.
    pub fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// The partition that holds this slot's unified kernel image.
    pub fn boot(self) -> &'static Partition {
        match self {
            Self::A => &PARTITIONS[2],
            Self::B => &PARTITIONS[4],
        }
    }

    /// The partition that holds this slot's file system and its hash tree.
    pub fn root(self) -> &'static Partition {
        match self {
            Self::A => &PARTITIONS[3],
            Self::B => &PARTITIONS[5],
        }
    }
}

/// First byte of a partition in the image.
pub fn start_bytes(name: &str) -> Option<u64> {
    let mut start = ALIGNMENT_BYTES;
    for partition in &PARTITIONS {
        if partition.name == name {
            return Some(start);
        }
        start += partition.bytes;
    }
    None
}

/// Bytes of the whole image: both partition tables take one alignment unit each.
pub fn disk_bytes() -> u64 {
    2 * ALIGNMENT_BYTES
        + PARTITIONS
            .iter()
            .map(|partition| partition.bytes)
            .sum::<u64>()
}

const fn partition(name: &'static str, kind: Guid, number: u8, bytes: u64) -> Partition {
    let id = Guid::from_u128(0x7830_0000_6ba4_4e0a_9c1e_9a47_0000_0000 + number as u128);
    Partition {
        name,
        kind,
        id,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_point_at_partitions_of_their_own_name() {
        for slot in Slot::ALL {
            let letter = slot.letter().to_ascii_uppercase();
            assert_eq!(slot.boot().name, format!("BOOT-{letter}"));
            assert_eq!(slot.root().name, format!("ROOT-{letter}"));
        }
    }

    #[test]
    fn partitions_follow_each_other_and_data_is_last() {
        assert_eq!(start_bytes("ESP"), Some(MIB));
        assert_eq!(start_bytes("BOOTSTATE"), Some(65 * MIB));
        assert_eq!(start_bytes("nowhere"), None);
        let data = start_bytes("DATA").unwrap();
        assert_eq!(data + 64 * MIB + MIB, disk_bytes());
    }
}
