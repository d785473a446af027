//! Commit and confirm with the real store: what it decides, this service follows.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle};

use store_api::wire::ApplyCall;
use store_api::{Client, GenerationState};

use crate::support::{Namespace, Router, addresses, wait};

const OLD: &str = "[network.link.eth0]\nrole = \"lan\"\nipv4 = { addresses = [\"10.1.0.1/24\"] }\n";

/// The store in a thread of this process; callers are root, and so administrators.
struct Store {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    fn start(folder: &Path, socket: &Path) -> Self {
        let (stop, shutdown) = UnixStream::pair().unwrap();
        let config = store::Config {
            folder: folder.to_owned(),
            socket: socket.to_owned(),
            services: "/nonexistent".into(),
        };
        let thread = thread::spawn(move || store::serve(&config, &shutdown).unwrap());
        wait("the store listens", || {
            Client::connect(socket).ok().map(drop)
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Readable is enough: hanging up is.
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn apply(client: &mut Client, text: &str) -> u64 {
    let call = ApplyCall {
        session: None,
        text: text.to_owned(),
        author: "test".to_owned(),
        reason: "to see it come and go".to_owned(),
        confirm_within_s: Some(600),
    };
    client.apply(&call).unwrap()
}

#[test]
fn what_is_not_confirmed_or_cannot_be_applied_goes_again() {
    let namespace = Namespace::new("router");
    let hosts = Namespace::new("hosts");
    namespace.cable("eth0", &hosts, "eth0");
    hosts.ip("link set eth0 up");
    let mut router = Router::new("");
    let folder = router.directory.path().join("store");
    std::fs::create_dir(&folder).unwrap();
    let socket = router.asks_store();
    let store = Store::start(&folder, &socket);
    let mut client = Client::connect(&socket).unwrap();
    let old = client.import(OLD, "a test").unwrap().unwrap();
    assert_eq!(client.import(OLD, "a test").unwrap(), None);
    router.start(&namespace);
    let runs = |generation: u64, address: &str| {
        router.wait_status(&format!("generation {generation} applies"), |status| {
            status.generation == Some(generation)
                && addresses(status, "eth0") == [format!("{address}/24 static")]
        })
    };
    runs(old, "10.1.0.1");

    let new = apply(&mut client, &OLD.replace("10.1.0.1", "10.1.1.1"));
    runs(new, "10.1.1.1");
    client.cancel(new, "test", "changed my mind").unwrap();
    runs(old, "10.1.0.1");

    let new = apply(&mut client, &OLD.replace("10.1.0.1", "10.1.2.1"));
    runs(new, "10.1.2.1");
    client.confirm(new, "test").unwrap();
    let astray = "[[network.route]]\nto = \"10.9.0.0/16\"\nvia = \"192.0.2.9\"\ndev = \"eth0\"\n";
    let bad = apply(&mut client, &format!("{OLD}{astray}"));
    wait("the store takes back what the kernel refused", || {
        let (generation, _) = client.generation(bad).ok()?;
        (generation.state == GenerationState::Failed).then_some(())
    });
    let (generation, _) = client.generation(bad).unwrap();
    let message = generation.message.unwrap();
    assert!(
        message.contains("cannot add the route 10.9.0.0/16"),
        "{message}"
    );
    runs(new, "10.1.2.1");

    drop(client);
    drop(store);
    router.wait_status("the store is missed", |status| !status.problems.is_empty());
    let _store = Store::start(&folder, &socket);
    let status = router.wait_status("the store is back", |status| status.problems.is_empty());
    assert_eq!(status.generation, Some(new));
}
