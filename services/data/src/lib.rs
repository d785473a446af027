//! DATA: the one partition of the router that is ever written, and the small things that have to
//! outlive a power-off.
//!
//! Responsible for: letting the partition grow to the end of the disk, formatting it when it is
//! empty and only then, checking and mounting it at `/data`; the machine id and the name made from
//! it; the clock's floor; the random seed; saving the records of a kernel crash.
//! Not responsible for: what services keep in their folders below `/data`, unmounting at shutdown
//! (PID 1 does, when everybody has stopped), configuration (`provision`).
//! Talks to: the boot disk, the kernel, `mke2fs` and `e2fsck`. Never to the network.
//!
//! It never fails the boot. A DATA that cannot be used is left as it is; memory takes its place,
//! and the status line says why. It stays to store the time every hour and at shutdown.

pub mod check;
pub mod clock;
pub mod content;
pub mod crash;
pub mod device;
mod file;
pub mod format;
pub mod gpt;
pub mod grow;
mod ioctl;
pub mod machine;
pub mod mount;
pub mod seed;
mod status;
pub mod store;
pub mod superblock;
mod tool;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use runtime::{Chain, notify};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::status::Status;

/// Three times within the watchdog's time.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The clock is stored once in so many looks: every hour, which no flash memory minds.
const LOOKS_PER_CLOCK: u32 = 360;
/// The user of `provision`, who keeps the configuration.
const PROVISION_ID: u32 = 202;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The mount point of DATA.
    pub data: PathBuf,
    /// What lives until power-off.
    pub run: PathBuf,
    /// The firmware's crash records.
    pub pstore: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "/data".into(),
            run: "/run/x0".into(),
            pstore: "/sys/fs/pstore".into(),
        }
    }
}

/// Why the service cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen for the signal to stop")]
    Shutdown(#[source] io::Error),
    #[error("nothing can be mounted at {path}")]
    Mount {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Makes DATA ready, says so, and keeps the time until it is asked to stop.
///
/// # Errors
/// Only when not even memory can be mounted.
pub fn run(config: &Config) -> Result<(), RunError> {
    let shutdown = runtime::shutdown().map_err(RunError::Shutdown)?;
    let (mut status, first) = mounted(config)?;
    let seed = seed::mix_in(&config.data.join("random-seed"));
    raise_clock(config);
    identity(config, first, &mut status);
    make_folders(config);
    let records = crash_records(config);
    status.look(&config.data);
    notify::status(&status.to_string());
    notify::ready();

    // From here on nobody waits.
    let seed = match seed {
        Ok(seed) => Some(seed),
        Err(error) => {
            tracing::info!(reason = %error, "no random seed from an earlier boot");
            None
        }
    };
    if status.is_kept() {
        renew_seed(config, seed);
        save_crash(config, &records);
    }
    store_clock(config);
    let mut shown = status.to_string();
    let mut looks = 0;
    while !stop_within(&shutdown, LOOK_EVERY) {
        notify::watchdog();
        looks += 1;
        if looks % LOOKS_PER_CLOCK == 0 {
            store_clock(config);
        }
        status.look(&config.data);
        if status.to_string() != shown {
            shown = status.to_string();
            notify::status(&shown);
        }
    }
    notify::stopping();
    store_clock(config);
    if status.is_kept() {
        renew_seed(config, None);
    }
    Ok(())
}

/// Mounts what there is. The second value is whether this is the first run since power-on.
fn mounted(config: &Config) -> Result<(Status, bool), RunError> {
    let data = &config.data;
    let mount_error = |source| RunError::Mount {
        path: data.clone(),
        source,
    };
    let note = config.run.join("data/trouble");
    match mount::mounted_type(&data.to_string_lossy()).map_err(mount_error)? {
        Some(kind) if kind == "ext4" => {
            tracing::info!("DATA is mounted already");
            return Ok((Status::kept(), false));
        }
        Some(kind) if kind == "tmpfs" => {
            let trouble = fs::read_to_string(note).unwrap_or_else(|_| "unknown reason".into());
            return Ok((Status::lost(trouble), false));
        }
        // The mount point itself, which PID 1 has made one that everybody shares.
        _ => {}
    }
    let trouble = match store::find() {
        Ok(mut location) => {
            if let Err(error) = store::extend(&mut location) {
                tracing::warn!(error = %Chain(&error), "DATA keeps its size");
            }
            match store::mount(&location, data) {
                Ok(()) => return Ok((Status::kept(), true)),
                Err(error) => Chain(&error).to_string(),
            }
        }
        Err(error) => Chain(&error).to_string(),
    };
    tracing::error!(
        trouble,
        "DATA cannot be used; what is stored now is lost at power-off"
    );
    mount::tmpfs(data).map_err(mount_error)?;
    fs::create_dir_all(config.run.join("data")).ok();
    fs::write(note, &trouble).ok();
    Ok((Status::lost(trouble), true))
}

fn raise_clock(config: &Config) {
    match clock::raise(&config.data.join("clock")) {
        Ok(Some(behind)) => tracing::info!(behind_s = behind.as_secs(), "clock set forward"),
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "the stored time is of no use"),
    }
}

fn identity(config: &Config, first: bool, status: &mut Status) {
    let (id, trouble) = machine::load_or_create(&config.data.join("machine-id"));
    if let Some(error) = trouble {
        tracing::error!(%error, "the machine id cannot be kept");
        status.add(format!("the machine id cannot be kept: {error}"));
    }
    let shown = config.run.join("machine-id");
    if let Err(error) = file::replace(&shown, id.file_text().as_bytes(), 0o444) {
        tracing::error!(%error, "the machine id cannot be shown in /run");
    }
    // Later `provision` may set another one, which a restart of this service must not undo.
    if first && let Err(error) = rustix::system::sethostname(id.default_hostname().as_bytes()) {
        tracing::warn!(%error, "the host name cannot be set");
    }
}

fn make_folders(config: &Config) {
    let make = |name: &str, owner: u32, mode: u32| -> io::Result<()> {
        let path = config.data.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        chown(&path, Some(owner), Some(owner))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
    };
    for (name, owner, mode) in [("config", PROVISION_ID, 0o755), ("crash", 0, 0o700)] {
        if let Err(error) = make(name, owner, mode) {
            tracing::error!(name, %error, "a folder on DATA cannot be made");
        }
    }
}

fn crash_records(config: &Config) -> Vec<crash::Record> {
    let records = crash::records(&config.pstore).unwrap_or_else(|error| {
        tracing::debug!(%error, "no crash records to be had");
        Vec::new()
    });
    if let Some(summary) = crash::summary(&records) {
        tracing::warn!(summary, "the last boot ended in a crash");
        let line = format!("{summary}\n");
        if let Err(error) = file::replace(&config.run.join("last-crash"), line.as_bytes(), 0o644) {
            tracing::warn!(%error, "the crash cannot be shown in /run");
        }
    }
    records
}

fn save_crash(config: &Config, records: &[crash::Record]) {
    if records.is_empty() {
        return;
    }
    match crash::save(records, &config.data.join("crash"), clock::now().as_secs()) {
        Ok(folder) => {
            crash::clear(records, &config.pstore);
            tracing::info!(records = records.len(), folder = %folder.display(), "crash saved");
        }
        Err(error) => tracing::error!(%error, "the crash stays in the firmware, unsaved"),
    }
}

fn store_clock(config: &Config) {
    if let Err(error) = clock::store(&config.data.join("clock")) {
        tracing::warn!(%error, "the time cannot be stored");
    }
}

fn renew_seed(config: &Config, old: Option<seed::Seed>) {
    if let Err(error) = seed::renew(&config.data.join("random-seed"), old) {
        tracing::warn!(%error, "the random seed is not renewed");
    }
}

/// Waits; `true` when it is time to stop.
fn stop_within(shutdown: &std::os::unix::net::UnixStream, limit: Duration) -> bool {
    let timeout = Timespec::try_from(limit).expect("a minute");
    let mut fds = [PollFd::new(shutdown, PollFlags::IN)];
    // An interrupted wait looks a little early, no more.
    matches!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(ready) if ready > 0)
}

/// Judges hostile bytes as a disk, a partition and each small file; for fuzzing, must only return.
pub fn judge(bytes: &[u8]) {
    let device = bytes.to_vec();
    grow::plan(&device).ok();
    content::identify(&device).ok();
    superblock::Superblock::read(bytes).map(|superblock| superblock.journal());
    let _ = machine::MachineId::parse(bytes);
    let _ = clock::parse(bytes);
    drop(crash::summary(&[crash::Record {
        name: "fuzz".into(),
        bytes: device,
    }]));
}
