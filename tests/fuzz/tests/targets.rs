//! A fixed sample of what `ci/campaign fuzz` does.

use fuzz::{Limit, TARGETS, run};

/// Enough to find what a careless change breaks, in a second or two per target.
const INPUTS: u64 = 3000;

#[test]
fn no_parser_panics_or_takes_long_on_hostile_bytes() {
    for target in TARGETS {
        if let Err(failure) = run(target, 0x7830, Limit::Inputs(INPUTS)) {
            panic!(
                "{}: {}: {:02x?}",
                failure.target, failure.reason, failure.input
            );
        }
    }
}

#[test]
fn every_seed_that_should_be_valid_is() {
    assert!(manifest::Table::load(&seed("service-table", 0)).is_ok());
    let volume: &[u8] = &seed("provisioning-volume", 0);
    provision::volume::read(volume).expect("the volume has a document");
    let offer = seed("dhcp", 0);
    network::dhcp::message::Reply::parse(&offer).expect("the offer is one");
    assert_eq!(
        network::dhcp::frame::unwrap(&seed("dhcp", 2)),
        Some(&offer[..])
    );
}

fn seed(target: &str, number: usize) -> Vec<u8> {
    let target = TARGETS.iter().find(|candidate| candidate.name == target);
    (target.expect("there is such a target").seeds)().swap_remove(number)
}
