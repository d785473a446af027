//! A store that is none: it hands out one section and notes what it is told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use api::wire::{Call, Reply, encode};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Facts {
    generation: u64,
    login: Value,
    /// Kinds and payloads of events.
    events: Vec<(String, Value)>,
    /// The last generation that was answered.
    applied: u64,
}

pub(crate) struct Store {
    shared: Arc<(Mutex<Facts>, Condvar)>,
}

impl Store {
    pub(crate) fn start(socket: &Path, login: Value) -> Self {
        let listener = UnixListener::bind(socket).expect("the folder has no store yet");
        let facts = Facts {
            generation: 1,
            login,
            ..Facts::default()
        };
        let shared = Arc::new((Mutex::new(facts), Condvar::new()));
        let store = Self {
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        store
    }

    /// Another configuration applies; returns when the console has taken it.
    pub(crate) fn change(&self, login: Value) {
        let (facts, changed) = &*self.shared;
        let mut facts = facts.lock().expect("no holder panics");
        facts.login = login;
        facts.generation += 1;
        changed.notify_all();
        drop(facts);
        self.wait_for_applied();
    }

    /// Waits until the console has answered the present generation.
    pub(crate) fn wait_for_applied(&self) {
        self.wait(|facts| (facts.applied == facts.generation).then_some(()));
    }

    /// Waits for the next event of this kind and takes it.
    #[track_caller]
    pub(crate) fn event(&self, kind: &str) -> Value {
        self.wait(|facts| {
            let at = facts.events.iter().position(|(name, _)| name == kind)?;
            Some(facts.events.remove(at).1)
        })
    }

    #[track_caller]
    fn wait<T>(&self, mut look: impl FnMut(&mut Facts) -> Option<T>) -> T {
        let (facts, changed) = &*self.shared;
        let end = Instant::now() + DEADLINE;
        let mut facts = facts.lock().expect("no holder panics");
        loop {
            if let Some(found) = look(&mut facts) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it does not happen: {:?}", facts.events);
            facts = changed
                .wait_timeout(facts, left)
                .expect("no holder panics")
                .0;
        }
    }
}

fn serve(stream: &UnixStream, shared: &(Mutex<Facts>, Condvar)) {
    let (facts, changed) = shared;
    let mut reader = BufReader::new(stream);
    loop {
        let mut message = Vec::new();
        if reader.read_until(0, &mut message).is_err() || message.pop() != Some(0) {
            return;
        }
        let call: Call = serde_json::from_slice(&message).expect("the client speaks Varlink");
        let parameters = call.parameters.unwrap_or_default();
        let mut facts = facts.lock().expect("no holder panics");
        let answer = match call.method.rsplit('.').next().expect("rsplit gives one") {
            "Configuration" => {
                drop(facts);
                hand_out(stream, shared);
                return;
            }
            "Applied" => {
                facts.applied = parameters["generation"].as_u64().expect("a number");
                json!({})
            }
            "Record" => {
                let kind = parameters["kind"].as_str().expect("a text").to_owned();
                facts.events.push((kind, parameters["payload"].clone()));
                json!({ "sequence": facts.events.len() })
            }
            other => panic!("the console has no business with {other}"),
        };
        changed.notify_all();
        drop(facts);
        if !send(stream, answer, false) {
            return;
        }
    }
}

/// Every generation, for as long as somebody takes them.
fn hand_out(stream: &UnixStream, (facts, changed): &(Mutex<Facts>, Condvar)) {
    let mut facts = facts.lock().expect("no holder panics");
    let mut sent = 0;
    loop {
        if facts.generation > sent {
            sent = facts.generation;
            let sections = json!({ "login": facts.login });
            if !send(
                stream,
                json!({ "generation": sent, "sections": sections }),
                true,
            ) {
                return;
            }
        }
        facts = changed.wait(facts).expect("no holder panics");
    }
}

fn send(mut stream: &UnixStream, parameters: Value, continues: bool) -> bool {
    let reply = Reply {
        parameters: Some(parameters),
        continues,
        error: None,
    };
    stream.write_all(&encode(&reply)).is_ok()
}
