//! The client against a model server, in simulated time.

use std::net::Ipv4Addr;
use std::time::Duration;

use config::MacAddr;
use proptest::prelude::*;

use super::client::{Client, Identity, Ignored, Phase, Transmit};
use crate::random::Random;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A server on the other end of a wire that loses what the test wants it to lose.
struct Pair {
    client: Client,
    now: Duration,
    /// What the client sent, as (seconds, message type, unicast).
    sent: Vec<(u64, u8, bool)>,
    answer: Answer,
}

type Answer = Box<dyn FnMut(&Sent) -> Option<Vec<u8>>>;

struct Sent {
    kind: u8,
    transaction: [u8; 4],
    requested: Option<[u8; 4]>,
    number: usize,
}

impl Pair {
    fn new(answer: impl FnMut(&Sent) -> Option<Vec<u8>> + 'static) -> Self {
        Self::with_previous(None, answer)
    }

    fn with_previous(
        previous: Option<Ipv4Addr>,
        answer: impl FnMut(&Sent) -> Option<Vec<u8>> + 'static,
    ) -> Self {
        let identity = Identity {
            mac: MacAddr::try_from(MAC).unwrap(),
            hostname: Some("edge-1".to_owned()),
        };
        let client = Client::new(identity, Random::new(7), previous);
        Self {
            client,
            now: Duration::ZERO,
            sent: Vec::new(),
            answer: Box::new(answer),
        }
    }

    /// Lets the time pass, with everything that happens in it.
    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            while let Some(transmit) = self.client.poll_transmit() {
                let sent = self.note(&transmit);
                if let Some(reply) = (self.answer)(&sent) {
                    let _ = self.client.handle_packet(self.now, &reply);
                }
            }
            match self.client.next_timeout() {
                Some(due) if due <= end => {
                    assert!(due >= self.now, "time goes forward");
                    self.now = due;
                    self.client.handle_timeout(due);
                    assert!(
                        self.client.next_timeout().is_none_or(|next| next > due),
                        "a timer that has fired is set anew"
                    );
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn note(&mut self, transmit: &Transmit) -> Sent {
        let bytes = &transmit.payload;
        let mut options = &bytes[240..];
        let (mut kind, mut requested) = (0, None);
        while let [code, len, rest @ ..] = options
            && *code != 255
        {
            let (value, rest) = rest.split_at((*len).into());
            match code {
                53 => kind = value[0],
                50 => requested = Some(value.try_into().unwrap()),
                _ => {}
            }
            options = rest;
        }
        self.sent
            .push((self.now.as_secs(), kind, transmit.server.is_some()));
        Sent {
            kind,
            transaction: bytes[4..8].try_into().unwrap(),
            requested,
            number: self.sent.len(),
        }
    }
}

fn reply(sent: &Sent, kind: u8, address: [u8; 4], extra: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..3].copy_from_slice(&[2, 1, 6]);
    bytes[4..8].copy_from_slice(&sent.transaction);
    bytes[16..20].copy_from_slice(&address);
    bytes[28..34].copy_from_slice(&MAC);
    bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
    bytes.extend([53, 1, kind, 54, 4]);
    bytes.extend(SERVER.octets());
    bytes.extend([1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 0, 1]);
    bytes.extend(extra);
    bytes.push(255);
    bytes
}

const HOUR: &[u8] = &[51, 4, 0, 0, 14, 16];

fn good_server(sent: &Sent) -> Option<Vec<u8>> {
    let kind = if sent.kind == 1 { 2 } else { 5 };
    Some(reply(sent, kind, [10, 0, 0, 5], HOUR))
}

#[test]
fn gets_a_lease_and_renews_it_with_its_server() {
    let mut pair = Pair::new(good_server);
    pair.client.handle_link(pair.now, true);
    pair.run(0);
    assert_eq!(
        pair.client.lease().unwrap().address.to_string(),
        "10.0.0.5/24"
    );
    assert_eq!(pair.client.lease().unwrap().routes[0].via, Some(SERVER));
    pair.run(4000);
    assert_eq!(
        pair.sent,
        [
            (0, 1, false),
            (0, 3, false),
            (1800, 3, true),
            (3600, 3, true)
        ]
    );
    assert_eq!(pair.client.phase(), Phase::Bound);
}

#[test]
fn asks_again_with_growing_patience() {
    let mut pair = Pair::new(|_| None);
    pair.client.handle_link(pair.now, true);
    pair.run(300);
    let times: Vec<u64> = pair.sent.iter().map(|(at, ..)| *at).collect();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, expected) in gaps.iter().zip([4u64, 8, 16, 32, 64, 64, 64]) {
        assert!(gap.abs_diff(expected) <= 2, "{gaps:?}");
    }
    assert!(pair.sent.iter().all(|(_, kind, _)| *kind == 1));
}

#[test]
fn a_lost_server_is_replaced_by_any_and_the_address_given_up_at_the_end() {
    let mut pair = Pair::new(|sent| {
        if sent.number <= 2 {
            good_server(sent)
        } else {
            None
        }
    });
    pair.client.handle_link(pair.now, true);
    pair.run(3599);
    assert!(pair.client.lease().is_some());
    let unicast: Vec<bool> = pair.sent[2..]
        .iter()
        .map(|(.., unicast)| *unicast)
        .collect();
    assert!(
        unicast.starts_with(&[true]) && unicast.ends_with(&[false]),
        "{:?}",
        pair.sent
    );
    assert!(pair.sent.len() < 40, "{:?}", pair.sent);
    pair.run(2);
    assert!(pair.client.lease().is_none());
    assert_eq!(pair.client.phase(), Phase::Selecting);
}

#[test]
fn a_refusal_takes_the_lease_away_and_is_not_answered_in_haste() {
    let mut pair = Pair::new(|sent| {
        if sent.kind == 3 {
            Some(reply(sent, 6, [0; 4], &[]))
        } else {
            good_server(sent)
        }
    });
    pair.client.handle_link(pair.now, true);
    pair.run(3600);
    assert!(pair.client.lease().is_none());
    assert!((10..50).contains(&pair.sent.len()), "{:?}", pair.sent);
}

#[test]
fn a_returning_carrier_confirms_the_lease() {
    let mut pair = Pair::new(good_server);
    pair.client.handle_link(pair.now, true);
    pair.run(10);
    pair.client.handle_link(pair.now, false);
    pair.run(10);
    assert!(
        pair.client.lease().is_some(),
        "a short cut costs no address"
    );
    pair.client.handle_link(pair.now, true);
    assert_eq!(pair.client.phase(), Phase::Rebooting);
    pair.run(1);
    assert_eq!(pair.client.phase(), Phase::Bound);
    pair.client.handle_link(pair.now, false);
    pair.run(4000);
    assert!(
        pair.client.lease().is_none(),
        "it expires without a carrier, too"
    );
}

#[test]
fn an_earlier_runs_address_is_asked_for_first() {
    let previous = Ipv4Addr::new(10, 0, 0, 5);
    let mut pair = Pair::with_previous(Some(previous), move |sent| {
        assert_eq!(sent.requested, Some(previous.octets()));
        good_server(sent)
    });
    assert!(pair.client.hopes_for_previous());
    pair.client.handle_link(pair.now, true);
    pair.run(1);
    assert_eq!(pair.sent, [(0, 3, false)]);
    assert!(!pair.client.hopes_for_previous());
}

#[test]
fn a_server_that_does_not_know_us_gets_a_new_question() {
    let previous = Some(Ipv4Addr::new(10, 0, 0, 5));
    let mut pair = Pair::with_previous(previous, |sent| {
        if sent.number > 2 {
            good_server(sent)
        } else {
            None
        }
    });
    pair.client.handle_link(pair.now, true);
    pair.run(30);
    let kinds: Vec<u8> = pair.sent.iter().map(|(_, kind, _)| *kind).collect();
    assert_eq!(kinds, [3, 3, 1, 3]);
    assert!(pair.client.lease().is_some());
}

#[test]
fn unsuitable_offers_are_passed_over() {
    let offers: [([u8; 4], &[u8]); 8] = [
        ([0, 0, 0, 0], HOUR),
        ([127, 0, 0, 1], HOUR),
        ([255, 255, 255, 255], HOUR),
        ([224, 0, 0, 1], HOUR),
        ([169, 254, 0, 5], HOUR),
        ([10, 0, 0, 0], HOUR),
        ([10, 0, 0, 5], &[]),
        ([10, 0, 0, 5], &[51, 4, 0, 0, 0, 1]),
    ];
    for (address, extra) in offers {
        let extra = extra.to_vec();
        let mut pair = Pair::new(move |sent| Some(reply(sent, 2, address, &extra)));
        pair.client.handle_link(pair.now, true);
        pair.run(60);
        assert_eq!(pair.client.phase(), Phase::Selecting, "{address:?}");
    }
}

#[test]
fn another_server_cannot_acknowledge() {
    let mut pair = Pair::new(|sent| {
        let mut bytes = good_server(sent)?;
        if sent.kind == 3 {
            bytes[245..249].copy_from_slice(&[10, 0, 0, 66]);
        }
        Some(bytes)
    });
    pair.client.handle_link(pair.now, true);
    pair.run(20);
    assert!(pair.client.lease().is_none());
}

#[test]
fn replies_to_others_are_not_ours() {
    let mut pair = Pair::new(|_| None);
    pair.client.handle_link(pair.now, true);
    let transmit = pair.client.poll_transmit().unwrap();
    let sent = pair.note(&transmit);
    let good = good_server(&sent).unwrap();
    for at in [4, 28] {
        let mut wrong = good.clone();
        wrong[at] ^= 0x40;
        assert_eq!(
            pair.client.handle_packet(pair.now, &wrong),
            Err(Ignored::NotOurs)
        );
    }
    assert_eq!(pair.client.handle_packet(pair.now, &good), Ok(()));
    assert_eq!(
        pair.client.handle_packet(pair.now, &good),
        Err(Ignored::Unexpected)
    );
}

#[test]
fn classless_routes_replace_the_router_and_mad_ones_are_dropped() {
    let mut pair = Pair::new(|sent| {
        let kind = if sent.kind == 1 { 2 } else { 5 };
        let mut extra = HOUR.to_vec();
        let routes = [
            &[24, 10, 5, 6, 0, 0, 0, 0][..],
            &[0, 10, 0, 0, 9],
            &[8, 127, 10, 0, 0, 9],
            &[16, 10, 9, 10, 0, 0, 5],
            &[0, 0, 0, 0, 0],
        ]
        .concat();
        extra.extend([121, u8::try_from(routes.len()).unwrap()]);
        extra.extend(routes);
        Some(reply(sent, kind, [10, 0, 0, 5], &extra))
    });
    pair.client.handle_link(pair.now, true);
    pair.run(1);
    let routes: Vec<String> = pair
        .client
        .lease()
        .unwrap()
        .routes
        .iter()
        .map(|route| format!("{} {:?}", route.to, route.via))
        .collect();
    assert_eq!(routes, ["10.5.6.0/24 None", "0.0.0.0/0 Some(10.0.0.9)"]);
}

proptest! {
    /// Whatever a server sends, and whatever gets lost: the client goes on, never sends in a burst,
    /// and never uses an address that no host can have.
    #[test]
    fn no_server_breaks_the_client(
        script in prop::collection::vec(
            (prop::option::weighted(0.7, prop::sample::select(vec![2u8, 5, 6])),
             any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..30), any::<bool>()),
            1..60,
        ),
        flap in 0u64..4000,
    ) {
        let mut script = script.into_iter().cycle();
        let mut pair = Pair::new(move |sent| {
            let (kind, address, extra, sane) = script.next()?;
            let kind = kind?;
            Some(if sane { reply(sent, kind, [10, 0, 0, 5], HOUR) } else { reply(sent, kind, address, &extra) })
        });
        pair.client.handle_link(pair.now, true);
        pair.run(flap);
        pair.client.handle_link(pair.now, false);
        pair.run(1);
        pair.client.handle_link(pair.now, true);
        pair.run(4000);
        prop_assert!(pair.sent.len() < 1500, "{} messages in {:?}", pair.sent.len(), pair.now);
        if let Some(lease) = pair.client.lease() {
            prop_assert!(lease.expires_at.is_none_or(|at| at > pair.now));
        }
    }
}
