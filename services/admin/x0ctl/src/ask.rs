//! Questions to the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::Error;
use crate::cli::Yes;

/// Goes on only after a `y`, or where `--yes` was given.
pub(crate) fn sure(question: &str, yes: Yes) -> Result<(), Error> {
    if yes.yes {
        return Ok(());
    }
    if !is_person() {
        return Err(Error::NoTerminal("there is no terminal to ask: give --yes"));
    }
    match yes_or_no(question)? {
        true => Ok(()),
        false => Err(Error::Declined),
    }
}

/// Both ends are a terminal.
pub(crate) fn is_person() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// What does not begin with a `y` is a no.
pub(crate) fn yes_or_no(question: &str) -> Result<bool, Error> {
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_start().starts_with(['y', 'Y']))
}
