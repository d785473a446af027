use super::*;
use crate::core::{Command, Now};
use crate::engine::configuration::Proposal;
use redb::backends::InMemoryBackend;
use serde_json::{Map, json};
use store_api::{GenerationState, Refusal};

fn stamp(boot: &str, boottime_ms: u64) -> Stamp {
    Stamp {
        now: Now {
            boot: boot.into(),
            boottime_ms,
        },
        time_ms: 1_700_000_000_000,
    }
}

fn engine() -> Engine {
    Engine::open(InMemoryBackend::new(), &stamp("a", 0)).unwrap()
}

fn write<T>(engine: &Engine, work: impl FnOnce(&mut Batch<'_>) -> Result<T, Fail>) -> T {
    engine.write(&stamp("a", 1000), work).unwrap()
}

fn refused<T: std::fmt::Debug>(
    engine: &Engine,
    work: impl FnOnce(&mut Batch<'_>) -> Result<T, Fail>,
) -> Refusal {
    match engine.write(&stamp("a", 1000), work).unwrap_err() {
        Fail::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

fn proposal(text: &str, confirm_within_ms: Option<u64>) -> Proposal {
    Proposal {
        text: text.into(),
        author: "ada".into(),
        reason: "a try".into(),
        copy_of: None,
        confirm_within_ms,
    }
}

#[test]
fn versions_grow_and_guard() {
    let engine = engine();
    let put = |value: u32, expected| {
        move |batch: &mut Batch<'_>| batch.put("network", "lease", json!(value), expected)
    };
    let first = write(&engine, put(1, Some(0)));
    let conflict = refused(&engine, put(2, Some(0)));
    assert_eq!(
        conflict,
        Refusal::Conflict {
            key: "lease".into(),
            version: first
        }
    );
    assert!(write(&engine, |b| b.delete(
        "network",
        "lease",
        Some(first)
    )));
    assert!(!write(&engine, |b| b.delete("network", "lease", None)));
    let again = write(&engine, put(3, None));
    assert!(
        again > first + 1,
        "a deleted key's version never comes back"
    );
    let view = engine.view().unwrap();
    assert_eq!(view.get("network", "lease").unwrap().unwrap().value, 3);
    assert_eq!(
        view.get("other", "lease").unwrap(),
        None,
        "keys are per service"
    );
}

#[test]
fn a_prefix_lists_its_keys_of_one_service_in_their_order() {
    let engine = engine();
    write(&engine, |batch| {
        for key in ["a", "b/2", "b/1", "b", "c"] {
            batch.put("network", key, json!(key), None)?;
        }
        batch.put("networks", "b/9", json!(0), None)
    });
    let view = engine.view().unwrap();
    let keys = |prefix: &str, after| {
        let (entries, _) = view.list("network", prefix, after).unwrap();
        entries.into_iter().map(|e| e.key).collect::<Vec<_>>()
    };
    assert_eq!(keys("b", None), ["b", "b/1", "b/2"]);
    assert_eq!(keys("b/", Some("b/1")), ["b/2"]);
    assert_eq!(keys("", None).len(), 5);
    assert_eq!(keys("x", None), Vec::<String>::new());
}

#[test]
fn shares_are_bounded_and_deleting_gives_them_back() {
    let engine = engine();
    let large = json!("x".repeat(60_000));
    let filled = refused(&engine, |batch| {
        for index in 0.. {
            batch.put("hog", &format!("k{index}"), large.clone(), None)?;
        }
        Ok(())
    });
    assert!(matches!(filled, Refusal::QuotaExceeded { ref what, .. } if what == "bytes"));
    assert_eq!(
        engine.view().unwrap().fill().unwrap().state_keys,
        0,
        "nothing of it was kept"
    );
    let too_large = refused(&engine, |b| {
        b.put("hog", "k", json!("x".repeat(70_000)), None)
    });
    assert!(matches!(too_large, Refusal::TooLarge { .. }));
    for bad in ["", "a b", "ä", &"k".repeat(257), "a\n"] {
        let bad = refused(&engine, |b| b.put("hog", bad, json!(1), None));
        assert!(matches!(bad, Refusal::BadKey { .. }));
    }
    write(&engine, |b| b.put("hog", "k", json!("xyz"), None));
    write(&engine, |b| b.put("hog", "k", json!(1), None));
    assert_eq!(engine.view().unwrap().fill().unwrap().state_bytes, 2);
    write(&engine, |b| b.delete("hog", "k", None));
    assert_eq!(engine.view().unwrap().fill().unwrap().state_bytes, 0);
}

#[test]
fn the_chain_holds_when_its_beginning_was_dropped_and_shows_what_was_changed() {
    let engine = engine();
    let payload = || Map::from_iter([("text".into(), json!("x".repeat(7000)))]);
    for _ in 0..4 {
        write(&engine, |batch| {
            (0..400).try_for_each(|_| batch.record("network", "test", payload()).map(drop))
        });
    }
    let view = engine.view().unwrap();
    let fill = view.fill().unwrap();
    assert!(fill.first_event > 1 && fill.events_bytes <= events::EVENTS_MAX_BYTES);
    let verdict = view.verify().unwrap();
    assert_eq!((verdict.first, verdict.last), (fill.first_event, 1600));
    assert_eq!(verdict.bad_sequence, None);
    drop(view);

    let victim = fill.first_event + 7;
    write(&engine, |batch| {
        let mut bytes = redb::ReadableTable::get(&batch.events, victim)?
            .unwrap()
            .value()
            .to_vec();
        bytes[200] ^= 1;
        batch.events.insert(victim, bytes.as_slice())?;
        batch.is_dirty = true;
        Ok(())
    });
    let verdict = engine.view().unwrap().verify().unwrap();
    assert_eq!(verdict.bad_sequence, Some(victim));
    write(&engine, |batch| {
        batch.events.remove(victim - 1)?;
        batch.is_dirty = true;
        Ok(())
    });
    let verdict = engine.view().unwrap().verify().unwrap();
    assert_eq!(verdict.bad_sequence, Some(victim - 1));
    assert_eq!(verdict.reason.as_deref(), Some("it is missing"));
}

#[test]
fn generations_remember_who_and_why() {
    let engine = engine();
    let second = write(&engine, |b| b.apply(proposal("# two\n", None)));
    let third = write(&engine, |b| b.apply(proposal("# three\n", Some(60_000))));
    let busy = refused(&engine, |b| b.apply(proposal("# four\n", None)));
    assert_eq!(
        busy,
        Refusal::ConfirmationPending {
            generation: third,
            remaining_ms: 60_000
        }
    );
    let command = Command::Fail { generation: third };
    write(&engine, |b| {
        b.step(command, "network", Some("no such link"))
    });
    let view = engine.view().unwrap();
    assert_eq!(view.machine().unwrap().unwrap().effective(), second);
    let (generation, text) = view.generation(third).unwrap().unwrap();
    assert_eq!(text, "# three\n");
    assert_eq!(generation.state, GenerationState::Failed);
    assert_eq!(generation.message.as_deref(), Some("no such link"));
    let fourth = write(&engine, |b| b.roll_back(1, proposal("", None)));
    let history = engine.view().unwrap().history(None, 2).unwrap();
    assert_eq!((history[0].number, history[0].copy_of), (fourth, Some(1)));
    assert_eq!(history[1].number, third);
    let unknown = refused(&engine, |b| b.roll_back(99, proposal("", None)));
    assert_eq!(unknown, Refusal::NoSuchGeneration { number: 99 });
    let events = engine.view().unwrap().events(None, 10, |_| true).unwrap();
    let kinds: Vec<&str> = events.iter().map(|(r, _)| r.kind.as_str()).collect();
    let expected = [
        "config.confirmed",
        "config.applied",
        "config.failed",
        "config.confirmed",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn an_imported_document_is_taken_once_even_if_edited_since() {
    let engine = engine();
    let import = |text: &'static str| move |b: &mut Batch<'_>| b.import(text, "/dev/sda1");
    assert_eq!(write(&engine, import("# stick\n")), Some(2));
    write(&engine, |b| b.apply(proposal("# edited\n", None)));
    assert_eq!(write(&engine, import("# stick\n")), None);
    assert_eq!(write(&engine, import("# other stick\n")), Some(4));
}

#[test]
fn old_generations_are_forgotten_but_never_the_one_that_applies() {
    let engine = engine();
    write(&engine, |b| b.apply(proposal("# keep\n", None)));
    let text = format!("# {}\n", "x".repeat(900_000));
    for _ in 0..12 {
        let number = write(&engine, |b| b.apply(proposal(&text, Some(20_000))));
        write(&engine, |b| {
            b.step(Command::Cancel { generation: number }, "ada", None)
        });
    }
    let view = engine.view().unwrap();
    assert_eq!(view.machine().unwrap().unwrap().effective(), 2);
    assert!(view.generation(2).unwrap().is_some());
    assert!(view.generation(3).unwrap().is_none());
    assert!(view.history(None, 100).unwrap().len() < 12);
}

#[test]
fn a_store_of_the_future_is_refused_and_one_of_a_newer_slot_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let open = |boot: &str| {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).unwrap();
        Engine::open(
            redb::backends::FileBackend::new(file).unwrap(),
            &stamp(boot, 0),
        )
    };
    let set = |format: u64, compatible: u64| {
        write(&open("a").unwrap(), |batch| {
            batch.meta.insert("format", format)?;
            batch.meta.insert("compatible", compatible)?;
            batch.is_dirty = true;
            Ok(())
        });
    };
    set(7, 1);
    // A newer slot wrote it and is not committed yet: this one goes on with it.
    write(&open("b").unwrap(), |b| {
        b.put("network", "k", json!(1), None)
    });
    set(7, 2);
    let error = open("c").unwrap_err();
    assert!(matches!(error, OpenError::Future(2)), "{error}");
}
