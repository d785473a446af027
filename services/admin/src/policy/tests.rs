use std::collections::BTreeSet;

use cedar_policy::{Schema, ValidationMode, Validator};

use super::*;

const CONFIRM: Action = Action::ConfigConfirm {
    connection_is_older: false,
    session_is_older: false,
};

const ALL: [Action; 22] = [
    Action::ConfigApply,
    Action::ConfigCancel,
    CONFIRM,
    Action::ConfigEdit,
    Action::ConfigRead,
    Action::ConfigRollback,
    Action::InitPower,
    Action::InitReexec,
    Action::InitSoftReboot,
    Action::InitStatus,
    Action::JobControl,
    Action::JobRead,
    Action::LogLevel,
    Action::ServiceLogs,
    Action::ServiceRestart,
    Action::ServiceStart,
    Action::ServiceStop,
    Action::StoreBackup,
    Action::StoreEvents,
    Action::StoreRestore,
    Action::StoreStatistics,
    Action::StoreVerify,
];

fn caller(uid: u32, gids: &[u32]) -> Caller {
    Caller::new(":1.7", uid, gids.to_vec(), Some(1))
}

fn verdict(caller: &Caller, action: Action) -> String {
    match Policy::load().unwrap().decide(caller, action).unwrap() {
        Verdict::Permitted => "permitted".into(),
        Verdict::Forbidden(rule) => rule,
    }
}

#[test]
fn the_policies_fit_the_schema() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let policies = PolicySet::from_str(POLICIES).unwrap();
    let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
    let errors: Vec<_> = result.validation_errors().collect();
    let warnings: Vec<_> = result.validation_warnings().collect();
    assert!(
        errors.is_empty() && warnings.is_empty(),
        "{errors:?} {warnings:?}"
    );
}

#[test]
fn every_policy_has_a_name_of_its_own() {
    let policies = PolicySet::from_str(POLICIES).unwrap();
    let names: BTreeSet<_> = policies
        .policies()
        .map(|p| p.annotation("id").unwrap())
        .collect();
    assert_eq!(names.len(), policies.policies().count());
}

#[test]
fn the_actions_are_those_of_the_schema() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let entities = schema.action_entities().unwrap();
    let groups: BTreeSet<&str> = ["look", "administer"].into();
    let mut left: BTreeSet<String> = (entities.iter())
        .map(|entity| entity.uid().id().unescaped().to_owned())
        .filter(|name| !groups.contains(name.as_str()))
        .collect();
    for action in ALL {
        assert!(
            left.remove(action.name()),
            "{action:?} is not in the schema"
        );
        let kind = EntityTypeName::from_str("Action").unwrap();
        let (group, own) = (uid(&kind, action.group()), uid(&kind, action.name()));
        assert!(entities.is_ancestor_of(&group, &own), "{action:?}");
    }
    assert!(left.is_empty(), "only in the schema: {left:?}");
}

#[test]
fn members_of_control_do_everything() {
    for action in ALL {
        assert_eq!(verdict(&caller(204, &[204, 90]), action), "permitted");
        assert_eq!(verdict(&caller(0, &[0]), action), "permitted");
    }
}

#[test]
fn viewers_only_look() {
    let viewer = caller(209, &[209, 91]);
    for action in ALL {
        let expected = match action.group() {
            "look" => "permitted",
            _ => "nothing-permits-it",
        };
        assert_eq!(verdict(&viewer, action), expected, "{action:?}");
    }
}

#[test]
fn others_may_nothing() {
    for action in ALL {
        assert_eq!(verdict(&caller(203, &[203]), action), "nothing-permits-it");
    }
}

#[test]
fn a_restore_takes_a_local_caller() {
    let remote = caller(210, &[210, 90]);
    assert_eq!(verdict(&remote, Action::StoreRestore), "restore-is-local");
    let hypervisor = caller(205, &[205, 90]);
    assert_eq!(verdict(&hypervisor, Action::StoreRestore), "permitted");
}

#[test]
fn a_confirmation_takes_a_new_path() {
    let confirm = |connection_is_older, session_is_older| Action::ConfigConfirm {
        connection_is_older,
        session_is_older,
    };
    let remote = caller(210, &[210, 90]);
    let console = caller(204, &[204, 90]);
    assert_eq!(verdict(&remote, confirm(false, false)), "permitted");
    assert_eq!(verdict(&console, confirm(false, true)), "permitted");
    assert_eq!(
        verdict(&remote, confirm(false, true)),
        "confirm-from-a-new-session"
    );
    for caller in [remote, console, caller(0, &[])] {
        let rule = verdict(&caller, confirm(true, false));
        assert_eq!(rule, "confirm-over-a-new-connection");
    }
}
