//! What lies under /usr/share for other programs and for people: man pages and completions of
//! `x0ctl`, and the D-Bus interfaces.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::tool::{Tool, at, read_text};
use crate::tree::Tree;

/// Where `x0ctl` lies in the image.
pub(crate) const COMMAND: &str = "/usr/bin/x0ctl";

/// Adds what `program`, the built `x0ctl`, writes about itself. `scratch` is an empty folder's path.
pub(crate) fn add_manuals(tree: &mut Tree, program: &Path, scratch: &Path) -> Result<(), Error> {
    Tool::new(program).arg("generate").arg(scratch).run()?;
    add_folder(tree, scratch, "")
}

/// Adds the interfaces that `services/admin` publishes, where D-Bus tools look for them.
pub(crate) fn add_interfaces(tree: &mut Tree, workspace: &Path) -> Result<(), Error> {
    let folder = workspace.join("services/admin/introspection");
    add_folder(tree, &folder, "/usr/share/dbus-1/interfaces")
}

fn add_folder(tree: &mut Tree, folder: &Path, place: &str) -> Result<(), Error> {
    for path in list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("{place}/{name}");
        if path.is_dir() {
            add_folder(tree, &path, &place)?;
        } else {
            tree.file(&place, read_text(&path)?);
        }
    }
    Ok(())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(at("list", folder))?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.path())).collect();
    Ok(paths.map_err(at("list", folder))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interfaces_are_shipped() {
        let mut tree = Tree::default();
        let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        add_interfaces(&mut tree, workspace).unwrap();
        let folder = tempfile::tempdir().unwrap();
        tree.write_to(folder.path()).unwrap();
        let shared = folder.path().join("usr/share/dbus-1/interfaces");
        assert!(shared.join("org.x0tta6bl4.Init1.xml").exists());
    }
}
