//! Generations of the configuration: [`crate::core`] with a memory.

use redb::{ReadableTable, ReadableTableMetadata};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use store_api::{Generation, GenerationState, Refusal};

use super::batch::{Batch, Fail, Notice};
use crate::core::{Change, Command, Machine, Refused};
use crate::event::hex;

/// What applies before anybody configured anything.
pub(crate) const BUILT_IN: &str =
    "# The built-in configuration: the first card is the WAN, each further one a LAN.\n";
/// Generations that are kept, and the bytes of their documents. The confirmed one always is.
const GENERATIONS_MAX: u64 = 200;
const TEXTS_MAX_BYTES: u64 = 8 << 20;
/// Authors, reasons and messages are cut here.
const WORDS_MAX_CHARS: usize = 512;

/// A document on its way to becoming a generation. Its text was checked.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The document.
    pub text: String,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// The generation that it is a copy of.
    pub copy_of: Option<u64>,
    /// None: confirmed at once.
    pub confirm_within_ms: Option<u64>,
}

impl Batch<'_> {
    /// The machine as it was left, or a new one with its first generation; the clock is looked at.
    pub(super) fn prepare_configuration(&mut self) -> Result<(), Fail> {
        if self.machine.get("machine")?.is_some() {
            return self.step(Command::Tick, "", None);
        }
        let generation = Generation {
            number: 1,
            state: GenerationState::Confirmed,
            author: "x0tta6bl4 OS".into(),
            reason: "built in".into(),
            created_ms: self.stamp.time_ms,
            copy_of: None,
            confirmed_by: None,
            message: None,
        };
        self.is_dirty = true;
        self.texts.insert(1, BUILT_IN)?;
        self.put_generation(&generation)?;
        self.put_machine(&Machine::new())
    }

    /// Makes a document the next generation.
    pub fn apply(&mut self, proposal: Proposal) -> Result<u64, Fail> {
        let mut machine = self.load_machine()?;
        let mut changes = Vec::new();
        let command = Command::Apply {
            confirm_within_ms: proposal.confirm_within_ms,
        };
        let answer = machine.handle(&self.stamp.now, command, &mut changes);
        if answer.is_ok() {
            let generation = Generation {
                number: machine.latest(),
                state: GenerationState::Pending,
                author: cut(&proposal.author),
                reason: cut(&proposal.reason),
                created_ms: self.stamp.time_ms,
                copy_of: proposal.copy_of,
                confirmed_by: None,
                message: None,
            };
            self.is_dirty = true;
            self.texts
                .insert(generation.number, proposal.text.as_str())?;
            self.put_generation(&generation)?;
        }
        self.settle(&machine, &changes, &proposal.author, None)?;
        answer.map_err(|refused| self.refusal(&machine, refused))?;
        self.forget_generations(&machine)?;
        Ok(machine.latest())
    }

    /// Confirms, cancels, fails, or looks at the clock.
    pub fn step(
        &mut self,
        command: Command,
        author: &str,
        message: Option<&str>,
    ) -> Result<(), Fail> {
        let mut machine = self.load_machine()?;
        let mut changes = Vec::new();
        let answer = machine.handle(&self.stamp.now, command, &mut changes);
        self.settle(&machine, &changes, author, message)?;
        answer.map_err(|refused| self.refusal(&machine, refused).into())
    }

    /// A new generation with the text of an old one.
    pub fn roll_back(&mut self, to: u64, proposal: Proposal) -> Result<u64, Fail> {
        let text = self.texts.get(to)?.map(|text| text.value().to_owned());
        let text = text.ok_or(Refusal::NoSuchGeneration { number: to })?;
        self.apply(Proposal {
            text,
            copy_of: Some(to),
            ..proposal
        })
    }

    /// Takes a document from provisioning, unless it was taken before.
    pub fn import(&mut self, text: &str, source: &str) -> Result<Option<u64>, Fail> {
        let hash = hex(&Sha256::digest(text).into());
        if self.imports.get(hash.as_str())?.is_some() {
            return Ok(None);
        }
        let generation = self.apply(Proposal {
            text: text.into(),
            author: "provision".into(),
            reason: format!("imported from {source}"),
            copy_of: None,
            confirm_within_ms: None,
        })?;
        self.imports.insert(hash.as_str(), generation)?;
        Ok(Some(generation))
    }

    pub(super) fn load_machine(&self) -> Result<Machine, Fail> {
        let text = self.machine.get("machine")?;
        let machine: Option<Machine> =
            text.and_then(|text| serde_json::from_str(text.value()).ok());
        machine
            .filter(Machine::is_sound)
            .ok_or_else(|| Fail::Damaged("which generation applies cannot be read".into()))
    }

    pub(super) fn put_machine(&mut self, machine: &Machine) -> Result<(), Fail> {
        self.is_dirty = true;
        self.machine.insert("machine", to_json(machine).as_str())?;
        Ok(())
    }

    pub(super) fn put_generation(&mut self, generation: &Generation) -> Result<(), Fail> {
        self.is_dirty = true;
        self.generations
            .insert(generation.number, to_json(generation).as_str())?;
        Ok(())
    }

    /// Writes down what became of generations.
    fn settle(
        &mut self,
        machine: &Machine,
        changes: &[Change],
        author: &str,
        message: Option<&str>,
    ) -> Result<(), Fail> {
        if changes.is_empty() {
            return Ok(());
        }
        for change in changes {
            use GenerationState as State;
            let (number, state, kind) = match *change {
                Change::Pending(number) => (number, State::Pending, "config.applied"),
                Change::Confirmed(number) => (number, State::Confirmed, "config.confirmed"),
                Change::Cancelled(number) => (number, State::Cancelled, "config.cancelled"),
                Change::Failed(number) => (number, State::Failed, "config.failed"),
                Change::Expired(number) => (number, State::Expired, "config.expired"),
                Change::Unconfirmed(number) => (number, State::Unconfirmed, "config.unconfirmed"),
            };
            // The clock has no author.
            let is_by_clock = matches!(state, State::Expired | State::Unconfirmed);
            let author = if is_by_clock { "store" } else { author };
            let message = message.filter(|_| !is_by_clock).map(cut);
            let mut generation = self.generation(number)?;
            generation.state = state;
            generation.message = message.or(generation.message);
            if state == State::Confirmed {
                generation.confirmed_by = Some(cut(author));
            }
            self.put_generation(&generation)?;
            let payload = json!({
                "generation": number,
                "author": cut(author),
                "reason": generation.message.as_deref().unwrap_or(&generation.reason),
                "applies": machine.effective(),
            });
            self.note(kind, object(payload))?;
        }
        self.put_machine(machine)?;
        self.notices.push(Notice::Configuration);
        Ok(())
    }

    fn generation(&self, number: u64) -> Result<Generation, Fail> {
        let text = self.generations.get(number)?;
        text.and_then(|text| serde_json::from_str(text.value()).ok())
            .ok_or_else(|| Fail::Damaged(format!("generation {number} cannot be read")))
    }

    fn forget_generations(&mut self, machine: &Machine) -> Result<(), Fail> {
        let mut bytes = 0;
        let mut texts = Vec::new();
        for entry in self.texts.iter()? {
            let (number, text) = entry?;
            bytes += text.value().len() as u64;
            texts.push((number.value(), text.value().len() as u64));
        }
        let needed = [machine.confirmed(), machine.effective()];
        for (number, size) in texts {
            if bytes <= TEXTS_MAX_BYTES && self.generations.len()? <= GENERATIONS_MAX {
                break;
            }
            if !needed.contains(&number) {
                self.texts.remove(number)?;
                self.generations.remove(number)?;
                bytes -= size;
            }
        }
        Ok(())
    }

    fn refusal(&self, machine: &Machine, refused: Refused) -> Refusal {
        match refused {
            Refused::ConfirmationPending(generation) => Refusal::ConfirmationPending {
                generation,
                remaining_ms: machine.pending().map_or(0, |pending| {
                    pending
                        .deadline_ms
                        .saturating_sub(self.stamp.now.boottime_ms)
                }),
            },
            Refused::NotPending(generation) => Refusal::NotPending { generation },
            Refused::OutOfRange => Refusal::BadParameter {
                parameter: "confirm_within_s".into(),
                reason: "10 to 86400 seconds".into(),
            },
        }
    }
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain structures have no fallible serialiser")
}

fn cut(words: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().take(WORDS_MAX_CHARS).map(plain).collect()
}

/// A payload from `json!` of an object.
#[must_use]
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".into(), other)]),
    }
}
