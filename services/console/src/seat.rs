//! One terminal with whoever sits at it: the page, or a person's session.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Instant;

use rustix::event::PollFlags;
use serde_json::{Map, Value, json};

use crate::asker::{Asker, Question};
use crate::core::{Access, Core, Wish};
use crate::entry::Secret;
use crate::gate::Gate;
use crate::input::Key;
use crate::model::Snapshot;
use crate::session::{End, Session, Shell};
use crate::terminal::Slot;
use crate::throttle::Throttle;

/// The page is sent in full so often, for whatever the kernel may have written across it.
const REPAINT_MS: u64 = 30_000;
/// A key after a longer silence means that somebody has come, perhaps with another terminal.
const SILENCE_MS: u64 = 15_000;
/// How often a log is fetched that somebody looks at.
const LOG_MS: u64 = 1_000;
/// An ESC that nothing follows for so long is a key. At 9600 baud a byte takes one millisecond.
const ESCAPE_MS: u64 = 100;

const FREE_NOTICE: &str = "\
No password is set: whoever sits at this terminal may log in. A password_hash in
the section [login] of the configuration changes that.
";

/// What all terminals share.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) asker: Asker,
    pub(crate) gate: Gate,
    pub(crate) shell: Shell,
    pub(crate) throttle: Throttle,
}

#[derive(Debug)]
pub(crate) struct Seat {
    number: usize,
    slot: Slot,
    /// While it lasts the terminal belongs to it.
    session: Option<Session>,
    /// The page may look different now.
    pub(crate) changed: bool,
    pub(crate) repaint_at_ms: u64,
    last_key_ms: u64,
    /// When the ESC that waits is taken for a key.
    escape_at_ms: Option<u64>,
    log_at_ms: u64,
    pub(crate) log_pending: bool,
    access: Access,
}

impl Seat {
    pub(crate) fn new((number, path): (usize, PathBuf)) -> Self {
        Self {
            number,
            slot: Slot::new(path),
            session: None,
            changed: true,
            repaint_at_ms: 0,
            last_key_ms: 0,
            escape_at_ms: None,
            log_at_ms: 0,
            log_pending: false,
            access: Access::default(),
        }
    }

    pub(crate) fn core(&mut self, work: impl FnOnce(&mut Core)) {
        if let Some(terminal) = &mut self.slot.terminal {
            work(&mut terminal.core);
            self.changed = true;
        }
    }

    pub(crate) fn admit(&mut self, access: &Access) {
        self.access = access.clone();
        self.core(|core| core.admit(access.clone()));
    }

    /// The descriptors that wake the loop.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let terminal = self.slot.terminal.as_ref();
        let line = terminal.and_then(|terminal| {
            let mut flags = match &self.session {
                None => PollFlags::IN,
                // A hang-up is reported whatever is asked for.
                Some(session) if session.listens_for_hangup() => PollFlags::empty(),
                Some(_) => return None,
            };
            flags.set(PollFlags::OUT, terminal.is_busy());
            Some((terminal.fd(), flags))
        });
        let session = self.session.as_ref();
        let exit = session.map(|session| (session.exit_fd(), PollFlags::IN));
        line.into_iter().chain(exit)
    }

    /// Everything that can be done now.
    pub(crate) fn turn(&mut self, now_ms: u64, snapshot: &Snapshot, room: &mut Room) {
        self.look_after_session(now_ms, room);
        if self.session.is_some() {
            return;
        }
        let was_open = self.slot.terminal.is_some();
        self.slot.open(now_ms);
        if !was_open && let Some(terminal) = &mut self.slot.terminal {
            terminal.core.admit(self.access.clone());
            self.changed = true;
            self.log_pending = false;
            self.repaint_at_ms = now_ms.saturating_add(REPAINT_MS);
        }
        self.read(now_ms, snapshot, room);
        if self.session.is_some() {
            return;
        }
        self.fetch_log(now_ms, &room.asker);
        let repaint = now_ms >= self.repaint_at_ms;
        if repaint {
            self.repaint_at_ms = now_ms.saturating_add(REPAINT_MS);
            self.changed = true;
        }
        let changed = &mut self.changed;
        self.slot.with(now_ms, |terminal| {
            terminal.core.tick(now_ms);
            if repaint {
                terminal.repaint();
            }
            terminal.flush()?;
            // A busy device gets its page when it has taken the one before.
            if *changed && !terminal.is_busy() {
                *changed = false;
                terminal.draw(now_ms, snapshot)?;
            }
            Ok(())
        });
    }

    /// When the next turn is due, if nothing happens before.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        if let Some(session) = &self.session {
            return Some(session.due_ms());
        }
        if let Some(retry) = self.slot.due_ms() {
            return Some(retry);
        }
        let terminal = self.slot.terminal.as_ref()?;
        let log = terminal.core.log_wanted().filter(|_| !self.log_pending);
        [
            Some(self.repaint_at_ms),
            self.escape_at_ms,
            log.map(|_| self.log_at_ms),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The password was right or wrong.
    pub(crate) fn verdict(&mut self, now_ms: u64, accepted: bool, room: &mut Room) {
        let terminal = self.slot.terminal.as_ref();
        if !terminal.is_some_and(|terminal| terminal.core.is_verifying()) {
            // The line was lost meanwhile: whoever is there now has not typed that password.
            return;
        }
        if accepted {
            room.throttle.succeeded();
        } else {
            room.throttle.failed(now_ms);
            let payload = self.describe(&[("reason", json!("wrong password"))]);
            room.gate.record("login.refused", payload);
        }
        let wait_ms = room.throttle.wait_ms(now_ms);
        self.core(|core| core.verdict(now_ms, accepted, wait_ms));
        if accepted {
            self.begin(now_ms, "password", "", room);
        }
    }

    fn read(&mut self, now_ms: u64, snapshot: &Snapshot, room: &mut Room) {
        let mut bytes = Default::default();
        self.slot.with(now_ms, |terminal| {
            bytes = terminal.read()?;
            Ok(())
        });
        for byte in bytes.iter() {
            let Some(terminal) = &mut self.slot.terminal else {
                return;
            };
            if terminal.core.wants_bytes() {
                self.changed = true;
                let wish = terminal.core.password_byte(now_ms, *byte);
                self.grant(now_ms, wish, room);
            } else if let Some(key) = terminal.key(*byte) {
                self.key(now_ms, key, snapshot, room);
            }
            if self.session.is_some() {
                // What follows was typed for a page that is gone.
                return;
            }
        }
        if let Some(key) = self.lone_escape(now_ms) {
            self.key(now_ms, key, snapshot, room);
        }
    }

    fn lone_escape(&mut self, now_ms: u64) -> Option<Key> {
        let Some(terminal) = self.slot.terminal.as_mut().filter(|t| t.waits()) else {
            self.escape_at_ms = None;
            return None;
        };
        let at = *self
            .escape_at_ms
            .get_or_insert(now_ms.saturating_add(ESCAPE_MS));
        if now_ms < at {
            return None;
        }
        self.escape_at_ms = None;
        terminal.pause()
    }

    fn key(&mut self, now_ms: u64, key: Key, snapshot: &Snapshot, room: &mut Room) {
        let Some(terminal) = &mut self.slot.terminal else {
            return;
        };
        let silence = now_ms.saturating_sub(self.last_key_ms);
        self.last_key_ms = now_ms;
        self.changed = true;
        if silence > SILENCE_MS {
            terminal.repaint();
        }
        let size = terminal.size();
        let wish = terminal.core.key(now_ms, key, snapshot, size);
        self.grant(now_ms, wish, room);
    }

    fn grant(&mut self, now_ms: u64, wish: Option<Wish>, room: &mut Room) {
        let Some(terminal) = &mut self.slot.terminal else {
            return;
        };
        match wish {
            None => {}
            Some(Wish::Redraw) => terminal.repaint(),
            Some(Wish::ToggleColours) => terminal.toggle_colours(),
            Some(Wish::LogIn) => self.begin(now_ms, "free", FREE_NOTICE, room),
            Some(Wish::Verify(secret)) => self.verify(now_ms, secret, room),
            Some(Wish::Do(command)) => {
                let question = Question::Do {
                    terminal: self.number,
                    command: command.clone(),
                    asked: Instant::now(),
                };
                if !room.asker.ask(question) {
                    let busy = Err("PID 1 is busy; try again".to_owned());
                    terminal.core.done(now_ms, &command, busy);
                }
            }
        }
    }

    fn verify(&mut self, now_ms: u64, secret: Secret, room: &Room) {
        // Somebody at another terminal may have been wrong since this one was asked.
        let wait_ms = room.throttle.wait_ms(now_ms);
        if wait_ms > 0 || !room.gate.verify(self.number, secret) {
            self.core(|core| core.verdict(now_ms, false, wait_ms.max(1_000)));
        }
    }

    fn begin(&mut self, now_ms: u64, how: &str, notice: &str, room: &Room) {
        let (shell, path) = (&room.shell, self.slot.path.clone());
        let mut session = None;
        self.slot.with(now_ms, |terminal| {
            terminal.lend(notice)?;
            match Session::start(&path, shell, now_ms) {
                Ok(started) => session = Some(started),
                Err(error) => {
                    terminal.take_back()?;
                    let text = format!("The session could not be started: {error}");
                    terminal.core.note(now_ms, text);
                }
            }
            Ok(())
        });
        if session.is_some() {
            room.gate
                .record("login.accepted", self.describe(&[("how", json!(how))]));
        }
        self.session = session;
    }

    fn look_after_session(&mut self, now_ms: u64, room: &Room) {
        let (Some(session), Some(terminal)) = (&mut self.session, &mut self.slot.terminal) else {
            return;
        };
        // The rest of the notice; the person's program has the line otherwise.
        terminal.flush().ok();
        let Some(end) = session.turn(now_ms, terminal.fd()) else {
            return;
        };
        let seconds = session.seconds(now_ms);
        self.session = None;
        self.changed = true;
        self.repaint_at_ms = now_ms.saturating_add(REPAINT_MS);
        let payload = [("reason", json!(end.word())), ("seconds", json!(seconds))];
        room.gate.record("login.ended", self.describe(&payload));
        self.slot.with(now_ms, |terminal| {
            terminal.take_back()?;
            if let Some(remark) = End::remark(end) {
                terminal.core.note(now_ms, remark);
            }
            Ok(())
        });
    }

    fn describe(&self, more: &[(&str, Value)]) -> Map<String, Value> {
        let name = self.slot.path.file_name().unwrap_or_default();
        let mut payload = Map::new();
        payload.insert("terminal".into(), json!(name.to_string_lossy()));
        for (key, value) in more {
            payload.insert((*key).into(), value.clone());
        }
        payload
    }

    fn fetch_log(&mut self, now_ms: u64, asker: &Asker) {
        let Some(terminal) = &self.slot.terminal else {
            return;
        };
        let Some(service) = terminal.core.log_wanted() else {
            // A log that is opened later is fetched at once.
            self.log_at_ms = 0;
            return;
        };
        if self.log_pending || now_ms < self.log_at_ms {
            return;
        }
        self.log_at_ms = now_ms.saturating_add(LOG_MS);
        self.log_pending = asker.ask(Question::Log {
            terminal: self.number,
            service: service.to_owned(),
        });
    }
}
