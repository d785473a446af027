//! Messages to PID 1 (`sd_notify(3)`). Without a `NOTIFY_SOCKET` they go nowhere; a failure to
//! send is logged and otherwise ignored, since PID 1's own deadlines cover it.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service is ready: what depends on it may start.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The service has begun to stop.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// One line that tells a person how the service is; control characters become spaces.
pub fn status(text: &str) {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    send(&[NotifyState::Status(&line)]);
}

/// Pets the service's watchdog.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`watchdog`] has to be called, or `None` where PID 1 does not watch this service:
/// half of the time after which PID 1 would act.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify PID 1");
    }
}
