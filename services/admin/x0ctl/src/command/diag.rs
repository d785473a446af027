//! One archive for a maintainer. Everything comes over the bus, under the caller's own rights, and
//! the configuration with its secrets hidden; what could not be had is listed in `missing.txt`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use runtime::Chain;

use crate::Error;
use crate::bus::{Bus, CONFIG, INIT, Options, STORE};
use crate::output::Output;

const LOG_LINES: u32 = 2000;
const EVENTS: u32 = 1000;
const HISTORY: u32 = 100;

pub(crate) fn run(bus: &Bus, file: &Path, output: &mut Output<'_>) -> Result<(), Error> {
    let files = collect(bus)?;
    if file.as_os_str() == "-" {
        return pack(&files, io::stdout().lock());
    }
    let failed = |source| Error::File {
        what: "write",
        path: file.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let target = options.open(file).map_err(failed)?;
    pack(&files, target)?;
    output.line(&format!("{} files in {}", files.len(), file.display()))
}

type Files = Vec<(String, Vec<u8>)>;

fn collect(bus: &Bus) -> Result<Files, Error> {
    let none = Options::new;
    let status: String = bus.call(INIT, "Describe", &(none(),))?;
    let services: api::Status = serde_json::from_str(&status)?;
    let mut files = vec![("status.json".to_owned(), status.into_bytes())];
    let mut missing = String::new();
    let mut add = |name: String, content: Result<String, Error>| match content {
        Ok(text) => files.push((name, text.into_bytes())),
        Err(error) => missing += &format!("{name}: {}\n", Chain(&error)),
    };
    add("blame.json".into(), bus.call(INIT, "Blame", &(none(),)));
    for service in &services.services {
        let name = &service.name;
        let lines = bus.service(name, "Logs", &(LOG_LINES, none()));
        add(format!("service/{name}.log"), lines.map(log));
        let explained = bus.service(name, "Explain", &(none(),));
        add(format!("service/{name}.explain.json"), explained);
    }
    add(
        "config.json".into(),
        bus.call(CONFIG, "Describe", &(none(),)),
    );
    let history = bus.call(CONFIG, "History", &(HISTORY, none()));
    add("config-history.json".into(), history);
    add(
        "store.json".into(),
        bus.call(STORE, "Statistics", &(none(),)),
    );
    let events = bus.call(STORE, "Events", &(0_u64, EVENTS, none()));
    add("events.json".into(), events);
    files.push(("missing.txt".into(), missing.into_bytes()));
    Ok(files)
}

fn log(lines: Vec<(u64, String)>) -> String {
    let line = |(ms, text): (u64, String)| format!("{}.{:03} {text}\n", ms / 1000, ms % 1000);
    lines.into_iter().map(line).collect()
}

fn pack(files: &Files, target: impl Write) -> Result<(), Error> {
    let mut archive = tar::Builder::new(GzEncoder::new(target, Compression::default()));
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        let path = format!("x0-diag/{name}");
        archive.append_data(&mut header, path, content.as_slice())?;
    }
    archive.into_inner()?.finish()?.flush()?;
    Ok(())
}
