//! Whatever takes bytes from outside, for fuzzing; each must only return. And what is valid, to
//! start from.

use std::io::{self, BufReader};

use redb::backends::InMemoryBackend;
use serde_json::json;

use crate::backup::{self, Header};
use crate::core::{Machine, Now};
use crate::engine::{Engine, Fail, Stamp, object};
use crate::event::Record;
use crate::serve::request;

/// A message of a caller.
pub fn call(bytes: &[u8]) {
    // A refusal has a name, whatever was wrong.
    if let Some(Err(refusal)) = request::read(bytes) {
        assert!(!refusal.to_wire().0.is_empty());
    }
}

/// Calls to start from.
#[must_use]
pub fn calls() -> Vec<Vec<u8>> {
    let call = |method: &str, parameters: serde_json::Value| {
        let method = format!("{}.{method}", store_api::INTERFACE);
        json!({ "method": method, "parameters": parameters, "more": true })
            .to_string()
            .into_bytes()
    };
    vec![
        call(
            "Put",
            json!({ "key": "a/b", "value": { "n": [1.5, null] }, "expected": 7 }),
        ),
        call("Watch", json!({ "prefix": "a/" })),
        call(
            "Record",
            json!({ "kind": "link.up", "payload": { "link": "lan0" } }),
        ),
        call(
            "Apply",
            json!({ "text": "[system]\n", "author": "a", "reason": "b", "confirm_within_s": 60 }),
        ),
        call("Upload", json!({ "offset": 0, "chunk": "AAAA" })),
    ]
}

/// A record of the event log.
pub fn event(bytes: &[u8]) {
    if let Ok((record, hash)) = Record::decode(bytes) {
        // What can be read can be written, and is the same then.
        let (again, _) = record.encode(&[0; 32]);
        assert_eq!(again[..again.len() - 32], bytes[..bytes.len() - 32]);
        assert_eq!(hash[..], bytes[bytes.len() - 32..]);
    }
}

/// Records to start from.
#[must_use]
pub fn events() -> Vec<Vec<u8>> {
    let record = Record {
        sequence: 7,
        time_ms: 1_700_000_000_000,
        boottime_ms: 12,
        boot: "41d8cd98-f00b-4204-e980-0998ecf8427e".into(),
        service: "network".into(),
        kind: "link.up".into(),
        payload: r#"{"link":"lan0"}"#.into(),
    };
    vec![record.encode(&[3; 32]).0]
}

/// What a machine of generations is read from.
pub fn machine(bytes: &[u8]) {
    if let Ok(machine) = serde_json::from_slice::<Machine>(bytes)
        && machine.is_sound()
    {
        assert!(
            machine.confirmed() <= machine.effective() && machine.effective() <= machine.latest()
        );
    }
}

/// Machines to start from.
#[must_use]
pub fn machines() -> Vec<Vec<u8>> {
    let pending = r#"{"confirmed":2,"latest":3,"pending":{"generation":3,"boot":"b","applied_at_ms":7,"deadline_ms":60007}}"#;
    vec![br#"{"confirmed":1,"latest":1}"#.to_vec(), pending.into()]
}

/// A copy of a store. One that passes can be loaded, and is sound then.
pub fn copy(bytes: &[u8]) {
    if backup::check(&mut BufReader::new(bytes), |_| Ok(())).is_err() {
        return;
    }
    let stamp = stamp();
    let engine = Engine::open(InMemoryBackend::new(), &stamp).expect("memory does not fail");
    let loaded = engine.write(&stamp, |batch| batch.load(backup::items(bytes)));
    loaded.expect("what was checked can be loaded");
    let view = engine.view().expect("memory does not fail");
    let verdict = view.verify().expect("memory does not fail");
    assert_eq!(verdict.bad_sequence, None);
}

/// Copies to start from.
#[must_use]
pub fn copies() -> Vec<Vec<u8>> {
    let stamp = stamp();
    let engine = Engine::open(InMemoryBackend::new(), &stamp).expect("memory does not fail");
    let filled: Result<(), Fail> = engine.write(&stamp, |batch| {
        batch.put(
            "network",
            "lease/wan",
            json!({ "address": "192.0.2.7" }),
            None,
        )?;
        batch.put("mesh", "key", json!("x"), None)?;
        batch.record("network", "link.up", object(json!({ "link": "lan0" })))?;
        batch.import("[system]\nhostname = \"edge-7\"\n", "/dev/sda1")?;
        Ok(())
    });
    filled.expect("memory does not fail");
    let view = engine.view().expect("memory does not fail");
    let mut copy = Vec::new();
    let header = Header::new(stamp.time_ms, "edge-7".into());
    backup::write(&view, header, &mut copy).expect("memory does not fail");
    vec![copy]
}

/// An encrypted backup.
pub fn encrypted(bytes: &[u8]) {
    let mut plain = Vec::new();
    // Any verdict is fine; it must not take long, nor much memory.
    if backup::decrypt(bytes, PASSPHRASE.into(), &mut plain, 1 << 20).is_ok() {
        copy(&plain);
    }
}

/// Backups to start from: ones that are quick to try.
#[must_use]
pub fn encrypted_copies() -> Vec<Vec<u8>> {
    let encrypt = |copy: Vec<u8>| {
        backup::encrypt_quickly(Vec::new(), PASSPHRASE.into(), |file| file.write_all(&copy))
            .expect("memory does not fail")
    };
    copies().into_iter().map(encrypt).collect()
}

const PASSPHRASE: &str = "correct horse battery";

fn stamp() -> Stamp {
    Stamp {
        now: Now {
            boot: "b".into(),
            boottime_ms: 1,
        },
        time_ms: 1_700_000_000_000,
    }
}

impl From<backup::CryptError> for io::Error {
    fn from(error: backup::CryptError) -> Self {
        Self::other(error.to_string())
    }
}
