use std::time::Duration;

use serde_json::json;
use store_api::{EventFilter, Refusal};

use crate::support::{LIMIT, Store, payload};

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let mut store = Store::start();
    let mut client = store.client();
    let version = client
        .put("lease/wan", &json!({ "a": 1 }), Some(0))
        .unwrap();
    let error = client.put("lease/wan", &json!(2), Some(0)).unwrap_err();
    let expected = Refusal::Conflict {
        key: "lease/wan".into(),
        version,
    };
    assert_eq!(error.refusal(), Some(&expected));
    client.record("link.up", payload("lan0")).unwrap();
    store.restart();
    let mut client = store.client();
    let entry = client.get("lease/wan").unwrap().unwrap();
    assert_eq!((entry.version, entry.value), (version, json!({ "a": 1 })));
    let events = client.events(EventFilter::default()).unwrap();
    assert_eq!(events.last().unwrap().kind, "link.up");
    assert_eq!(events.last().unwrap().service, "root");
    assert!(client.delete("lease/wan", Some(version)).unwrap());
    assert_eq!(client.get("lease/wan").unwrap(), None);
}

#[test]
fn a_watch_tells_what_is_there_and_then_each_change() {
    let store = Store::start();
    let mut client = store.client();
    client.put("a/1", &1, None).unwrap();
    client.put("b/1", &1, None).unwrap();
    let mut watch = store.client().watch("a/").unwrap();
    let first = watch.next(LIMIT).unwrap().unwrap();
    assert_eq!(first.changes.len(), 1);
    client.put("b/2", &2, None).unwrap();
    let version = client.put("a/2", &2, None).unwrap();
    client.delete("a/1", None).unwrap();
    let change = watch.next(LIMIT).unwrap().unwrap().changes.remove(0);
    assert_eq!((change.key.as_str(), change.version), ("a/2", version));
    let change = watch.next(LIMIT).unwrap().unwrap().changes.remove(0);
    assert_eq!((change.key.as_str(), change.value), ("a/1", None));
    assert!(watch.next(Duration::ZERO).unwrap().is_none());
}

#[test]
fn events_are_filtered_followed_and_verified() {
    let store = Store::start();
    let mut client = store.client();
    for kind in ["link.up", "link.down", "linkage"] {
        client.record(kind, payload(kind)).unwrap();
    }
    let filter = EventFilter {
        kind: Some("link".into()),
        ..EventFilter::default()
    };
    let mut follow = store.client().follow_events(filter.clone()).unwrap();
    let first = follow.next(LIMIT).unwrap().unwrap();
    let kinds: Vec<&str> = first.events.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(kinds, ["link.up", "link.down"]);
    client.record("other", payload("")).unwrap();
    let sequence = client.record("link.up", payload("again")).unwrap();
    let next = follow.next(LIMIT).unwrap().unwrap();
    assert_eq!(next.events[0].sequence, sequence);
    let all = EventFilter {
        after: Some(0),
        limit: Some(2),
        ..EventFilter::default()
    };
    let mut follow = store.client().follow_events(all).unwrap();
    let mut sequences = Vec::new();
    while sequences.len() < 5 {
        let page = follow.next(LIMIT).unwrap().expect("all of them come");
        sequences.extend(page.events.iter().map(|event| event.sequence));
    }
    assert_eq!(sequences, [1, 2, 3, 4, 5], "a limit leaves no gap");
    let after = EventFilter {
        after: Some(1),
        limit: Some(1),
        ..EventFilter::default()
    };
    assert_eq!(client.events(after).unwrap()[0].sequence, 2);
    let verdict = client.verify_events().unwrap();
    assert_eq!((verdict.last, verdict.bad_sequence), (sequence, None));
    assert_eq!(verdict.head, next.events[0].hash);
}

#[test]
fn many_callers_share_commits_and_all_are_answered() {
    let store = Store::start();
    std::thread::scope(|scope| {
        for caller in 0..12 {
            let mut client = store.client();
            scope.spawn(move || {
                for round in 0..40 {
                    client
                        .put(&format!("{caller}/{round}"), &round, Some(0))
                        .unwrap();
                }
            });
        }
    });
    let statistics = store.client().statistics().unwrap();
    assert_eq!(statistics.state_keys, 480);
    assert_eq!(statistics.writes, 480 + u64::from(statistics.writes > 480));
    assert!(statistics.commits < 480, "{} commits", statistics.commits);
    assert!(statistics.durable && statistics.commit_p99_us > 0);
}
