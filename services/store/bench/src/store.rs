use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use store_api::Client;

use crate::contest::{Contest, Figures, key, value};

const LIMIT: Duration = Duration::from_secs(10);

/// The store as its own process, with an empty file.
pub(crate) fn measure(program: &Path, folder: &Path, contest: Contest) -> Result<Figures> {
    let folder = tempfile::tempdir_in(folder).context("make a folder")?;
    let socket = folder.path().join("store.sock");
    let mut store = Running(
        Command::new(program)
            .env("STATE_DIRECTORY", folder.path())
            .env("RUNTIME_DIRECTORY", folder.path())
            .env("X0_LOG", "warn")
            .spawn()
            .context("start the store")?,
    );
    let end = Instant::now() + LIMIT;
    while UnixStream::connect(&socket).is_err() {
        ensure!(store.0.try_wait()?.is_none(), "the store ended");
        ensure!(Instant::now() < end, "the store does not listen");
        std::thread::yield_now();
    }
    contest.run(|| {
        let mut client = Client::connect(&socket)?;
        Ok(move |caller: usize, number: u64| {
            client.put(&key(caller, number), &value(number), None)?;
            Ok(())
        })
    })
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
