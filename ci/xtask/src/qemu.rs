//! `ci/qemu`: builds the image and boots it, with the console on the terminal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::{Client, HealthState, Status};
use appliance::{Boot, Card, Firmware, Machine, SerialLine, disk, wait_for};
use image::layout::{MIB, Slot};
use image::{Outputs, Profile};

use crate::checkout;

/// Room for the image and a DATA partition that has been grown.
const DISK_BYTES: u64 = 2048 * MIB;
/// Multicast ports of the segments: the one that all nodes share, then each node's own.
const FIRST_PORT: u16 = 7790;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Memory of each appliance in MiB
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    memory: u32,
    /// Network cards of each appliance: the first is the WAN, the others are LANs
    #[arg(long, default_value_t = 2, value_name = "N")]
    cards: u16,
    /// Appliances. With more than one, their WAN cards share a segment; each has a LAN of its own
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Prints where the sockets are instead of showing the console; runs until it is killed
    #[arg(long)]
    headless: bool,
    /// Like --headless, but ends as soon as every appliance is healthy
    #[arg(long)]
    until_healthy: bool,
    /// A raw image to attach as second disk
    #[arg(long, value_name = "FILE")]
    disk2: Option<PathBuf>,
    /// A x0.toml to provision from, on a volume of its own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Boots the kernel without firmware and selector
    #[arg(long, conflicts_with = "secure_boot")]
    direct: bool,
    /// Has the firmware enforce Secure Boot with the development key
    #[arg(long)]
    secure_boot: bool,
    /// Whether DATA starts empty or as the last run left it
    #[arg(long, value_enum, default_value_t = Data::Fresh)]
    data: Data,
    /// Boots the image with the fault agent in it
    #[arg(long)]
    test_image: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Data {
    Fresh,
    Keep,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let started = Instant::now();
    let profile = if args.test_image {
        Profile::Test
    } else {
        Profile::Release
    };
    let outputs = image::build(&crate::image::request(profile)?)?;
    let built = started.elapsed();
    let on_terminal = !args.headless && !args.until_healthy;
    let mut nodes = Vec::new();
    for number in 1..=args.nodes {
        let serial = if on_terminal && number == 1 {
            SerialLine::Terminal
        } else {
            SerialLine::Socket
        };
        nodes.push(Node::prepare(&args, &outputs, number, serial)?);
    }
    println!(
        "image ready after {:.1} s: {}",
        built.as_secs_f32(),
        outputs.image().display()
    );
    for node in &nodes {
        println!(
            "{}: sockets in {}",
            node.name,
            node.machine.sockets.display()
        );
        let bus = node.machine.socket("bus");
        println!(
            "{}: its bus: busctl --address=unix:path={} list",
            node.name,
            bus.display()
        );
    }
    if on_terminal {
        println!("Ctrl-A X leaves QEMU, Ctrl-A H lists what else it can do.");
    }
    let mut running = Vec::new();
    for node in &nodes {
        running.push(node.start()?);
    }
    let limit = if on_terminal {
        Duration::from_secs(24 * 3600)
    } else {
        Duration::from_secs(120)
    };
    for (node, qemu) in nodes.iter().zip(&mut running) {
        match node.wait_healthy(&mut qemu.0, limit)? {
            Some(status) => node.report(&status, started.elapsed(), on_terminal)?,
            None if on_terminal => return Ok(()),
            None => bail!("{}: QEMU has ended; see its serial log", node.name),
        }
    }
    if args.until_healthy {
        return Ok(());
    }
    for qemu in &mut running {
        qemu.0.wait().context("wait for QEMU")?;
    }
    if on_terminal {
        for node in &nodes {
            print!(
                "{}",
                fs::read_to_string(node.healthy_file()).unwrap_or_default()
            );
        }
    }
    Ok(())
}

/// One appliance, in `target/qemu/node-N/`.
struct Node {
    name: String,
    machine: Machine,
    folder: PathBuf,
    _sockets: tempfile::TempDir,
}

/// QEMU; ended with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    fn prepare(args: &Args, outputs: &Outputs, number: u16, serial: SerialLine) -> Result<Self> {
        let name = format!("node-{number}");
        let folder = checkout::target().join("qemu").join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let boot_disk = folder.join("disk.img");
        if args.data == Data::Keep && boot_disk.exists() {
            disk::refresh(&outputs.image(), &boot_disk)?;
        } else {
            disk::copy(&outputs.image(), &boot_disk, DISK_BYTES)?;
        }
        let boot = if args.direct {
            let path = outputs.command_line(Slot::A);
            let command_line =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            Boot::Direct {
                kernel: outputs.kernel(),
                command_line: command_line.trim().to_owned(),
            }
        } else {
            Boot::Firmware(firmware(args, outputs, &folder)?)
        };
        let accelerator = appliance::accelerator(&checkout::cache())?;
        // In TMPDIR, since a socket's path has at most 107 bytes.
        let sockets = tempfile::Builder::new()
            .prefix("x0-")
            .tempdir()
            .context("make a folder")?;
        let mut machine = Machine::new(accelerator, boot, boot_disk);
        machine.sockets = sockets.path().to_owned();
        machine.memory_mib = args.memory;
        machine.serial = serial;
        machine.cards = (0..args.cards)
            .map(|card| cable(args.nodes, number, card))
            .collect();
        machine.disks.extend(args.disk2.clone());
        if let Some(document) = &args.config {
            let text =
                fs::read(document).with_context(|| format!("read {}", document.display()))?;
            let volume = folder.join("x0-config.img");
            disk::provisioning_volume(&volume, &text)?;
            machine.disks.push(volume);
        }
        Ok(Self {
            name,
            machine,
            folder,
            _sockets: sockets,
        })
    }

    fn start(&self) -> Result<Running> {
        let mut command = appliance::command(&self.machine, None);
        if self.machine.serial == SerialLine::Socket {
            let log = fs::File::create(self.folder.join("qemu.log")).context("create qemu.log")?;
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
        }
        Ok(Running(
            command
                .spawn()
                .context("start QEMU: is it installed? (ci/setup)")?,
        ))
    }

    /// The status when it is healthy, nothing when QEMU ended before.
    fn wait_healthy(&self, qemu: &mut Child, limit: Duration) -> Result<Option<Status>> {
        let socket = self.machine.socket("control");
        wait_for(&format!("{} to get healthy", self.name), limit, || {
            if qemu.try_wait().context("look after QEMU")?.is_some() {
                return Ok(Some(None));
            }
            let client =
                Client::connect(&socket).map(|client| client.deadline(Duration::from_secs(2)));
            let status = client.ok().and_then(|mut client| client.status().ok());
            Ok(status
                .filter(|status| status.health.state == HealthState::Healthy)
                .map(Some))
        })
    }

    /// The console owns the terminal while it runs: then the line is shown afterwards.
    fn report(&self, status: &Status, elapsed: Duration, later: bool) -> Result<()> {
        let line = format!(
            "{}: healthy after {:.1} s in slot {} (userspace ready in {} ms)\n",
            self.name,
            elapsed.as_secs_f32(),
            status.slot.as_deref().unwrap_or("-"),
            status.userspace_ready_ms.unwrap_or_default(),
        );
        if !later {
            print!("{line}");
        }
        fs::write(self.healthy_file(), line).context("note when it got healthy")
    }

    fn healthy_file(&self) -> PathBuf {
        self.folder.join("healthy")
    }
}

/// Where the cable of a card leads.
fn cable(nodes: u16, node: u16, card: u16) -> Card {
    match card {
        0 if nodes == 1 => Card::User,
        0 => Card::Segment { port: FIRST_PORT },
        _ => Card::Segment {
            port: FIRST_PORT + node * 64 + card,
        },
    }
}

fn firmware(args: &Args, outputs: &Outputs, folder: &Path) -> Result<Firmware> {
    let file = if args.secure_boot {
        "variables-secure.fd"
    } else {
        "variables.fd"
    };
    let variables = folder.join(file);
    if args.data == Data::Fresh {
        let _ = fs::remove_file(&variables);
    }
    if args.secure_boot {
        Firmware::enforcing(variables, &outputs.keys)
    } else {
        Firmware::plain(variables)
    }
}
