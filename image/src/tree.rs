//! The root tree as a plan: what lies where, before any of it is written.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::tool::{FileError, at, copy, make_directory, write};

/// Every path of the root file system in sorted order. All of it belongs to root.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

/// What lies at a path.
#[derive(Debug)]
enum Entry {
    Directory,
    Link(String),
    Copy { from: PathBuf, mode: u32 },
    Content { bytes: Vec<u8>, mode: u32 },
}

impl Tree {
    /// An empty directory, for the kernel or PID 1 to mount something on.
    pub(crate) fn directory(&mut self, path: &str) {
        self.insert(path, Entry::Directory);
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.insert(path, Entry::Link(target.to_owned()));
    }

    /// A program or library.
    pub(crate) fn program(&mut self, path: &str, from: PathBuf) {
        self.insert(path, Entry::Copy { from, mode: 0o755 });
    }

    /// A file that anyone may read.
    pub(crate) fn file(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.insert(
            path,
            Entry::Content {
                bytes: content.into(),
                mode: 0o644,
            },
        );
    }

    /// Makes the tree under `directory`, which must be empty.
    pub(crate) fn write_to(&self, directory: &Path) -> Result<(), FileError> {
        set_mode(directory, 0o755)?;
        for (path, entry) in &self.entries {
            let target = directory.join(path);
            match entry {
                Entry::Directory => {
                    make_directory(&target)?;
                    set_mode(&target, 0o755)?;
                }
                Entry::Link(to) => symlink(to, &target).map_err(at("link", &target))?,
                Entry::Copy { from, mode } => {
                    copy(from, &target)?;
                    set_mode(&target, *mode)?;
                }
                Entry::Content { bytes, mode } => {
                    write(&target, bytes)?;
                    set_mode(&target, *mode)?;
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        let path = Path::new(path.trim_start_matches('/'));
        for parent in path.ancestors().skip(1) {
            if parent != Path::new("") {
                self.entries
                    .entry(parent.to_owned())
                    .or_insert(Entry::Directory);
            }
        }
        self.entries.insert(path.to_owned(), entry);
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("set the mode of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_appear_by_themselves_and_modes_do_not_follow_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        write(&source, "x").unwrap();
        set_mode(&source, 0o600).unwrap();
        let mut tree = Tree::default();
        tree.program("/usr/lib/x0/network", source);
        tree.link("/lib", "usr/lib");
        tree.file("/etc/group", "root:x:0:\n");
        let root = folder.path().join("root");
        make_directory(&root).unwrap();
        tree.write_to(&root).unwrap();
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("usr/lib/x0/network"), 0o755);
        assert_eq!(mode("usr/lib/x0"), 0o755);
        assert_eq!(mode("etc/group"), 0o644);
        assert!(root.join("lib/x0/network").exists());
    }
}
