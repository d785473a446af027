//! Network namespaces of the host, as neighbours of the appliance.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::tool;

/// A network namespace that goes away with this.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace `name` with its loopback device up.
    pub fn new(name: &str) -> Result<Self> {
        // One may be left over from a run that was killed.
        let _ = tool("ip", &["netns", "delete", name]);
        tool("ip", &["netns", "add", name])
            .context("make a network namespace: the tests run as root")?;
        let namespace = Self {
            name: name.to_owned(),
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` with `arguments`, separated by spaces, inside.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut all = vec!["-netns", &self.name];
        all.extend(arguments.split(' '));
        tool("ip", &all)
    }

    /// Runs a program inside and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let namespace = format!("--net=/run/netns/{}", self.name);
        let mut all = vec![namespace.as_str(), "--", program];
        all.extend(arguments);
        tool("nsenter", &all)
    }

    /// Starts a program inside that ends with what is returned.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Result<Running> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "nsenter"])
            .arg(format!("--net=/run/netns/{}", self.name))
            .args(["--", program])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("start {program}: is it installed? (ci/setup)"))?;
        Ok(Running(child))
    }

    /// Makes the tap device `name` inside, for QEMU to open there.
    pub fn tap(&self, name: &str) -> Result<()> {
        self.ip(&format!("tuntap add dev {name} mode tap"))?;
        self.ip(&format!("link set {name} up")).map(drop)
    }

    /// Moves the device `name` to `other`; whoever has it open keeps it.
    pub fn give(&self, name: &str, other: &Self) -> Result<()> {
        self.ip(&format!("link set {name} netns {}", other.name))?;
        other.ip(&format!("link set {name} up")).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing is lost with a namespace that stays.
        let _ = tool("ip", &["netns", "delete", &self.name]);
    }
}

/// A program in a namespace; it ends when this is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
