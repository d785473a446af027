//! Brings a configuration that a person prepared on a USB stick (or a hypervisor on a disk) to the
//! store, and gives the machine its name.
//!
//! Responsible for: finding a FAT volume labelled `X0-CONFIG`, reading `x0.toml` from it, checking
//! it, importing it once; importing what versions before the store kept as `/data/config/x0.toml`;
//! the host name that the configuration asks for, also when it changes.
//! Not responsible for: what the configuration means (`config`), keeping it (`store`), applying the
//! rest of it, DATA itself (`data`).
//! Talks to: block devices other than the boot disk, of which it trusts none; the store.
//!
//! A stick may stay plugged in: the store knows by its hash that a document was imported, and what
//! was changed since stays. Another document on the stick is imported at the next boot.
//!
//! It never fails the boot: whatever is wrong with a volume, a file or the store, the boot goes on
//! with what there is, and the status line says what to do. When the store comes late, what waits
//! for it is imported then.
#![forbid(unsafe_code)]

pub mod device;
pub mod fat;
pub mod import;
pub mod legacy;
pub mod name;
pub mod reader;
mod search;
pub mod volume;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::{Chain, notify};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::import::{Outcome, Waiting};
use crate::search::{Offer, search};

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where earlier versions kept the configuration.
    pub legacy: PathBuf,
    /// The store's socket.
    pub store: PathBuf,
    pub sys: PathBuf,
    pub dev: PathBuf,
    /// This program, to be started once per volume.
    pub program: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            legacy: "/data/config/x0.toml".into(),
            store: store_api::SOCKET.into(),
            sys: "/sys".into(),
            dev: "/dev".into(),
            program: "/proc/self/exe".into(),
        }
    }
}

/// Why the service ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot wait for what comes next")]
    Wait(#[source] io::Error),
    #[error("cannot follow the configuration")]
    Follow(#[source] io::Error),
}

/// Looks for a configuration, imports it, names the machine, and stays to name it anew.
///
/// # Errors
/// When it cannot stay. The boot has gone on by then.
pub fn run(config: &Config, shutdown: &UnixStream) -> Result<(), RunError> {
    let boot_disk = match disk::Disk::of_root() {
        Ok(disk) => Some(disk.name),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "all disks are searched for a configuration");
            None
        }
    };
    let mut provided = provide(config, boot_disk.as_deref());
    notify::status(&provided.status());
    // No device is opened from here on.
    if let Err(error) = keep_only_the_name() {
        tracing::warn!(%error, "capabilities that are no longer needed cannot be given up");
    }
    // Before what needs this service starts, and so before anybody sees another name.
    if let Ok(mut store) = import::connect(&config.store, Duration::ZERO)
        && let Ok(configuration) = store.configuration()
        && let Err(reason) = name::apply(Ok(configuration))
    {
        tracing::error!(reason, "the machine keeps its name");
    }
    store_api::follow(config.store.clone(), name::apply).map_err(RunError::Follow)?;
    notify::ready();
    let pet = notify::watchdog_interval().map(|interval| interval / 2);
    loop {
        let is_waiting = !provided.waiting.is_empty();
        let pause = if is_waiting { Some(STORE_RETRY) } else { pet };
        if wait(shutdown, pause).map_err(RunError::Wait)? {
            break;
        }
        notify::watchdog();
        if is_waiting {
            provided.retry(&config.store);
            notify::status(&provided.status());
        }
    }
    notify::stopping();
    Ok(())
}

/// What was found and done.
#[derive(Debug, Default)]
pub struct Provided {
    /// What became of each document.
    pub outcomes: Vec<Outcome>,
    /// Documents that the store could not be asked about yet.
    pub waiting: Vec<Waiting>,
    /// What is wrong, in words for a person.
    pub troubles: Vec<String>,
    store_trouble: Option<String>,
}

/// Looks for documents and imports them, as far as the store is there.
#[must_use]
pub fn provide(config: &Config, boot_disk: Option<&str>) -> Provided {
    let mut provided = Provided::default();
    let kept = provided.find_kept(&config.legacy);
    let mut store = import::connect(&config.store, STORE_LIMIT);
    let is_configured = match &mut store {
        Ok(store) => store
            .configuration()
            .is_ok_and(|now| now.generation > BUILT_IN),
        Err(_) => false,
    };
    let has_configuration = kept || is_configured;
    let offer = search(config, boot_disk, has_configuration, &mut provided.troubles);
    if let Some(Offer { device, checked }) = offer {
        provided.waiting.push(Waiting {
            text: checked.text,
            source: device.display().to_string(),
        });
    }
    match store {
        Ok(mut store) => provided.import(&mut store),
        Err(reason) => provided.store_is_away(reason),
    }
    provided
}

impl Provided {
    /// Takes up what an earlier version kept. `true` where there is some.
    fn find_kept(&mut self, path: &Path) -> bool {
        let shown = path.display();
        let result = match legacy::read(path) {
            Ok(None) => return false,
            Ok(Some(bytes)) => volume::check(bytes).map_err(|error| Chain(&error).to_string()),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        match result {
            Ok(checked) => self.waiting.push(Waiting {
                text: checked.text,
                source: shown.to_string(),
            }),
            Err(reason) => {
                let trouble = format!("{shown}: {}", reason.replace('\n', "; "));
                tracing::error!("{trouble}");
                self.troubles.push(trouble);
            }
        }
        true
    }

    fn import(&mut self, store: &mut store_api::Client) {
        match import::import(store, &mut self.waiting) {
            Ok(outcomes) => {
                for outcome in &outcomes {
                    match outcome {
                        Outcome::Refused { .. } => tracing::error!("{outcome}"),
                        _ => tracing::info!("{outcome}"),
                    }
                }
                self.outcomes.extend(outcomes);
                self.store_trouble = None;
            }
            Err(error) => self.store_is_away(Chain(&error).to_string()),
        }
    }

    fn retry(&mut self, socket: &Path) {
        match import::connect(socket, Duration::ZERO) {
            Ok(mut store) => self.import(&mut store),
            Err(reason) => self.store_is_away(reason),
        }
    }

    fn store_is_away(&mut self, reason: String) {
        if self.store_trouble.is_none() {
            tracing::error!(reason, "the store cannot be reached");
        }
        self.store_trouble = Some(reason);
    }

    /// A line for the console: what applies first, then what is wrong.
    #[must_use]
    pub fn status(&self) -> String {
        let mut parts = Vec::new();
        // The last one counts: a stick's comes after what an earlier version kept.
        match self.outcomes.last() {
            Some(outcome) => parts.push(outcome.to_string()),
            None if self.waiting.is_empty() && self.troubles.is_empty() => {
                parts.push("no volume X0-CONFIG".to_owned());
            }
            None => {}
        }
        for waiting in &self.waiting {
            parts.push(format!("the configuration on {} waits", waiting.source));
        }
        if let Some(reason) = &self.store_trouble {
            parts.push(format!("the store cannot be reached: {reason}"));
        }
        parts.extend(self.troubles.iter().cloned());
        parts.join("; ")
    }
}

/// Waits for the end: `true`. `false` after `pause`, if there is one.
fn wait(shutdown: &UnixStream, pause: Option<Duration>) -> io::Result<bool> {
    let timeout = pause.map(Timespec::try_from).transpose();
    let timeout = timeout.map_err(io::Error::other)?;
    loop {
        match rustix::event::poll(
            &mut [PollFd::new(shutdown, PollFlags::IN)],
            timeout.as_ref(),
        ) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}

/// What naming the machine needs, and no more.
fn keep_only_the_name() -> io::Result<()> {
    let now = rustix::thread::capabilities(None)?;
    let name = CapabilitySet::SYS_ADMIN;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: now.effective & name,
            permitted: now.permitted & name,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// The store's first generation says nothing: nobody has configured the machine yet.
const BUILT_IN: u64 = 1;
/// The boot waits for it, and goes on without it.
const STORE_LIMIT: Duration = Duration::from_secs(5);
const STORE_RETRY: Duration = Duration::from_secs(5);

/// Reads hostile bytes as a volume; for fuzzing, must only return.
pub fn judge(bytes: &[u8]) {
    volume::read(bytes).ok();
}
