use api::{HealthState, Status};

use crate::Error;
use crate::link::Link;
use crate::output::{Output, Tone, duration};

pub(crate) fn status(link: &mut Link, output: &mut Output<'_>) -> Result<(), Error> {
    let status = link.status()?;
    if output.json(&status)? {
        return Ok(());
    }
    show(&status, output)
}

pub(crate) fn show(status: &Status, output: &mut Output<'_>) -> Result<(), Error> {
    let tone = match status.health.state {
        HealthState::Healthy => Tone::Good,
        HealthState::Starting | HealthState::Degraded => Tone::Wary,
        HealthState::Failed => Tone::Bad,
    };
    let mut health = output.paint(tone, &status.health.state.to_string());
    for reason in &status.health.reasons {
        health.push('\n');
        health.push_str(reason);
    }
    let running = status.services.iter().filter(|s| s.pid.is_some()).count();
    let slot = match (&status.slot, status.boot_count) {
        (Some(slot), Some(count)) => format!("{slot}, boot {count}"),
        (Some(slot), None) => slot.clone(),
        (None, _) => String::new(),
    };
    let userspace = status.userspace_ready_ms;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    output.facts(&[
        ("hostname", status.hostname.clone()),
        ("health", health),
        ("version", format!("{} ({})", status.version, status.build)),
        ("slot", slot),
        ("up", duration(status.uptime_ms)),
        ("boot took", userspace.map(duration).unwrap_or_default()),
        ("boot before", text(&status.previous_end)),
        (
            "services",
            format!("{running} of {} running", status.services.len()),
        ),
    ])
}
