use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use store::{Config, RunError};
use store_api::Client;
use tempfile::TempDir;

/// What a test waits for at most.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A store in a folder of its own. Stopped when dropped.
pub(crate) struct Store {
    folder: TempDir,
    running: Option<(UnixStream, JoinHandle<Result<(), RunError>>)>,
}

impl Store {
    pub(crate) fn start() -> Self {
        let mut store = Self {
            folder: tempfile::tempdir().unwrap(),
            running: None,
        };
        store.restart();
        store
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        let config = Config {
            folder: self.folder(),
            socket: self.socket(),
            services: self.folder.path().join("services.json"),
        };
        std::fs::create_dir_all(&config.folder).unwrap();
        let (stop, shutdown) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || store::serve(&config, &shutdown));
        self.running = Some((stop, thread));
        let end = Instant::now() + LIMIT;
        while UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < end, "the store does not listen");
            std::thread::yield_now();
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some((mut stop, thread)) = self.running.take() {
            stop.write_all(&[0]).unwrap();
            thread.join().unwrap().unwrap();
            std::fs::remove_file(self.socket()).ok();
        }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join("store.redb")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("store.sock")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.socket()).unwrap().deadline(LIMIT)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

pub(crate) fn payload(text: &str) -> Map<String, Value> {
    Map::from_iter([("text".into(), text.into())])
}

/// Waits until `check` says yes.
pub(crate) fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !check() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        std::thread::yield_now();
    }
}

pub(crate) fn snapshots(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|e| e == "jsonl"))
        .count()
}
