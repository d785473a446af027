use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::json;
use store_api::{CallError, Refusal};

use crate::support::{LIMIT, Store, payload};

fn say(store: &Store, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(store.socket()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The store may hang up before it has read all of it.
    stream.write_all(bytes).ok();
    stream.shutdown(std::net::Shutdown::Write).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).unwrap()
}

#[test]
fn nonsense_ends_its_connection_and_nobody_elses() {
    let store = Store::start();
    let mut client = store.client();
    client.put("k", &1, None).unwrap();
    for bytes in [
        b"nonsense\0".to_vec(),
        b"\0\0\0".to_vec(),
        vec![b'x'; 3 << 20],
        b"{\"method\":7}\0".to_vec(),
        b"{\"method\":\"org.x0tta6bl4.Store.Get\"".to_vec(),
    ] {
        assert_eq!(say(&store, &bytes), "");
    }
    let unknown = say(&store, b"{\"method\":\"org.x0tta6bl4.Store.Explode\"}\0");
    assert!(
        unknown.contains("org.varlink.service.MethodNotFound"),
        "{unknown}"
    );
    let description = say(
        &store,
        b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"org.x0tta6bl4.Store\"}}\0",
    );
    assert!(description.contains("method Put"), "{description}");
    assert_eq!(client.get("k").unwrap().unwrap().value, 1);
}

#[test]
fn one_user_cannot_take_all_connections_and_a_flood_of_events_is_cut() {
    let store = Store::start();
    let mut client = store.client();
    let many: Vec<_> = (0..200)
        .map(|_| UnixStream::connect(store.socket()).unwrap())
        .collect();
    // The first of them are served, the last ones were closed.
    client.put("k", &1, None).unwrap();
    let statistics = client.statistics().unwrap();
    assert!(statistics.connections <= 24, "{}", statistics.connections);
    assert!(statistics.refused_connections >= 100);
    drop(many);
    let refused = (0..400).find_map(|_| client.record("flood", payload("x")).err());
    let refused = refused.expect("a flood is cut");
    assert!(
        matches!(refused.refusal(), Some(Refusal::RateLimited { .. })),
        "{refused}"
    );
    client.put("k", &2, None).unwrap();
}

#[test]
fn calls_that_are_out_of_bounds_are_refused_by_name() {
    let store = Store::start();
    let mut client = store.client();
    let too_large = client.put("k", &"x".repeat(70_000), None).unwrap_err();
    assert!(matches!(
        too_large.refusal(),
        Some(Refusal::TooLarge { limit: 65_536, .. })
    ));
    let bad_key = client.put("a b", &1, None).unwrap_err();
    assert!(matches!(bad_key.refusal(), Some(Refusal::BadKey { .. })));
    let bad_kind = client.record("not a kind", payload("")).unwrap_err();
    assert!(matches!(
        bad_kind.refusal(),
        Some(Refusal::BadParameter { .. })
    ));
    let large = client.record("k", payload(&"x".repeat(9000))).unwrap_err();
    assert!(matches!(large.refusal(), Some(Refusal::TooLarge { .. })));
    assert_eq!(client.list("").unwrap(), []);
}

#[test]
fn who_does_not_read_is_dropped_and_nobody_waits_for_them() {
    let store = Store::start();
    let mut sleeper = store.client().watch("").unwrap();
    let mut client = store.client();
    let large = json!("x".repeat(60_000));
    for _ in 0..120 {
        client.put("k", &large, None).unwrap();
    }
    let mut taken = 0;
    let error = loop {
        match sleeper.next(LIMIT) {
            Ok(Some(_)) => taken += 1,
            Ok(None) => panic!("neither news nor a hang-up"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, CallError::HungUp | CallError::Receive(_)),
        "{error}"
    );
    assert!(taken < 120, "{taken} were kept for it");
}
