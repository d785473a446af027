use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use toml::Spanned;

use crate::check::{self, RawBus, RawFiles, RawNet};
use crate::grants::Socket;
use crate::table::{Kind, Limits, Readiness, Restart, Service, User};
use crate::{Capability, Name, SyscallGroup};

/// A parsed manifest, with the places of what is checked across services.
#[derive(Debug)]
pub struct Manifest {
    pub(crate) service: Service,
    pub(crate) user_at: Place,
    pub(crate) needs_at: Vec<Place>,
    pub(crate) bus_own_at: Vec<Place>,
}

impl Manifest {
    /// The service that it describes, before any check against other services.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }
}

/// Parses the manifest of the service `name`. `file` is what error messages call it.
///
/// # Errors
/// With the place of the first mistake.
pub fn parse(name: &Name, file: &str, text: &str) -> Result<Manifest, ManifestError> {
    let source = Source { file, text };
    let raw: RawManifest = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        source.at(at).error(error.message().trim())
    })?;
    raw.validate(name, &source)
}

/// A mistake in a manifest, with its place.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ManifestError {
    place: Place,
    message: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: String,
    line: usize,
    column: usize,
}

impl Place {
    pub(crate) fn error(&self, message: impl Into<String>) -> ManifestError {
        ManifestError {
            place: self.clone(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

pub(crate) struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn at(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: self.file.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    pub(crate) fn of<T>(&self, value: &Spanned<T>) -> Place {
        self.at(value.span().start)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    description: Spanned<String>,
    #[serde(default)]
    kind: Kind,
    readiness: Option<Spanned<Readiness>>,
    binary: Option<Spanned<String>>,
    #[serde(default)]
    arguments: Vec<Spanned<String>>,
    user: Spanned<User>,
    #[serde(default)]
    capabilities: Vec<Capability>,
    #[serde(default)]
    devices: Vec<Spanned<String>>,
    #[serde(default)]
    state: bool,
    #[serde(default)]
    needs: Vec<Spanned<Name>>,
    #[serde(default)]
    critical: bool,
    start_timeout_s: Option<Spanned<u32>>,
    stop_timeout_s: Option<Spanned<u32>>,
    watchdog_s: Option<Spanned<u32>>,
    restart: Option<Spanned<Restart>>,
    limits: Option<Spanned<Limits>>,
    #[serde(default)]
    config: Vec<Spanned<Name>>,
    #[serde(default)]
    syscalls: Vec<Spanned<SyscallGroup>>,
    #[serde(default)]
    reasons: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    restart_with: Vec<Spanned<Name>>,
    fd_store: Option<Spanned<u32>>,
    #[serde(default)]
    files: RawFiles,
    #[serde(default)]
    net: RawNet,
    #[serde(default)]
    sockets: Vec<Spanned<Socket>>,
    #[serde(default)]
    bus: RawBus,
    #[serde(default)]
    unconfined: bool,
}

const START_TIMEOUT_S: u32 = 30;
const STOP_TIMEOUT_S: u32 = 5;
/// Longer waits are a mistake in the manifest: nobody waits an hour for a router.
pub(crate) const LONGEST_S: u32 = 3600;
/// Each costs PID 1 a descriptor for as long as the machine runs.
const MAX_FD_STORE: u32 = 64;

impl RawManifest {
    fn validate(self, name: &Name, source: &Source<'_>) -> Result<Manifest, ManifestError> {
        let description = self.description.get_ref();
        if description.is_empty() || description.chars().any(char::is_control) {
            let place = source.of(&self.description);
            return Err(place.error("`description` must be one line of text"));
        }
        if let (Kind::Oneshot, Some(readiness)) = (self.kind, &self.readiness) {
            let place = source.of(readiness);
            return Err(place.error("`readiness` is for daemons: a oneshot is ready when it exits"));
        }
        let program = match &self.binary {
            None => format!("/usr/lib/x0/{name}"),
            Some(binary) => program(binary.get_ref()).ok_or_else(|| {
                source.of(binary).error(
                    "`binary` must be a file name in /usr/lib/x0 or an absolute path without `..`",
                )
            })?,
        };
        for argument in &self.arguments {
            if argument.get_ref().contains('\0') {
                return Err(source
                    .of(argument)
                    .error("an argument can't hold a NUL byte"));
            }
        }
        for device in &self.devices {
            let path = device.get_ref();
            if !path.starts_with("/dev/") || path.contains("..") || path.contains('\0') {
                return Err(source
                    .of(device)
                    .error("a device must be a path under /dev/"));
            }
        }
        check::once("needed", &self.needs, source)?;
        check::once("asked for", &self.config, source)?;
        check::once("asked for", &self.syscalls, source)?;
        check::once("named", &self.restart_with, source)?;
        for other in &self.restart_with {
            if !self
                .needs
                .iter()
                .any(|need| need.get_ref() == other.get_ref())
            {
                let message = format!("`{}` is not in `needs`", other.get_ref());
                return Err(source.of(other).error(message));
            }
        }
        let user_at = source.of(&self.user);
        let user = self.user.into_inner();
        check::user(&user).map_err(|message| user_at.error(message))?;
        if let Some(restart) = &self.restart {
            check::restart(restart.get_ref()).map_err(|m| source.of(restart).error(m))?;
        }
        if let Some(limits) = &self.limits {
            check::limits(limits.get_ref()).map_err(|m| source.of(limits).error(m))?;
        }
        if let Some(count) = &self.fd_store
            && *count.get_ref() > MAX_FD_STORE
        {
            let message = format!("`fd_store` is at most {MAX_FD_STORE}");
            return Err(source.of(count).error(message));
        }
        check::sockets(&self.sockets, source)?;
        let (bus_own_at, bus) = self.bus.validate(source)?;
        let seconds = |value: &Option<Spanned<u32>>, key, least, default| match value {
            None => Ok(default),
            Some(s) if (least..=LONGEST_S).contains(s.get_ref()) => Ok(*s.get_ref()),
            Some(s) => {
                let message = format!("`{key}` must be {least} to {LONGEST_S} seconds");
                Err(source.of(s).error(message))
            }
        };
        let groups: Vec<SyscallGroup> =
            self.syscalls.into_iter().map(Spanned::into_inner).collect();
        let manifest = Manifest {
            user_at,
            needs_at: self.needs.iter().map(|need| source.of(need)).collect(),
            bus_own_at,
            service: Service {
                name: name.clone(),
                description: self.description.into_inner(),
                kind: self.kind,
                readiness: self.readiness.map(Spanned::into_inner).unwrap_or_default(),
                program,
                arguments: self
                    .arguments
                    .into_iter()
                    .map(Spanned::into_inner)
                    .collect(),
                user,
                capabilities: self.capabilities,
                devices: self.devices.into_iter().map(Spanned::into_inner).collect(),
                state: self.state,
                needs: self.needs.into_iter().map(Spanned::into_inner).collect(),
                critical: self.critical,
                start_timeout_s: seconds(
                    &self.start_timeout_s,
                    "start_timeout_s",
                    1,
                    START_TIMEOUT_S,
                )?,
                stop_timeout_s: seconds(&self.stop_timeout_s, "stop_timeout_s", 1, STOP_TIMEOUT_S)?,
                watchdog_s: seconds(&self.watchdog_s, "watchdog_s", 0, 0)?,
                restart: self.restart.map(Spanned::into_inner).unwrap_or_default(),
                limits: self.limits.map(Spanned::into_inner).unwrap_or_default(),
                filter: crate::syscalls::compile(&groups, self.net.access()),
                syscalls: groups,
                unconfined: self.unconfined,
                config: self.config.into_iter().map(Spanned::into_inner).collect(),
                reasons: (self.reasons.iter())
                    .map(|(grant, reason)| (grant.get_ref().clone(), reason.get_ref().clone()))
                    .collect(),
                restart_with: (self.restart_with.into_iter())
                    .map(Spanned::into_inner)
                    .collect(),
                fd_store: self.fd_store.map_or(0, Spanned::into_inner),
                files: self.files.validate(source)?,
                net: self.net.validate(source)?,
                sockets: self.sockets.into_iter().map(Spanned::into_inner).collect(),
                bus,
            },
        };
        check::reasons(&self.reasons, &manifest.service, source)?;
        Ok(manifest)
    }
}

fn program(binary: &str) -> Option<String> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    match binary.strip_prefix('/') {
        Some(rest) => rest.split('/').all(plain).then(|| binary.into()),
        None => (plain(binary) && !binary.contains('/')).then(|| format!("/usr/lib/x0/{binary}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Policy;

    const NETWORK: &str = r#"
description = "Links, addresses and routes"
user = { name = "network", id = 203, groups = ["control"] }
capabilities = ["net_admin", "net_raw"]
devices = ["/dev/ttyS0"]
state = true
needs = ["provision"]
critical = true
watchdog_s = 10
[restart]
policy = "on-failure"
burst = 7
[limits]
memory_max_mb = 64
"#;

    fn parse_network(text: &str) -> Result<Manifest, ManifestError> {
        let name = "network".parse().unwrap();
        parse(&name, "services/network/service.toml", text)
    }

    #[test]
    fn a_manifest_with_everything() {
        let service = parse_network(NETWORK).unwrap().service;
        assert_eq!(service.program, "/usr/lib/x0/network");
        assert_eq!(service.kind, Kind::Daemon);
        assert_eq!(service.readiness, Readiness::Notify);
        assert_eq!(service.start_timeout_s, 30);
        assert_eq!(service.stop_timeout_s, 5);
        assert_eq!(service.restart.policy, Policy::OnFailure);
        assert_eq!(service.restart.delay_max_ms, 30_000);
        assert_eq!(service.limits.memory_max_mb, Some(64));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let cases = [
            ("state = true", "stat = true", ":6:1: unknown field `stat`"),
            (
                "\"net_raw\"",
                "\"net_row\"",
                ":4:16: unknown capability `net_row`",
            ),
            (
                "\"provision\"",
                "\"Provision\"",
                ":7:9: bad name `Provision`",
            ),
            ("id = 203", "id = 7", ":3:8: user id 7"),
            ("id = 203", "id = 0", ":3:8: only user `root`"),
            ("\"control\"", "\"wheel\"", ":3:8: unknown group `wheel`"),
            ("/dev/ttyS0", "/etc/passwd", ":5:12: a device must be"),
            ("/dev/ttyS0", "/dev/../etc", ":5:12: a device must be"),
            (
                "watchdog_s = 10",
                "watchdog_s = 9999",
                ":9:14: `watchdog_s` must be",
            ),
            ("burst = 7", "burst = 0", "`burst` must be"),
            ("burst = 7", "burst = -1", ":12:9: invalid value"),
            ("memory_max_mb = 64", "memory_max_mb = 0", "a limit of 0"),
            ("critical = true", "critical = 1", ":8:12: invalid type"),
            ("critical = true", "critical = ", ":8:"),
            (
                "\"on-failure\"",
                "\"maybe\"",
                ":11:10: unknown variant `maybe`",
            ),
        ];
        for (good, bad, expected) in cases {
            assert!(NETWORK.contains(good));
            let error = parse_network(&NETWORK.replace(good, bad))
                .unwrap_err()
                .to_string();
            let expected = format!("services/network/service.toml{}", expected);
            let (file, rest) = expected.split_at("services/network/service.toml".len());
            assert!(
                error.starts_with(file) && error.contains(rest),
                "{bad}: {error}"
            );
        }
        let error = parse_network("description = \"x\"\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("missing field `user`"), "{error}");
    }

    #[test]
    fn binaries_stay_where_they_belong() {
        assert_eq!(program("agent").unwrap(), "/usr/lib/x0/agent");
        assert_eq!(program("/bin/sleep").unwrap(), "/bin/sleep");
        for bad in ["", "a/b", "..", "/", "/bin/../x", "/bin//x", "a\0"] {
            assert!(program(bad).is_none(), "{bad:?}");
        }
    }
}
