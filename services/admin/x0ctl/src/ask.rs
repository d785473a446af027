//! Questions to the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

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
    Ok(is_yes(&line()?))
}

fn is_yes(answer: &str) -> bool {
    answer.trim_start().starts_with(['y', 'Y'])
}

fn line() -> io::Result<String> {
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}

/// Shows `text`, which may change, and waits a second for an answer to it.
pub(crate) fn answer_within_a_second(text: &str) -> Result<Option<bool>, Error> {
    // Back to the line's start, and clear what is left of the longer one before.
    eprint!("\r{text} [y/N] \u{1b}[K");
    io::stderr().flush()?;
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let second = Timespec::try_from(Duration::from_secs(1)).ok();
    match poll(&mut fds, second.as_ref()) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(None),
        Ok(_) => Ok(Some(is_yes(&line()?))),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// A passphrase: the first line of a file, or from the terminal without showing it; twice where a
/// mistake could not be noticed later.
pub(crate) fn passphrase(file: Option<&Path>, twice: bool) -> Result<String, Error> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    if !is_person() {
        return Err(Error::NoTerminal(
            "there is no terminal to ask for the passphrase: give --passphrase-file",
        ));
    }
    let first = hidden("Passphrase: ")?;
    if twice && hidden("Once more: ")? != first {
        return Err(Error::Other("the two passphrases differ".into()));
    }
    Ok(first)
}

fn hidden(question: &str) -> Result<String, Error> {
    eprint!("{question}");
    io::stderr().flush()?;
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin).map_err(io::Error::from)?;
    let mut silent = shown.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(io::Error::from)?;
    let answer = line();
    tcsetattr(&stdin, OptionalActions::Flush, &shown).map_err(io::Error::from)?;
    eprintln!();
    Ok(answer?.trim_end_matches(['\r', '\n']).to_owned())
}
