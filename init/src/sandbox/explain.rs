//! A service's sandbox in words, from its manifest, and what it was refused.

use api::{Denial, Explanation};
use manifest::{NetAccess, Ports, Service, syscall_name};

use crate::event::ServiceId;
use crate::shell::Shell;
use crate::sys;

impl Shell {
    pub(crate) fn explain(&self, id: ServiceId) -> Explanation {
        let service = &self.core.units()[id.0].service;
        let process = &self.processes[id.0];
        let denials = &process.sandbox.denials;
        let calls = denials.calls().iter().map(|call| Denial {
            what: syscall_name(call.number).map_or_else(|| format!("#{}", call.number), Into::into),
            count: call.count,
            last_ms: Some(call.last.0),
        });
        let others = (denials.others > 0).then(|| Denial {
            what: "other system calls".into(),
            count: denials.others,
            last_ms: None,
        });
        let limits = process
            .limits_felt()
            .into_iter()
            .map(|(what, count)| Denial {
                what: what.into(),
                count,
                last_ms: None,
            });
        let confined = self.surroundings.confined && !service.unconfined;
        let landlock_abi = sys::landlock_version();
        Explanation {
            service: service.name.to_string(),
            sentences: sentences(service, confined, landlock_abi),
            user: service.user.name.to_string(),
            groups: words(&service.user.groups),
            capabilities: service
                .capabilities
                .iter()
                .map(|c| c.name().into())
                .collect(),
            syscalls: service
                .syscalls
                .iter()
                .map(|group| group.name().into())
                .collect(),
            read: service.files.read.clone(),
            write: service.files.write.clone(),
            exec: service.files.exec.clone(),
            mount: service.files.mount.clone(),
            devices: service.devices.clone(),
            network: match service.net.access {
                NetAccess::None => "none".into(),
                NetAccess::Unix => "unix".into(),
                NetAccess::Host => "host".into(),
            },
            tcp_bind: ports(&service.net.tcp_bind),
            tcp_connect: ports(&service.net.tcp_connect),
            landlock_abi,
            denials: calls.chain(others).chain(limits).collect(),
        }
    }
}

fn words<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn ports(ports: &Ports) -> Vec<String> {
    match ports {
        Ports::Any(_) => vec!["any".into()],
        Ports::These(list) => words(list),
    }
}

fn sentences(service: &Service, confined: bool, landlock_abi: u32) -> Vec<String> {
    let name = &service.user.name;
    let mut said = Vec::new();
    let groups = words(&service.user.groups);
    said.push(match groups.as_slice() {
        [] => format!("It runs as user {name}."),
        groups => format!(
            "It runs as user {name}, in the groups {}.",
            groups.join(", ")
        ),
    });
    let capabilities: Vec<&str> = service.capabilities.iter().map(|c| c.name()).collect();
    said.push(match capabilities.as_slice() {
        [] => "It has no capabilities and can gain none.".into(),
        list => format!(
            "It has the capabilities {} and can gain no others.",
            list.join(", ")
        ),
    });
    if !confined {
        said.push("It has no sandbox: it sees all files, networks and processes.".into());
        return said;
    }
    let files = &service.files;
    let mut paths = |what: &str, list: &[String]| {
        if !list.is_empty() {
            said.push(format!("It may {what} {}.", list.join(", ")));
        }
    };
    paths("read", &files.read);
    paths("write", &files.write);
    paths("run, beside itself,", &files.exec);
    paths("mount something on", &files.mount);
    paths("use the devices", &service.devices);
    said.push(
        "Of other files it sees its own program, its folder in /run/x0 and three devices.".into(),
    );
    if service.state {
        said.push("It keeps its state in its folder in /data.".into());
    }
    said.push(network(service));
    let groups = service.syscalls.iter().map(|group| group.description());
    let groups: Vec<&str> = groups.collect();
    said.push(match groups.as_slice() {
        [] => "It may make the system calls that every program needs, and no others.".into(),
        groups => format!("By system calls it may also {}.", groups.join("; ")),
    });
    said.extend(limits(service));
    said.push(landlock(service, landlock_abi));
    said
}

fn network(service: &Service) -> String {
    let list = |ports: &Ports, what: &str| match ports {
        Ports::Any(_) => format!("{what} any TCP port"),
        Ports::These(list) if list.is_empty() => format!("{what} no TCP port"),
        Ports::These(list) => format!("{what} the TCP ports {}", words(list).join(", ")),
    };
    match service.net.access {
        NetAccess::None => "It has no network, and sends to PID 1 only.".into(),
        NetAccess::Unix => "It has no network; Unix sockets it reaches by their paths.".into(),
        NetAccess::Host => format!(
            "It has the router's network: it may {} and {}.",
            list(&service.net.tcp_bind, "listen on"),
            list(&service.net.tcp_connect, "connect to"),
        ),
    }
}

fn limits(service: &Service) -> Option<String> {
    let limits = &service.limits;
    let mut all = Vec::new();
    let mut add = |limit: Option<u32>, text: &str| {
        all.extend(limit.map(|limit| text.replace('#', &limit.to_string())));
    };
    add(
        limits.memory_high_mb,
        "is slowed down above # MiB of memory",
    );
    add(limits.memory_max_mb, "is ended above # MiB of memory");
    add(limits.pids_max, "has at most # threads and processes");
    add(limits.open_files, "has at most # open files per process");
    add(limits.cpu_weight, "has the weight # for processors");
    add(limits.io_weight, "has the weight # for disks");
    (!all.is_empty()).then(|| format!("It {}.", all.join(", ")))
}

fn landlock(service: &Service, abi: u32) -> String {
    let files = match service.files.mount.is_empty() {
        true => "files",
        false => "(not files, since it mounts)",
    };
    let enforced = match abi {
        0 => {
            return "This kernel has no Landlock: mounts and system calls alone confine it.".into();
        }
        1..=3 => files.to_owned(),
        4..=5 => format!("{files} and TCP ports"),
        _ => format!("{files}, TCP ports, abstract sockets and signals"),
    };
    let counted =
        "What Landlock refuses is not counted (the kernel tells nobody before Linux 6.15).";
    format!("Landlock (version {abi}) enforces {enforced} as well. {counted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(keys: &str) -> Service {
        let text = format!("description = \"x\"\nuser = {{ name = \"web\", id = 250 }}\n{keys}");
        let manifest = manifest::parse(&"web".parse().unwrap(), "web.toml", &text).unwrap();
        manifest.service().clone()
    }

    #[test]
    fn words_follow_the_manifest() {
        let text = sentences(&service(""), true, 6).join("\n");
        assert!(text.contains("no capabilities"), "{text}");
        assert!(
            text.contains("no network, and sends to PID 1 only"),
            "{text}"
        );
        let keys = "syscalls = [\"network-io\"]\n[net]\naccess = \"host\"\ntcp_bind = [9100]\n\
            tcp_connect = \"any\"\n[files]\nread = [\"/etc/x\"]\n[limits]\npids_max = 7\n";
        let text = sentences(&service(keys), true, 6).join("\n");
        for expected in [
            "listen on the TCP ports 9100 and connect to any TCP port",
            "It may read /etc/x.",
            "open TCP, UDP and ICMP sockets",
            "at most 7 threads",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let free = sentences(&service(keys), false, 6).join("\n");
        assert!(free.contains("has no sandbox"), "{free}");
    }

    #[test]
    fn an_old_kernel_is_told() {
        assert!(landlock(&service(""), 0).contains("no Landlock"));
        assert!(!landlock(&service(""), 5).contains("signals"));
    }
}
