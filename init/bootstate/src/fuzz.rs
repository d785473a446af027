//! Entries for fuzzing: each takes any bytes and must return.

use crate::gpt::Header;
use crate::pe::{Layout, Machine};
use crate::record::{RECORD_BYTES, decode, encode};
use crate::{Loaded, PARTITION_NAME, SlotId};

/// The first half is record 0, the second half record 1.
pub fn records(bytes: &[u8]) {
    let (record0, record1) = bytes.split_at(bytes.len() / 2);
    let loaded = Loaded::new(record0, record1);
    let (choice, next) = loaded.state.next_boot();
    let written = loaded.successor(&next);
    let again = decode(&written).expect("what is encoded can be decoded");
    assert_eq!(again.last, Some(choice.slot));
    assert_eq!(encode(&again), written, "every byte is kept");
}

/// As [`records`], but with the checksums put right, to get behind them.
pub fn sealed_records(bytes: &[u8]) {
    let mut pair = [0; 2 * RECORD_BYTES];
    let length = bytes.len().min(pair.len());
    pair[..length].copy_from_slice(&bytes[..length]);
    for record in pair.chunks_exact_mut(RECORD_BYTES) {
        record[..8].copy_from_slice(b"X0BOOTST");
        let crc = crc32fast::hash(&record[..RECORD_BYTES - 4]);
        record[RECORD_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    }
    records(&pair);
}

/// A 512-byte header, then the entries, of a disk of 1000 blocks.
pub fn gpt(bytes: &[u8]) {
    let Some((header, entries)) = bytes.split_at_checked(512) else {
        return;
    };
    let Ok(header) = Header::parse(header, 1, 1000) else {
        return;
    };
    assert!(header.entries_bytes() <= crate::gpt::ENTRIES_MAX_BYTES);
    let Ok(table) = header.table(entries) else {
        return;
    };
    for name in [
        PARTITION_NAME,
        SlotId::A.boot_partition(),
        SlotId::B.boot_partition(),
    ] {
        if let Ok(partition) = table.find(name) {
            assert!(partition.blocks > 0);
            assert!(partition.first_lba + partition.blocks <= 1000);
        }
    }
}

/// A partition of exactly these bytes.
pub fn pe(bytes: &[u8]) {
    let limit = u64::try_from(bytes.len()).expect("a length fits 64 bits");
    let Ok(layout) = Layout::parse(bytes, limit, Machine::X86_64) else {
        return;
    };
    assert!(layout.file_bytes <= limit);
    let length = usize::try_from(layout.file_bytes).expect("it is at most a slice's length");
    // Either verdict is fine.
    let _ = layout.verify(&bytes[..length]);
}
