//! Entries for fuzzing: each takes any bytes and must return.

use std::collections::HashMap;
use std::sync::OnceLock;

use zbus::OwnedVariant;
use zbus::wire::LE;
use zbus::wire::serialized::{Context, Data};

use crate::caller::Caller;
use crate::options::Options;
use crate::policy::{Action, Policy, Verdict};
use crate::session;

/// The options of a call, as they come over the bus.
pub fn options(bytes: &[u8]) {
    let data = Data::new(bytes, Context::new(LE, 0));
    let Ok((decoded, _)) = data.deserialize::<HashMap<String, OwnedVariant>>() else {
        return;
    };
    let mut options = Options::new(decoded);
    let reason = options.text("reason", 16);
    assert!(reason.is_err() || reason.is_ok_and(|text| text.is_none_or(|text| text.len() <= 16)));
    options.take::<u32>("confirm-within").ok();
    options.take::<bool>("dry-run").ok();
    if let Err(error) = options.end() {
        let shown = error.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
}

/// A caller with any credentials: four bytes of user, then four of each group.
pub fn credentials(bytes: &[u8]) {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    let policy = POLICY.get_or_init(|| Policy::load().expect("the tests load it, too"));
    let mut numbers = bytes.chunks_exact(4).map(|four| {
        let four = four.try_into().expect("chunks of four have four bytes");
        u32::from_le_bytes(four)
    });
    let Some(uid) = numbers.next() else { return };
    let gids: Vec<u32> = numbers.take(64).collect();
    let (root, control, view) = (uid == 0, gids.contains(&90), gids.contains(&91));
    let caller = Caller::new(":1.1", uid, gids, None);
    let may = |action| {
        let verdict = policy.decide(&caller, action);
        verdict.expect("any caller can be judged") == Verdict::Permitted
    };
    assert_eq!(may(Action::InitStatus), root || control || view);
    assert_eq!(may(Action::ConfigApply), root || control);
}

/// A process's `stat` file, with whatever name the process gave itself.
pub fn stat(bytes: &[u8]) {
    session::parse(&String::from_utf8_lossy(bytes));
}
