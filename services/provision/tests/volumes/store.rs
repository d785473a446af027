//! A store that imports, and no more.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use api::wire::{Call, Reply, encode};
use serde_json::{Value, json};

/// Ends with the test's process.
pub(crate) struct Store(Arc<Mutex<Vec<String>>>);

impl Store {
    pub(crate) fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let imported = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&imported);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let imported = Arc::clone(&shared);
                thread::spawn(move || serve(&stream.unwrap(), &imported));
            }
        });
        Self(imported)
    }

    /// The texts that became generations.
    pub(crate) fn imported(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn serve(mut stream: &UnixStream, imported: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut message = Vec::new();
    while reader.read_until(0, &mut message).unwrap() > 0 {
        message.pop();
        let call: Call = serde_json::from_slice(&message).unwrap();
        message.clear();
        let mut imported = imported.lock().unwrap();
        let parameters = match call.method.as_str() {
            "org.x0tta6bl4.Store.Configuration" => {
                json!({ "generation": imported.len() + 1, "sections": {} })
            }
            "org.x0tta6bl4.Store.Import" => {
                let text = call.parameters.unwrap()["text"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                let is_known = imported.contains(&text);
                imported.push(text);
                if is_known {
                    imported.pop();
                    json!({})
                } else {
                    json!({ "generation": imported.len() + 1 })
                }
            }
            other => panic!("unexpected call {other}"),
        };
        let reply = Reply::<Value> {
            parameters: Some(parameters),
            continues: false,
            error: None,
        };
        stream.write_all(&encode(&reply)).unwrap();
    }
}
