//! Turns the root tree into EROFS with its verity hash tree behind it, in one file.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::Error;
use crate::layout::Slot;
use crate::tool::{FileError, Tool, at, make_directory};
use crate::tree::Tree;

/// Bytes of a data and of a hash block.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// What the kernel needs to know to open the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    /// Blocks of EROFS, after which the verity superblock follows.
    pub data_blocks: u64,
    /// Bytes of EROFS and hash tree together.
    pub bytes: u64,
    /// SHA-256 at the top of the hash tree, in hexadecimal.
    pub hash: String,
    /// Salt of every hash, in hexadecimal.
    pub salt: String,
}

impl Root {
    /// The dm-verity table in the kernel's `dm-mod.create=` form. The hash tree lies behind the
    /// data in the same partition; its superblock takes one block, hence the `+ 1`. A block that
    /// is wrong and one that can't be read end alike: in a reset, and in time in the other slot.
    pub(crate) fn device_mapper_table(&self, slot: Slot) -> String {
        let partition = format!("PARTUUID={}", slot.root().id);
        format!(
            "vroot,,,ro,0 {sectors} verity 1 {partition} {partition} {BLOCK_BYTES} {BLOCK_BYTES} \
             {blocks} {hash_start} sha256 {hash} {salt} 2 panic_on_corruption panic_on_error",
            sectors = self.data_blocks * BLOCK_BYTES / 512,
            blocks = self.data_blocks,
            hash_start = self.data_blocks + 1,
            hash = self.hash,
            salt = self.salt,
        )
    }
}

/// Writes the file system to `out`. `stage` is a directory for the loose files, `seed` what the
/// UUIDs and the salt come from: with the same seed and tree the bytes are the same.
pub(crate) fn build(tree: &Tree, stage: &Path, out: &Path, seed: &str) -> Result<Root, Error> {
    make_directory(stage)?;
    tree.write_to(stage)?;
    let _ = fs::remove_file(out);
    // In small clusters: half as many bytes to keep, to read and to verify, and a change still leaves
    // the clusters before it as they were.
    Tool::new("mkfs.erofs")
        .args([
            "--quiet",
            "-zlz4hc,12",
            "-C16384",
            "-x-1",
            "-T0",
            "--all-root",
        ])
        .arg(format!("-U{}", uuid(seed, "erofs")))
        .arg(out)
        .arg(stage)
        .run()?;
    let length = |path: &Path| -> Result<u64, FileError> {
        fs::metadata(path)
            .map(|metadata| metadata.len())
            .map_err(at("read the size of", path))
    };
    let data_bytes = length(out)?.next_multiple_of(BLOCK_BYTES);
    fs::OpenOptions::new()
        .write(true)
        .open(out)
        .and_then(|file| file.set_len(data_bytes))
        .map_err(at("extend", out))?;
    let data_blocks = data_bytes / BLOCK_BYTES;
    let salt = digest(seed, "verity salt");
    let report = Tool::new("veritysetup")
        .arg("format")
        .args([
            "--hash=sha256",
            "--data-block-size=4096",
            "--hash-block-size=4096",
        ])
        .arg(format!("--data-blocks={data_blocks}"))
        .arg(format!("--hash-offset={data_bytes}"))
        .arg(format!("--salt={salt}"))
        .arg(format!("--uuid={}", uuid(seed, "verity")))
        .args([out, out])
        .run()?;
    let hash = report
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))
        .map(|value| value.trim().to_owned())
        .ok_or(Error::NoRootHash {
            report: report.clone(),
        })?;
    Ok(Root {
        data_blocks,
        bytes: length(out)?,
        hash,
        salt,
    })
}

fn digest(seed: &str, purpose: &str) -> String {
    hex(&Sha256::digest(format!("x0tta6bl4 {purpose} {seed}")))
}

fn uuid(seed: &str, purpose: &str) -> String {
    let hex = digest(seed, purpose);
    // Version 8 (RFC 9562): vendor specific.
    format!(
        "{}-{}-8{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(tree: &mut Tree, reversed: bool) {
        let mut names: Vec<String> = (0..300)
            .map(|number| format!("/usr/lib/f{number}"))
            .collect();
        if reversed {
            names.reverse();
        }
        for name in names {
            tree.file(&name, name.repeat(50));
        }
        tree.link("/lib", "usr/lib");
        tree.directory("/proc");
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes_and_veritysetup_accepts_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut roots = Vec::new();
        for reversed in [false, true] {
            let mut tree = Tree::default();
            sample(&mut tree, reversed);
            let out = folder.path().join(format!("root-{reversed}"));
            let stage = folder.path().join(format!("stage-{reversed}"));
            let root = build(&tree, &stage, &out, "0.1.0").unwrap();
            roots.push((root, fs::read(&out).unwrap()));
            let (root, _) = roots.last().unwrap();
            Tool::new("veritysetup")
                .arg("verify")
                .arg(format!("--hash-offset={}", root.data_blocks * BLOCK_BYTES))
                .args([&out, &out])
                .arg(&root.hash)
                .run()
                .unwrap();
        }
        assert_eq!(roots[0].0, roots[1].0);
        assert!(roots[0].1 == roots[1].1, "the two file systems differ");
    }

    #[test]
    fn the_table_puts_the_hash_tree_after_its_superblock() {
        let root = Root {
            data_blocks: 10,
            bytes: 0,
            hash: "aa".into(),
            salt: "bb".into(),
        };
        let id = Slot::A.root().id;
        assert_eq!(
            root.device_mapper_table(Slot::A),
            format!(
                "vroot,,,ro,0 80 verity 1 PARTUUID={id} PARTUUID={id} 4096 4096 10 11 sha256 aa bb \
                 2 panic_on_corruption panic_on_error"
            )
        );
    }
}
