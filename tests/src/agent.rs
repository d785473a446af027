//! The fault agent in a test image, from outside.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use agent::{Reply, Request};
use anyhow::{Context, Result, bail};

/// Filling a file system takes the longest.
const LIMIT: Duration = Duration::from_secs(30);

/// A session with the agent.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
}

impl Agent {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("connect to the test port")?;
        stream
            .set_read_timeout(Some(LIMIT))
            .context("limit how long the agent may take")?;
        Ok(Self { stream })
    }

    /// Has the agent act, and returns what it read.
    pub fn ask(&mut self, request: &Request) -> Result<String> {
        self.tell(request)?;
        let mut answer = String::new();
        BufReader::new(&self.stream)
            .read_line(&mut answer)
            .with_context(|| format!("the agent did not answer {request:?}"))?;
        match serde_json::from_str(&answer).with_context(|| format!("the agent said {answer}"))? {
            Reply::Done(text) => Ok(text),
            Reply::Failed(reason) => bail!("{request:?} failed: {reason}"),
        }
    }

    /// Has the agent act, without an answer: for what it does not survive.
    pub fn tell(&mut self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_vec(request).context("encode a request")?;
        line.push(b'\n');
        self.stream
            .write_all(&line)
            .context("send a request to the agent")
    }

    /// Sends the signal with this number to a process.
    pub fn signal(&mut self, pid: u32, signal: i32) -> Result<()> {
        let pid = i32::try_from(pid).context("a process id fits")?;
        self.ask(&Request::Signal { pid, signal }).map(drop)
    }

    /// Reads a text file of the appliance.
    pub fn read(&mut self, path: &str) -> Result<String> {
        self.ask(&Request::Read {
            path: path.to_owned(),
        })
    }
}
