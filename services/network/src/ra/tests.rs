use super::*;
use config::{Document, Network};
use proptest::prelude::*;

fn config(text: &str) -> Advertise {
    let text = format!("[network.link.eth1]\nipv6 = {{ addresses = [\"fd00:1::1/64\"] }}\n{text}");
    let network: Network = Document::parse(&text).unwrap().read();
    network
        .links
        .into_values()
        .next()
        .unwrap()
        .advertise
        .unwrap()
}

fn router(text: &str) -> Router {
    let mac = MacAddr::try_from([2, 0, 0, 0, 0, 1]).unwrap();
    Router::new(Duration::ZERO, config(text), mac, Random::new(1))
}

/// The times at which it sends, in seconds.
fn run(router: &mut Router, from: u64, to: u64) -> Vec<f32> {
    let mut times = Vec::new();
    let mut now = Duration::from_secs(from);
    loop {
        if router.poll_advertisement(now).is_some() {
            times.push(now.as_secs_f32());
        }
        now = router.next_timeout();
        if now > Duration::from_secs(to) {
            return times;
        }
    }
}

#[test]
fn advertises_often_at_first_and_then_by_the_interval() {
    let mut router = router("advertise = {}");
    let times = run(&mut router, 0, 4000);
    let gaps: Vec<f32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        times[0] == 0.0 && gaps[..2].iter().all(|gap| *gap <= 16.0),
        "{gaps:?}"
    );
    assert!(
        gaps[2..].iter().all(|gap| (198.0..=600.0).contains(gap)),
        "{gaps:?}"
    );
}

#[test]
fn a_crowd_of_solicitations_gets_one_answer_in_three_seconds() {
    let mut router = router("advertise = {}");
    run(&mut router, 0, 100);
    let mut sent = 0;
    for tenth in 0..300u32 {
        let now = Duration::from_secs(100) + Duration::from_millis(100) * tenth;
        router.handle_solicitation(now);
        sent += u32::from(router.poll_advertisement(now).is_some());
    }
    assert!((9..=10).contains(&sent), "{sent} in 30 s");
}

#[test]
fn a_default_route_that_goes_is_told_at_once() {
    let lifetime = |message: &[u8]| u16::from_be_bytes([message[6], message[7]]);
    let mut router = router("advertise = {}");
    router.handle_default_route(Duration::ZERO, true);
    assert_eq!(
        lifetime(&router.poll_advertisement(Duration::ZERO).unwrap()),
        1800
    );
    let now = Duration::from_secs(10);
    router.handle_default_route(now, false);
    assert_eq!(lifetime(&router.poll_advertisement(now).unwrap()), 0);
    assert_eq!(lifetime(&router.farewell()), 0);
}

#[test]
fn says_what_the_document_says() {
    let text = "[network.link.eth1.advertise]\nrdnss = [\"fd00:1::1\"]\ndnssl = [\"example.net\"]\n\
                mtu = 1400\nrouter = \"always\"\nrouter_lifetime_s = 9000\n\
                prefixes = [{ prefix = \"fd00:1::/64\", preferred_s = 1, valid_s = 2 }]";
    let message = router(text).poll_advertisement(Duration::ZERO).unwrap();
    let expected = [
        &[134, 0, 0, 0, 64, 0, 35, 40, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[1, 1, 2, 0, 0, 0, 0, 1],
        &[5, 1, 0, 0, 0, 0, 5, 120],
        &[3, 4, 64, 0xc0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0],
        &[0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[25, 3, 0, 0, 0, 0, 7, 8],
        &[0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[31, 3, 0, 0, 0, 0, 7, 8],
        b"\x07example\x03net\0\0\0\0",
    ]
    .concat();
    assert_eq!(message, expected);
}

#[test]
fn answers_only_sound_solicitations() {
    let host: Ipv6Addr = "fe80::5".parse().unwrap();
    let sound = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 5];
    assert_eq!(check_solicitation(host, Some(255), &sound), Ok(()));
    assert_eq!(check_solicitation(host, Some(255), &sound[..8]), Ok(()));
    let unspecified = Ipv6Addr::UNSPECIFIED;
    assert_eq!(
        check_solicitation(unspecified, Some(255), &sound[..8]),
        Ok(())
    );
    use SolicitationError::*;
    assert_eq!(
        check_solicitation(unspecified, Some(255), &sound),
        Err(Source)
    );
    assert_eq!(check_solicitation(host, Some(64), &sound), Err(HopLimit));
    assert_eq!(check_solicitation(host, None, &sound), Err(HopLimit));
    assert_eq!(
        check_solicitation(host, Some(255), &sound[..7]),
        Err(NotSolicitation)
    );
    assert_eq!(
        check_solicitation(host, Some(255), &sound[..15]),
        Err(Options)
    );
    assert_eq!(
        check_solicitation(host, Some(255), &sound[..9]),
        Err(Options)
    );
    let mut endless = sound;
    endless[9] = 0;
    assert_eq!(check_solicitation(host, Some(255), &endless), Err(Options));
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(message: Vec<u8>, source: u128) {
        let _ = check_solicitation(Ipv6Addr::from_bits(source), Some(255), &message);
        let framed = [&[133, 0, 0, 0, 0, 0, 0, 0][..], &message].concat();
        let _ = check_solicitation(Ipv6Addr::from_bits(source), Some(255), &framed);
    }
}
