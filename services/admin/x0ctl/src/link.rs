//! The way to the router: the bus, or else PID 1's own socket for what PID 1 itself knows and does.

use std::path::PathBuf;
use std::time::Duration;

use api::{Blame, Explanation, LogLine, Status};
use runtime::Chain;

use crate::Error;
use crate::bus::{Bus, INIT, Options};
use crate::cli::Global;

/// Over the bus, or past it.
#[derive(Debug)]
pub(crate) enum Link {
    Bus(Bus),
    Rescue(PathBuf, Box<api::Client>),
}

impl Link {
    /// Takes the bus where it works. Where not, says so and takes PID 1's socket.
    pub(crate) fn open(global: &Global) -> Result<Self, Error> {
        let why = match Bus::open(&global.bus) {
            Ok(bus) => return Ok(Self::Bus(bus)),
            Err(error) => error,
        };
        match api::Client::connect(&global.init) {
            Ok(client) => {
                eprintln!("x0ctl: {}; asking PID 1 itself", Chain(&why));
                Ok(Self::Rescue(global.init.clone(), Box::new(client)))
            }
            // The first reason is the one to mend.
            Err(_) => Err(why),
        }
    }

    pub(crate) fn status(&mut self) -> Result<Status, Error> {
        match self {
            Self::Bus(bus) => {
                let json: String = bus.call(INIT, "Describe", &(Options::new(),))?;
                Ok(serde_json::from_str(&json)?)
            }
            Self::Rescue(_, client) => Ok(client.status()?),
        }
    }

    /// `Start`, `Stop` or `Restart`.
    pub(crate) fn service(&mut self, method: &str, name: &str) -> Result<(), Error> {
        match self {
            Self::Bus(bus) => bus.service(name, method, &(Options::new(),)),
            Self::Rescue(_, client) => Ok(match method {
                "Start" => client.start(name),
                "Stop" => client.stop(name),
                _ => client.restart(name),
            }?),
        }
    }

    pub(crate) fn logs(&mut self, name: &str, lines: u32) -> Result<Vec<LogLine>, Error> {
        match self {
            Self::Bus(bus) => {
                let body = (lines, Options::new());
                let lines: Vec<(u64, String)> = bus.service(name, "Logs", &body)?;
                let line = |(uptime_ms, text)| LogLine { uptime_ms, text };
                Ok(lines.into_iter().map(line).collect())
            }
            Self::Rescue(_, client) => Ok(client.logs(name, lines)?),
        }
    }

    pub(crate) fn blame(&mut self) -> Result<Blame, Error> {
        match self {
            Self::Bus(bus) => {
                let json: String = bus.call(INIT, "Blame", &(Options::new(),))?;
                Ok(serde_json::from_str(&json)?)
            }
            Self::Rescue(_, client) => Ok(client.blame()?),
        }
    }

    pub(crate) fn reexec(&mut self) -> Result<(), Error> {
        match self {
            Self::Bus(bus) => bus.call(INIT, "Reexec", &(Options::new(),)),
            Self::Rescue(_, client) => Ok(client.reexec()?),
        }
    }

    pub(crate) fn soft_reboot(&mut self) -> Result<(), Error> {
        match self {
            Self::Bus(bus) => bus.call(INIT, "SoftReboot", &(Options::new(),)),
            Self::Rescue(_, client) => Ok(client.power(api::Power::SoftReboot)?),
        }
    }

    pub(crate) fn power(&mut self, action: &str) -> Result<(), Error> {
        match self {
            Self::Bus(bus) => bus.call(INIT, "Power", &(action, Options::new())),
            Self::Rescue(_, client) => Ok(client.power(match action {
                "off" => api::Power::Poweroff,
                _ => api::Power::Reboot,
            })?),
        }
    }

    /// What a service may do, and what it was denied.
    pub(crate) fn explain(&mut self, name: &str) -> Result<Explanation, Error> {
        match self {
            Self::Bus(bus) => {
                let json: String = bus.service(name, "Explain", &(Options::new(),))?;
                Ok(serde_json::from_str(&json)?)
            }
            Self::Rescue(_, client) => Ok(client.explain(name)?),
        }
    }

    /// Past the bus: until PID 1 hangs up.
    pub(crate) fn follow(
        &mut self,
        name: &str,
        lines: u32,
        mut show: impl FnMut(&[LogLine]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Self::Rescue(socket, _) = self else {
            return Err(Error::NeedsBus);
        };
        let mut log = api::Client::connect(socket)?.follow(name, lines)?;
        loop {
            show(&log.next_lines(Duration::from_secs(60))?)?;
        }
    }
}
