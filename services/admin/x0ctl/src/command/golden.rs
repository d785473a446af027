//! Answers as people see them, from answers as programs see them. `X0_WRITE_GOLDEN=1` accepts what
//! the texts are now.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::{boot, config, events, service, status, store};
use crate::Error;
use crate::output::Output;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn check<T: DeserializeOwned>(
    json: &str,
    text: &str,
    show: impl FnOnce(&T, &mut Output<'_>) -> Result<(), Error>,
) {
    let captured = std::fs::read(folder().join(json)).unwrap();
    let value: T = serde_json::from_slice(&captured).unwrap();
    let mut shown = Vec::new();
    show(&value, &mut Output::new(&mut shown, false, false)).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    let path = folder().join(text);
    if std::env::var_os("X0_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(shown == golden, "{text} differs:\n{shown}");
    assert!(
        !shown.contains('\u{1b}'),
        "{text} lets control characters through"
    );
}

#[test]
fn status_page() {
    check("status.json", "status.txt", status::show);
}

#[test]
fn list_of_services() {
    check("status.json", "service-list.txt", service::list);
}

#[test]
fn one_service() {
    check(
        "status.json",
        "service-show.txt",
        |status: &api::Status, output| service::show(status.service("network").unwrap(), output),
    );
}

#[test]
fn boot_blame() {
    check("blame.json", "boot-blame.txt", boot::show);
}

#[test]
fn history() {
    check(
        "history.json",
        "config-history.txt",
        |list: &Vec<_>, output| config::show_history(list, output),
    );
}

#[test]
fn configuration() {
    check("config.json", "config-status.txt", config::show);
}

#[test]
fn event_log() {
    check("events.json", "events.txt", |list: &Vec<_>, output| {
        list.iter()
            .try_for_each(|event| events::line(event, output))
    });
}

#[test]
fn statistics() {
    check("statistics.json", "store-stats.txt", store::show);
}
