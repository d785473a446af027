use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::support::*;
use peer::{Outgoing, Peer};
use std::thread;
use std::time::Duration;

const CONFIG: &str = "org.x0tta6bl4.Config1";
/// While someone floods the bus on two processors that others use, too.
const SERVED_WITHIN: Duration = Duration::from_secs(2);

/// The slowest of `count` calls.
fn slowest(peer: &mut Peer, count: usize) -> Duration {
    let time = |_| {
        let begin = Instant::now();
        assert_eq!(echo(peer, CONFIG, "hello").unwrap(), "hello");
        begin.elapsed()
    };
    (0..count).map(time).max().unwrap()
}

#[test]
fn a_flood_of_calls_hurts_the_flooder_only() {
    let bus = Bus::start();
    let calls = 200;
    let config = answer(bus.peer(ADMIN), CONFIG, calls);
    // Calls that nobody reads pile up at another service of another user.
    let mut idle = bus.peer(STORE);
    own(&mut idle, "org.x0tta6bl4.Store1").unwrap();
    let (stop, mut calm) = (AtomicBool::new(false), bus.peer(CONTROLLER));
    let (slowest, (sent, refused)) = thread::scope(|scope| {
        let flooder = scope.spawn(|| {
            let (mut sent, mut refused, words) = (0_u64, 0_u64, "x".repeat(4000));
            while !stop.load(Ordering::Relaxed) {
                let mut peer = bus.peer(VIEWER);
                let call =
                    Outgoing::call("org.x0tta6bl4.Store1", "/", "org.x0tta6bl4.Test", "Echo");
                // Answers are not read either.
                while !stop.load(Ordering::Relaxed) && peer.send(&call, &words).is_ok() {
                    sent += 1;
                }
                refused += 1;
            }
            (sent, refused)
        });
        let slowest = slowest(&mut calm, calls);
        stop.store(true, Ordering::Relaxed);
        (slowest, flooder.join().unwrap())
    });
    assert!(slowest < SERVED_WITHIN, "{slowest:?}");
    assert!(refused > 0, "{sent} calls went through");
    config.join().unwrap();
    idle.driver("GetId", &()).unwrap();
}

#[test]
fn a_thousand_connections_are_served() {
    let bus = Bus::start();
    let config = answer(bus.peer(ADMIN), CONFIG, 100);
    let users = [CONTROLLER, VIEWER, STORE, ROOT].into_iter().cycle();
    let mut peers: Vec<Peer> = users.take(1000).map(|user| bus.peer(user)).collect();
    for peer in peers.iter_mut().step_by(10) {
        assert_eq!(echo(peer, CONFIG, "hello").unwrap(), "hello");
    }
    config.join().unwrap();
}

#[test]
fn one_user_cannot_take_all_connections() {
    let bus = Bus::start();
    let mut peers = Vec::new();
    let mut join = |user| {
        let refused = (0..1000).find_map(|_| bus.join(user).map(|peer| peers.push(peer)).err());
        (refused, peers.len())
    };
    let (refused, count) = join(VIEWER);
    assert!(refused.is_some() && count > 250, "{count} connections");
    // Others have as many still.
    let (refused, both) = join(CONTROLLER);
    assert!(
        refused.is_some() && both > count + 250,
        "{both} connections"
    );
}
