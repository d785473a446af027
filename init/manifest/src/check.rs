//! The rules that one manifest must keep.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Deserialize;
use toml::Spanned;

use crate::grants::{Bus, Files, Net, NetAccess, Ports, Socket};
use crate::group_id;
use crate::source::{LONGEST_S, ManifestError, Place, Source};
use crate::table::{Limits, Restart, Service, User};

/// As many as PID 1 may have itself.
const MAX_OPEN_FILES: u32 = 64 * 1024;
/// What a service may have of paths, sockets and names, each: a limit for typing errors, not a budget.
const MAX_ENTRIES: usize = 64;

/// [`Files`] with their places.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawFiles {
    read: Vec<Spanned<String>>,
    write: Vec<Spanned<String>>,
    exec: Vec<Spanned<String>>,
    mount: Vec<Spanned<String>>,
}

impl RawFiles {
    pub(crate) fn validate(self, source: &Source<'_>) -> Result<Files, ManifestError> {
        let paths = |paths: Vec<Spanned<String>>| {
            once("named", &paths, source)?;
            for path in &paths {
                if !is_path(path.get_ref()) {
                    let message = "must be an absolute path without `..`, and not `/` itself";
                    let message = format!("`{}`: {message}", path.get_ref().escape_debug());
                    return Err(source.of(path).error(message));
                }
            }
            Ok(paths.into_iter().map(Spanned::into_inner).collect())
        };
        Ok(Files {
            read: paths(self.read)?,
            write: paths(self.write)?,
            exec: paths(self.exec)?,
            mount: paths(self.mount)?,
        })
    }
}

/// [`Net`] with its places.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawNet {
    access: NetAccess,
    tcp_bind: Option<Spanned<Ports>>,
    tcp_connect: Option<Spanned<Ports>>,
}

impl RawNet {
    pub(crate) fn access(&self) -> NetAccess {
        self.access
    }

    pub(crate) fn validate(self, source: &Source<'_>) -> Result<Net, ManifestError> {
        let ports = |ports: Option<Spanned<Ports>>| {
            let Some(ports) = ports else {
                return Ok(Ports::default());
            };
            if self.access != NetAccess::Host && !ports.get_ref().is_empty() {
                let message = "ports are for `access = \"host\"`: other services have no network";
                return Err(source.of(&ports).error(message));
            }
            match ports.get_ref() {
                Ports::These(list) if list.len() > MAX_ENTRIES => Err(source
                    .of(&ports)
                    .error(format!("more than {MAX_ENTRIES} ports"))),
                _ => Ok(ports.into_inner()),
            }
        };
        Ok(Net {
            access: self.access,
            tcp_bind: ports(self.tcp_bind)?,
            tcp_connect: ports(self.tcp_connect)?,
        })
    }
}

/// [`Bus`] with its places.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawBus {
    own: Vec<Spanned<String>>,
    call: Vec<Spanned<String>>,
}

impl RawBus {
    pub(crate) fn validate(self, source: &Source<'_>) -> Result<(Vec<Place>, Bus), ManifestError> {
        once("named", &self.own, source)?;
        once("named", &self.call, source)?;
        for name in &self.own {
            if !is_bus_name(name.get_ref()) {
                return Err(bad_bus_name(name, source));
            }
        }
        for name in &self.call {
            let full = name.get_ref();
            if !is_bus_name(full.strip_suffix(".*").unwrap_or(full)) {
                return Err(bad_bus_name(name, source));
            }
        }
        let places = self.own.iter().map(|name| source.of(name)).collect();
        let plain = |names: Vec<Spanned<String>>| names.into_iter().map(Spanned::into_inner);
        let bus = Bus {
            own: plain(self.own).collect(),
            call: plain(self.call).collect(),
        };
        Ok((places, bus))
    }
}

fn bad_bus_name(name: &Spanned<String>, source: &Source<'_>) -> ManifestError {
    let text = name.get_ref().escape_debug();
    let message = format!("`{text}` is no bus name: write it as in `org.x0tta6bl4.Admin1`");
    source.of(name).error(message)
}

/// A well-known name, as the D-Bus specification has it ("Valid Names").
fn is_bus_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let element = |element: &str| {
        element.chars().all(plain) && element.starts_with(|c: char| !c.is_ascii_digit())
    };
    name.len() <= 255 && name.contains('.') && name.split('.').all(element)
}

/// Whether a path means one place only, and not everything.
pub(crate) fn is_path(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    path.len() < 1024 && (path.strip_prefix('/')).is_some_and(|rest| rest.split('/').all(plain))
}

/// Nothing is listed twice, and lists end.
pub(crate) fn once<T: PartialEq + Mentioned>(
    how: &str,
    list: &[Spanned<T>],
    source: &Source<'_>,
) -> Result<(), ManifestError> {
    for (position, item) in list.iter().enumerate() {
        let mut earlier = list[..position].iter();
        if earlier.any(|other| other.get_ref() == item.get_ref()) {
            let message = format!("`{}` is {how} twice", item.get_ref().text());
            return Err(source.of(item).error(message));
        }
        if position == MAX_ENTRIES {
            return Err(source
                .of(item)
                .error(format!("more than {MAX_ENTRIES} entries")));
        }
    }
    Ok(())
}

/// Can be named in a message.
pub(crate) trait Mentioned {
    fn text(&self) -> impl Display;
}

impl Mentioned for crate::Name {
    fn text(&self) -> impl Display {
        self
    }
}

impl Mentioned for String {
    fn text(&self) -> impl Display {
        self.escape_debug()
    }
}

impl Mentioned for crate::SyscallGroup {
    fn text(&self) -> impl Display {
        self.name()
    }
}

pub(crate) fn sockets(
    sockets: &[Spanned<Socket>],
    source: &Source<'_>,
) -> Result<(), ManifestError> {
    for (position, spanned) in sockets.iter().enumerate() {
        let socket = spanned.get_ref();
        let wrong = if position == MAX_ENTRIES {
            Some(format!("more than {MAX_ENTRIES} sockets"))
        } else if !socket.path.starts_with("/run/") || !is_path(&socket.path) {
            Some("a socket's path must be under /run/, without `..`".to_owned())
        } else if socket.path.len() > MAX_SOCKET_PATH {
            Some(format!(
                "a socket's path has at most {MAX_SOCKET_PATH} bytes (unix(7))"
            ))
        } else if let Some(group) = &socket.group
            && group_id(group).is_none()
        {
            Some(unknown_group(group))
        } else if sockets[..position]
            .iter()
            .any(|other| other.get_ref().name == socket.name || other.get_ref().path == socket.path)
        {
            Some(format!("the socket `{}` is there twice", socket.name))
        } else {
            None
        };
        if let Some(message) = wrong {
            return Err(source.of(spanned).error(message));
        }
    }
    Ok(())
}

/// `sun_path` without the NUL byte at its end.
const MAX_SOCKET_PATH: usize = 107;

/// A reason belongs to grants that the manifest makes, else one of both is a typing error.
pub(crate) fn reasons(
    reasons: &BTreeMap<Spanned<String>, Spanned<String>>,
    service: &Service,
    source: &Source<'_>,
) -> Result<(), ManifestError> {
    let grants = service.grants();
    for (key, reason) in reasons {
        // A reason may stand for all grants of a kind: `net.tcp_bind` for each port.
        let meant = |grant: &String| {
            let rest = grant.strip_prefix(key.get_ref().as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if !grants.iter().any(meant) {
            let known = grants.join("`, `");
            let text = key.get_ref().escape_debug();
            let message = match grants.is_empty() {
                true => format!("a reason for `{text}`, and nothing is granted"),
                false => format!("a reason for `{text}`, which is not granted; there is `{known}`"),
            };
            return Err(source.of(key).error(message));
        }
        let text = reason.get_ref();
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(source.of(reason).error("a reason must be one line of text"));
        }
    }
    Ok(())
}

fn unknown_group(group: &crate::Name) -> String {
    format!("unknown group `{group}`: the image has `control` and `view`")
}

pub(crate) fn user(user: &User) -> Result<(), String> {
    match (user.name.as_str(), user.id) {
        ("root", 0) | (_, 200..=299) => {}
        ("root", _) => return Err("user `root` has the id 0".into()),
        (_, 0) => return Err("only user `root` has the id 0".into()),
        (_, id) => return Err(format!("user id {id}: services have ids from 200 to 299")),
    }
    match user.groups.iter().find(|group| group_id(group).is_none()) {
        Some(group) => Err(unknown_group(group)),
        None => Ok(()),
    }
}

pub(crate) fn restart(restart: &Restart) -> Result<(), String> {
    if restart.delay_ms > restart.delay_max_ms {
        return Err("`delay_ms` is larger than `delay_max_ms`".into());
    }
    if restart.delay_max_ms > LONGEST_S * 1000 {
        return Err(format!("`delay_max_ms` is longer than {LONGEST_S} seconds"));
    }
    if !(1..=1000).contains(&restart.burst) {
        return Err("`burst` must be 1 to 1000".into());
    }
    if !(1..=LONGEST_S).contains(&restart.burst_window_s) {
        return Err(format!("`burst_window_s` must be 1 to {LONGEST_S}"));
    }
    if !(1..=LONGEST_S).contains(&restart.healthy_after_s) {
        return Err(format!("`healthy_after_s` must be 1 to {LONGEST_S}"));
    }
    Ok(())
}

pub(crate) fn limits(limits: &Limits) -> Result<(), String> {
    if limits
        .cpu_weight
        .is_some_and(|weight| !(1..=10_000).contains(&weight))
    {
        return Err("`cpu_weight` must be 1 to 10000".into());
    }
    if limits
        .io_weight
        .is_some_and(|weight| !(1..=10_000).contains(&weight))
    {
        return Err("`io_weight` must be 1 to 10000".into());
    }
    if limits
        .open_files
        .is_some_and(|count| !(16..=MAX_OPEN_FILES).contains(&count))
    {
        return Err(format!("`open_files` must be 16 to {MAX_OPEN_FILES}"));
    }
    let nothing = [limits.memory_max_mb, limits.memory_high_mb, limits.pids_max];
    if nothing.contains(&Some(0)) {
        return Err("a limit of 0 would not let the service start".into());
    }
    if let (Some(high), Some(max)) = (limits.memory_high_mb, limits.memory_max_mb)
        && high > max
    {
        return Err("`memory_high_mb` is larger than `memory_max_mb`".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
