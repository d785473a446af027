//! QEMU's control socket.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);

/// A session with QEMU's monitor. Events are collected from the start.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    replies: mpsc::Receiver<Value>,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Qmp {
    /// Takes over the monitor at the other end of `stream`; everything it says goes to the file
    /// `log` too.
    pub fn over(stream: UnixStream, log: &Path) -> Result<Self> {
        let mut log = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let reader = BufReader::new(stream.try_clone().context("clone the monitor's socket")?);
        let (sender, replies) = mpsc::channel();
        let events = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&events);
        thread::spawn(move || {
            // Ends with QEMU, or with the session.
            for line in reader.lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                let Ok(message) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                if message.get("event").is_some() {
                    collected
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(message);
                } else if message.get("QMP").is_none() && sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut session = Self {
            stream,
            replies,
            events,
        };
        session.execute("qmp_capabilities", json!({}))?;
        Ok(session)
    }

    /// Runs a command and returns what it returns.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        self.stream
            .write_all(format!("{request}\n").as_bytes())
            .with_context(|| format!("send {command} to QEMU"))?;
        let reply = self
            .replies
            .recv_timeout(LIMIT)
            .with_context(|| format!("QEMU did not answer {command}"))?;
        if let Some(error) = reply.get("error") {
            bail!("QEMU refused {command}: {error}");
        }
        Ok(reply.get("return").cloned().unwrap_or_default())
    }

    /// How often the event `name` came so far.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.events()
            .iter()
            .filter(|event| event["event"] == name)
            .count()
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
