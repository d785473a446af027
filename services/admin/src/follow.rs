//! What PID 1 and the store tell by themselves, read by a thread each, since their clients block.

mod forward;

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use runtime::Chain;
use store_api::{Client, ConfigurationStatus, Event, EventFilter};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::Config;

/// How long a stream is waited for; it makes no difference but for the number of wake-ups.
const WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);
const QUEUE: usize = 64;

/// Something changed.
#[derive(Debug)]
pub(crate) enum News {
    /// Where the configuration stands; `None`: the store is away.
    Configuration(Option<ConfigurationStatus>),
    /// A record in the event log.
    Event(Event),
    /// PID 1 noted something, so its services may have changed.
    Services,
}

/// Starts the threads. They end with the process.
pub(crate) fn start(config: &Config) -> Receiver<News> {
    let (sender, receiver) = channel(QUEUE);
    let store = config.store.clone();
    let (first, second, third) = (sender.clone(), sender.clone(), sender);
    spawn("configuration", {
        let store = store.clone();
        move || configuration(&store, &first)
    });
    spawn("events", {
        let store = store.clone();
        move || events(&store, &second)
    });
    let init = config.init.clone();
    spawn("forward", move || forward::run(&init, &store, &third));
    receiver
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let started = thread::Builder::new().name(name.into()).spawn(work);
    if let Err(error) = started {
        tracing::error!(%error, name, "cannot start a thread");
    }
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("the store hung up")]
    Call(#[from] store_api::CallError),
    #[error("no store")]
    Connect(#[from] store_api::ConnectError),
}

fn configuration(store: &PathBuf, news: &Sender<News>) {
    while !news.is_closed() {
        if let Err(error) = follow_configuration(store, news) {
            tracing::debug!(why = %Chain(&error), "configuration status");
        }
        news.blocking_send(News::Configuration(None)).ok();
        thread::sleep(PAUSE);
    }
}

fn follow_configuration(store: &PathBuf, news: &Sender<News>) -> Result<(), FollowError> {
    let mut stream = Client::connect(store)?.follow_configuration_status()?;
    while !stream.is_over() {
        if let Some(reply) = stream.next(WAIT)?
            && news
                .blocking_send(News::Configuration(Some(reply.status)))
                .is_err()
        {
            break;
        }
    }
    Ok(())
}

fn events(store: &PathBuf, news: &Sender<News>) {
    let mut after = None;
    while !news.is_closed() {
        if let Err(error) = follow_events(store, news, &mut after) {
            tracing::debug!(why = %Chain(&error), "event log");
        }
        thread::sleep(PAUSE);
    }
}

fn follow_events(
    store: &PathBuf,
    news: &Sender<News>,
    after: &mut Option<u64>,
) -> Result<(), FollowError> {
    // At first nobody waits for what was recorded before: `Events` tells it.
    if after.is_none() {
        *after = Some(Client::connect(store)?.statistics()?.last_event);
    }
    let filter = EventFilter {
        after: *after,
        ..EventFilter::default()
    };
    let mut stream = Client::connect(store)?.follow_events(filter)?;
    while !stream.is_over() {
        for event in stream
            .next(WAIT)?
            .into_iter()
            .flat_map(|reply| reply.events)
        {
            *after = Some(event.sequence);
            if news.blocking_send(News::Event(event)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
