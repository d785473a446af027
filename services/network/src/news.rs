//! What the store tells, from a thread of its own: a call to the store may wait, and packets must
//! not wait for it.

use std::io;
use std::path::PathBuf;
use std::thread;

use runtime::Chain;
use store_api::Configuration;
use tokio::sync::{mpsc, oneshot};

/// What the store tells.
#[derive(Debug)]
pub enum News {
    /// A configuration to apply, which waits for its answer.
    Configuration(Configuration, Answer),
    /// It cannot be reached, and why; said once.
    Away(String),
}

/// Where the outcome of applying a configuration goes.
#[derive(Debug)]
pub struct Answer(oneshot::Sender<Result<(), String>>);

impl Answer {
    /// Tells the store. A failure makes it take a pending generation back.
    pub fn give(self, outcome: Result<(), String>) {
        // Nobody waits any more only when the thread is gone, and with it the store's news.
        let _ = self.0.send(outcome);
    }
}

/// Follows the store for as long as the process lives.
///
/// # Errors
/// When the thread cannot be started.
pub fn follow(socket: PathBuf) -> io::Result<mpsc::Receiver<News>> {
    let (teller, news) = mpsc::channel(1);
    store_api::follow(socket, move |told| {
        let configuration = match told {
            Ok(configuration) => configuration,
            Err(error) => {
                let reason = Chain(&error).to_string();
                // The service is ending where nobody listens.
                let _ = teller.blocking_send(News::Away(reason));
                return Ok(());
            }
        };
        let (answer, outcome) = oneshot::channel();
        let news = News::Configuration(configuration, Answer(answer));
        if teller.blocking_send(news).is_ok()
            && let Ok(outcome) = outcome.blocking_recv()
        {
            return outcome;
        }
        // The service ends before it knows. Any answer would be a guess, and a wrong one would take
        // a good generation back: the process's end is the answer, and the next start applies it.
        loop {
            thread::park();
        }
    })?;
    Ok(news)
}
