//! Programs taken from Debian, with the libraries they need and the packages all of it is from.
//!
//! They come from the packages installed on the building machine, after dpkg has confirmed that
//! each file is the one that the package brought. Two machines with the same package versions
//! therefore build the same image; the SBOM says which versions those were.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::tool::{Tool, ToolError};
use crate::tree::Tree;

/// Where each lies in the image. ext4 for DATA: made, checked and grown on first boot. The broker:
/// the bus service starts it. The editor: `x0ctl config edit` does.
const PROGRAMS: [&str; 5] = [
    "/usr/sbin/mke2fs",
    "/usr/sbin/e2fsck",
    "/usr/sbin/resize2fs",
    "/usr/bin/dbus-broker",
    "/usr/bin/nano",
];
/// Terminals that the editor knows how to draw on: serial lines, the screen, and what SSH clients
/// call themselves.
const TERMINALS: [&str; 7] = [
    "l/linux",
    "s/screen",
    "s/screen-256color",
    "v/vt100",
    "v/vt220",
    "x/xterm",
    "x/xterm-256color",
];
const TERMINAL_FOLDERS: [&str; 2] = ["/lib/terminfo", "/usr/lib/terminfo"];
const LIBRARY_FOLDERS: [&str; 2] = ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu"];
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// A binary package, as dpkg knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    /// Binary package.
    pub name: String,
    /// Version of the binary package.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// Source package that it was built from.
    pub source: String,
}

/// Each package with its files that count here.
pub(crate) type Packages = BTreeMap<Package, BTreeSet<PathBuf>>;

/// What was taken: each file's path in the image and on this machine.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) files: BTreeMap<String, PathBuf>,
}

impl Collected {
    pub(crate) fn add_to(&self, tree: &mut Tree) {
        for (path, from) in &self.files {
            tree.program(path, from.clone());
        }
        // The loader's path is compiled into every program, and its search path into the loader.
        tree.link("/lib", "usr/lib");
        tree.link("/lib64", "usr/lib64");
        tree.link("/sbin", "usr/sbin");
        tree.link("/usr/lib/terminfo", "../share/terminfo");
    }
}

/// Finds the programs and, through their ELF headers, every library they load.
pub(crate) fn collect() -> Result<Collected, Error> {
    let mut files = BTreeMap::new();
    let mut waiting = Vec::new();
    for program in PROGRAMS {
        let (folder, name) = program.rsplit_once('/').unwrap_or_default();
        // On this machine it may lie in a folder that is not merged with the one in /usr.
        let folders = [folder, folder.trim_start_matches("/usr")];
        let from = find(name, &folders)?;
        files.insert(program.to_owned(), from.clone());
        waiting.push(from);
    }
    let loader = PathBuf::from(LOADER)
        .canonicalize()
        .map_err(|_| Error::NotInDebian {
            file: LOADER.to_owned(),
        })?;
    files.insert("/usr/lib64/ld-linux-x86-64.so.2".to_owned(), loader);
    while let Some(file) = waiting.pop() {
        for library in needed(&file)? {
            let path = format!("/usr/lib/x86_64-linux-gnu/{library}");
            if library.starts_with("ld-linux") || files.contains_key(&path) {
                continue;
            }
            let from = find(&library, &LIBRARY_FOLDERS)?;
            files.insert(path, from.clone());
            waiting.push(from);
        }
    }
    for terminal in TERMINALS {
        let from = find(terminal, &TERMINAL_FOLDERS)?;
        files.insert(format!("/usr/share/terminfo/{terminal}"), from);
    }
    Ok(Collected { files })
}

/// What is linked into every static program of ours.
pub(crate) fn linked_files() -> Result<Vec<PathBuf>, Error> {
    ["libc.a", "rcrt1.o", "libgcc_eh.a", "libgcc.a"]
        .iter()
        .map(|name| {
            let path = Tool::new("gcc")
                .arg(format!("-print-file-name={name}"))
                .run()?;
            let path = Path::new(path.trim()).canonicalize();
            path.map_err(|_| Error::NotInDebian {
                file: (*name).to_owned(),
            })
        })
        .collect()
}

/// Groups files by the packages that they are from, if each is as its package brought it.
pub(crate) fn packages_of<P: AsRef<Path>>(
    files: impl IntoIterator<Item = P>,
) -> Result<Packages, Error> {
    let mut by_package: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let (package, path) = owner(file.as_ref())?;
        by_package.entry(package).or_default().insert(path);
    }
    let mut packages = Packages::new();
    for (name, paths) in by_package {
        // Exits with failure when anything at all differs, documentation for instance, which
        // small installations leave out; only our files count.
        let differing = match Tool::new("dpkg").args(["--verify", &name]).run() {
            Ok(text) => text,
            Err(ToolError::Failed { message, .. }) => message,
            Err(error) => return Err(error.into()),
        };
        let is_changed = |path: &&String| {
            differing
                .lines()
                .any(|line| line.split_whitespace().last() == Some(path.as_str()))
        };
        if let Some(path) = paths.iter().find(is_changed) {
            return Err(Error::ChangedFile {
                file: path.clone(),
                package: name,
            });
        }
        packages.insert(
            package(&name)?,
            paths.into_iter().map(PathBuf::from).collect(),
        );
    }
    Ok(packages)
}

fn package(name: &str) -> Result<Package, ToolError> {
    let form = "-f=${Package} ${Version} ${Architecture} ${source:Package}\n";
    let text = Tool::new("dpkg-query").args(["-W", form, name]).run()?;
    let mut words = text.split_whitespace().map(str::to_owned);
    let mut next = || words.next().unwrap_or_default();
    Ok(Package {
        name: next(),
        version: next(),
        architecture: next(),
        source: next(),
    })
}

/// dpkg knows a file by the path in its package, which on a merged-/usr system may be the one
/// with or the one without `/usr`.
fn owner(file: &Path) -> Result<(String, String), Error> {
    let path = file.to_string_lossy().into_owned();
    let other = match path.strip_prefix("/usr") {
        Some(short) => short.to_owned(),
        None => format!("/usr{path}"),
    };
    for path in [path.clone(), other] {
        if let Ok(text) = Tool::new("dpkg-query").args(["-S", &path]).run()
            && let Some((package, _)) = text.trim().split_once(": ")
        {
            return Ok((package.to_owned(), path));
        }
    }
    Err(Error::NotInDebian { file: path })
}

fn find(name: &str, folders: &[&str]) -> Result<PathBuf, Error> {
    folders
        .iter()
        .find_map(|folder| Path::new(folder).join(name).canonicalize().ok())
        .ok_or_else(|| Error::NotInDebian {
            file: name.to_owned(),
        })
}

fn needed(file: &Path) -> Result<Vec<String>, ToolError> {
    let text = Tool::new("readelf")
        .args(["--dynamic", "--wide"])
        .arg(file)
        .run()?;
    let library = |line: &str| {
        let (_, rest) = line.split_once("(NEEDED)")?;
        let (_, rest) = rest.split_once('[')?;
        rest.split_once(']').map(|(name, _)| name.to_owned())
    };
    Ok(text.lines().filter_map(library).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collected_programs_run_with_nothing_but_the_collected_libraries() {
        let collected = collect().unwrap();
        let packages = packages_of(collected.files.values()).unwrap();
        let names: Vec<_> = packages
            .keys()
            .map(|package| package.name.as_str())
            .collect();
        assert!(
            ["e2fsprogs", "dbus-broker", "libselinux1", "libc6"]
                .iter()
                .all(|name| names.contains(name)),
            "{names:?}"
        );
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        collected.add_to(&mut tree);
        tree.write_to(folder.path()).unwrap();
        let libraries = folder.path().join("usr/lib/x86_64-linux-gnu");
        for program in PROGRAMS {
            // The collected loader, told to look nowhere else, lists what it would load.
            let listing = Tool::new(folder.path().join("usr/lib64/ld-linux-x86-64.so.2"))
                .arg("--inhibit-cache")
                .arg("--library-path")
                .arg(&libraries)
                .arg("--list")
                .arg(folder.path().join(program.trim_start_matches('/')))
                .run()
                .unwrap();
            for line in listing.lines().filter(|line| line.contains("=>")) {
                assert!(
                    line.contains(folder.path().to_str().unwrap()),
                    "{program}: {line}"
                );
            }
        }
    }

    #[test]
    fn a_file_of_no_package_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(
            packages_of([file.path()]),
            Err(Error::NotInDebian { .. })
        ));
    }
}
