use api::Blame;

use crate::Error;
use crate::ask;
use crate::cli::{Boot, Global, Power};
use crate::link::Link;
use crate::output::{Output, Table, Tone, duration};

pub(crate) fn run(global: &Global, command: &Boot, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Boot::Blame => {
            let blame = Link::open(global)?.blame()?;
            match output.json(&blame)? {
                true => Ok(()),
                false => show(&blame, output),
            }
        }
        Boot::Reexec => Link::open(global)?.reexec(),
        Boot::SoftReboot(yes) => {
            ask::sure("Stop all services and start them again?", *yes)?;
            Link::open(global)?.soft_reboot()
        }
    }
}

/// The slowest first; what the boot waited for is marked.
pub(crate) fn show(blame: &Blame, output: &mut Output<'_>) -> Result<(), Error> {
    let userspace = blame.userspace_ms.map(duration);
    output.facts(&[
        ("kernel", duration(blame.kernel_ms)),
        ("services", userspace.unwrap_or("not all ready yet".into())),
        ("waited for", blame.critical_path.join(", then ")),
    ])?;
    output.line("")?;
    let mut services: Vec<_> = blame.services.iter().collect();
    services.sort_by_key(|service| std::cmp::Reverse(service.took_ms));
    let mut table = Table::new(&["TOOK", "SERVICE", "STARTED AT", "READY AT", "AFTER"]);
    let milliseconds = |value: Option<u64>| value.map(|ms| format!("{ms} ms")).unwrap_or_default();
    for service in services {
        let tone = match blame.critical_path.contains(&service.service) {
            true => Tone::Wary,
            false => Tone::Plain,
        };
        table.row([
            (Tone::Plain, milliseconds(service.took_ms)),
            (tone, service.service.clone()),
            (Tone::Plain, milliseconds(service.started_ms)),
            (Tone::Plain, milliseconds(service.ready_ms)),
            (Tone::Plain, service.waited_for.clone().unwrap_or_default()),
        ]);
    }
    output.table(&table)
}

pub(crate) fn power(global: &Global, command: Power, output: &mut Output<'_>) -> Result<(), Error> {
    let (action, question, yes) = match command {
        Power::Reboot(yes) => ("reboot", "Reboot the router?", yes),
        Power::Off(yes) => ("off", "Switch the router off?", yes),
    };
    ask::sure(question, yes)?;
    Link::open(global)?.power(action)?;
    output.line("the router stops its services now")
}
