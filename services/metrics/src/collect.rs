//! Collects one page.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runtime::Chain;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::exposition::{self, Kind, TEXT_MAX_BYTES};
use crate::machine;
use crate::node;
use crate::page::Page;

/// Everything has to be collected within this time; whoever is slower is left out.
const DEADLINE: Duration = Duration::from_secs(5);
/// What one service may take of it: two that hang don't keep the others away.
const SERVICE_DEADLINE: Duration = Duration::from_secs(1);
/// Services beyond this number are left out.
const SERVICES_MAX: usize = 64;

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `/`, or a folder with captured files.
    pub root: PathBuf,
    /// Each service has a folder with its socket in it.
    pub run: PathBuf,
    pub init: PathBuf,
    pub store: PathBuf,
    /// Where DATA is mounted.
    pub data: String,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            root: "/".into(),
            run: "/run/x0".into(),
            init: api::SOCKET.into(),
            store: store_api::SOCKET.into(),
            data: "/data".into(),
        }
    }
}

/// Collects, and counts what went wrong from page to page.
#[derive(Debug, Default)]
pub struct Collector {
    sources: Sources,
    /// Expositions that were not taken, by service.
    broken: BTreeMap<String, u64>,
    scrapes: u64,
}

impl Collector {
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self {
            sources,
            ..Self::default()
        }
    }

    /// The page as it is now. Whatever fails is missing on it; it is never missing itself.
    pub fn collect(&mut self) -> Page {
        let begin = Instant::now();
        let end = begin + DEADLINE;
        let mut page = Page::default();
        self.scrapes += 1;
        node::collect(&self.sources.root, &mut page);
        node::filesystem(&self.sources.data, &mut page);
        let init = api::Client::connect(&self.sources.init)
            .map_err(|error| Chain(&error).to_string())
            .and_then(|client| {
                let status = client.deadline(SERVICE_DEADLINE).status();
                status.map_err(|error| Chain(&error).to_string())
            });
        source(&mut page, "init", init, machine::init);
        let store = store_api::Client::connect(&self.sources.store)
            .map_err(|error| Chain(&error).to_string())
            .and_then(|client| {
                let statistics = client.deadline(SERVICE_DEADLINE).statistics();
                statistics.map_err(|error| Chain(&error).to_string())
            });
        source(&mut page, "store", store, machine::store);
        self.services(end, &mut page);

        for (service, count) in &self.broken {
            let help = "Expositions of a service that were not taken, in whole or in part";
            let labels = [("service", &**service)];
            page.add(
                "x0_metrics_broken_expositions",
                Kind::Counter,
                help,
                &labels,
                node::whole(*count),
            );
        }
        let help = "Pages that were collected";
        page.add(
            "x0_metrics_pages",
            Kind::Counter,
            help,
            &[],
            node::whole(self.scrapes),
        );
        let help = "Time that this page took";
        let seconds = begin.elapsed().as_secs_f64();
        page.add(
            "x0_metrics_page_duration_seconds",
            Kind::Gauge,
            help,
            &[],
            seconds,
        );
        page
    }

    fn services(&mut self, end: Instant, page: &mut Page) {
        let folders = match std::fs::read_dir(&self.sources.run) {
            Ok(folders) => folders,
            Err(error) => {
                tracing::warn!(%error, "cannot look for services");
                return;
            }
        };
        let mut sockets: Vec<(String, PathBuf)> = folders
            .flatten()
            .filter_map(|folder| {
                let socket = folder.path().join(runtime::metrics::SOCKET);
                let name = folder.file_name().into_string().ok()?;
                socket.exists().then_some((name, socket))
            })
            .collect();
        sockets.sort();
        for (service, socket) in sockets.into_iter().take(SERVICES_MAX) {
            let result = read(&socket, end.min(Instant::now() + SERVICE_DEADLINE))
                .map_err(|error| error.to_string())
                .and_then(|text| exposition::parse(&text).map_err(|error| error.to_string()));
            let complaint = match result {
                Ok(families) => match page.merge(&service, families) {
                    0 => None,
                    collided => Some(format!("{collided} families collide with others'")),
                },
                Err(error) => Some(error),
            };
            if let Some(error) = complaint {
                // Once per service and kind of trouble would need a memory; a scrape is rare.
                tracing::warn!(service, error, "measurements were not taken");
                *self.broken.entry(service).or_default() += 1;
            }
        }
    }
}

fn source<T>(
    page: &mut Page,
    name: &str,
    result: Result<T, String>,
    add: impl FnOnce(&T, &mut Page),
) {
    let up = f64::from(u8::from(result.is_ok()));
    let help = "Whether PID 1 and the store told their figures";
    page.add(
        "x0_metrics_source_up",
        Kind::Gauge,
        help,
        &[("source", name)],
        up,
    );
    match result {
        Ok(figures) => add(&figures, page),
        Err(error) => tracing::warn!(source = name, error, "no figures"),
    }
}

/// connect(2) waits for as long as a listener has no room, unless the socket has a deadline.
fn connect(path: &Path, end: Instant) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let left = end.saturating_duration_since(Instant::now());
    socket.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(OwnedFd::from(socket).into())
}

/// Everything that a service sends before it closes the connection.
fn read(socket: &Path, end: Instant) -> io::Result<String> {
    let mut stream = connect(socket, end)?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > TEXT_MAX_BYTES {
            return Err(io::Error::other("it is too long"));
        }
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is no UTF-8"))
}
