//! What one terminal's user looks at and asks for. No input, no output, no clock: keys, facts and
//! the time come in; pages and wishes go out.

use crate::entry::{Entry, Secret, Typed};
use crate::input::Key;
use crate::log::LogView;
use crate::model::{self, LogLine, Snapshot};
use crate::page;
use crate::screen::{Frame, Size};

/// A question whose answer does not come within this time is withdrawn.
const PROMPT_MS: u64 = 15_000;
/// A `y` that follows faster than a person types belongs to a pasted text (`Ryan`), not to the
/// question: pasted or injected text must not switch a router off.
const TOO_FAST_MS: u64 = 150;
/// How long a remark stays.
const NOTE_MS: u64 = 15_000;
/// A password that is not finished within this time is forgotten.
const ENTRY_MS: u64 = 60_000;

/// What PID 1 shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Restart(String),
    Start(String),
    Stop(String),
    Power(api::Power),
}

/// What somebody at the terminal has to do to log in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// The store has not answered since the machine started: nobody knows.
    #[default]
    Unknown,
    /// Nothing: no password is set.
    Free,
    /// Know the password.
    Password,
    /// Nobody can, for this reason.
    Closed(String),
}

/// What a key leads to, beside another page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Ask PID 1, and tell [`Core::done`] what came of it.
    Do(Command),
    /// Have the password verified, and tell [`Core::verdict`].
    Verify(Secret),
    /// Begin a session.
    LogIn,
    /// Send the whole page again.
    Redraw,
    /// Colours on or off.
    ToggleColours,
}

/// One terminal's state.
#[derive(Debug, Default)]
pub struct Core {
    pub(crate) view: View,
    /// The selected service, by name: services may come and go.
    pub(crate) selected: Option<String>,
    pub(crate) details: bool,
    prompt: Option<Prompt>,
    note: Option<Note>,
    access: Access,
    /// No password is taken before.
    closed_until_ms: u64,
}

#[derive(Debug, Default)]
pub(crate) enum View {
    #[default]
    Page,
    Help,
    Log(LogView),
    Password {
        entry: Entry,
        since_ms: u64,
    },
    /// The password is being verified.
    Verifying,
}

#[derive(Debug)]
struct Prompt {
    command: Command,
    since_ms: u64,
}

#[derive(Debug)]
struct Note {
    text: String,
    until_ms: u64,
}

impl Core {
    /// A key was pressed at `now_ms`.
    pub fn key(&mut self, now_ms: u64, key: Key, snapshot: &Snapshot, size: Size) -> Option<Wish> {
        if key == Key::Redraw {
            return Some(Wish::Redraw);
        }
        self.note = None;
        if let Some(prompt) = self.prompt.take() {
            return self.answer(now_ms, key, prompt);
        }
        match &mut self.view {
            View::Help => self.view = View::Page,
            View::Log(log) => {
                if log.key(key, size) {
                    self.view = View::Page;
                }
            }
            View::Page => return self.page_key(now_ms, key, snapshot),
            // Keys don't arrive while a password is wanted.
            View::Password { .. } | View::Verifying => {}
        }
        None
    }

    /// Whether bytes shall go to [`Core::password_byte`] instead of becoming keys.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        matches!(self.view, View::Password { .. } | View::Verifying)
    }

    /// Whether somebody waits for [`Core::verdict`].
    #[must_use]
    pub fn is_verifying(&self) -> bool {
        matches!(self.view, View::Verifying)
    }

    /// A byte came while a password is wanted.
    pub fn password_byte(&mut self, now_ms: u64, byte: u8) -> Option<Wish> {
        let View::Password { entry, .. } = &mut self.view else {
            return None;
        };
        match entry.push(byte) {
            Typed::More => None,
            Typed::GivenUp => {
                self.view = View::Page;
                self.note(now_ms, "Nothing done.".to_owned());
                None
            }
            Typed::Whole(secret) => {
                self.view = View::Verifying;
                Some(Wish::Verify(secret))
            }
        }
    }

    /// Who may log in has become known, or has changed.
    pub fn admit(&mut self, access: Access) {
        self.access = access;
    }

    /// The password was right or wrong. After a wrong one, here or elsewhere, none is taken for
    /// `wait_ms`.
    pub fn verdict(&mut self, now_ms: u64, accepted: bool, wait_ms: u64) {
        self.view = View::Page;
        if !accepted {
            self.closed(now_ms, wait_ms);
            let seconds = wait_ms.div_ceil(1_000);
            self.note(now_ms, format!("Wrong password. Try again in {seconds} s."));
        }
    }

    /// No password is taken for `wait_ms`.
    pub fn closed(&mut self, now_ms: u64, wait_ms: u64) {
        self.closed_until_ms = now_ms.saturating_add(wait_ms);
    }

    /// Time has passed: forgets a password that nobody finishes.
    pub fn tick(&mut self, now_ms: u64) {
        if let View::Password { since_ms, .. } = self.view
            && now_ms.saturating_sub(since_ms) >= ENTRY_MS
        {
            self.view = View::Page;
            self.note(now_ms, "Nobody finished the password.".to_owned());
        }
    }

    /// The service whose log shall be fetched now and again.
    #[must_use]
    pub fn log_wanted(&self) -> Option<&str> {
        match &self.view {
            View::Log(log) => log.wanted(),
            _ => None,
        }
    }

    /// The log of `service` was fetched, or could not be.
    pub fn log(&mut self, service: &str, lines: Result<Vec<LogLine>, String>) {
        if let View::Log(log) = &mut self.view {
            log.update(service, lines);
        }
    }

    /// PID 1 has done `command`, or said why not.
    pub fn done(&mut self, now_ms: u64, command: &Command, result: Result<(), String>) {
        let text = match (result, command) {
            (Err(error), command) => {
                format!("Could not {}: {}", verb(command), model::clean(&error))
            }
            (Ok(()), Command::Restart(service)) => format!("{service} is being restarted."),
            (Ok(()), Command::Start(service)) => format!("{service} is being started."),
            (Ok(()), Command::Stop(service)) => format!("{service} is being stopped."),
            (Ok(()), Command::Power(_)) => "The machine is going down.".to_owned(),
        };
        self.note(now_ms, text);
    }

    /// A remark for the last row.
    pub fn note(&mut self, now_ms: u64, text: String) {
        self.note = Some(Note {
            text,
            until_ms: now_ms.saturating_add(NOTE_MS),
        });
    }

    /// The page as it is at `now_ms`.
    #[must_use]
    pub fn frame(&self, now_ms: u64, snapshot: &Snapshot, size: Size) -> Frame {
        let mut frame = match &self.view {
            View::Page => page::draw(snapshot, self.selected(snapshot), self.details, size),
            View::Help => page::help(size),
            View::Log(log) => log.draw(size),
            View::Password { .. } => page::password("Password:", size),
            View::Verifying => page::password("Verifying...", size),
        };
        if let Some(prompt) = self.prompt.as_ref().filter(|p| !p.is_over(now_ms)) {
            page::prompt(&mut frame, &question(&prompt.command));
        } else if let Some(note) = self.note.as_ref().filter(|n| now_ms < n.until_ms) {
            page::note(&mut frame, &note.text);
        }
        frame
    }

    fn answer(&mut self, now_ms: u64, key: Key, prompt: Prompt) -> Option<Wish> {
        if prompt.is_over(now_ms) {
            return None;
        }
        match key {
            Key::Char(b'y' | b'Y') if now_ms.saturating_sub(prompt.since_ms) < TOO_FAST_MS => {
                self.note(
                    now_ms,
                    "Nothing done: the y came with other text.".to_owned(),
                );
                None
            }
            Key::Char(b'y' | b'Y') => Some(Wish::Do(prompt.command)),
            _ => {
                self.note(now_ms, "Nothing done.".to_owned());
                None
            }
        }
    }

    fn page_key(&mut self, now_ms: u64, key: Key, snapshot: &Snapshot) -> Option<Wish> {
        let services = snapshot.services();
        let at = self.selected(snapshot);
        let selected = services.get(at);
        let mut select = |to: usize| {
            let to = to.min(services.len().saturating_sub(1));
            self.selected = services.get(to).map(|service| service.name.clone());
        };
        match key {
            Key::Up | Key::Char(b'k') => select(at.saturating_sub(1)),
            Key::Down | Key::Char(b'j') => select(at + 1),
            Key::PageUp => select(at.saturating_sub(5)),
            Key::PageDown => select(at + 5),
            Key::Home | Key::Char(b'g') => select(0),
            Key::End | Key::Char(b'G') => select(usize::MAX),
            Key::Char(b'l') => return self.log_in(now_ms),
            Key::Char(b'r' | b's' | b'R' | b'P') if self.is_locked() => {
                self.note(
                    now_ms,
                    "A password is set: log in for that, with l.".to_owned(),
                );
            }
            Key::Enter | Key::Right => {
                self.view = View::Log(LogView::new(selected?.name.clone()));
            }
            Key::Char(b'd') => self.details = !self.details,
            Key::Char(b'c') => return Some(Wish::ToggleColours),
            Key::Char(b'?' | b'h') => self.view = View::Help,
            Key::Char(b'r') => self.ask(now_ms, Command::Restart(selected?.name.clone())),
            Key::Char(b's') => {
                use api::ServiceState::{Done, Failed, Stopped};
                let service = selected?;
                let name = service.name.clone();
                let command = match service.state {
                    Stopped | Failed | Done => Command::Start(name),
                    _ => Command::Stop(name),
                };
                self.ask(now_ms, command);
            }
            Key::Char(b'R') => self.ask(now_ms, Command::Power(api::Power::Reboot)),
            Key::Char(b'P') => self.ask(now_ms, Command::Power(api::Power::Poweroff)),
            _ => {}
        }
        None
    }

    fn log_in(&mut self, now_ms: u64) -> Option<Wish> {
        let wait_ms = self.closed_until_ms.saturating_sub(now_ms);
        match &self.access {
            Access::Free => return Some(Wish::LogIn),
            Access::Password if wait_ms > 0 => {
                let seconds = wait_ms.div_ceil(1_000);
                self.note(now_ms, format!("After a wrong password: wait {seconds} s."));
            }
            Access::Password => {
                let (entry, since_ms) = (Entry::new(), now_ms);
                self.view = View::Password { entry, since_ms };
            }
            Access::Unknown => {
                let why = "Not yet: the store has not said whether a password is set.";
                self.note(now_ms, why.to_owned());
            }
            Access::Closed(reason) => {
                let why = format!("Nobody can log in: {}", model::clean(reason));
                self.note(now_ms, why);
            }
        }
        None
    }

    /// Whoever may not log in may not change the machine either. Where that is not known, in a boot
    /// in which the store has never answered, restarts are what may heal it.
    fn is_locked(&self) -> bool {
        matches!(self.access, Access::Password | Access::Closed(_))
    }

    fn ask(&mut self, now_ms: u64, command: Command) {
        self.prompt = Some(Prompt {
            command,
            since_ms: now_ms,
        });
    }

    fn selected(&self, snapshot: &Snapshot) -> usize {
        let name = self.selected.as_deref();
        snapshot
            .services()
            .iter()
            .position(|service| Some(service.name.as_str()) == name)
            .unwrap_or(0)
    }
}

impl Prompt {
    fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= PROMPT_MS
    }
}

fn verb(command: &Command) -> String {
    match command {
        Command::Restart(service) => format!("restart {service}"),
        Command::Start(service) => format!("start {service}"),
        Command::Stop(service) => format!("stop {service}"),
        Command::Power(api::Power::Reboot) => "reboot".to_owned(),
        Command::Power(api::Power::Poweroff) => "switch off".to_owned(),
        Command::Power(api::Power::SoftReboot) => "restart all services".to_owned(),
    }
}

fn question(command: &Command) -> String {
    match command {
        Command::Restart(service) => format!("Restart {service}?"),
        Command::Start(service) => format!("Start {service}?"),
        Command::Stop(service) => format!("Stop {service} and what needs it?"),
        Command::Power(api::Power::Reboot) => "REBOOT this machine?".to_owned(),
        Command::Power(api::Power::Poweroff) => "Switch this machine OFF?".to_owned(),
        Command::Power(api::Power::SoftReboot) => "Restart ALL services?".to_owned(),
    }
}
