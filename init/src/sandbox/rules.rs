//! Landlock: which of the visible files may be run or written, which TCP ports may be used, and no
//! way to others' abstract sockets and processes.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use manifest::{Ports, Service};

use super::view::{Use, paths};
use crate::spawn::Surroundings;

/// Linux 6.12, the image's kernel. An older one enforces what it knows: the rights that it lacks are
/// left out, and `explain` says which version it has.
const ABI_WANTED: ABI = ABI::V6;

pub(super) fn restrict(surroundings: &Surroundings, service: &Service) -> Result<(), RulesetError> {
    let mut wanted = Ruleset::default().scope(Scope::from_all(ABI_WANTED))?;
    // A process with rules for files can no longer mount (landlock(7)).
    let with_files = service.files.mount.is_empty();
    if with_files {
        wanted = wanted.handle_access(AccessFs::from_all(ABI_WANTED))?;
    }
    for (ports, access) in ports(service) {
        if let Ports::These(_) = ports {
            wanted = wanted.handle_access(access)?;
        }
    }
    let mut rules = wanted.create()?;
    if with_files {
        for (path, how) in paths(surroundings, service) {
            // Not there, or not to be reached by this user: nothing to allow.
            let Ok(path) = PathFd::new(&path) else {
                continue;
            };
            rules = rules.add_rule(PathBeneath::new(path, access(how)))?;
        }
    }
    for (ports, access) in ports(service) {
        if let Ports::These(list) = ports {
            for port in list {
                rules = rules.add_rule(NetPort::new(*port, access))?;
            }
        }
    }
    rules.restrict_self().map(drop)
}

fn ports(service: &Service) -> [(&Ports, AccessNet); 2] {
    [
        (&service.net.tcp_bind, AccessNet::BindTcp),
        (&service.net.tcp_connect, AccessNet::ConnectTcp),
    ]
}

fn access(how: Use) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(ABI_WANTED) & !BitFlags::from_flag(AccessFs::Execute);
    match how {
        Use::Run => read | AccessFs::Execute,
        Use::Read
        | Use::Proc {
            writable: false, ..
        } => read,
        Use::Proc { .. } => read | AccessFs::WriteFile | AccessFs::Truncate,
        Use::Write | Use::Device | Use::Mount | Use::Temporary => all,
    }
}
