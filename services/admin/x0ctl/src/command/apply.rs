//! From a document to a confirmed generation.

use config::Diff;
use store_api::{Generation, GenerationState};

use super::config::{diff, problems, show_diff, status};
use crate::bus::{Bus, CONFIG, Options};
use crate::cli::{Change, Global};
use crate::output::Output;
use crate::{Error, ask};

/// Checks, shows what changes, asks, applies, and sees to the confirmation.
pub(crate) fn apply(
    global: &Global,
    bus: Bus,
    text: &str,
    session: Option<&str>,
    change: &Change,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let count = problems(&bus, text, output)?;
    if count > 0 {
        return Err(Error::Invalid(count));
    }
    let found = diff(&bus, text, None)?;
    agree(&found, change, output)?;
    let mut options = Options::from([
        ("reason", change.reason.as_str().into()),
        ("confirm-within", change.confirm_within.into()),
    ]);
    options.extend(session.map(|session| ("session", session.into())));
    let generation: u64 = bus.call(CONFIG, "Apply", &(text, options))?;
    wait(global, bus, generation, change, output)
}

/// Shows what changes, and asks whether it shall.
pub(crate) fn agree(diff: &Diff, change: &Change, output: &mut Output<'_>) -> Result<(), Error> {
    if !output.json {
        show_diff(diff, output)?;
    }
    if change.yes || !ask::is_person() || ask::yes_or_no("Apply this?")? {
        return Ok(());
    }
    Err(Error::Declined)
}

/// Asks, while the time runs, whether the person is still there: over a connection that was opened
/// since, which is what the router demands.
pub(crate) fn wait(
    global: &Global,
    bus: Bus,
    generation: u64,
    change: &Change,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    if output.json(&serde_json::json!({ "generation": generation }))? {
        return Ok(());
    }
    if change.yes || !ask::is_person() {
        return output.line(&format!(
            "generation {generation} applies for {} s; keep it with: x0ctl config confirm",
            change.confirm_within
        ));
    }
    drop(bus);
    loop {
        // Each look opens a connection, as whoever comes back after a change of addresses does.
        let bus = Bus::open(&global.bus)?;
        let Some(pending) = status(&bus)?.pending.filter(|p| p.generation == generation) else {
            eprintln!();
            return settled(&bus, generation, output);
        };
        let question = format!(
            "generation {generation} applies, the old one comes back in {} s. Keep it?",
            pending.remaining_ms / 1000
        );
        match ask::answer_within_a_second(&question)? {
            None => {}
            Some(true) => {
                bus.call::<()>(CONFIG, "Confirm", &(generation, Options::new()))?;
                return output.line(&format!("generation {generation} is confirmed"));
            }
            Some(false) => {
                bus.call::<()>(CONFIG, "Cancel", &(generation, Options::new()))?;
                return Err(Error::NotConfirmed(generation));
            }
        }
    }
}

/// It does not wait any more: somebody else confirmed it, or it is over.
fn settled(bus: &Bus, generation: u64, output: &mut Output<'_>) -> Result<(), Error> {
    let json: String = bus.call(CONFIG, "History", &(50_u32, Options::new()))?;
    let generations: Vec<Generation> = serde_json::from_str(&json)?;
    let found = generations.into_iter().find(|g| g.number == generation);
    match found {
        Some(found) if found.state == GenerationState::Confirmed => {
            let by = found.confirmed_by.unwrap_or_default();
            output.line(&format!("generation {generation} was confirmed by {by}"))
        }
        Some(Generation {
            message: Some(why), ..
        }) => Err(Error::Other(format!(
            "generation {generation} does not apply any more: {why}"
        ))),
        _ => Err(Error::NotConfirmed(generation)),
    }
}
