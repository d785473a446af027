//! Saves what the kernel left in the firmware's memory (pstore) when it died.
//!
//! The firmware has room for a few records only, so they move to DATA: once they are safe there,
//! they are removed from the firmware.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::file;

const KEPT_CRASHES: usize = 16;
const KEPT_BYTES: u64 = 4 << 20;
const RECORD_BYTES: u64 = 256 << 10;
const RECORDS: usize = 256;
const SUMMARY_CHARS: usize = 200;

/// One record of pstore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Reads the records in `pstore`, at most as many bytes as may be kept.
///
/// # Errors
/// When the folder cannot be read; a record that cannot is left where it is.
pub fn records(pstore: &Path) -> io::Result<Vec<Record>> {
    let mut names: Vec<String> = fs::read_dir(pstore)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_record_name(name))
        .take(RECORDS)
        .collect();
    names.sort();
    let mut room = KEPT_BYTES;
    let mut records = Vec::new();
    for name in names {
        match file::read(&pstore.join(&name), RECORD_BYTES.min(room)) {
            Ok(bytes) => {
                room -= bytes.len() as u64;
                records.push(Record { name, bytes });
            }
            Err(error) => tracing::warn!(name, %error, "a crash record cannot be read"),
        }
    }
    Ok(records)
}

/// The one line that tells best why the kernel died.
#[must_use]
pub fn summary(records: &[Record]) -> Option<String> {
    // What PID 1 says before it dies tells more than the panic that follows from it.
    const TELLING: [&str; 7] = [
        "x0: PID 1",
        "Kernel panic - not syncing",
        "verity",
        "watchdog:",
        "Oops",
        "BUG:",
        "reboot:",
    ];
    let text = whole_log(records);
    TELLING
        .iter()
        .find_map(|telling| text.lines().find(|line| line.contains(telling)))
        .map(clean)
}

/// Stores the records below `crashes` under a name that begins with `time_s`, and forgets the
/// oldest crashes beyond what may be kept. Returns the new folder.
///
/// # Errors
/// When they cannot be stored; what is there then is removed again.
pub fn save(records: &[Record], crashes: &Path, time_s: u64) -> io::Result<PathBuf> {
    let size = records.iter().map(|record| record.bytes.len() as u64).sum();
    prune(crashes, KEPT_CRASHES - 1, KEPT_BYTES.saturating_sub(size));
    let folder = new_folder(crashes, time_s)?;
    let written = records
        .iter()
        .try_for_each(|record| file::replace(&folder.join(&record.name), &record.bytes, 0o600))
        .and_then(|()| file::sync_directory(crashes));
    match written {
        Ok(()) => Ok(folder),
        Err(error) => {
            fs::remove_dir_all(&folder).ok();
            Err(error)
        }
    }
}

/// Removes the records from the firmware.
pub fn clear(records: &[Record], pstore: &Path) {
    for record in records {
        if let Err(error) = fs::remove_file(pstore.join(&record.name)) {
            tracing::warn!(name = record.name, %error, "a saved crash record stays in the firmware");
        }
    }
}

fn new_folder(crashes: &Path, time_s: u64) -> io::Result<PathBuf> {
    for n in 0.. {
        let folder = crashes.join(format!("{time_s:010}-{n}"));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && n < KEPT_CRASHES => {}
            result => return result.map(|()| folder),
        }
    }
    unreachable!("the loop ends after KEPT_CRASHES at the latest")
}

/// Keeps the newest `count` crashes, as far as they take at most `bytes`.
fn prune(crashes: &Path, count: usize, bytes: u64) {
    let mut folders: Vec<PathBuf> = match fs::read_dir(crashes) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_crash_folder(path))
            .collect(),
        Err(_) => return,
    };
    folders.sort();
    let mut room = bytes;
    for (n, folder) in folders.iter().rev().enumerate() {
        let size = size_bytes(folder);
        if n < count && size <= room {
            room -= size;
        } else if let Err(error) = fs::remove_dir_all(folder) {
            tracing::warn!(folder = %folder.display(), %error, "an old crash cannot be removed");
        }
    }
}

fn is_crash_folder(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split_once('-').is_some_and(|(time, n)| {
        time.len() == 10
            && [time, n]
                .iter()
                .all(|part| part.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn size_bytes(folder: &Path) -> u64 {
    fs::read_dir(folder).map_or(0, |entries| {
        entries
            .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
            .sum()
    })
}

fn is_record_name(name: &str) -> bool {
    name.len() <= 200
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The kernel cuts its log into parts, the newest part being the first: `Panic#1 Part3` is the
/// first line of a record.
fn whole_log(records: &[Record]) -> String {
    let mut parts: Vec<(u32, String)> = records
        .iter()
        .map(|record| {
            let text = String::from_utf8_lossy(&record.bytes).into_owned();
            let part = text
                .lines()
                .next()
                .and_then(|line| line.rsplit_once("Part"))
                .and_then(|(_, number)| number.trim().parse().ok())
                .unwrap_or(0);
            (part, text)
        })
        .collect();
    parts.sort_by_key(|(part, _)| std::cmp::Reverse(*part));
    parts.into_iter().map(|(_, text)| text + "\n").collect()
}

/// Without `<0>[    5.123456] ` before it, and fit for a console.
fn clean(line: &str) -> String {
    let line = line
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .map_or(line, |(_, rest)| rest);
    let line = match line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((_, message)) => message,
        None => line,
    };
    line.chars()
        .filter(|c| !c.is_control())
        .take(SUMMARY_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(name: &str, text: &str) -> Record {
        Record {
            name: name.into(),
            bytes: text.into(),
        }
    }

    #[test]
    fn finds_the_reason_in_whatever_part_it_is() {
        let records = [
            record(
                "dmesg-efi-1",
                "Panic#1 Part1\n<0>[    5.2] ---[ end Kernel panic ]---\n",
            ),
            record(
                "dmesg-efi-2",
                "Panic#1 Part2\n<4>[    5.0] noise\n<0>[    5.1] Kernel panic - not syncing: sysrq\x1b[2J\n",
            ),
        ];
        assert_eq!(
            summary(&records).unwrap(),
            "Kernel panic - not syncing: sysrq[2J"
        );
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn keeps_the_newest_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        for time in 0..40 {
            let saved = save(&[record("dmesg-efi-1", "x")], folder.path(), time).unwrap();
            assert!(saved.join("dmesg-efi-1").exists());
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), KEPT_CRASHES);
        assert_eq!(names[0], "0000000024-0");
        let big = "x".repeat(usize::try_from(KEPT_BYTES).unwrap() - 3);
        save(&[record("dmesg-efi-1", &big)], folder.path(), 50).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn two_crashes_of_one_second_both_stay() {
        let folder = tempfile::tempdir().unwrap();
        let first = save(&[record("a", "x")], folder.path(), 7).unwrap();
        let second = save(&[record("a", "y")], folder.path(), 7).unwrap();
        assert_ne!(first, second);
        assert_eq!(fs::read(second.join("a")).unwrap(), b"y");
    }

    #[test]
    fn reads_and_clears_the_firmware() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("dmesg-efi-1"), "text").unwrap();
        fs::write(folder.path().join(".hidden"), "text").unwrap();
        let found = records(folder.path()).unwrap();
        assert_eq!(found, [record("dmesg-efi-1", "text")]);
        clear(&found, folder.path());
        assert_eq!(records(folder.path()).unwrap(), []);
    }

    proptest! {
        #[test]
        fn a_summary_is_one_short_line(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut text = b"Panic#1 Part1\n<0>[ 1.0] Oops ".to_vec();
            text.extend(bytes);
            let line = summary(&[Record { name: "r".into(), bytes: text }]).unwrap();
            prop_assert!(line.chars().count() <= SUMMARY_CHARS);
            prop_assert!(!line.contains(char::is_control));
        }
    }
}
