use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;
use store_api::{Statistics, Verdict};
use zbus::OwnedObjectPath;

use crate::bus::{Bus, Options, STORE};
use crate::cli::{Global, Store, Yes};
use crate::job::Job;
use crate::output::{Output, Tone, bytes, date};
use crate::{Error, ask};

const CHUNK_BYTES: u64 = 128 << 10;

pub(crate) fn run(global: &Global, command: &Store, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Store::Backup { file, passphrase } => {
            let passphrase = ask::passphrase(passphrase.passphrase_file.as_deref(), true)?;
            backup(&Bus::open(&global.bus)?, file, &passphrase, output)
        }
        Store::Restore {
            file,
            passphrase,
            dry_run,
            yes,
        } => {
            if !dry_run {
                let question = "Replace what the router remembers by the backup?";
                ask::sure(question, Yes { yes: yes.yes })?;
            }
            let passphrase = ask::passphrase(passphrase.passphrase_file.as_deref(), false)?;
            restore(
                &Bus::open(&global.bus)?,
                file,
                &passphrase,
                *dry_run,
                output,
            )
        }
        Store::Verify => verify(&Bus::open(&global.bus)?, output),
        Store::Stats => {
            let bus = Bus::open(&global.bus)?;
            let json: String = bus.call(STORE, "Statistics", &(Options::new(),))?;
            let statistics: Statistics = serde_json::from_str(&json)?;
            match output.json(&statistics)? {
                true => Ok(()),
                false => show(&statistics, output),
            }
        }
    }
}

/// Into a file that nobody else may read, and that has its name only when it is whole.
fn backup(bus: &Bus, file: &Path, passphrase: &str, output: &mut Output<'_>) -> Result<(), Error> {
    let path: OwnedObjectPath = bus.call(STORE, "Backup", &(passphrase, Options::new()))?;
    let job = Job::new(bus, STORE, path);
    if file.as_os_str() == "-" {
        let mut stdout = io::stdout().lock();
        job.read_all(|chunk| Ok(stdout.write_all(chunk)?))?;
        return Ok(stdout.flush()?);
    }
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let failed = |source| Error::File {
        what: "write",
        path: file.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    let mut target = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(partial)
        .map_err(failed)?;
    let mut length = 0;
    let done = job.read_all(|chunk| {
        length += chunk.len() as u64;
        target.write_all(chunk).map_err(failed)
    });
    let done = done.and_then(|_| target.sync_all().map_err(failed));
    if let Err(error) = done {
        job.cancel().ok();
        fs::remove_file(partial).ok();
        return Err(error);
    }
    fs::rename(partial, file).map_err(failed)?;
    output.line(&format!("{} in {}", bytes(length), file.display()))
}

fn restore(
    bus: &Bus,
    file: &Path,
    passphrase: &str,
    dry_run: bool,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let failed = |source| Error::File {
        what: "read",
        path: file.to_owned(),
        source,
    };
    let mut source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(file).map_err(failed)?),
    };
    let options = Options::from([("dry-run", dry_run.into())]);
    let path: OwnedObjectPath = bus.call(STORE, "Restore", &(passphrase, options))?;
    let job = Job::new(bus, STORE, path);
    loop {
        let mut chunk = Vec::new();
        let read = source.by_ref().take(CHUNK_BYTES).read_to_end(&mut chunk);
        if read.map_err(failed)? == 0 {
            break;
        }
        if let Err(error) = job.write(&chunk) {
            // The job knows better why it takes nothing any more.
            return job.read_all(|_| Ok(())).and(Err(error));
        }
    }
    job.finish()?;
    let result: Value = serde_json::from_str(&job.read_all(|_| Ok(()))?)?;
    if output.json(&result)? {
        return Ok(());
    }
    let summary = &result["summary"];
    let number = |name: &str| summary[name].as_u64().unwrap_or(0);
    output.facts(&[
        ("made", date(summary["created_ms"].as_i64().unwrap_or(0))),
        (
            "on",
            summary["hostname"].as_str().unwrap_or_default().into(),
        ),
        ("generations", number("generations").to_string()),
        ("keys", number("state_keys").to_string()),
        ("events", number("events").to_string()),
        ("size", bytes(number("bytes"))),
    ])?;
    output.line(match (dry_run, result["generation"].as_u64()) {
        (true, _) => "nothing was changed",
        (false, Some(_)) => "restored; its configuration is a new generation",
        (false, None) => "restored",
    })
}

fn verify(bus: &Bus, output: &mut Output<'_>) -> Result<(), Error> {
    let path: OwnedObjectPath = bus.call(STORE, "Verify", &(Options::new(),))?;
    let json = Job::new(bus, STORE, path).read_all(|_| Ok(()))?;
    let verdict: Verdict = serde_json::from_str(&json)?;
    output.json(&verdict)?;
    match (verdict.bad_sequence, verdict.reason) {
        (None, _) if output.json => Ok(()),
        (None, _) => output.line(&format!(
            "events {} to {} are as they were written; head {}",
            verdict.first, verdict.last, verdict.head
        )),
        (Some(bad), reason) => Err(Error::Other(format!(
            "event {bad} is not as it was written: {}",
            reason.unwrap_or_default()
        ))),
    }
}

pub(crate) fn show(statistics: &Statistics, output: &mut Output<'_>) -> Result<(), Error> {
    let durable = match statistics.durable {
        true => output.paint(Tone::Good, "yes"),
        false => output.paint(Tone::Bad, "no: nothing outlives the next restart"),
    };
    let microseconds = |us: u64| format!("{}.{:03} ms", us / 1000, us % 1000);
    let snapshot = statistics.newest_snapshot_ms.map(date);
    output.facts(&[
        ("durable", durable),
        ("note", statistics.note.clone()),
        ("file", bytes(statistics.file_bytes)),
        (
            "state",
            format!(
                "{} keys, {}",
                statistics.state_keys,
                bytes(statistics.state_bytes)
            ),
        ),
        (
            "events",
            format!(
                "{} ({} to {}), {}",
                statistics.events,
                statistics.first_event,
                statistics.last_event,
                bytes(statistics.events_bytes)
            ),
        ),
        ("generation", statistics.generation.to_string()),
        (
            "commits",
            format!("{} for {} writes", statistics.commits, statistics.writes),
        ),
        (
            "commit takes",
            format!(
                "{} half of the time, {} once in a hundred, {} at most",
                microseconds(statistics.commit_p50_us),
                microseconds(statistics.commit_p99_us),
                microseconds(statistics.commit_max_us)
            ),
        ),
        ("snapshots", statistics.snapshots.to_string()),
        ("newest", snapshot.unwrap_or_default()),
    ])
}
