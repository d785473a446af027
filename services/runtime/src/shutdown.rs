use std::io;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGINT, SIGTERM};

/// A stream that becomes readable when the service is asked to stop (SIGTERM or SIGINT).
///
/// It is non-blocking, so that it fits `poll(2)` and an async runtime alike.
///
/// # Errors
/// When the socket pair or the signal handlers cannot be set up.
pub fn shutdown() -> io::Result<UnixStream> {
    let (wake, signalled) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, signalled.try_clone()?)?;
    }
    Ok(wake)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn becomes_readable_on_sigterm() {
        let mut wake = shutdown().unwrap();
        wake.set_nonblocking(false).unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        let mut byte = [0];
        wake.read_exact(&mut byte).unwrap();
    }
}
