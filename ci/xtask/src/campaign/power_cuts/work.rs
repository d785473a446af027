use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use store::core::{Command, Now};
use store::engine::{Batch, Engine, Fail, Item, Proposal, Stamp};

use super::disk::{Cut, Disk, Random};

const BATCHES: u64 = 48;

/// The same transactions each time, and what the store holds after each of them.
pub(super) struct Work {
    /// A new store, as it lies on the disk before the first transaction.
    begin: Vec<u8>,
    /// What it holds after so many transactions.
    states: Vec<Content>,
    pub(super) operations: u64,
    pub(super) flushes: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Content {
    /// Over everything.
    digest: [u8; 32],
    effective: u64,
    confirmed: u64,
    last_event: u64,
}

impl Work {
    pub(super) fn plan() -> Result<Self> {
        let random = Random::new(0);
        let disk = Disk::new(Vec::new(), Cut::Never, random.clone());
        drop(Engine::open(disk.clone(), &stamp("first", 0))?);
        let begin = disk.surviving();
        let disk = Disk::new(begin.clone(), Cut::Never, random);
        let engine = Engine::open(disk.clone(), &stamp("first", 0))?;
        let mut states = vec![content(&engine)?];
        for number in 0..BATCHES {
            batch(&engine, number).context("a transaction without a power cut")?;
            states.push(content(&engine)?);
        }
        let (operations, flushes) = disk.count();
        Ok(Self {
            begin,
            states,
            operations,
            flushes,
        })
    }

    /// Works until the power fails, and looks at what is left; true when the transaction under way
    /// was kept.
    pub(super) fn survives(&self, cut: Cut, random: Random) -> Result<bool> {
        let disk = Disk::new(Vec::new(), cut, random);
        self.survives_on(disk)
            .with_context(|| format!("the power was cut {cut:?}"))
    }

    pub(super) fn survives_on(&self, disk: Disk) -> Result<bool> {
        disk.fill(&self.begin);
        let mut acknowledged = 0;
        if let Ok(engine) = Engine::open(disk.clone(), &stamp("first", 0)) {
            for number in 0..BATCHES {
                if batch(&engine, number).is_err() {
                    break;
                }
                acknowledged += 1;
            }
            // The process is gone with the power: nothing that it still wants to write arrives.
        }
        let found = disk.surviving();
        let open = |boot: &str| {
            let disk = Disk::new(found.clone(), Cut::Never, Random::new(0));
            Engine::open(disk, &stamp(boot, BATCHES))
        };
        // In the same boot (only the process was lost) everything is as it was left.
        let engine = open("first").context("the file does not open")?;
        let after = content(&engine)?;
        let index = usize::try_from(acknowledged)?;
        let next = self.states.get(index + 1);
        let was_kept = next == Some(&after);
        ensure!(
            was_kept || self.states[index] == after,
            "after {acknowledged} acknowledged transactions the store holds something else: {after:?}"
        );
        batch(&engine, acknowledged + u64::from(was_kept))
            .context("it takes no more transactions")?;
        drop(engine);

        // In another boot whatever was not confirmed is over.
        let engine = open("second").context("the file does not open in the next boot")?;
        let restarted = content(&engine)?;
        ensure!(
            restarted.effective == after.confirmed && restarted.confirmed == after.confirmed,
            "generation {} applies, and {} was confirmed",
            restarted.effective,
            after.confirmed
        );
        ensure!(
            restarted.last_event >= after.last_event,
            "events are missing"
        );
        Ok(was_kept)
    }
}

/// What a busy appliance does: state of several services, events, configuration.
fn batch(engine: &Engine, number: u64) -> Result<(), Fail> {
    engine.write(&stamp("first", number), |batch| {
        for key in 0..=number % 5 {
            let value = serde_json::json!({ "number": number, "text": "x".repeat(300) });
            let service = if key % 2 == 0 { "network" } else { "mesh" };
            batch.put(
                service,
                &format!("key/{}", (number * 7 + key) % 23),
                value,
                None,
            )?;
        }
        if number.is_multiple_of(3) {
            batch.delete("network", &format!("key/{}", number % 23), None)?;
        }
        let payload = serde_json::Map::from_iter([("number".into(), number.into())]);
        batch.record("network", "link.changed", payload)?;
        configure(batch, number)
    })
}

fn configure(batch: &mut Batch<'_>, number: u64) -> Result<(), Fail> {
    let generation = 2 + number / 8;
    match number % 8 {
        2 => batch
            .apply(Proposal {
                text: format!("# {number}\n{}", "# a comment\n".repeat(500)),
                author: "ada".into(),
                reason: "a try".into(),
                copy_of: None,
                confirm_within_ms: Some(600_000),
            })
            .map(drop),
        6 if generation.is_multiple_of(3) => {
            batch.step(Command::Cancel { generation }, "ada", None)
        }
        6 => batch.step(Command::Confirm { generation }, "ada", None),
        _ => Ok(()),
    }
}

fn content(engine: &Engine) -> Result<Content> {
    let view = engine.view()?;
    let verdict = view.verify()?;
    if let Some(bad) = verdict.bad_sequence {
        bail!("the event log is broken at {bad}: {:?}", verdict.reason);
    }
    let mut digest = Sha256::new();
    view.items(|item: Item| {
        digest.update(format!("{item:?}\n"));
        Ok::<(), Box<redb::Error>>(())
    })?;
    let machine = view.machine()?.context("no generation applies")?;
    Ok(Content {
        digest: digest.finalize().into(),
        effective: machine.effective(),
        confirmed: machine.confirmed(),
        last_event: verdict.last,
    })
}

fn stamp(boot: &str, number: u64) -> Stamp {
    Stamp {
        now: Now {
            boot: boot.into(),
            boottime_ms: number * 10,
        },
        time_ms: 1_700_000_000_000,
    }
}
