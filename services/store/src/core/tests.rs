use super::*;
use proptest::prelude::*;

/// A step of a machine's life.
#[derive(Clone, Debug)]
enum Step {
    Ask(Command),
    /// Time passes.
    Wait(u64),
    /// The store's process starts again: what it wrote is read.
    Restart,
    /// The machine's power goes and comes back.
    PowerCut,
}

fn number() -> impl Strategy<Value = u64> {
    1u64..12
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![Just(None), (0u64..100_000_000).prop_map(Some)];
    let ask = prop_oneof![
        wait.prop_map(|confirm_within_ms| Command::Apply { confirm_within_ms }),
        number().prop_map(|generation| Command::Confirm { generation }),
        number().prop_map(|generation| Command::Cancel { generation }),
        number().prop_map(|generation| Command::Fail { generation }),
        Just(Command::Tick),
    ];
    prop_oneof![
        6 => ask.prop_map(Step::Ask),
        2 => (0u64..50_000_000).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => Just(Step::PowerCut),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_an_unconfirmed_generation_ends(steps in prop::collection::vec(step(), 0..60)) {
        let mut machine = Machine::new();
        let mut boot = 0;
        let mut now = Now { boot: "0".into(), boottime_ms: 0 };
        for step in steps {
            let before = machine.clone();
            let mut changes = Vec::new();
            match step {
                Step::Wait(wait) => now.boottime_ms += wait,
                Step::Restart => {
                    let written = serde_json::to_string(&machine).unwrap();
                    machine = serde_json::from_str(&written).unwrap();
                    prop_assert_eq!(&machine, &before);
                }
                Step::PowerCut => {
                    boot += 1;
                    now = Now { boot: boot.to_string(), boottime_ms: 0 };
                    machine.handle(&now, Command::Tick, &mut changes).unwrap();
                    prop_assert_eq!(machine.effective(), before.confirmed());
                }
                Step::Ask(command) => {
                    let answer = machine.handle(&now, command, &mut changes);
                    check(&before, &machine, command, answer, &changes, &now)?;
                }
            }
            prop_assert!(machine.is_sound());
            prop_assert!(machine.latest() >= before.latest(), "numbers are never used twice");
            prop_assert!(machine.confirmed() >= before.confirmed(), "confirmed is for ever");
        }
    }
}

/// What holds after each command, said without looking at how the machine does it.
fn check(
    before: &Machine,
    after: &Machine,
    command: Command,
    answer: Result<(), Refused>,
    changes: &[Change],
    now: &Now,
) -> Result<(), TestCaseError> {
    if let Some(pending) = after.pending() {
        prop_assert!(pending.deadline_ms > now.boottime_ms && pending.boot == now.boot);
    }
    // Only a confirmation in time, or an application without a deadline, makes a generation stay.
    if after.confirmed() != before.confirmed() {
        match command {
            Command::Confirm { generation } => {
                let pending = before.pending().expect("only what waits is confirmed");
                prop_assert_eq!(pending.generation, generation);
                prop_assert!(now.boottime_ms < pending.deadline_ms);
            }
            Command::Apply { confirm_within_ms } => prop_assert_eq!(confirm_within_ms, None),
            other => prop_assert!(false, "{other:?} confirmed something"),
        }
    }
    let by_clock =
        usize::from(before.pending().is_some_and(|pending| {
            pending.deadline_ms <= now.boottime_ms || pending.boot != now.boot
        }));
    prop_assert_eq!(
        changes.len(),
        by_clock + usize::from(answer.is_ok() && command != Command::Tick)
    );
    match command {
        Command::Cancel { .. } | Command::Fail { .. } if answer.is_ok() => {
            prop_assert_eq!(after.effective(), before.confirmed());
        }
        Command::Apply { .. } if answer.is_ok() => {
            prop_assert_eq!(after.effective(), before.latest() + 1);
        }
        _ => {}
    }
    Ok(())
}

fn at(boottime_ms: u64) -> Now {
    Now {
        boot: "a".into(),
        boottime_ms,
    }
}

fn ask(machine: &mut Machine, now: &Now, command: Command) -> (Result<(), Refused>, Vec<Change>) {
    let mut changes = Vec::new();
    let answer = machine.handle(now, command, &mut changes);
    (answer, changes)
}

const APPLY: Command = Command::Apply {
    confirm_within_ms: Some(60_000),
};

#[test]
fn a_confirmation_in_time_keeps_it_and_one_too_late_does_not() {
    let mut machine = Machine::new();
    ask(&mut machine, &at(0), APPLY).0.unwrap();
    assert_eq!(machine.effective(), 2);
    let confirm = Command::Confirm { generation: 2 };
    let mut late = machine.clone();
    ask(&mut machine, &at(59_999), confirm).0.unwrap();
    assert_eq!((machine.effective(), machine.confirmed()), (2, 2));
    let (answer, changes) = ask(&mut late, &at(60_000), confirm);
    assert_eq!(answer, Err(Refused::NotPending(2)));
    assert_eq!(changes, [Change::Expired(2)]);
    assert_eq!(late.effective(), 1);
}

#[test]
fn one_generation_waits_at_a_time() {
    let mut machine = Machine::new();
    ask(&mut machine, &at(0), APPLY).0.unwrap();
    let (answer, _) = ask(&mut machine, &at(1), APPLY);
    assert_eq!(answer, Err(Refused::ConfirmationPending(2)));
    // The first one's time is up: the second one's begins.
    let (answer, changes) = ask(&mut machine, &at(60_000), APPLY);
    answer.unwrap();
    assert_eq!(changes, [Change::Expired(2), Change::Pending(3)]);
}

#[test]
fn numbers_from_a_file_are_not_trusted() {
    for bad in [
        r#"{"confirmed":0,"latest":1}"#,
        r#"{"confirmed":3,"latest":2}"#,
        r#"{"confirmed":1,"latest":2,"pending":{"generation":3,"boot":"","applied_at_ms":0,"deadline_ms":1}}"#,
        r#"{"confirmed":2,"latest":2,"pending":{"generation":2,"boot":"","applied_at_ms":0,"deadline_ms":1}}"#,
    ] {
        assert!(
            !serde_json::from_str::<Machine>(bad).unwrap().is_sound(),
            "{bad}"
        );
    }
}
