//! One service: its states and what moves it from one to the next.

use std::collections::VecDeque;

use api::ServiceState;
use manifest::{Kind, Policy, Service};
use serde::{Deserialize, Serialize};

use super::blame::Milestones;
use crate::event::{Exit, Moment};

/// The first delay after an immediate restart, and the least that is ever doubled.
const SHORTEST_DELAY_MS: u64 = 100;
/// How long the kernel gets to end a killed process before we say that it hangs.
const KILL_WAIT_MS: u64 = 5_000;

/// A service and where it is in its life.
#[derive(Debug)]
pub struct Unit {
    /// Its manifest.
    pub service: Service,
    pub(crate) state: State,
    /// When it entered its state.
    pub since: Moment,
    /// Its main process.
    pub pid: Option<u32>,
    /// Restarts since boot.
    pub restarts: u64,
    /// What it says of itself.
    pub status_text: String,
    /// How its last process ended.
    pub last_exit: Option<String>,
    pub(crate) milestones: Milestones,
    /// Restarts in a row without a healthy spell between them.
    pub(super) attempts: u32,
    /// When the restarts within the burst window happened, oldest first; at most `burst` of them.
    pub(super) recent: VecDeque<Moment>,
    /// When it was last started anew with all its dependants.
    pub(super) escalated: Option<Moment>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum State {
    Backoff { until: Moment },
    Done,
    Failed,
    Ready { silent_until: Option<Moment> },
    Starting { deadline: Moment },
    Stopped,
    Stopping { stage: Stage, then: AfterStop },
    Waiting,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Stage {
    Asked {
        kill_at: Moment,
    },
    Killed {
        hangs_at: Moment,
    },
    /// In the kernel, out of reach. Its end is still waited for: no second process before that.
    Hanging,
}

/// What comes after a stop.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum AfterStop {
    /// It was killed for this: treated as a failure.
    Recover(String),
    StartAgain,
    Stay,
}

/// What the end of a process meant, in words.
#[derive(Debug)]
pub(crate) enum End {
    Expected(String),
    GivenUp(String),
    Retried(String),
    /// There was no process to end.
    Unknown,
}

impl Unit {
    pub(crate) fn new(service: Service, now: Moment) -> Self {
        Self {
            service,
            state: State::Stopped,
            since: now,
            pid: None,
            restarts: 0,
            status_text: String::new(),
            last_exit: None,
            milestones: Milestones::default(),
            attempts: 0,
            recent: VecDeque::new(),
            escalated: None,
        }
    }

    /// Its state, as told to people.
    #[must_use]
    pub fn public_state(&self) -> ServiceState {
        match self.state {
            State::Backoff { .. } => ServiceState::Backoff,
            State::Done => ServiceState::Done,
            State::Failed => ServiceState::Failed,
            State::Ready { .. } => ServiceState::Ready,
            State::Starting { .. } => ServiceState::Starting,
            State::Stopped => ServiceState::Stopped,
            State::Stopping { .. } => ServiceState::Stopping,
            State::Waiting => ServiceState::Waiting,
        }
    }

    /// Whether what needs it may start.
    pub(crate) fn satisfies(&self) -> bool {
        matches!(self.state, State::Ready { .. } | State::Done)
    }

    /// Whether nothing more is to be expected of its start.
    pub(crate) fn settled(&self) -> bool {
        self.satisfies() || matches!(self.state, State::Stopped)
    }

    /// Whether it has, or is about to have, a process.
    pub(crate) fn alive(&self) -> bool {
        matches!(
            self.state,
            State::Starting { .. } | State::Ready { .. } | State::Stopping { .. }
        )
    }

    /// Whether it will not run again by itself.
    pub(crate) fn rests(&self) -> bool {
        matches!(self.state, State::Done | State::Failed | State::Stopped)
    }

    pub(crate) fn hangs(&self) -> bool {
        matches!(
            self.state,
            State::Stopping {
                stage: Stage::Hanging,
                ..
            }
        )
    }

    pub(crate) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Backoff { until } => Some(*until),
            State::Ready { silent_until } => *silent_until,
            State::Starting { deadline } => Some(*deadline),
            State::Stopping { stage, .. } => match stage {
                Stage::Asked { kill_at } => Some(*kill_at),
                Stage::Killed { hangs_at } => Some(*hangs_at),
                Stage::Hanging => None,
            },
            State::Done | State::Failed | State::Stopped | State::Waiting => None,
        }
    }

    pub(crate) fn enter(&mut self, now: Moment, state: State) {
        self.state = state;
        self.since = now;
    }

    /// It runs already, from before PID 1 knew of it.
    pub(crate) fn adopt(&mut self, now: Moment, pid: u32, ready: bool) {
        let deadline = now.after_ms(u64::from(self.service.start_timeout_s) * 1000);
        self.spawned(now, pid);
        self.enter(now, State::Starting { deadline });
        if ready {
            self.become_ready(now);
        }
    }

    /// A person, or a service that needs it, wants it to run. Never refused: limits start over.
    pub(crate) fn want(&mut self, now: Moment) {
        match &mut self.state {
            State::Backoff { .. } | State::Failed | State::Stopped => {
                self.forgive();
                self.enter(now, State::Waiting);
            }
            State::Stopping { then, .. } if *then == AfterStop::Stay => {
                *then = AfterStop::StartAgain;
            }
            State::Stopping { .. }
            | State::Done
            | State::Ready { .. }
            | State::Starting { .. }
            | State::Waiting => {}
        }
    }

    pub(crate) fn begin(&mut self, now: Moment) {
        let deadline = now.after_ms(u64::from(self.service.start_timeout_s) * 1000);
        self.status_text.clear();
        self.enter(now, State::Starting { deadline });
    }

    pub(crate) fn spawned(&mut self, now: Moment, pid: u32) {
        self.pid = Some(pid);
        self.milestones.started.get_or_insert(now);
    }

    /// Whether this was news.
    pub(crate) fn become_ready(&mut self, now: Moment) -> bool {
        if !matches!(self.state, State::Starting { .. }) {
            return false;
        }
        self.milestones.ready.get_or_insert(now);
        let silent_until = self.silent_until(now);
        self.enter(now, State::Ready { silent_until });
        true
    }

    pub(crate) fn pet(&mut self, now: Moment) {
        let next = self.silent_until(now);
        if let State::Ready { silent_until } = &mut self.state {
            *silent_until = next;
        }
    }

    fn silent_until(&self, now: Moment) -> Option<Moment> {
        let limit_s = self.service.watchdog_s;
        (limit_s > 0).then(|| now.after_ms(u64::from(limit_s) * 1000))
    }

    /// Begins to stop it; whether its process has to be asked.
    pub(crate) fn request_stop(&mut self, now: Moment, after: AfterStop) -> bool {
        match &mut self.state {
            State::Backoff { .. } | State::Waiting => {
                self.enter(now, State::Stopped);
                false
            }
            State::Stopping { then, .. } => {
                *then = after;
                false
            }
            State::Ready { .. } | State::Starting { .. } => {
                let kill_at = now.after_ms(u64::from(self.service.stop_timeout_s) * 1000);
                let stage = Stage::Asked { kill_at };
                self.enter(now, State::Stopping { stage, then: after });
                true
            }
            State::Done | State::Failed | State::Stopped => false,
        }
    }

    /// Begins to kill it; whether there is anything to kill.
    pub(crate) fn kill(&mut self, now: Moment, cause: &str) -> bool {
        if !matches!(self.state, State::Ready { .. } | State::Starting { .. }) {
            return false;
        }
        // Keeps the time of readiness: a healthy spell counts, also when it ends by a watchdog.
        self.note_healthy_spell(now);
        let hangs_at = now.after_ms(KILL_WAIT_MS);
        let then = AfterStop::Recover(cause.into());
        self.enter(
            now,
            State::Stopping {
                stage: Stage::Killed { hangs_at },
                then,
            },
        );
        true
    }

    /// A stop took too long. True: kill it now. False: that was done already and it hangs.
    pub(crate) fn stop_overdue(&mut self, now: Moment) -> bool {
        let State::Stopping { stage, .. } = &mut self.state else {
            return false;
        };
        let kill = matches!(stage, Stage::Asked { .. });
        *stage = if kill {
            Stage::Killed {
                hangs_at: now.after_ms(KILL_WAIT_MS),
            }
        } else {
            Stage::Hanging
        };
        kill
    }

    /// Ends the grace of a stop that was asked for; whether there is something to kill.
    pub(crate) fn cut_short(&mut self, now: Moment) -> bool {
        let asked = matches!(
            self.state,
            State::Stopping {
                stage: Stage::Asked { .. },
                ..
            }
        );
        asked && self.stop_overdue(now)
    }

    pub(crate) fn exited(&mut self, now: Moment, exit: &Exit, going_down: bool) -> End {
        let oneshot = self.service.kind == Kind::Oneshot;
        self.note_healthy_spell(now);
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Starting { .. } if oneshot && exit.success() => {
                self.milestones.ready.get_or_insert(now);
                self.ended(now, exit.to_string());
                self.enter(now, State::Done);
                End::Expected("done".into())
            }
            // It found nothing to do and may say so by its status.
            State::Starting { .. } if exit.success() && !oneshot && self.may_end() => {
                self.ended(now, exit.to_string());
                End::Expected(exit.to_string())
            }
            State::Starting { .. } => {
                let early = match (exit, oneshot) {
                    (Exit::Code(_), false) => " before it was ready",
                    _ => "",
                };
                self.ended(now, format!("{exit}{early}"));
                self.failed(now, going_down)
            }
            State::Ready { .. } => {
                self.ended(now, exit.to_string());
                if exit.success() && self.may_end() {
                    End::Expected(exit.to_string())
                } else {
                    self.failed(now, going_down)
                }
            }
            State::Stopping { then, .. } => match then {
                AfterStop::Recover(cause) => {
                    self.ended(now, format!("{cause}, {exit}"));
                    self.failed(now, going_down)
                }
                AfterStop::StartAgain if !going_down => {
                    self.ended(now, exit.to_string());
                    self.forgive();
                    self.restarts += 1;
                    self.enter(now, State::Waiting);
                    End::Expected(format!("{exit}, starting again"))
                }
                AfterStop::StartAgain | AfterStop::Stay => {
                    self.ended(now, exit.to_string());
                    End::Expected("stopped".into())
                }
            },
            dead => {
                self.state = dead;
                End::Unknown
            }
        }
    }

    fn may_end(&self) -> bool {
        matches!(
            self.service.restart.policy,
            Policy::Never | Policy::OnFailure
        )
    }

    fn ended(&mut self, now: Moment, how: String) {
        self.pid = None;
        self.since = now;
        self.last_exit = Some(how);
    }

    /// What its restart policy and limits say after a failure.
    fn failed(&mut self, now: Moment, going_down: bool) -> End {
        let how = self.last_exit.clone().unwrap_or_default();
        if going_down {
            return End::Expected(how);
        }
        let restart = self.service.restart;
        if restart.policy == Policy::Never {
            self.enter(now, State::Failed);
            return End::GivenUp(format!("{how}; its manifest forbids a restart"));
        }
        let window_ms = u64::from(restart.burst_window_s) * 1000;
        while self
            .recent
            .front()
            .is_some_and(|first| now.ms_since(*first) >= window_ms)
        {
            self.recent.pop_front();
        }
        if self.recent.len() >= restart.burst as usize {
            self.enter(now, State::Failed);
            let (burst, window_s) = (restart.burst, restart.burst_window_s);
            return End::GivenUp(format!(
                "{how}; restarted {burst} times within {window_s} s"
            ));
        }
        self.recent.push_back(now);
        self.restarts += 1;
        let delay_ms = self.next_delay_ms();
        if delay_ms == 0 {
            self.enter(now, State::Waiting);
            End::Retried(format!("{how}; starting again"))
        } else {
            let until = now.after_ms(delay_ms);
            self.enter(now, State::Backoff { until });
            End::Retried(format!("{how}; starting again in {delay_ms} ms"))
        }
    }

    fn next_delay_ms(&mut self) -> u64 {
        let first_ms = u64::from(self.service.restart.delay_ms);
        let doublings = self.attempts.min(20);
        let delay_ms = match (first_ms, doublings) {
            (0, 0) => 0,
            (0, n) => SHORTEST_DELAY_MS << (n - 1),
            (first_ms, n) => first_ms << n,
        };
        self.attempts = self.attempts.saturating_add(1);
        delay_ms.min(u64::from(self.service.restart.delay_max_ms))
    }

    /// Exponential delays that never start over are a known complaint (systemd#43813).
    fn note_healthy_spell(&mut self, now: Moment) {
        let spell_ms = u64::from(self.service.restart.healthy_after_s) * 1000;
        if matches!(self.state, State::Ready { .. }) && now.ms_since(self.since) >= spell_ms {
            self.attempts = 0;
        }
    }

    #[cfg(test)]
    pub(crate) fn recent_restarts(&self) -> usize {
        self.recent.len()
    }

    fn forgive(&mut self) {
        self.attempts = 0;
        self.recent.clear();
    }
}
