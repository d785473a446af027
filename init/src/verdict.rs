//! Whether this boot is good: telling people, and telling the slot selector through a child.

use std::collections::VecDeque;

use api::{HealthState, Power, ServiceState};
use bootstate::SlotId;
use rustix::process::{Signal, kill_process};

use crate::event::{Event, Level, Moment};
use crate::process::pid;
use crate::shell::{Shell, now};
use crate::slots::{Helper, Job, Records};

/// What is under way towards the verdict, and the last one that was told.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) jobs: VecDeque<Job>,
    helper: Option<Helper>,
    pub(crate) health: HealthState,
}

impl Default for Verdict {
    fn default() -> Self {
        Self {
            jobs: VecDeque::new(),
            helper: None,
            health: HealthState::Starting,
        }
    }
}

impl Verdict {
    /// What is not done yet. A child at work is lost when PID 1 crashes: its job counts as well.
    pub(crate) fn open_jobs(&self) -> Vec<Job> {
        let helper = self.helper.iter().map(|helper| &helper.job);
        helper.chain(&self.jobs).cloned().collect()
    }

    pub(crate) fn resume(&mut self, jobs: Vec<Job>, health: HealthState) {
        (self.jobs, self.health) = (jobs.into(), health);
    }

    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.helper.as_ref().map(|helper| helper.deadline)
    }
}

impl Shell {
    pub(crate) fn slot(&self) -> Option<SlotId> {
        SlotId::from_letter(self.place.facts.slot.as_deref()?)
    }

    pub(crate) fn order(&mut self, job: Job) {
        if self.slot().is_some() && self.place.machine {
            self.verdict.jobs.push_back(job);
            return;
        }
        match job {
            Job::Commit => self.events.push_back(Event::Committed(Ok(()))),
            Job::Escalate { .. } => {
                self.teller
                    .tell(Level::Error, "no other slot to boot: staying up as it is");
            }
            Job::Load { .. } => {}
        }
    }

    pub(crate) fn advance_helper(&mut self, now: Moment) {
        if let Some(helper) = &self.verdict.helper
            && helper.deadline <= now
        {
            let helper = self.verdict.helper.take().expect("looked at above");
            // It hangs in the kernel as likely as not; its end is not waited for.
            if let Some(pid) = pid(helper.pid) {
                kill_process(pid, Signal::KILL).ok();
            }
            let answer = helper.answer();
            self.job_done(&helper.job, answer);
        }
        while self.verdict.helper.is_none()
            && let (Some(slot), Some(job)) = (self.slot(), self.verdict.jobs.pop_front())
        {
            match Helper::start(now, slot, job.clone()) {
                Ok(helper) => self.verdict.helper = Some(helper),
                Err(error) => self.job_done(&job, Err(format!("cannot fork: {error}"))),
            }
        }
    }

    /// Some process ended that is no service's main process; perhaps it was the helper.
    pub(crate) fn stranger_exited(&mut self, pid: u32) {
        if let Some(helper) = self.verdict.helper.take_if(|helper| helper.pid == pid) {
            let answer = helper.answer();
            self.job_done(&helper.job, answer);
        }
    }

    fn job_done(&mut self, job: &Job, answer: Result<Records, String>) {
        if let Err(error) = &answer {
            self.teller
                .tell(Level::Error, &format!("BOOTSTATE: {error}"));
        }
        match job {
            Job::Commit => self.step(Event::Committed(answer.map(drop))),
            Job::Escalate { .. } => {
                let alternative = match answer {
                    Ok(records) => records.alternative,
                    Err(_) => self.records.alternative,
                };
                if alternative {
                    self.teller
                        .tell(Level::Error, "rebooting: the other slot may work");
                    self.step(Event::Power(Power::Reboot));
                } else {
                    self.teller
                        .tell(Level::Error, "no other slot to boot: staying up as it is");
                }
            }
            Job::Load { .. } => {
                if let Ok(records) = answer {
                    self.records = records;
                }
                if let Some(end) = &self.records.previous_end {
                    self.teller
                        .tell(Level::Warning, &format!("previous boot: {end}"));
                }
            }
        }
    }

    /// Tells people when the machine's health changes, and who owns the console.
    pub(crate) fn note_health(&mut self) {
        let console = self.core.find("console").map(|id| &self.core.units()[id.0]);
        let owned = console.is_some_and(|unit| unit.public_state() == ServiceState::Ready);
        self.teller.progress = !owned;
        let health = self.core.health();
        if health.state == self.verdict.health {
            return;
        }
        let first = self.verdict.health == HealthState::Starting;
        self.verdict.health = health.state;
        let facts = &self.place.facts;
        let slot = facts.slot.as_deref().unwrap_or("none");
        let mut line = format!(
            "{} slot={slot} version={} build={}",
            health.state, facts.version, facts.build
        );
        if let Some(ms) = self.core.userspace_ready_ms() {
            line.push_str(&format!(" userspace_ready_ms={ms}"));
        }
        line.push_str(&format!(" uptime_ms={}", now().0));
        for reason in &health.reasons {
            line.push_str("; ");
            line.push_str(reason);
        }
        let level = match health.state {
            HealthState::Healthy | HealthState::Starting => Level::Info,
            HealthState::Degraded => Level::Warning,
            HealthState::Failed => Level::Error,
        };
        // The first verdict of a boot always reaches the serial line: tests and people wait for it.
        if owned && first {
            self.teller.console(&line);
        }
        self.teller.tell(level, &line);
    }
}
