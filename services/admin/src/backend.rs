//! Calls to PID 1 and to the store, which answer over Varlink to a blocking client. Each call runs
//! on a thread of the runtime's pool, a few at a time, and has an end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::Error;

/// Calls that one backend gets at a time. PID 1 is single-threaded, so more would not be faster.
const AT_A_TIME: usize = 4;

/// For waiting in line and for the call. The clients' own deadline, 5 s, is shorter, so that it is
/// they who tell what happened.
const LIMIT: Duration = Duration::from_secs(8);

/// A Varlink server and the calls that are on their way to it.
#[derive(Debug)]
pub(crate) struct Backend {
    name: &'static str,
    socket: PathBuf,
    turns: Arc<Semaphore>,
}

impl Backend {
    /// The server `name` that listens at `socket`.
    #[must_use]
    pub(crate) fn new(name: &'static str, socket: PathBuf) -> Self {
        Self {
            name,
            socket,
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Runs `call`, which gets the path of the socket.
    ///
    /// # Errors
    /// Those of `call`, and when it takes too long.
    pub(crate) async fn call<R, E>(
        &self,
        call: impl FnOnce(PathBuf) -> Result<R, E> + Send + 'static,
    ) -> Result<R, Error>
    where
        R: Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        let late = || {
            let name = self.name;
            Error::TimedOut(format!("{name} did not answer in time; try again"))
        };
        let turns = Arc::clone(&self.turns);
        let work = async {
            // The permit goes along, so that a call that is given up still counts while it runs.
            let permit = turns.acquire_owned().await;
            let socket = self.socket();
            spawn_blocking(move || {
                let _permit = permit;
                call(socket)
            })
            .await
        };
        match timeout(LIMIT, work).await {
            Err(_) => Err(late()),
            Ok(Err(panicked)) => Err(Error::Failed(panicked.to_string())),
            Ok(Ok(answer)) => answer.map_err(Into::into),
        }
    }
}
