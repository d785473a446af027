use std::process::ExitCode;

fn main() -> ExitCode {
    x0ctl::main()
}
