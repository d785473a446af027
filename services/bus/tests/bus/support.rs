use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use peer::{Activated, Kind, Outgoing, Peer, User, run_as};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const WATCHDOG: Duration = Duration::from_secs(2);

/// Whom the manifests below make.
pub(crate) const ADMIN: User<'static> = User {
    id: 208,
    groups: &[],
};
pub(crate) const STORE: User<'static> = User {
    id: 207,
    groups: &[],
};
pub(crate) const NETWORK: User<'static> = User {
    id: 203,
    groups: &[],
};
pub(crate) const BUS: u32 = 206;
/// Nobody whom a manifest names, but in a group that counts.
pub(crate) const CONTROLLER: User<'static> = User {
    id: 250,
    groups: &[90],
};
pub(crate) const VIEWER: User<'static> = User {
    id: 251,
    groups: &[91],
};
pub(crate) const ROOT: User<'static> = User { id: 0, groups: &[] };

pub(crate) const MANIFESTS: [(&str, u32, &str); 4] = [
    (
        "admin",
        208,
        "own = [\"org.x0tta6bl4.Config1\", \"org.x0tta6bl4.Init1\"]",
    ),
    (
        "store",
        207,
        "own = [\"org.x0tta6bl4.Store1\"]\ncall = [\"org.x0tta6bl4.Config1\"]",
    ),
    ("network", 203, ""),
    ("bus", BUS, ""),
];

/// A bus that is served.
pub(crate) struct Bus {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) listener: UnixListener,
    pub(crate) service: Activated,
}

impl Bus {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Everyone may come here, and run what they are given.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let manifests = MANIFESTS.map(|(name, id, bus)| {
            let text = format!(
                "description = \"x\"\nuser = {{ name = \"{name}\", id = {id} }}\n[bus]\n{bus}\n"
            );
            manifest::parse(&name.parse().unwrap(), name, &text).unwrap()
        });
        let table = manifest::compile_sources(manifests.into()).unwrap();
        fs::write(folder.path().join("services.json"), table.to_json()).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_bus"), folder.path().join("bus")).unwrap();
        let socket = folder.path().join("system_bus_socket");
        let listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
        let service = Self::activate(&folder, &listener);
        service.wait_for("READY=1", LIMIT).unwrap();
        Self {
            folder,
            listener,
            service,
        }
    }

    pub(crate) fn activate(folder: &tempfile::TempDir, listener: &UnixListener) -> Activated {
        let (program, table) = (
            folder.path().join("bus"),
            folder.path().join("services.json"),
        );
        Activated::start(&program, &[&table], listener, folder.path(), BUS, WATCHDOG).unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("system_bus_socket")
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    pub(crate) fn join(&self, user: User<'_>) -> io::Result<Peer> {
        run_as(user, || Peer::connect(&self.socket()))
    }

    pub(crate) fn peer(&self, user: User<'_>) -> Peer {
        self.join(user).unwrap()
    }

    /// The broker's process: the only child of ours.
    pub(crate) fn broker(&self) -> u32 {
        let pid = self.service.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.trim().parse().unwrap()
    }
}

/// Has `peer` own `name` and answer `count` calls, with the caller's words.
pub(crate) fn answer(mut peer: Peer, name: &str, count: usize) -> JoinHandle<Peer> {
    own(&mut peer, name).unwrap();
    thread::spawn(move || {
        let mut answered = 0;
        while answered < count {
            let call = peer.receive().unwrap();
            if call.kind == Kind::Call as u8 {
                let words: String = call.body().unwrap();
                peer.send(&Outgoing::Reply { to: &call }, &words).unwrap();
                answered += 1;
            }
        }
        peer
    })
}

pub(crate) fn own(peer: &mut Peer, name: &str) -> io::Result<u32> {
    peer.driver("RequestName", &(name, 4_u32))?.body()
}

pub(crate) fn echo(peer: &mut Peer, name: &str, words: &str) -> io::Result<String> {
    let call = Outgoing::call(name, "/", "org.x0tta6bl4.Test", "Echo");
    peer.call(&call, &words)?.into_result()?.body()
}

pub(crate) const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

pub(crate) fn denied<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
    result.unwrap_err().to_string() == DENIED
}
