use std::process::ExitCode;

use console::{Config, Mode, USAGE};

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == "--session")
    {
        let error = console::become_session(std::env::args_os().skip(2));
        eprintln!("console: cannot begin the session: {error}");
        return ExitCode::from(127);
    }
    let config = match Config::from_arguments(std::env::args().skip(1)) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("console: {error}");
            return ExitCode::from(2);
        }
    };
    match config.mode {
        Mode::Terminals => runtime::run(|| console::run(config)),
        Mode::Once => print(&console::once(config)),
        Mode::Help => print(USAGE),
    }
}

/// A reader that goes away is no error of ours.
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
