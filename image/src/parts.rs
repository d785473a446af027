//! Gathers what an image is assembled from: everything that takes compiling or looking up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kernel_config::KernelRequest;

use crate::debian::{self, Collected};
use crate::selector::{self, Architecture};
use crate::source::Source;
use crate::tool::{at, read_text};
use crate::{Error, Keys, Profile, Request, probes, shared, uki, userland};

/// Everything that goes into an image.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) source: Source,
    pub(crate) services: manifest::Table,
    /// Programs of ours by their path in the image, with their symbols still in them.
    pub(crate) programs: BTreeMap<String, PathBuf>,
    /// The cargo package of each program, in the same order of paths.
    pub(crate) packages: BTreeMap<String, String>,
    pub(crate) workspace: PathBuf,
    pub(crate) debian: Collected,
    pub(crate) kernel: Kernel,
    pub(crate) selector: PathBuf,
    pub(crate) stub: PathBuf,
    pub(crate) keys: Keys,
}

/// A kernel to put in.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    pub(crate) release: String,
    /// Debian's source archive that it was built from.
    pub(crate) source: PathBuf,
}

pub(crate) fn collect(request: &Request) -> Result<Parts, Error> {
    let source = Source::of(&request.workspace)?;
    let keys = Keys::ensure(&request.keys)?;
    let folders = service_folders(request)?;
    let services = manifest::compile(&folders).map_err(Error::Services)?;
    let free = services
        .services()
        .iter()
        .find(|service| service.unconfined);
    if let (Some(service), Profile::Release) = (free, request.profile) {
        return Err(Error::Unconfined(service.name.clone()));
    }
    let mut packages = BTreeMap::from([("/init".to_owned(), "init".to_owned())]);
    for (folder, service) in by_name(&folders, &services) {
        packages.insert(service.program.clone(), package_name(folder)?);
    }
    packages.insert(shared::COMMAND.to_owned(), "x0ctl".to_owned());
    let services = if request.profile == Profile::Probe {
        packages.insert(probes::PROGRAM.to_owned(), "init".to_owned());
        probes::add(services)
    } else {
        services
    };
    let names: Vec<String> = packages.values().cloned().collect();
    let built = userland::build(&request.workspace, &request.target, &names)?;
    let program = |path: &String| {
        let name = Path::new(path).file_name().unwrap_or_default();
        (path.clone(), built.join(name))
    };
    let programs = packages.keys().map(program).collect();
    Ok(Parts {
        source,
        services,
        programs,
        packages,
        workspace: request.workspace.clone(),
        debian: debian::collect()?,
        kernel: kernel(request)?,
        selector: selector::build(
            &request.workspace,
            &request.target.join("selector"),
            Architecture::X86_64,
        )?,
        stub: PathBuf::from(uki::STUB),
        keys,
    })
}

/// Each folder with the service that its manifest describes.
fn by_name<'a>(
    folders: &'a [PathBuf],
    services: &'a manifest::Table,
) -> impl Iterator<Item = (&'a Path, &'a manifest::Service)> {
    services.services().iter().filter_map(|service| {
        let is_its = |folder: &&PathBuf| folder.file_name() == Some(service.name.as_str().as_ref());
        folders
            .iter()
            .find(is_its)
            .map(|folder| (folder.as_path(), service))
    })
}

/// Folders with a `service.toml`, in order of their names.
fn service_folders(request: &Request) -> Result<Vec<PathBuf>, Error> {
    let services = request.workspace.join("services");
    let mut folders = Vec::new();
    for entry in fs::read_dir(&services).map_err(at("list", &services))? {
        let folder = entry.map_err(at("list", &services))?.path();
        if folder.join("service.toml").exists() {
            folders.push(folder);
        }
    }
    folders.sort();
    if request.profile != Profile::Release {
        folders.push(request.workspace.join("tests/agent"));
    }
    Ok(folders)
}

fn package_name(folder: &Path) -> Result<String, Error> {
    let path = folder.join("Cargo.toml");
    let text = read_text(&path)?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \""));
    let name = name
        .and_then(|rest| rest.split('"').next())
        .ok_or(Error::Answer {
            program: "Cargo.toml",
            subject: path.display().to_string(),
        })?;
    Ok(name.to_owned())
}

fn kernel(request: &Request) -> Result<Kernel, Error> {
    let mut wanted = KernelRequest::new(&request.cache);
    wanted.fragments = request.workspace.join("kernel-config");
    let source = wanted.source.clone();
    let built = kernel_config::ensure(&wanted).map_err(Error::Kernel)?;
    Ok(Kernel {
        image: built.bzimage,
        release: built.release,
        source,
    })
}
