use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use crate::source::ManifestError;
use crate::{MAX_SERVICES, Manifest, Name, Service, Table, parse};

/// Compiles the `service.toml` of each folder; a folder's name is its service's name.
///
/// # Errors
/// With the first mistake in a manifest or between manifests.
pub fn compile<P: AsRef<Path>>(folders: &[P]) -> Result<Table, CompileError> {
    let read = |folder: &P| {
        let folder = folder.as_ref();
        let name = folder.file_name().and_then(|name| name.to_str());
        let name: Name = (name.and_then(|name| name.parse().ok()))
            .ok_or_else(|| CompileError::Folder(folder.into()))?;
        let file = folder.join("service.toml");
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(parse(&name, &file.display().to_string(), &text)?),
            Err(source) => Err(CompileError::Read { file, source }),
        }
    };
    compile_sources(folders.iter().map(read).collect::<Result<_, _>>()?)
}

/// Checks parsed manifests against each other and puts them in order.
///
/// # Errors
/// With the first mistake between manifests.
pub fn compile_sources(manifests: Vec<Manifest>) -> Result<Table, CompileError> {
    if manifests.len() > MAX_SERVICES {
        return Err(CompileError::TooMany(manifests.len()));
    }
    let mut by_name = BTreeMap::new();
    for manifest in manifests {
        let name = manifest.service.name.clone();
        if by_name.insert(name.clone(), manifest).is_some() {
            return Err(CompileError::Twice(name));
        }
    }
    check_users(&by_name)?;
    check_needs(&by_name)?;
    check_bus_names(&by_name)?;
    order(by_name).map(Table::new)
}

/// Why manifests do not make a table.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("these services need each other in a circle: {}", names(.0))]
    Cycle(Vec<Name>),
    #[error("{0}: the folder's name must be a service name")]
    Folder(PathBuf),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("cannot read {file}")]
    Read { file: PathBuf, source: io::Error },
    #[error("{0} services are more than {MAX_SERVICES}")]
    TooMany(usize),
    #[error("there are two services called `{0}`")]
    Twice(Name),
}

fn names(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    names.join(" -> ")
}

/// One id, one user: services that share an id would share files and signals without saying so.
/// Only root is shared.
fn check_users(by_name: &BTreeMap<Name, Manifest>) -> Result<(), ManifestError> {
    let mut by_id: HashMap<u32, &Service> = HashMap::new();
    let mut by_user: HashMap<&Name, &Service> = HashMap::new();
    for manifest in by_name.values() {
        let service = &manifest.service;
        if service.user.id == 0 {
            continue;
        }
        if let Some(other) = by_id.insert(service.user.id, service) {
            let message = format!("user id {} is `{}`'s already", service.user.id, other.name);
            return Err(manifest.user_at.error(message));
        }
        if let Some(other) = by_user.insert(&service.user.name, service) {
            let message = format!("user `{}` is `{}`'s already", service.user.name, other.name);
            return Err(manifest.user_at.error(message));
        }
    }
    Ok(())
}

fn check_needs(by_name: &BTreeMap<Name, Manifest>) -> Result<(), ManifestError> {
    for manifest in by_name.values() {
        for (need, place) in manifest.service.needs.iter().zip(&manifest.needs_at) {
            if !by_name.contains_key(need) {
                return Err(place.error(format!("needs `{need}`, and there is no such service")));
            }
        }
    }
    Ok(())
}

/// A name on the bus belongs to one service.
fn check_bus_names(by_name: &BTreeMap<Name, Manifest>) -> Result<(), ManifestError> {
    let mut owners: HashMap<&str, &Name> = HashMap::new();
    for manifest in by_name.values() {
        let service = &manifest.service;
        for (name, place) in service.bus.own.iter().zip(&manifest.bus_own_at) {
            if let Some(other) = owners.insert(name, &service.name) {
                return Err(place.error(format!("`{name}` is `{other}`'s already")));
            }
        }
    }
    Ok(())
}

/// Kahn's algorithm; among services that could come next, the first by name, so that one set of
/// manifests has one table.
fn order(mut waiting: BTreeMap<Name, Manifest>) -> Result<Vec<Service>, CompileError> {
    let mut ordered: Vec<Service> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let free = |m: &Manifest| {
            m.service
                .needs
                .iter()
                .all(|need| !waiting.contains_key(need))
        };
        let next = waiting
            .values()
            .find(|m| free(m))
            .map(|m| m.service.name.clone());
        let Some(next) = next else {
            return Err(CompileError::Cycle(circle(&waiting)));
        };
        ordered.extend(waiting.remove(&next).map(|manifest| manifest.service));
    }
    Ok(ordered)
}

/// Follows needs among services that all wait for another until one comes up again.
fn circle(waiting: &BTreeMap<Name, Manifest>) -> Vec<Name> {
    let mut path: Vec<Name> = Vec::new();
    let mut next = waiting.keys().next().cloned();
    while let Some(name) = next {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            path.push(name);
            return path.split_off(start);
        }
        let needs = waiting.get(&name).map(|m| m.service.needs.as_slice());
        let needs = needs.unwrap_or_default();
        next = needs
            .iter()
            .find(|need| waiting.contains_key(need))
            .cloned();
        path.push(name);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, more: &str) -> Manifest {
        let id = 200 + name.bytes().map(u32::from).sum::<u32>() % 97;
        let text =
            format!("description = \"x\"\n{more}\nuser = {{ name = \"{name}\", id = {id} }}\n");
        parse(&name.parse().unwrap(), &format!("{name}.toml"), &text).unwrap()
    }

    #[test]
    fn services_come_after_what_they_need() {
        let table = compile_sources(vec![
            manifest("network", "needs = [\"provision\"]"),
            manifest("channel", ""),
            manifest("data", "kind = \"oneshot\""),
            manifest("provision", "needs = [\"data\"]"),
        ])
        .unwrap();
        let names: Vec<_> = table.services().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["channel", "data", "provision", "network"]);
    }

    #[test]
    fn circles_and_unknown_needs_are_refused() {
        let circle = compile_sources(vec![
            manifest("a", "needs = [\"b\"]"),
            manifest("b", "needs = [\"c\"]"),
            manifest("c", "needs = [\"b\"]"),
        ]);
        let message = circle.unwrap_err().to_string();
        assert_eq!(
            message,
            "these services need each other in a circle: b -> c -> b"
        );

        let unknown = compile_sources(vec![manifest("a", "needs = [\"z\"]")]);
        let message = unknown.unwrap_err().to_string();
        assert_eq!(
            message,
            "a.toml:2:10: needs `z`, and there is no such service"
        );
        let itself = compile_sources(vec![manifest("a", "needs = [\"a\"]")]);
        assert!(itself.unwrap_err().to_string().ends_with("a -> a"));
    }

    #[test]
    fn users_are_not_shared() {
        let message = compile_sources(vec![manifest("ab", ""), manifest("ba", "")]);
        let message = message.unwrap_err().to_string();
        assert!(message.starts_with("ba.toml:3:8: user id"), "{message}");
        let twice = compile_sources(vec![manifest("a", ""), manifest("a", "")]);
        assert!(matches!(twice.unwrap_err(), CompileError::Twice(_)));
    }

    #[test]
    fn bus_names_are_not_shared() {
        let own = "bus.own = [\"org.x0tta6bl4.Admin1\"]";
        let message = compile_sources(vec![manifest("a", own), manifest("b", own)]);
        let message = message.unwrap_err().to_string();
        let expected = "b.toml:2:12: `org.x0tta6bl4.Admin1` is `a`'s already";
        assert_eq!(message, expected);
    }

    #[test]
    fn the_services_of_this_checkout_fit_together() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let services = std::fs::read_dir(top.join("services")).unwrap();
        let mut folders: Vec<PathBuf> = services.map(|entry| entry.unwrap().path()).collect();
        folders.push(top.join("tests/agent"));
        folders.retain(|folder| folder.join("service.toml").exists());
        let table = compile(&folders).unwrap();
        assert_eq!(table.services().len(), folders.len());
        let free = table.services().iter().filter(|service| service.unconfined);
        let free: Vec<_> = free.map(|service| service.name.as_str()).collect();
        assert_eq!(free, ["agent"]);
        assert!(folders.len() > 5, "{folders:?}");
    }

    #[test]
    fn folders_name_their_services() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("data");
        std::fs::create_dir(&folder).unwrap();
        assert!(matches!(
            compile(&[&folder]).unwrap_err(),
            CompileError::Read { .. }
        ));
        let text = "description = \"x\"\nuser = { name = \"root\", id = 0 }\n";
        std::fs::write(folder.join("service.toml"), text).unwrap();
        let table = compile(&[&folder]).unwrap();
        assert_eq!(table.services()[0].name.as_str(), "data");
    }
}
