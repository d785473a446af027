//! A store that hands out configurations and notes the answers, and no more.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use api::wire::{Call, Reply, encode};
use config::Document;
use serde_json::{Value, json};

use crate::support::wait;

/// What `network` gets, and what it said of it.
#[derive(Default)]
struct State {
    generation: u64,
    sections: Value,
    answers: BTreeMap<u64, Result<(), String>>,
    is_over: bool,
    open: Vec<UnixStream>,
}

pub(crate) struct Store {
    socket: PathBuf,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Store {
    /// Listens, with a first generation.
    pub(crate) fn start(socket: &Path, document: &str) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let store = Self {
            socket: socket.to_owned(),
            shared: Arc::clone(&shared),
        };
        store.publish(document);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut state = shared.0.lock().unwrap();
                if state.is_over {
                    return;
                }
                state.open.push(stream.try_clone().unwrap());
                drop(state);
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        store
    }

    /// Hands out a document as the next generation.
    pub(crate) fn publish(&self, document: &str) -> u64 {
        let document = Document::parse(document).unwrap();
        self.publish_sections(Value::from(document.sections().clone()))
    }

    pub(crate) fn publish_sections(&self, sections: Value) -> u64 {
        let mut state = self.state();
        state.generation += 1;
        state.sections = sections;
        self.shared.1.notify_all();
        state.generation
    }

    /// Waits for what the service says of a generation.
    pub(crate) fn answer(&self, generation: u64) -> Result<(), String> {
        wait(&format!("generation {generation} is answered"), || {
            self.state().answers.get(&generation).cloned()
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }
}

/// As a store that crashes: its socket refuses, and its connections break.
impl Drop for Store {
    fn drop(&mut self) {
        let mut state = self.state();
        state.is_over = true;
        for stream in &state.open {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        drop(state);
        self.shared.1.notify_all();
        // Wakes the listener up, which then sees that it is over.
        let _ = UnixStream::connect(&self.socket);
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(stream: &UnixStream, shared: &(Mutex<State>, Condvar)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut message = Vec::new();
    while reader
        .read_until(0, &mut message)
        .is_ok_and(|length| length > 0)
    {
        message.pop();
        let call: Call = serde_json::from_slice(&message).unwrap();
        message.clear();
        match call.method.as_str() {
            "org.x0tta6bl4.Store.Configuration" => {
                if hand_out(stream, shared, call.more).is_none() {
                    return;
                }
            }
            "org.x0tta6bl4.Store.Applied" => {
                let parameters = call.parameters.unwrap();
                let outcome = match parameters["ok"].as_bool().unwrap() {
                    true => Ok(()),
                    false => Err(parameters["message"].as_str().unwrap().to_owned()),
                };
                let generation = parameters["generation"].as_u64().unwrap();
                let mut state = shared.0.lock().unwrap();
                state.answers.insert(generation, outcome);
                drop(state);
                reply(stream, json!({}), false);
            }
            other => panic!("unexpected call {other}"),
        }
    }
}

/// With `more` at each change, until somebody hangs up: `None`.
fn hand_out(stream: &UnixStream, shared: &(Mutex<State>, Condvar), more: bool) -> Option<()> {
    let mut told = 0;
    let mut state = shared.0.lock().unwrap();
    loop {
        if state.is_over {
            return None;
        }
        if state.generation > told {
            told = state.generation;
            let parameters = json!({ "generation": told, "sections": state.sections });
            if !reply(stream, parameters, more) {
                return None;
            }
        }
        if !more {
            return Some(());
        }
        state = shared.1.wait(state).unwrap();
    }
}

fn reply(mut stream: &UnixStream, parameters: Value, continues: bool) -> bool {
    let reply = Reply {
        parameters: Some(parameters),
        continues,
        error: None,
    };
    stream.write_all(&encode(&reply)).is_ok()
}
