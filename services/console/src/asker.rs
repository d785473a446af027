//! The thread that talks to PID 1, so that a PID 1 that does not answer freezes no terminal.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use api::{CallError, Client, Status};
use runtime::Chain;

use crate::core::{Access, Command};
use crate::model::{self, LogLine, Snapshot};
use crate::network;

/// How often the facts are asked for.
const REFRESH: Duration = Duration::from_secs(2);
/// Longer than this PID 1 never takes: it answers from memory.
const DEADLINE: Duration = Duration::from_secs(3);
/// A command that waited longer is dropped: nobody expects a reboot minutes after the key.
const STALE: Duration = Duration::from_secs(10);
const LOG_LINES: u32 = 300;
/// Questions that may wait.
pub(crate) const QUEUE: usize = 16;

#[derive(Debug)]
pub(crate) enum Question {
    Log {
        terminal: usize,
        service: String,
    },
    Do {
        terminal: usize,
        command: Command,
        asked: Instant,
    },
}

#[derive(Debug)]
pub(crate) enum Answer {
    Facts(Arc<Snapshot>),
    Log {
        terminal: usize,
        service: String,
        lines: Result<Vec<LogLine>, String>,
    },
    Done {
        terminal: usize,
        command: Command,
        result: Result<(), String>,
    },
    /// Who may log in has become known, or has changed.
    Access(Access),
    /// A password was verified.
    Verdict {
        terminal: usize,
        accepted: bool,
    },
}

/// A thread's way to the loop.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    answers: Sender<Answer>,
    waker: Arc<UnixStream>,
}

impl Answers {
    /// False: the loop is over.
    pub(crate) fn send(&self, answer: Answer) -> bool {
        let sent = self.answers.send(answer).is_ok();
        // A full socket means that the loop will wake anyway.
        rustix::io::write(&*self.waker, b"!").ok();
        sent
    }
}

/// The loop's end of the thread.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) questions: SyncSender<Question>,
    pub(crate) answers: Receiver<Answer>,
    /// For other threads that have something to say.
    pub(crate) sender: Answers,
    /// Becomes readable when there is an answer.
    pub(crate) wake: UnixStream,
}

impl Asker {
    /// Starts the thread.
    pub(crate) fn start(init: PathBuf, network: PathBuf) -> std::io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (questions, to_thread) = std::sync::mpsc::sync_channel(QUEUE);
        let (from_thread, answers) = std::sync::mpsc::channel();
        let sender = Answers {
            answers: from_thread,
            waker: Arc::new(waker),
        };
        let mut thread = Thread {
            init: Init {
                path: init,
                client: None,
            },
            network,
            last: None,
            answers: sender.clone(),
        };
        std::thread::Builder::new()
            .name("asker".into())
            .stack_size(256 * 1024)
            .spawn(move || thread.run(&to_thread))?;
        Ok(Self {
            questions,
            answers,
            sender,
            wake,
        })
    }

    /// Passes a question on; false when too many wait already.
    pub(crate) fn ask(&self, question: Question) -> bool {
        match self.questions.try_send(question) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// Asks once.
pub(crate) fn facts(init: PathBuf, network: &std::path::Path) -> Snapshot {
    let mut init = Init {
        path: init,
        client: None,
    };
    let (status, fault) = match init.call(Client::status) {
        Ok(status) => (Some(status), None),
        Err(error) => (None, Some(error)),
    };
    let network = network::read(network, status.as_ref());
    Snapshot::new(status, fault, network)
}

/// A connection that is made anew after every failure.
#[derive(Debug)]
struct Init {
    path: PathBuf,
    client: Option<Client>,
}

impl Init {
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Client) -> Result<T, CallError>,
    ) -> Result<T, String> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.path)
                .map_err(|error| Chain(&error).to_string())?
                .deadline(DEADLINE),
        };
        let result = call(&mut client);
        // After a refusal both sides still know where they are.
        if matches!(result, Ok(_) | Err(CallError::Refused { .. })) {
            self.client = Some(client);
        }
        result.map_err(|error| Chain(&error).to_string())
    }
}

#[derive(Debug)]
struct Thread {
    init: Init,
    network: PathBuf,
    last: Option<Status>,
    answers: Answers,
}

impl Thread {
    fn run(&mut self, questions: &Receiver<Question>) {
        let mut next = Instant::now();
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            let answer = match questions.recv_timeout(wait) {
                Ok(question) => {
                    let answer = self.answer(question);
                    if matches!(answer, Answer::Done { .. }) {
                        // What the command changed shall be seen at once.
                        next = Instant::now();
                    }
                    answer
                }
                Err(RecvTimeoutError::Timeout) => {
                    let facts = self.facts();
                    next = Instant::now() + REFRESH;
                    facts
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if !self.answers.send(answer) {
                return;
            }
        }
    }

    fn facts(&mut self) -> Answer {
        let fault = match self.init.call(Client::status) {
            Ok(status) => {
                self.last = Some(status);
                None
            }
            Err(error) => Some(error),
        };
        let network = network::read(&self.network, self.last.as_ref());
        Answer::Facts(Arc::new(Snapshot::new(self.last.clone(), fault, network)))
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Log { terminal, service } => {
                let lines = self.init.call(|client| client.logs(&service, LOG_LINES));
                Answer::Log {
                    terminal,
                    service,
                    lines: lines.map(|lines| model::log(&lines)),
                }
            }
            Question::Do {
                terminal,
                command,
                asked,
            } => {
                let result = if asked.elapsed() > STALE {
                    Err("PID 1 was busy for too long; try again".to_owned())
                } else {
                    self.init.call(|client| match &command {
                        Command::Restart(service) => client.restart(service),
                        Command::Start(service) => client.start(service),
                        Command::Stop(service) => client.stop(service),
                        Command::Power(action) => client.power(*action),
                    })
                };
                tracing::info!(?command, ?result, "asked for at a terminal");
                Answer::Done {
                    terminal,
                    command,
                    result,
                }
            }
        }
    }
}
