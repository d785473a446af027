//! The configuration that applies now, ready to be handed out.

use serde_json::{Map, Value, json};
use store_api::{Application, ConfigurationStatus, Editor, GenerationState, Pending};

use super::caller::Caller;
use crate::core::Machine;
use crate::engine::{BUILT_IN, Engine, View};
use crate::moment;

/// So many older generations are tried when the document of the one that applies is not understood.
const FALLBACKS: usize = 50;

/// The configuration that applies now.
#[derive(Debug)]
pub(super) struct Effective {
    pub(super) machine: Machine,
    /// Its document.
    pub(super) text: String,
    sections: Map<String, Value>,
    applications: Vec<Application>,
    /// What is wrong with it.
    pub(super) note: String,
}

impl Effective {
    /// Reads what applies. A document that this version does not understand (an older slot after a
    /// newer one) is passed over for the newest confirmed one that it does.
    pub(super) fn load(engine: &Engine) -> Result<Self, String> {
        let view = engine.view().map_err(|error| error.to_string())?;
        let machine = view.machine().map_err(|error| error.to_string())?;
        let machine = machine.ok_or("which generation applies cannot be read")?;
        let (document, note) = document(&view, &machine)?;
        Ok(Self {
            text: document.text().to_owned(),
            sections: document.sections().clone(),
            machine,
            applications: Vec::new(),
            note,
        })
    }

    /// Reads again; true when another generation applies.
    pub(super) fn reload(&mut self, engine: &Engine) -> Result<bool, String> {
        let mut new = Self::load(engine)?;
        let is_other = new.machine.effective() != self.machine.effective();
        if !is_other {
            new.applications = std::mem::take(&mut self.applications);
        }
        *self = new;
        Ok(is_other)
    }

    pub(super) fn generation(&self) -> u64 {
        self.machine.effective()
    }

    /// As `caller` gets it.
    pub(super) fn for_caller(&self, caller: &Caller) -> Value {
        let is_theirs = |name: &str| {
            caller.is_administrator() || caller.sections.iter().any(|section| section == name)
        };
        let sections: Map<String, Value> = self
            .sections
            .iter()
            .filter(|(name, _)| is_theirs(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        json!({ "generation": self.generation(), "sections": sections })
    }

    /// What a service said of a generation.
    pub(super) fn applied(&mut self, application: Application) {
        if application.generation != self.generation() {
            return;
        }
        self.applications
            .retain(|earlier| earlier.service != application.service);
        self.applications.push(application);
    }

    /// Until the deadline of what waits for its confirmation.
    pub(super) fn remaining_ms(&self) -> Option<u64> {
        let pending = self.machine.pending()?;
        Some(pending.deadline_ms.saturating_sub(moment::boottime_ms()))
    }

    pub(super) fn status(&self, editor: Option<Editor>) -> ConfigurationStatus {
        ConfigurationStatus {
            generation: self.generation(),
            confirmed: self.machine.confirmed(),
            pending: self.machine.pending().map(|pending| Pending {
                generation: pending.generation,
                fallback: self.machine.confirmed(),
                remaining_ms: self.remaining_ms().unwrap_or(0),
                applied_at_ms: pending.applied_at_ms,
            }),
            editor,
            applications: self.applications.clone(),
        }
    }
}

fn document(view: &View, machine: &Machine) -> Result<(config::Document, String), String> {
    let read = |number| view.generation(number).map_err(|error| error.to_string());
    if let Some((_, text)) = read(machine.effective())?
        && let Ok(document) = config::Document::parse(&text)
    {
        return Ok((document, String::new()));
    }
    let note = |applies: String| {
        let wanted = machine.effective();
        format!("generation {wanted} is not understood by this version; {applies} applies")
    };
    let history = view
        .history(Some(machine.effective()), FALLBACKS)
        .map_err(|error| error.to_string())?;
    for generation in history {
        if generation.state == GenerationState::Confirmed
            && let Some((_, text)) = read(generation.number)?
            && let Ok(document) = config::Document::parse(&text)
        {
            return Ok((document, note(format!("generation {}", generation.number))));
        }
    }
    let document = config::Document::parse(BUILT_IN)
        .map_err(|_| "the built-in configuration is not valid".to_owned())?;
    Ok((document, note("the built-in one".into())))
}
