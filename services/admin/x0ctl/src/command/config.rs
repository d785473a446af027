use std::fs;
use std::io::{self, Read};
use std::path::Path;

use config::Diff;
use serde_json::{Value, json};
use store_api::{ConfigurationStatus, Generation, GenerationState};

use super::apply;
use super::edit;
use crate::Error;
use crate::bus::{Bus, CONFIG, Options};
use crate::cli::{Change, Config, Global};
use crate::output::{Output, Table, Tone, date};

/// The store takes no longer document either.
const DOCUMENT_MAX_BYTES: u64 = 1 << 20;

pub(crate) fn run(global: &Global, command: &Config, output: &mut Output<'_>) -> Result<(), Error> {
    let bus = Bus::open(&global.bus)?;
    match command {
        Config::Show { generation } => {
            let text = get(&bus, *generation)?;
            match output.json(&json!({ "text": text }))? {
                true => Ok(()),
                false => output.text(&text),
            }
        }
        Config::Edit(change) => edit::edit(global, bus, change, output),
        Config::Set { key, value, change } => {
            let text = edit::set(&get(&bus, None)?, key, value)?;
            apply::apply(global, bus, &text, None, change, output)
        }
        Config::Unset { key, change } => {
            let text = edit::unset(&get(&bus, None)?, key)?;
            apply::apply(global, bus, &text, None, change, output)
        }
        Config::Check { file } => check(&bus, file, output),
        Config::Diff { from, to } => compare(&bus, from, *to, output),
        Config::Apply { file, change } => {
            let text = read(file)?;
            apply::apply(global, bus, &text, None, change, output)
        }
        Config::Confirm { generation } => {
            let generation = named_or_pending(&bus, *generation)?;
            bus.call::<()>(CONFIG, "Confirm", &(generation, Options::new()))?;
            output.line(&format!("generation {generation} is confirmed"))
        }
        Config::Cancel { generation } => {
            let generation = named_or_pending(&bus, *generation)?;
            bus.call::<()>(CONFIG, "Cancel", &(generation, Options::new()))?;
            output.line(&format!("generation {generation} was taken back"))
        }
        Config::Rollback { generation, change } => {
            rollback(global, bus, *generation, change, output)
        }
        Config::History { limit } => history(&bus, *limit, output),
        Config::Schema => {
            let json: String = bus.call(CONFIG, "Schema", &(Options::new(),))?;
            let schema: Value = serde_json::from_str(&json)?;
            output.line(&serde_json::to_string_pretty(&schema)?)
        }
        Config::Status => {
            let status = status(&bus)?;
            match output.json(&status)? {
                true => Ok(()),
                false => show(&status, output),
            }
        }
    }
}

pub(crate) fn get(bus: &Bus, generation: Option<u64>) -> Result<String, Error> {
    let options: Options<'_> = generation
        .map(|number| ("generation", number.into()))
        .into_iter()
        .collect();
    bus.call(CONFIG, "Get", &(options,))
}

pub(crate) fn status(bus: &Bus) -> Result<ConfigurationStatus, Error> {
    let json: String = bus.call(CONFIG, "Describe", &(Options::new(),))?;
    Ok(serde_json::from_str(&json)?)
}

pub(crate) fn diff(bus: &Bus, text: &str, with: Option<u64>) -> Result<Diff, Error> {
    let options: Options<'_> = with
        .map(|number| ("generation", number.into()))
        .into_iter()
        .collect();
    let json: String = bus.call(CONFIG, "Diff", &(text, options))?;
    Ok(serde_json::from_str(&json)?)
}

/// Prints what is wrong with a document; says how much.
pub(crate) fn problems(bus: &Bus, text: &str, output: &mut Output<'_>) -> Result<usize, Error> {
    type Row = (u32, u32, String, String, String);
    let rows: Vec<Row> = bus.call(CONFIG, "Validate", &(text, Options::new()))?;
    let problem = |(line, column, path, message, suggestion): &Row| config::Problem {
        line: *line,
        column: *column,
        path: path.clone(),
        message: message.clone(),
        suggestion: Some(suggestion.clone()).filter(|text| !text.is_empty()),
    };
    let problems: Vec<config::Problem> = rows.iter().map(problem).collect();
    if output.json && !problems.is_empty() {
        output.json(&json!({ "problems": problems }))?;
    } else {
        for problem in &problems {
            let text = output.paint(Tone::Bad, &problem.to_string());
            output.line(&text)?;
        }
    }
    Ok(problems.len())
}

fn check(bus: &Bus, file: &Path, output: &mut Output<'_>) -> Result<(), Error> {
    match problems(bus, &read(file)?, output)? {
        0 => {
            if !output.json(&json!({ "problems": [] }))? {
                output.line("no mistakes")?;
            }
            Ok(())
        }
        count => Err(Error::Invalid(count)),
    }
}

/// A number stands for a generation, anything else for a file.
fn compare(bus: &Bus, from: &str, to: Option<u64>, output: &mut Output<'_>) -> Result<(), Error> {
    let found = match (from.parse::<u64>(), to) {
        (Ok(from), Some(to)) => diff(bus, &get(bus, Some(to))?, Some(from))?,
        (Ok(from), None) => diff(bus, &get(bus, None)?, Some(from))?,
        (Err(_), to) => diff(bus, &read(Path::new(from))?, to)?,
    };
    match output.json(&found)? {
        true => Ok(()),
        false => show_diff(&found, output),
    }
}

pub(crate) fn show_diff(diff: &Diff, output: &mut Output<'_>) -> Result<(), Error> {
    if diff.is_empty() {
        let what = match diff.text.is_empty() {
            true => "nothing differs",
            false => "only comments differ",
        };
        return output.line(what);
    }
    for line in diff.to_string().lines() {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            _ => Tone::Wary,
        };
        let line = output.paint(tone, line);
        output.line(&line)?;
    }
    Ok(())
}

fn named_or_pending(bus: &Bus, generation: Option<u64>) -> Result<u64, Error> {
    if let Some(generation) = generation {
        return Ok(generation);
    }
    let pending = status(bus)?.pending.map(|pending| pending.generation);
    pending.ok_or_else(|| Error::Answer {
        kind: "NotFound".into(),
        message: "no generation waits for a confirmation".into(),
    })
}

fn rollback(
    global: &Global,
    bus: Bus,
    to: u64,
    change: &Change,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let found = diff(&bus, &get(&bus, Some(to))?, None)?;
    apply::agree(&found, change, output)?;
    let options = Options::from([
        ("reason", change.reason.as_str().into()),
        ("confirm-within", change.confirm_within.into()),
    ]);
    let generation: u64 = bus.call(CONFIG, "Rollback", &(to, options))?;
    apply::wait(global, bus, generation, change, output)
}

fn history(bus: &Bus, limit: u32, output: &mut Output<'_>) -> Result<(), Error> {
    let json: String = bus.call(CONFIG, "History", &(limit, Options::new()))?;
    let generations: Vec<Generation> = serde_json::from_str(&json)?;
    match output.json(&generations)? {
        true => Ok(()),
        false => show_history(&generations, output),
    }
}

pub(crate) fn show_history(
    generations: &[Generation],
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let heads = ["GENERATION", "WHEN (UTC)", "AUTHOR", "STATE", "REASON"];
    let mut table = Table::new(&heads);
    for generation in generations {
        let (tone, state) = state(generation.state);
        let copy = generation
            .copy_of
            .map(|number| format!("(text of {number}) "));
        let reason = copy.unwrap_or_default() + &generation.reason;
        let reason = match &generation.message {
            Some(message) => format!("{reason} [{message}]"),
            None => reason,
        };
        table.row([
            (Tone::Plain, generation.number.to_string()),
            (Tone::Plain, date(generation.created_ms)),
            (Tone::Plain, generation.author.clone()),
            (tone, state.to_owned()),
            (Tone::Plain, reason.trim().to_owned()),
        ]);
    }
    output.table(&table)
}

fn state(state: GenerationState) -> (Tone, &'static str) {
    match state {
        GenerationState::Confirmed => (Tone::Good, "confirmed"),
        GenerationState::Pending => (Tone::Wary, "pending"),
        GenerationState::Cancelled => (Tone::Weak, "cancelled"),
        GenerationState::Failed => (Tone::Bad, "failed"),
        GenerationState::Expired => (Tone::Weak, "expired"),
        GenerationState::Unconfirmed => (Tone::Weak, "unconfirmed"),
    }
}

pub(crate) fn show(status: &ConfigurationStatus, output: &mut Output<'_>) -> Result<(), Error> {
    let pending = status.pending.as_ref().map(|pending| {
        format!(
            "{}, for {} s more; then generation {} comes back",
            pending.generation,
            pending.remaining_ms / 1000,
            pending.fallback
        )
    });
    let editor = status
        .editor
        .as_ref()
        .map(|editor| format!("{} since {}", editor.author, date(editor.since_ms)));
    let applied = status.applications.iter().map(|application| {
        let word = match application.ok {
            true => output.paint(Tone::Good, "applied"),
            false => output.paint(Tone::Bad, "failed"),
        };
        let text = format!("{}: {word} {}", application.service, application.message);
        text.trim_end().to_owned()
    });
    let services = applied.collect::<Vec<_>>().join("\n");
    output.facts(&[
        ("generation", status.generation.to_string()),
        ("confirmed", status.confirmed.to_string()),
        ("pending", pending.unwrap_or_default()),
        ("edited by", editor.unwrap_or_default()),
        ("services", services),
    ])
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => io::stdin()
            .lock()
            .take(DOCUMENT_MAX_BYTES)
            .read_to_string(&mut text),
        _ => fs::File::open(path)
            .and_then(|file| file.take(DOCUMENT_MAX_BYTES).read_to_string(&mut text)),
    };
    read.map_err(|source| Error::File {
        what: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(text)
}
