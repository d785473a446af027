use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        // What `Request::Datagram` starts, to be in another control group.
        (Some(group), Some(socket), Some(text)) => agent::send_from(&group, &socket, &text),
        _ => runtime::run(agent::run),
    }
}
