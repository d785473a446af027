//! The real binary on pseudo-terminals, with a PID 1 that speaks the real protocol.

mod bench;
mod login;
mod store;

use std::time::Duration;

use bench::{Bench, InitState, Line};

#[test]
fn the_page_appears_and_follows_what_changes() {
    let mut bench = Bench::new();
    let init = bench.init();
    let mut line = Line::new();
    bench.start(&[&line]);
    line.wait_for("5 of 5 services up");
    line.wait_for("router-7");
    line.wait_for("l log in  Enter log");
    init.change(|status| status.services[2].status_text = "link eth0 went down".into());
    line.wait_for("link eth0 went down");
}

#[test]
fn a_restart_is_asked_confirmed_and_done() {
    let mut bench = Bench::new();
    let init = bench.init();
    let mut line = Line::new();
    bench.start(&[&line]);
    line.wait_for("> data");
    line.type_keys(b"jj");
    line.wait_for("> network");
    line.type_keys(b"r");
    line.wait_for("Restart network?");
    line.confirm();
    line.wait_for("network is being restarted.");
    assert_eq!(init.calls("RestartService"), ["network"]);
    line.type_keys(b"P");
    line.wait_for("OFF?");
    line.type_keys(b"n");
    line.wait_for("Nothing done.");
    line.type_keys(b"R");
    line.wait_for("REBOOT");
    line.confirm();
    line.wait_for("going down");
    assert_eq!(init.calls("Power"), ["reboot"]);
}

#[test]
fn a_log_is_followed_and_cannot_send_escape_sequences() {
    let mut bench = Bench::new();
    let init = bench.init();
    let mut line = Line::new();
    bench.start(&[&line]);
    line.wait_for("> data");
    line.type_keys(b"\x1b[B\x1b[B\r");
    line.wait_for("Log of network");
    line.wait_for("first line");
    init.log("later \x1b[2J\x1b]0;owned\x07line");
    line.wait_for("later ]0;owned line");
    line.type_keys(b"\x1b");
    line.wait_for("> network");
    assert!(!line.received().windows(4).any(|bytes| bytes == b"\x1b[2J"));
    assert!(!line.received().contains(&0x07));
}

#[test]
fn without_pid_1_the_page_says_so_and_recovers() {
    let mut bench = Bench::new();
    let mut line = Line::new();
    bench.start(&[&line]);
    line.wait_for("PID 1 does not answer");
    let init = bench.init();
    line.wait_for("HEALTHY");
    init.set(InitState::Silent);
    line.wait_for("UNKNOWN");
    line.wait_for("did not answer in time");
    line.type_keys(b"?");
    line.wait_for("any key goes back");
    line.type_keys(b"q");
    init.set(InitState::Nonsense);
    line.wait_for("makes no sense");
    init.set(InitState::Answers);
    line.wait_for("HEALTHY");
}

#[test]
fn a_terminal_that_dies_takes_no_other_with_it() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let mut stays = Line::new();
    let mut dies = Line::new();
    bench.start_with(&["/nonexistent/tty".as_ref(), dies.path(), stays.path()]);
    dies.wait_for("HEALTHY");
    stays.wait_for("HEALTHY");
    drop(dies);
    stays.type_keys(b"?");
    stays.wait_for("any key goes back");
    stays.type_keys(b"q");
    stays.wait_for("HEALTHY");
    assert!(bench.is_running());
}

#[test]
fn garbage_is_ignored_and_the_page_stays_whole() {
    let mut bench = Bench::new();
    let init = bench.init();
    let mut line = Line::new();
    bench.start(&[&line]);
    line.wait_for("HEALTHY");
    let mut garbage = Vec::new();
    for number in 0_u32..4_000 {
        let byte = (number.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0];
        garbage.push(byte);
    }
    garbage.extend_from_slice(b"Ryzen 5 and Py");
    line.type_keys(&garbage);
    line.type_keys(b"\x1b\x1b\x1bqqn\x0c");
    line.wait_for("l log in  Enter log");
    line.type_keys(b"\x0c");
    line.wait_for("HEALTHY");
    assert!(bench.is_running());
    assert!(init.calls("Power").is_empty());
    assert!(init.calls("StopService").is_empty());
}

#[test]
fn a_line_that_takes_nothing_gets_the_last_page_instead_of_all() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let mut line = Line::new();
    bench.start(&[&line]);
    line.wait_for("HEALTHY");
    // Two thousand pages of some two thousand bytes, and nobody reads them.
    for _ in 0..1_000 {
        line.type_keys(b"?q");
    }
    line.type_keys(b"jjj");
    line.wait_for("> console");
    let sent = line.received().len();
    assert!(sent < 400_000, "{sent} bytes");
}

#[test]
fn an_idle_page_costs_little_and_the_line_is_given_back() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let mut line = Line::new();
    let before = line.settings();
    bench.start(&[&line]);
    line.wait_for("HEALTHY");
    line.wait_for("up 03:07:13");
    let settled = line.received().len();
    // The fake PID 1's clock goes on with every question: wait for three more.
    for uptime in ["03:07:15", "03:07:17", "03:07:19"] {
        line.wait_for(uptime);
    }
    let cost = line.received().len() - settled;
    assert!(cost < 3 * 100, "three refreshes cost {cost} bytes");
    bench.stop();
    line.read_for(Duration::from_millis(50));
    assert!(line.received().ends_with(b"\x1b[0m\x1b[?25h\r\n"));
    assert_eq!(line.settings(), before);
}
