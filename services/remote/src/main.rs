use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    match arguments.peek().and_then(|first| first.to_str()) {
        Some("--session") => {
            let error = remote::become_session(arguments.skip(1));
            eprintln!("remote: cannot begin the session: {error}");
            ExitCode::from(127)
        }
        Some("--connection") => {
            runtime::logging();
            match remote::connection() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    // Strangers' mistakes are no business of the log's readers.
                    tracing::debug!(error = %runtime::Chain(&error), "a connection ended");
                    ExitCode::FAILURE
                }
            }
        }
        _ => {
            let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
            let config = remote::Config::from_arguments(arguments);
            runtime::run(|| remote::run(config))
        }
    }
}
