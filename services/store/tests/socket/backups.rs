use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};

use serde_json::json;
use store_api::wire::{ApplyCall, RestoreCall};
use store_api::{BackupError, EventFilter, Refusal};

use crate::support::{LIMIT, Store, payload, snapshots, wait_until};

const PASSPHRASE: &str = "correct horse battery";

fn restore(dry_run: bool) -> RestoreCall {
    RestoreCall {
        passphrase: PASSPHRASE.into(),
        author: "ada".into(),
        dry_run,
        confirm_within_s: Some(60),
    }
}

fn apply(store: &Store, text: &str) -> u64 {
    let call = ApplyCall {
        text: text.into(),
        author: "ada".into(),
        reason: "test".into(),
        session: None,
        confirm_within_s: None,
    };
    store.client().apply(&call).unwrap()
}

fn backup(store: &Store) -> Vec<u8> {
    let mut file = Vec::new();
    let bytes = store.client().backup(PASSPHRASE, &mut file, LIMIT).unwrap();
    assert_eq!(bytes, file.len() as u64);
    file
}

fn refusal(error: BackupError) -> Refusal {
    match error {
        BackupError::Call(store_api::CallError::Refused(refusal)) => refusal,
        other => panic!("{other}"),
    }
}

#[test]
fn a_backup_brings_state_and_configuration_to_another_machine() {
    let store = Store::start();
    let mut client = store.client();
    for index in 0..200 {
        let value = json!({ "n": index, "text": "x".repeat(4000) });
        client.put(&format!("key/{index}"), &value, None).unwrap();
    }
    client.record("link.up", payload("lan0")).unwrap();
    apply(&store, "[system]\nhostname = \"edge-7\"\n");
    let file = backup(&store);
    assert!(file.starts_with(b"age-encryption.org/v1\n"));
    assert!(!file.windows(6).any(|w| w == b"edge-7"), "it is encrypted");

    let other = Store::start();
    let mut client = other.client();
    client.put("mine", &1, None).unwrap();
    let mut watch = other.client().watch("").unwrap();
    watch.next(LIMIT).unwrap().unwrap();
    let (summary, generation) = client
        .restore(&mut file.as_slice(), &restore(true))
        .unwrap();
    assert_eq!(
        (summary.state_keys, summary.generation, generation),
        (200, 2, None)
    );
    assert!(
        client.get("mine").unwrap().is_some(),
        "a dry run changes nothing"
    );

    let (_, generation) = client
        .restore(&mut file.as_slice(), &restore(false))
        .unwrap();
    assert_eq!(client.get("mine").unwrap(), None);
    assert_eq!(client.get("key/7").unwrap().unwrap().value["n"], 7);
    let pending = client.configuration_status().unwrap().pending.unwrap();
    assert_eq!(
        Some(pending.generation),
        generation,
        "it has to be confirmed"
    );
    assert!(watch.next(LIMIT).is_err(), "who watches starts over");
    let filter = EventFilter {
        kind: Some("store.restored".into()),
        ..EventFilter::default()
    };
    assert_eq!(client.events(filter).unwrap().len(), 1, "the log goes on");
    assert_eq!(client.verify_events().unwrap().bad_sequence, None);
}

#[test]
fn hostile_backups_are_refused_and_change_nothing() {
    let store = Store::start();
    let mut client = store.client();
    client.put("mine", &1, None).unwrap();
    let good = backup(&store);
    let attempt = |bytes: &[u8], call: &RestoreCall| {
        refusal(store.client().restore(&mut &*bytes, call).unwrap_err())
    };
    let wrong = RestoreCall {
        passphrase: "another one".into(),
        ..restore(false)
    };
    assert_eq!(attempt(&good, &wrong), Refusal::WrongPassphrase {});
    let mut flipped = good.clone();
    let middle = good.len() - 100;
    flipped[middle] ^= 1;
    let greedy = String::from_utf8_lossy(&good[..200]).replace(" 16\n", " 40\n");
    let cases: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("no age file", b"hello".repeat(1000)),
        ("cut in the header", good[..100].to_vec()),
        ("cut at the end", good[..good.len() - 1].to_vec()),
        ("flipped", flipped),
        ("too much work", greedy.into_bytes()),
    ];
    for (what, bytes) in cases {
        let refusal = attempt(&bytes, &restore(false));
        assert!(
            matches!(refusal, Refusal::BadBackup { .. }),
            "{what}: {refusal}"
        );
    }
    assert_eq!(client.get("mine").unwrap().unwrap().value, 1);
    let mut unused = Vec::new();
    let short = client.backup("short", &mut unused, LIMIT).unwrap_err();
    assert!(matches!(refusal(short), Refusal::BadParameter { .. }));
}

#[test]
fn a_damaged_file_is_moved_aside_and_the_newest_snapshot_takes_its_place() {
    let mut store = Store::start();
    let mut client = store.client();
    client.put("kept", &1, None).unwrap();
    let generation = apply(&store, "[system]\nhostname = \"edge-7\"\n");
    client.snapshot().unwrap();
    client.put("lost", &1, None).unwrap();
    drop(client);
    store.stop();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(store.file())
        .unwrap();
    let length = file.metadata().unwrap().len();
    // Everything but redb's header.
    for offset in (4096..length).step_by(512) {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&[0xa5; 64]).unwrap();
    }
    drop(file);
    store.restart();
    let mut client = store.client();
    let statistics = client.statistics().unwrap();
    assert!(
        statistics.durable && statistics.note.contains("restored from"),
        "{}",
        statistics.note
    );
    assert!(client.get("kept").unwrap().is_some());
    assert_eq!(client.get("lost").unwrap(), None);
    assert_eq!(client.configuration().unwrap().generation, generation);
    assert_eq!(client.verify_events().unwrap().bad_sequence, None);
    assert!(
        store.folder().join("store.redb.damaged-1").exists(),
        "never deleted"
    );
    client.put("new", &1, None).unwrap();
    store.restart();
    assert!(store.client().get("new").unwrap().is_some());
}

#[test]
fn without_a_snapshot_the_document_is_taken_from_its_mirror() {
    let mut store = Store::start();
    let text = "[system]\nhostname = \"edge-7\"\n";
    apply(&store, text);
    wait_until("the mirror", || {
        fs::read_to_string(store.folder().join("running.toml")).is_ok_and(|mirror| mirror == text)
    });
    wait_until("the snapshots", || snapshots(&store.folder()) > 0);
    store.stop();
    for copy in fs::read_dir(store.folder()).unwrap().flatten() {
        if copy.path().extension().is_some_and(|e| e == "jsonl") {
            fs::write(copy.path(), "{}\n").unwrap();
        }
    }
    fs::write(store.file(), "no database at all").unwrap();
    store.restart();
    let mut client = store.client();
    let configuration = client.configuration().unwrap();
    assert_eq!(configuration.sections["system"]["hostname"], "edge-7");
    assert!(client.statistics().unwrap().note.contains("begins anew"));
}

#[test]
fn a_store_of_the_future_stays_as_it_is_and_the_router_goes_on() {
    let mut store = Store::start();
    let text = "[system]\nhostname = \"edge-7\"\n";
    apply(&store, text);
    wait_until("the mirror", || {
        fs::read_to_string(store.folder().join("running.toml")).is_ok_and(|mirror| mirror == text)
    });
    store.stop();
    fs::write(store.folder().join("format"), "99\n").unwrap();
    let before = fs::read(store.file()).unwrap();
    store.restart();
    let mut client = store.client();
    let statistics = client.statistics().unwrap();
    assert!(!statistics.durable);
    assert!(
        statistics.note.contains("boot the newer slot"),
        "{}",
        statistics.note
    );
    let configuration = client.configuration().unwrap();
    assert_eq!(configuration.sections["system"]["hostname"], "edge-7");
    client.put("k", &1, None).unwrap();
    store.stop();
    assert!(
        fs::read(store.file()).unwrap() == before,
        "it is left untouched"
    );
}

#[test]
fn a_file_that_ends_every_start_is_moved_aside() {
    let mut store = Store::start();
    store.stop();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let attempts = store.folder().join("attempts");
    // Of another boot, whose power may have failed.
    fs::write(&attempts, "other 9\n").unwrap();
    store.restart();
    assert!(!store.folder().join("store.redb.damaged-1").exists());
    store.stop();
    fs::write(&attempts, format!("{} 3\n", boot.trim())).unwrap();
    store.restart();
    assert!(store.folder().join("store.redb.damaged-1").exists());
    assert!(store.client().statistics().unwrap().durable);
}
