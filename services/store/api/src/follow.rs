use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{CallError, Client, Configuration, ConnectError};

/// A store that restarts is back in well under a second.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// A hang-up ends the wait at once; this only bounds it.
const WAIT: Duration = Duration::from_secs(600);
/// Parses some JSON and calls back.
const STACK_BYTES: usize = 512 * 1024;

/// Why there is no configuration at the moment.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The store does not run, or the caller may not ask.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Follows the calling service's configuration on a thread of its own, for as long as the process
/// lives: for services that have no loop to put a [`crate::Stream`] into.
///
/// `apply` gets the configuration as it applies now and again at each change, and what it returns is
/// the service's answer to the store. When the store is lost it is told once, and again with each
/// different reason; its answer is ignored then. After that the connection is tried again and again.
///
/// # Errors
/// When the thread cannot be started.
pub fn follow(
    socket: PathBuf,
    mut apply: impl FnMut(Result<Configuration, FollowError>) -> Result<(), String> + Send + 'static,
) -> io::Result<()> {
    let endless = move || {
        let mut told = String::new();
        let mut retry = RETRY_FIRST;
        loop {
            let error = follow_once(&socket, |configuration| {
                told.clear();
                retry = RETRY_FIRST;
                apply(Ok(configuration))
            });
            let reason = error.to_string();
            if reason != told {
                told = reason;
                // There is nobody to answer to.
                apply(Err(error)).ok();
            }
            std::thread::sleep(retry);
            retry = (retry * 2).min(RETRY_LAST);
        }
    };
    std::thread::Builder::new()
        .name("configuration".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(endless)?;
    Ok(())
}

fn follow_once(
    socket: &Path,
    mut apply: impl FnMut(Configuration) -> Result<(), String>,
) -> FollowError {
    let mut work = || -> Result<std::convert::Infallible, FollowError> {
        // A stream takes its connection for itself; answers go over another one.
        let mut answers = Client::connect(socket)?;
        let mut stream = Client::connect(socket)?.follow_configuration()?;
        loop {
            if let Some(configuration) = stream.next(WAIT)? {
                let generation = configuration.generation;
                let outcome = apply(configuration);
                match answers.applied(generation, outcome) {
                    // It may be over already: another service failed, or a person was faster.
                    Ok(()) | Err(CallError::Refused(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            } else if stream.is_over() {
                return Err(CallError::HungUp.into());
            }
        }
    };
    match work() {
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::AppliedCall;
    use api::wire::{Call, Reply, encode};
    use serde_json::{Value, json};
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::mpsc::{Receiver, channel};

    const DEADLINE: Duration = Duration::from_secs(30);

    fn read(stream: &UnixStream) -> Call {
        let mut message = Vec::new();
        BufReader::new(stream).read_until(0, &mut message).unwrap();
        message.pop();
        serde_json::from_slice(&message).unwrap()
    }

    fn write(mut stream: &UnixStream, parameters: Value, continues: bool) {
        let reply = Reply {
            parameters: Some(parameters),
            continues,
            error: None,
        };
        stream.write_all(&encode(&reply)).unwrap();
    }

    /// A store for one follower: hands out a generation and returns the follower's answer.
    fn serve(listener: &UnixListener, generation: u64) -> (AppliedCall, [UnixStream; 2]) {
        let (answers, _) = listener.accept().unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert!(read(&stream).more);
        let parameters = json!({ "generation": generation, "sections": { "login": {} } });
        write(&stream, parameters, true);
        let call = read(&answers);
        assert_eq!(call.method, "org.x0tta6bl4.Store.Applied");
        write(&answers, json!({}), false);
        let applied = serde_json::from_value(call.parameters.unwrap()).unwrap();
        (applied, [answers, stream])
    }

    fn next(news: &Receiver<Option<u64>>) -> Option<u64> {
        news.recv_timeout(DEADLINE).unwrap()
    }

    #[test]
    fn answers_and_survives_a_store_that_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("store.sock");
        let (teller, news) = channel();
        follow(socket.clone(), move |configuration| {
            let generation = configuration.ok().map(|c| c.generation);
            teller.send(generation).unwrap();
            match generation {
                Some(2) => Err("cannot listen".to_owned()),
                _ => Ok(()),
            }
        })
        .unwrap();
        assert_eq!(next(&news), None, "there is no store yet");
        let listener = UnixListener::bind(&socket).unwrap();
        let (applied, connections) = serve(&listener, 1);
        assert_eq!(next(&news), Some(1));
        assert!(applied.ok && applied.generation == 1);
        drop(connections);
        assert_eq!(next(&news), None, "it is told that the store is gone");
        let (applied, _connections) = serve(&listener, 2);
        assert_eq!(next(&news), Some(2));
        assert!(!applied.ok);
        assert_eq!(applied.message.as_deref(), Some("cannot listen"));
    }
}
