//! Which crates are compiled into a program: cargo's own answer for the packages, target and
//! features that were built, not everything that the lock file knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::Error;
use crate::tool::{Tool, read_text};
use crate::userland::cargo;

/// Name and version: together unique within a lock file here.
pub(crate) type CrateId = (String, String);

/// A crate in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crate {
    /// SPDX expression.
    pub(crate) licence: String,
    /// SHA-256 of the published archive; none for crates of this workspace.
    pub(crate) checksum: Option<String>,
    pub(crate) needs: BTreeSet<CrateId>,
}

/// Everything that goes into programs of `packages`, which lie in the workspace at `workspace`.
/// Macros and build scripts run while compiling and stay out.
pub(crate) fn shipped(
    workspace: &Path,
    packages: &[String],
    target: &str,
) -> Result<BTreeMap<CrateId, Crate>, Error> {
    let mut cargo = Tool::new(cargo())
        .directory(workspace)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .args([
            "tree",
            "--quiet",
            "--locked",
            "--edges",
            "normal,no-proc-macro",
        ])
        .args([
            "--target",
            target,
            "--prefix",
            "depth",
            "--no-dedupe",
            "--format",
            "|{p}|{l}",
        ]);
    for package in packages {
        cargo = cargo.args(["--package", package]);
    }
    let lock = read_text(&workspace.join("Cargo.lock"))?;
    parse(&cargo.run()?, &checksums(&lock))
}

fn parse(
    tree: &str,
    checksums: &BTreeMap<CrateId, String>,
) -> Result<BTreeMap<CrateId, Crate>, Error> {
    let mut crates: BTreeMap<CrateId, Crate> = BTreeMap::new();
    let mut path: Vec<CrateId> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let answer = || Error::Answer {
            program: "cargo tree",
            subject: line.to_owned(),
        };
        let mut fields = line.split('|');
        let depth = fields.next().and_then(|depth| depth.parse::<usize>().ok());
        let depth = depth.ok_or_else(answer)?;
        let mut words = fields.next().unwrap_or_default().split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            return Err(answer());
        };
        let id = (name.to_owned(), version.trim_start_matches('v').to_owned());
        // Crates from before SPDX expressions write `MIT/Apache-2.0`.
        let licence = fields.next().unwrap_or_default().replace('/', " OR ");
        if licence.is_empty() {
            return Err(Error::NoLicence {
                what: format!("{name} {version}"),
            });
        }
        path.truncate(depth);
        if let Some(parent) = path.last().and_then(|parent| crates.get_mut(parent)) {
            parent.needs.insert(id.clone());
        }
        crates.entry(id.clone()).or_insert_with(|| Crate {
            licence,
            checksum: checksums.get(&id).cloned(),
            needs: BTreeSet::new(),
        });
        path.push(id);
    }
    Ok(crates)
}

fn checksums(lock: &str) -> BTreeMap<CrateId, String> {
    let field = |package: &str, name: &str| {
        let start = format!("{name} = \"");
        let value = package
            .lines()
            .find_map(|line| line.strip_prefix(start.as_str()));
        value.map(|value| value.trim_end_matches('"').to_owned())
    };
    let package = |text: &str| {
        Some((
            (field(text, "name")?, field(text, "version")?),
            field(text, "checksum")?,
        ))
    };
    lock.split("[[package]]").filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_tells_who_needs_whom() {
        let tree = "0|init v0.1.0 (/x0/init)|Apache-2.0\n1|serde v1.0.2|MIT/Apache-2.0\n\
                    2|serde_core v1.0.2|MIT\n1|libc v0.2.1|MIT\n\n0|data v0.1.0 (/x0)|Apache-2.0\n";
        let lock = "[[package]]\nname = \"libc\"\nversion = \"0.2.1\"\nchecksum = \"abc\"\n";
        let crates = parse(tree, &checksums(lock)).unwrap();
        let id = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let needs = |name: &str, version: &str| &crates[&id(name, version)].needs;
        assert_eq!(
            *needs("init", "0.1.0"),
            [id("libc", "0.2.1"), id("serde", "1.0.2")].into()
        );
        assert_eq!(*needs("serde", "1.0.2"), [id("serde_core", "1.0.2")].into());
        assert!(needs("data", "0.1.0").is_empty());
        assert_eq!(crates[&id("serde", "1.0.2")].licence, "MIT OR Apache-2.0");
        assert_eq!(
            crates[&id("libc", "0.2.1")].checksum.as_deref(),
            Some("abc")
        );
    }

    #[test]
    fn macros_that_ran_at_build_time_are_not_listed() {
        let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let crates = shipped(workspace, &["init".to_owned()], crate::userland::TARGET).unwrap();
        let names: Vec<_> = crates.keys().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"init"), "{names:?}");
        assert!(!names.contains(&"serde_derive"), "{names:?}");
        assert!(!names.contains(&"proptest"), "{names:?}");
    }
}
