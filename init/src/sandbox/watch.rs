//! PID 1's side of a sandbox: answers refused system calls, counts them, and ends a service that does
//! nothing else.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;

use manifest::syscall_name;

use super::denials::{Denials, FLOOD, Meaning};
use crate::event::{Level, ServiceId};
use crate::shell::{Shell, Token, now, watch};
use crate::sys;

/// What PID 1 keeps of one service's sandbox.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Refused calls wait here for an answer.
    pub(crate) listener: Option<OwnedFd>,
    pub(crate) denials: Denials,
    /// Why PID 1 has killed it.
    pub(crate) verdict: Option<String>,
}

/// Calls that are answered before others get their turn.
const BATCH: usize = 32;

impl Shell {
    pub(crate) fn watch_sandbox(&mut self, id: ServiceId, listener: OwnedFd) {
        watch(&self.epoll, &listener, Token::Denied(id.0));
        // The one of the process before is closed, and so leaves the epoll set.
        self.processes[id.0].sandbox.listener = Some(listener);
    }

    pub(crate) fn on_denied(&mut self, id: ServiceId, flags: EventFlags) {
        for _ in 0..BATCH {
            // Readiness is asked for each time, since taking a call where there is none blocks.
            let sandbox = &mut self.processes[id.0].sandbox;
            let Some(listener) = &sandbox.listener else {
                return;
            };
            if !sys::is_readable(listener.as_fd()) {
                break;
            }
            let Ok(asked) = sys::receive_call(listener.as_fd()) else {
                continue;
            };
            // A caller that has died needs no answer.
            sys::refuse_call(listener.as_fd(), asked).ok();
            match sandbox.denials.note(now(), asked.number) {
                Meaning::Known => {}
                Meaning::New => self.tell_denial(id, asked),
                Meaning::Flood => return self.end_flood(id),
            }
        }
        if flags.contains(EventFlags::HUP) && !flags.contains(EventFlags::IN) {
            // The last process that had the filter is gone.
            self.processes[id.0].sandbox.listener = None;
        }
    }

    fn tell_denial(&mut self, id: ServiceId, asked: sys::Asked) {
        let call = syscall_name(asked.number).unwrap_or("unknown");
        let [first, second] = asked.arguments;
        let mut text = format!(
            "denied: system call {call}({first:#x}, {second:#x}) of process {}",
            asked.pid
        );
        let groups = manifest::groups_with(call);
        if !groups.is_empty() {
            text.push_str(&format!(" (in the group {})", groups.join(", ")));
        }
        self.tell(Level::Warning, Some(id), &text);
    }

    fn end_flood(&mut self, id: ServiceId) {
        let reason = format!("{FLOOD} forbidden system calls within seconds");
        self.tell(Level::Error, Some(id), &format!("killed: {reason}"));
        self.processes[id.0].sandbox.verdict = Some(reason);
        self.kill(id);
    }
}
