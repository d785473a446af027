use api::{Explanation, LogLine, Resources, ServiceState, ServiceStatus, Status};

use zbus::OwnedObjectPath;

use crate::Error;
use crate::bus::{INIT, Options};
use crate::cli::Service;
use crate::job::Job;
use crate::link::Link;
use crate::output::{Output, Table, Tone, bytes, duration};

pub(crate) fn run(
    link: &mut Link,
    command: &Service,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    match command {
        Service::List => {
            let status = link.status()?;
            match output.json(&status.services)? {
                true => Ok(()),
                false => list(&status, output),
            }
        }
        Service::Show(name) => {
            let status = link.status()?;
            let service = find(&status, &name.name)?;
            match output.json(service)? {
                true => Ok(()),
                false => show(service, output),
            }
        }
        Service::Start(name) => link.service("Start", &name.name),
        Service::Stop(name) => link.service("Stop", &name.name),
        Service::Restart(name) => link.service("Restart", &name.name),
        Service::Logs {
            name,
            lines,
            follow: true,
        } => follow(link, name, *lines, output),
        Service::Logs { name, lines, .. } => {
            let lines = link.logs(name, *lines)?;
            match output.json(&lines)? {
                true => Ok(()),
                false => logs(&lines, output),
            }
        }
        Service::Explain(name) => {
            let explanation = link.explain(&name.name)?;
            match output.json(&explanation)? {
                true => Ok(()),
                false => explain(&explanation, output),
            }
        }
    }
}

fn follow(link: &mut Link, name: &str, lines: u32, output: &mut Output<'_>) -> Result<(), Error> {
    let Link::Bus(bus) = link else {
        return link.follow(name, lines, |lines| logs(lines, output));
    };
    let path: OwnedObjectPath = bus.service(name, "FollowLogs", &(lines, Options::new()))?;
    let mut rest: Vec<u8> = Vec::new();
    let job = Job::new(bus, INIT, path);
    let end = job.read_all(|bytes| {
        rest.extend_from_slice(bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line: LogLine = serde_json::from_slice(&line)?;
            match output.json {
                true => output.line(&serde_json::to_string(&line)?)?,
                false => logs(&[line], output)?,
            }
        }
        Ok(())
    });
    end.map(drop)
}

fn find<'s>(status: &'s Status, name: &str) -> Result<&'s ServiceStatus, Error> {
    status.service(name).ok_or_else(|| {
        let names: Vec<&str> = status.services.iter().map(|s| s.name.as_str()).collect();
        Error::Answer {
            kind: "NotFound".into(),
            message: format!("there is no service `{name}`, but {}", names.join(", ")),
        }
    })
}

pub(crate) fn tone(state: ServiceState) -> Tone {
    match state {
        ServiceState::Ready | ServiceState::Done => Tone::Good,
        ServiceState::Failed => Tone::Bad,
        ServiceState::Backoff => Tone::Wary,
        ServiceState::Stopped => Tone::Weak,
        ServiceState::Starting | ServiceState::Stopping | ServiceState::Waiting => Tone::Plain,
    }
}

pub(crate) fn list(status: &Status, output: &mut Output<'_>) -> Result<(), Error> {
    let heads = ["SERVICE", "STATE", "SINCE", "PID", "RESTARTS", "STATUS"];
    let mut table = Table::new(&heads);
    for service in &status.services {
        let pid = service.pid.map(|pid| pid.to_string()).unwrap_or_default();
        table.row([
            (Tone::Plain, service.name.clone()),
            (tone(service.state), service.state.to_string()),
            (Tone::Plain, duration(service.uptime_ms)),
            (Tone::Plain, pid),
            (Tone::Plain, service.restarts.to_string()),
            (Tone::Plain, remark(service)),
        ]);
    }
    output.table(&table)
}

/// What it says, or how it ended where that tells more.
fn remark(service: &ServiceStatus) -> String {
    let ended = matches!(service.state, ServiceState::Backoff | ServiceState::Failed);
    match &service.last_exit {
        Some(exit) if ended || service.status_text.is_empty() && service.pid.is_none() => {
            exit.clone()
        }
        _ => service.status_text.clone(),
    }
}

pub(crate) fn show(service: &ServiceStatus, output: &mut Output<'_>) -> Result<(), Error> {
    let state = output.paint(tone(service.state), &service.state.to_string());
    let resources = |text: fn(&Resources) -> String| -> String {
        service.resources.as_ref().map(text).unwrap_or_default()
    };
    let critical = if service.critical { "yes" } else { "no" };
    output.facts(&[
        ("name", service.name.clone()),
        ("what", service.description.clone()),
        (
            "state",
            format!("{state} for {}", duration(service.uptime_ms)),
        ),
        ("says", service.status_text.clone()),
        (
            "pid",
            service.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        ),
        ("restarts", service.restarts.to_string()),
        ("last end", service.last_exit.clone().unwrap_or_default()),
        ("needs", service.needs.join(", ")),
        ("critical", critical.into()),
        (
            "memory",
            resources(|r| {
                format!(
                    "{}, at most {}",
                    bytes(r.memory_bytes),
                    bytes(r.memory_peak_bytes)
                )
            }),
        ),
        ("processor", resources(|r| duration(r.cpu_us / 1000))),
        ("tasks", resources(|r| r.tasks.to_string())),
    ])
}

/// Times count from the kernel's start, as the kernel's own messages do.
pub(crate) fn logs(lines: &[LogLine], output: &mut Output<'_>) -> Result<(), Error> {
    for line in lines {
        let time = format!("{:>6}.{:03}", line.uptime_ms / 1000, line.uptime_ms % 1000);
        let time = output.paint(Tone::Weak, &time);
        output.line(&format!("{time} {}", line.text))?;
    }
    Ok(())
}

fn explain(explanation: &Explanation, output: &mut Output<'_>) -> Result<(), Error> {
    for sentence in &explanation.sentences {
        output.line(sentence)?;
    }
    if explanation.denials.is_empty() {
        return output.line("It was denied nothing since the boot.");
    }
    output.line("It was denied since the boot:")?;
    let mut table = Table::new(&["WHAT", "HOW OFTEN"]);
    for denial in &explanation.denials {
        table.row([
            (Tone::Wary, denial.what.clone()),
            (Tone::Plain, denial.count.to_string()),
        ]);
    }
    output.table(&table)
}
