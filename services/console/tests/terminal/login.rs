//! Logging in at a terminal, with bash in the place of x0ctl: it shows what job control does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;

use crate::bench::{Bench, Line};

/// `openssl passwd -6 -salt saltstring 'correct horse'`.
const HASH: &str = "$6$saltstring$.r0X7ub5wGR2v4Xz7svCIozfnlorFh19V89t8KC9Umd81uGhFgsyTRNyzQDXDIm17fFcR9z3z7oBNdsyYBbtm/";

/// A program to work with that does what `script` says.
fn shell(bench: &Bench, script: &str) -> PathBuf {
    let path = bench.file("shell");
    std::fs::write(&path, format!("#!/bin/bash\n{script}\n"))
        .expect("the folder of the test is writable and its name is text");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        .expect("the folder of the test is writable and its name is text");
    path
}

fn start(bench: &mut Bench, line: &Line, script: &str, options: &[&str]) {
    let shell = shell(bench, script);
    let mut all = vec![
        "--shell",
        shell
            .to_str()
            .expect("the folder of the test is writable and its name is text"),
    ];
    all.extend(options);
    bench.start_as(&all, &[line.path()]);
}

#[test]
fn without_a_password_a_person_gets_a_shell_with_a_terminal_of_its_own() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let store = bench.store(json!({}));
    let mut line = Line::new();
    let script = "
        echo \"$TERM $(stty size) session-of-$(ps -o tty= $$)\"
        trap 'echo interrupted' INT
        (echo 'ready>'; exec sleep 1000)
        read -p 'again> ' answer
        echo \"answer is $answer\"; read -p 'last> ' answer
        exit 3";
    start(&mut bench, &line, script, &[]);
    line.wait_for("l log in");
    store.wait_for_applied();
    line.type_keys(b"l");
    line.wait_for("No password is set");
    let tty = line
        .path()
        .strip_prefix("/dev")
        .unwrap()
        .display()
        .to_string();
    line.wait_for(&format!("vt220 24 80 session-of-{tty}"));
    let accepted = store.event("login.accepted");
    assert_eq!(accepted["how"], "free");
    line.wait_for("ready>");
    // The terminal's driver makes it a signal, for the session alone.
    line.type_keys(b"\x03");
    line.wait_for("interrupted");
    line.wait_for("again>");
    line.type_keys(b"helo\x7flo\n");
    line.wait_for("answer is hello");
    line.type_keys(b"\n");
    line.wait_for("> data");
    assert_eq!(store.event("login.ended")["reason"], "left");
    assert!(bench.is_running());
    // It works a second time.
    line.type_keys(b"l");
    line.wait_for("ready>");
}

#[test]
fn a_password_is_asked_for_and_a_wrong_one_costs_time() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let store = bench.store(json!({ "password_hash": HASH }));
    let mut line = Line::new();
    start(&mut bench, &line, "read -p 'inside> ' answer", &[]);
    line.wait_for("> data");
    store.wait_for_applied();
    line.type_keys(b"l");
    line.wait_for("Password:");
    line.type_keys(b"wrong horse\r");
    line.wait_for("Wrong password. Try again in 1 s.");
    assert_eq!(store.event("login.refused")["reason"], "wrong password");
    line.type_keys(b"l");
    line.wait_for("wait 1 s.");
    line.read_for(std::time::Duration::from_millis(1_100));
    line.type_keys(b"l");
    line.wait_for("Password:");
    line.type_keys(b"correct horse\r");
    line.wait_for("inside>");
    assert_eq!(store.event("login.accepted")["how"], "password");
    assert!(!String::from_utf8_lossy(line.received()).contains("horse"));
    line.type_keys(b"\n");
    line.wait_for("> data");
    // Whoever is not logged in changes nothing.
    line.type_keys(b"R");
    line.wait_for("A password is set");
}

#[test]
fn a_store_that_never_answered_opens_nothing_and_one_that_did_is_remembered() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let mut line = Line::new();
    start(&mut bench, &line, "read -p 'inside> ' answer", &[]);
    line.wait_for("> data");
    line.type_keys(b"l");
    line.wait_for("Not yet");
    let store = bench.store(json!({}));
    store.wait_for_applied();
    store.change(json!({ "password_hash": "rot13" }));
    line.type_keys(b"l");
    line.wait_for("Nobody can log in: not a password hash");
    store.change(json!({ "password_hash": HASH }));
    bench.stop();
    // The console starts anew while the store is away.
    std::fs::remove_file(bench.file("store.sock")).unwrap();
    let mut line = Line::new();
    start(&mut bench, &line, "read -p 'inside> ' answer", &[]);
    line.wait_for("> data");
    line.type_keys(b"l");
    line.wait_for("Password:");
    line.type_keys(b"correct horse\r");
    line.wait_for("inside>");
}

#[test]
fn silence_logs_out_even_who_ignores_the_hang_up() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let store = bench.store(json!({}));
    let mut line = Line::new();
    let script = "trap '' HUP; while true; do read -p 'deaf> ' answer; done";
    start(&mut bench, &line, script, &["--idle", "1"]);
    line.wait_for("> data");
    store.wait_for_applied();
    line.type_keys(b"l");
    line.wait_for("deaf>");
    line.wait_for("Logged out");
    assert_eq!(store.event("login.ended")["reason"], "idle");
}

#[test]
fn a_crash_comes_back_to_the_page() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let store = bench.store(json!({}));
    let mut line = Line::new();
    start(&mut bench, &line, "kill -SEGV $$", &[]);
    line.wait_for("> data");
    store.wait_for_applied();
    line.type_keys(b"l");
    line.wait_for("killed by signal 11");
    assert_eq!(store.event("login.ended")["reason"], "crashed");
    line.type_keys(b"j");
    line.wait_for("> provision");
}

#[test]
fn a_missing_program_is_named() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let store = bench.store(json!({}));
    let mut line = Line::new();
    let options = ["--shell", "/nonexistent/x0ctl"];
    bench.start_as(&options, &[line.path()]);
    line.wait_for("> data");
    store.wait_for_applied();
    line.type_keys(b"l");
    line.wait_for("could not be started (status 127)");
}

#[test]
fn a_line_that_is_hung_up_ends_the_session_and_what_it_started() {
    let mut bench = Bench::new();
    let _init = bench.init();
    let store = bench.store(json!({}));
    let mut line = Line::new();
    let stays = Line::new();
    let alive = bench.file("alive");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &alive,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    // A child that holds the pipe open for as long as it lives.
    let script = format!(
        "(exec 9>{}; echo x >&9; read -p 'child> ' answer; sleep 1000)",
        alive.display()
    );
    let shell = shell(&bench, &script);
    let options = ["--shell", shell.to_str().unwrap()];
    bench.start_as(&options, &[line.path(), stays.path()]);
    line.wait_for("> data");
    store.wait_for_applied();
    line.type_keys(b"l");
    let mut pipe = std::fs::File::open(&alive).unwrap();
    line.wait_for("child>");
    line.hang_up();
    // The end of the file: nobody holds the other end any more.
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut pipe, &mut rest).unwrap();
    assert_eq!(rest, "x\n");
    store.event("login.ended");
    assert!(bench.is_running());
}
