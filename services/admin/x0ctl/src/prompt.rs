//! The prompt: the same commands, one per line. It is the login shell of the appliance, so it offers
//! nothing else: no files to run, no shell to escape to.

use clap::{CommandFactory, Parser};
use runtime::Chain;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use crate::cli::Cli;
use crate::output::{self, Output};
use crate::{Error, ask, command};

/// Lines that the arrow keys go back to.
const HISTORY_LINES: usize = 200;

/// Asks for commands until Ctrl-D.
pub(crate) fn run(cli: &Cli) -> Result<(), Error> {
    if !ask::is_person() {
        return Err(Error::NoTerminal(
            "there is no terminal to ask for commands: give one, see x0ctl --help",
        ));
    }
    let config = Config::builder()
        .max_history_size(HISTORY_LINES)
        .map(rustyline::config::Builder::build)
        .map_err(prompt_failed)?;
    let history = MemHistory::with_config(&config);
    let mut editor = Editor::with_history(config, history).map_err(prompt_failed)?;
    editor.set_helper(Some(Commands));
    println!("`help` lists the commands, Tab completes them, Ctrl-D leaves.");
    loop {
        match editor.readline("x0> ") {
            Ok(line) => {
                // The history lives in memory only, and ends with the session.
                editor.add_history_entry(&line).map_err(prompt_failed)?;
                if matches!(line.trim(), "exit" | "quit" | "logout") {
                    return Ok(());
                }
                execute(cli, &line);
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(prompt_failed(error)),
        }
    }
}

fn prompt_failed(error: ReadlineError) -> Error {
    Error::Other(format!("the prompt failed: {error}"))
}

fn execute(outer: &Cli, line: &str) {
    let Some(words) = words(line) else {
        eprintln!("x0ctl: a quotation mark is missing");
        return;
    };
    let words: Vec<String> = match words.split_first() {
        None => return,
        Some((help, rest)) if help == "help" => {
            rest.iter().cloned().chain(["--help".into()]).collect()
        }
        Some(_) => words,
    };
    let mut cli = match Cli::try_parse_from(std::iter::once("x0ctl".to_owned()).chain(words)) {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            return;
        }
    };
    // Where the router is was said once, when the prompt was started.
    cli.global.bus.clone_from(&outer.global.bus);
    cli.global.init.clone_from(&outer.global.init);
    let Some(command) = &cli.command else { return };
    let mut stdout = std::io::stdout();
    let json = cli.global.json || outer.global.json;
    let mut output = Output::new(&mut stdout, json, output::colours_wanted());
    if let Err(error) = command::run(&cli, command, &mut output) {
        eprintln!("x0ctl: {}", Chain(&error));
    }
}

/// Splits a line at spaces that are not between quotation marks. `None`: a mark is missing.
pub(crate) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        end if end == character => break,
                        '\\' if character == '"' => word.push(characters.next()?),
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next()?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

/// Completes from the definition of the commands.
struct Commands;

impl Completer for Commands {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(candidates(&line[..position]))
    }
}

impl Hinter for Commands {
    type Hint = String;
}
impl Highlighter for Commands {}
impl Validator for Commands {}
impl Helper for Commands {}

/// Where the last word starts, and what it could become.
fn candidates(line: &str) -> (usize, Vec<String>) {
    let start = line.rfind([' ', '\t']).map_or(0, |space| space + 1);
    let (before, last) = line.split_at(start);
    let mut command = Cli::command();
    for word in before.split_whitespace().filter(|word| *word != "help") {
        if word.starts_with('-') {
            continue;
        }
        match command.find_subcommand(word) {
            Some(child) => command = child.clone(),
            None => return (start, Vec::new()),
        }
    }
    let children = command
        .get_subcommands()
        .filter(|child| !child.is_hide_set());
    let options = command
        .get_arguments()
        .filter_map(|argument| argument.get_long());
    let mut found: Vec<String> = children
        .map(|child| format!("{} ", child.get_name()))
        .chain(options.map(|long| format!("--{long} ")))
        .filter(|name| name.starts_with(last))
        .filter(|name| !name.starts_with('-') || last.starts_with('-'))
        .collect();
    found.sort();
    (start, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_people_expect() {
        let split = |line: &str| words(line).map(|w| w.join("|"));
        assert_eq!(split("  service  show x ").unwrap(), "service|show|x");
        assert_eq!(
            split(r#"set a '"b c"' "d\"e" f\ g"#).unwrap(),
            "set|a|\"b c\"|d\"e|f g"
        );
        assert_eq!(split("").unwrap(), "");
        assert_eq!(words("''").unwrap(), [""]);
        assert_eq!(words("'open"), None);
    }

    #[test]
    fn tab_completes_commands_and_options() {
        assert_eq!(candidates("ser"), (0, vec!["service ".into()]));
        assert_eq!(candidates("service re"), (8, vec!["restart ".into()]));
        let (at, options) = candidates("config apply x --conf");
        assert_eq!(
            (at, options.len()),
            (15, 0),
            "a file's name ends the commands"
        );
        assert_eq!(candidates("config apply --conf").1, ["--confirm-within "]);
        assert!(candidates("gen").1.is_empty());
    }
}
