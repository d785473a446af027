use serde_json::Value;
use store_api::Event;
use zbus::Proxy;

use crate::Error;
use crate::bus::{Bus, Options, ROOT, STORE};
use crate::cli::Events;
use crate::output::{Output, Tone, date};

pub(crate) fn run(bus: &Bus, command: &Events, output: &mut Output<'_>) -> Result<(), Error> {
    let events = list(bus, command)?;
    if !command.follow {
        return match output.json(&events)? {
            true => Ok(()),
            false => events.iter().try_for_each(|event| line(event, output)),
        };
    }
    bus.runtime.block_on(follow(bus, command, &events, output))
}

pub(crate) fn list(bus: &Bus, command: &Events) -> Result<Vec<Event>, Error> {
    let mut options = Options::new();
    options.extend(
        command
            .service
            .as_deref()
            .map(|name| ("service", name.into())),
    );
    options.extend(command.kind.as_deref().map(|kind| ("kind", kind.into())));
    let json: String = bus.call(STORE, "Events", &(0_u64, command.limit, options))?;
    Ok(serde_json::from_str(&json)?)
}

/// What was recorded between the list and the subscription comes with neither; it takes an answer's
/// way back, and `events` without -f shows it.
async fn follow(
    bus: &Bus,
    command: &Events,
    old: &[Event],
    output: &mut Output<'_>,
) -> Result<(), Error> {
    use futures_util::StreamExt;
    let proxy: Proxy<'_> = Proxy::new(&bus.connection, STORE, ROOT, STORE).await?;
    let mut signals = proxy.receive_signal("EventRecorded").await?;
    for event in old {
        one(event, output)?;
    }
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = bus.connection.closed() => return Err(Error::Other("the bus went away".into())),
            signal = signals.next() => {
                let Some(signal) = signal else { return Ok(()) };
                let body = signal.body();
                let (_, _, _, json): (u64, String, String, String) = body.deserialize()?;
                let event: Event = serde_json::from_str(&json)?;
                if is_wanted(&event, command) {
                    one(&event, output)?;
                }
            }
        }
    }
}

/// As the store filters: `config` stands for `config.applied`, too.
fn is_wanted(event: &Event, command: &Events) -> bool {
    let family = |kind: &String| {
        let rest = event.kind.strip_prefix(kind.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    command
        .service
        .as_ref()
        .is_none_or(|service| *service == event.service)
        && command.kind.as_ref().is_none_or(family)
}

fn one(event: &Event, output: &mut Output<'_>) -> Result<(), Error> {
    match output.json {
        // One object per line: a stream has no end to put a bracket at.
        true => output.line(&serde_json::to_string(event)?),
        false => line(event, output),
    }
}

pub(crate) fn line(event: &Event, output: &mut Output<'_>) -> Result<(), Error> {
    let time = output.paint(Tone::Weak, &date(event.time_ms));
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let facts = event.payload.iter().filter(|(_, value)| !value.is_null());
    let facts: Vec<String> = facts
        .map(|(name, v)| format!("{name}={}", text(v)))
        .collect();
    output.line(&format!(
        "{time}  {:>6}  {:<10} {:<20} {}",
        event.sequence,
        event.service,
        event.kind,
        facts.join(" ").escape_debug()
    ))
}
