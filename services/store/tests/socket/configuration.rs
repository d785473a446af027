use store_api::wire::{ApplyCall, RollbackCall};
use store_api::{GenerationState, Refusal};

use crate::support::{LIMIT, Store, wait_until};

fn call(text: &str, confirm_within_s: Option<u32>) -> ApplyCall {
    ApplyCall {
        text: text.into(),
        author: "ada".into(),
        reason: "a try".into(),
        session: None,
        confirm_within_s,
    }
}

const NAMED: &str = "[system]\nhostname = \"edge-7\"\n";

#[test]
fn an_unconfirmed_generation_survives_a_restart_of_the_store_and_ends_with_the_word_of_a_service() {
    let mut store = Store::start();
    let mut client = store.client();
    let mut follow = store.client().follow_configuration().unwrap();
    assert_eq!(follow.next(LIMIT).unwrap().unwrap().generation, 1);
    let generation = client.apply(&call(NAMED, Some(600))).unwrap();
    let told = follow.next(LIMIT).unwrap().unwrap();
    assert_eq!(told.generation, generation);
    assert_eq!(told.sections["system"]["hostname"], "edge-7");
    store.restart();
    let mut client = store.client();
    let pending = client.configuration_status().unwrap().pending.unwrap();
    assert_eq!((pending.generation, pending.fallback), (generation, 1));
    assert!(pending.remaining_ms <= 600_000 && pending.remaining_ms > 500_000);
    let busy = client.apply(&call("", None)).unwrap_err();
    assert!(matches!(
        busy.refusal(),
        Some(Refusal::ConfirmationPending { generation: 2, .. })
    ));

    let mut follow = store.client().follow_configuration().unwrap();
    assert_eq!(follow.next(LIMIT).unwrap().unwrap().generation, generation);
    client
        .applied(generation, Err("no such link".into()))
        .unwrap();
    let told = follow.next(LIMIT).unwrap().unwrap();
    assert_eq!(told.generation, 1);
    assert!(!told.sections.contains_key("system"));
    let (generation, _) = client.generation(generation).unwrap();
    assert_eq!(generation.state, GenerationState::Failed);
    assert_eq!(generation.message.as_deref(), Some("root: no such link"));
}

#[test]
fn a_confirmed_generation_stays_and_its_document_can_be_read_without_the_store() {
    let mut store = Store::start();
    let mut client = store.client();
    let generation = client.apply(&call(NAMED, Some(60))).unwrap();
    let wrong = client.confirm(generation + 1, "ada").unwrap_err();
    assert!(matches!(wrong.refusal(), Some(Refusal::NotPending { .. })));
    client.confirm(generation, "ada").unwrap();
    let mirror = store.folder().join("running.toml");
    wait_until("the mirror", || {
        std::fs::read_to_string(&mirror).is_ok_and(|text| text == NAMED)
    });
    store.restart();
    let status = store.client().configuration_status().unwrap();
    assert_eq!((status.generation, status.pending), (generation, None));
}

#[test]
fn rollback_makes_a_new_generation_and_history_knows_why() {
    let store = Store::start();
    let mut client = store.client();
    client.apply(&call(NAMED, None)).unwrap();
    let rollback = RollbackCall {
        to: 1,
        author: "bob".into(),
        reason: "was better".into(),
        confirm_within_s: Some(60),
    };
    let generation = client.rollback(&rollback).unwrap();
    client.cancel(generation, "bob", "changed my mind").unwrap();
    let history = client.history(None, None).unwrap();
    let numbers: Vec<u64> = history.iter().map(|g| g.number).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(history[0].copy_of, Some(1));
    assert_eq!(history[0].state, GenerationState::Cancelled);
    assert_eq!(history[0].message.as_deref(), Some("changed my mind"));
    assert_eq!(client.configuration().unwrap().generation, 2);
}

#[test]
fn mistakes_are_named_with_their_place_and_nothing_changes() {
    let store = Store::start();
    let mut client = store.client();
    let bad = "[system]\nhostnam = \"x\"\n";
    let problems = client.validate(bad).unwrap();
    assert_eq!(problems[0].line, 2);
    let error = client.apply(&call(bad, None)).unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::Invalid { problems: p }) if *p == problems));
    for confirm in [0, 9, 86_401] {
        let error = client.apply(&call(NAMED, Some(confirm))).unwrap_err();
        assert!(
            matches!(error.refusal(), Some(Refusal::BadParameter { .. })),
            "{confirm}"
        );
    }
    assert_eq!(client.configuration().unwrap().generation, 1);
    assert_eq!(client.history(None, None).unwrap().len(), 1);
}

#[test]
fn one_edits_at_a_time_and_a_lost_connection_ends_it() {
    let store = Store::start();
    let mut editor = store.client();
    let session = editor.begin_edit("ada").unwrap().session;
    let mut other = store.client();
    for refused in [
        other.begin_edit("bob").map(drop),
        other.apply(&call(NAMED, None)).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(
            matches!(error.refusal(), Some(Refusal::EditInProgress { author, .. }) if author == "ada")
        );
    }
    let mut with_session = call(NAMED, None);
    with_session.session = Some(session);
    assert_eq!(editor.apply(&with_session).unwrap(), 2);
    drop(editor);
    wait_until("the session's end", || {
        other.configuration_status().unwrap().editor.is_none()
    });
    assert_eq!(other.apply(&call("", None)).unwrap(), 3);
    let error = other.apply(&with_session).unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::NoSuchSession {}));
}

#[test]
fn provisioning_is_taken_once() {
    let store = Store::start();
    let mut client = store.client();
    assert_eq!(client.import(NAMED, "/dev/sda1").unwrap(), Some(2));
    assert_eq!(client.import(NAMED, "/dev/sda1").unwrap(), None);
    let error = client.import("[systm]\n", "/dev/sda1").unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::Invalid { .. })));
}
