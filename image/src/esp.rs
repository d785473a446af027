//! The EFI system partition: the selector under the name that firmware looks for, nothing else.

use std::path::Path;

use crate::Error;
use crate::layout::PARTITIONS;
use crate::tool::{Tool, at};

const VOLUME_ID: &str = "78306573";

/// Writes the FAT32 file system to `out` and returns how many of its bytes carry something.
pub(crate) fn build(selector: &Path, out: &Path, time_s: u64) -> Result<u64, Error> {
    let bytes = PARTITIONS[0].bytes;
    let _ = std::fs::remove_file(out);
    std::fs::File::create(out)
        .and_then(|file| file.set_len(bytes))
        .map_err(at("write", out))?;
    Tool::new("mkfs.vfat")
        .args([
            "--invariant",
            "-F32",
            "-s1",
            "-S512",
            "-nX0-ESP",
            "-i",
            VOLUME_ID,
        ])
        .arg(out)
        .run()?;
    let mtools = |program: &str| {
        Tool::new(program)
            .env("SOURCE_DATE_EPOCH", time_s.to_string())
            .env("MTOOLS_SKIP_CHECK", "1")
            .arg("-i")
            .arg(out)
    };
    mtools("mmd").args(["::/EFI", "::/EFI/BOOT"]).run()?;
    mtools("mcopy")
        .arg(selector)
        .arg("::/EFI/BOOT/BOOTX64.EFI")
        .run()?;
    let content = crate::tool::read(out)?;
    let used = content
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    Ok(used as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_file_systems_made_at_different_times_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        for (out, stamp) in [(&first, "@0"), (&second, "@1700000000")] {
            let selector = folder.path().join("selector.efi");
            std::fs::write(&selector, vec![7; 100_000]).unwrap();
            Tool::new("touch")
                .args(["-d", stamp])
                .arg(&selector)
                .run()
                .unwrap();
            build(&selector, out, 1_700_000_000).unwrap();
        }
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
        let listing = Tool::new("mdir")
            .arg("-i")
            .arg(&first)
            .arg("::/EFI/BOOT")
            .run()
            .unwrap();
        assert!(listing.contains("BOOTX64"), "{listing}");
    }
}
