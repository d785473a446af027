//! The status page: what a person sees who comes to the machine with a question.

use api::{HealthState, ServiceState, ServiceStatus, Status};

use crate::model::Snapshot;
use crate::screen::{Frame, Size, Style};
use crate::sections::{self, Row, addresses, explain, name_width, problems, services};
use crate::text::{cut, duration};

const PRODUCT: &str = "x0tta6bl4 OS";

const PAGE_KEYS: &str =
    "l log in  Enter log  r restart  s stop/start  d more  R reboot  P off  ? keys";

const HELP: &str = "\
l                log in: x0ctl administers everything; exit comes back here
Up, Down, k, j   select a service
Enter            show its log: arrows and PgUp/PgDn scroll, q goes back
r                restart it
s                stop it, or start it when it does not run
d                details: why a service is in its state, all addresses
c                colours on or off
R                reboot the machine
P                switch the machine off
Ctrl-L           draw the page again

What changes the machine asks first: type y.

States: waiting (for what it needs), starting, ready, done (ran to its end),
stopping, stopped, backoff (ended, starts again soon), failed (given up until
a person starts it).";

/// The page with the service at `selected` marked. With `details` the page says more of less.
pub(crate) fn draw(snapshot: &Snapshot, selected: usize, details: bool, size: Size) -> Frame {
    let mut frame = Frame::new(size);
    let width = size.columns();
    let begin = header(&mut frame, snapshot);
    let end = size.rows() - 2;

    let mut problems = problems(snapshot, false, width);
    let mut lower = addresses(snapshot, details, width);
    let mut title = "ADDRESSES".to_owned();
    if let Some(service) = snapshot.services().get(selected).filter(|_| details) {
        let mut rows = explain(service, width);
        rows.push(Row {
            style: Style::Title,
            text: std::mem::replace(&mut title, service.name.to_uppercase()),
        });
        rows.append(&mut lower);
        lower = rows;
    }
    let services = services(snapshot, width);

    // Three sections with a title each. Problems come first when room is short, then services.
    let mut room = end.saturating_sub(begin + 2);
    let mut for_problems = 0;
    if !problems.is_empty() {
        let share = if details { room / 2 } else { room / 4 };
        let rest = room.saturating_sub(services.len() + lower.len() + 1);
        let share = share.max(rest).max(1);
        if problems.len() > share {
            problems = sections::problems(snapshot, true, width);
        }
        for_problems = problems.len().min(share);
        room = room.saturating_sub(for_problems + 1);
    }
    let for_lower = lower
        .len()
        .min((room / 3).max(room.saturating_sub(services.len())));
    let for_services = services.len().min(room - for_lower);
    // One blank row before each section but the first, as long as nothing is cut for it.
    let mut spare = room - for_lower - for_services;
    let mut gap = || {
        let gap = spare.min(1);
        spare -= gap;
        gap
    };

    let mut at = begin;
    let first = window(services.len(), for_services, selected);
    service_title(&mut frame, at, snapshot, for_services, first, width);
    for (offset, row) in services[first..first + for_services].iter().enumerate() {
        at += 1;
        frame.put(at, 0, row.style, &row.text);
        if first + offset == selected {
            frame.paint(at, Style::Selected);
            frame.put(at, 0, Style::Selected, ">");
        }
    }
    at += 1 + gap();
    at = section(&mut frame, at, &title, &lower, for_lower);
    if for_problems > 0 {
        at += gap();
        section(&mut frame, at, "PROBLEMS", &problems, for_problems);
    }
    keys(&mut frame, PAGE_KEYS);
    frame
}

/// The page of keys.
pub(crate) fn help(size: Size) -> Frame {
    let mut frame = Frame::new(size);
    frame.put(0, 1, Style::Plain, &format!("{PRODUCT}: keys"));
    frame.paint(0, Style::Selected);
    for (number, line) in HELP.lines().enumerate() {
        if number + 3 < size.rows() {
            frame.put(number + 2, 1, Style::Plain, line);
        }
    }
    keys(&mut frame, "any key goes back");
    frame
}

/// The page on which nothing shows what is being typed.
pub(crate) fn password(prompt: &str, size: Size) -> Frame {
    let mut frame = Frame::new(size);
    frame.put(0, 1, Style::Plain, &format!("{PRODUCT}: log in"));
    frame.paint(0, Style::Selected);
    frame.put(2, 1, Style::Plain, prompt);
    keys(
        &mut frame,
        "what you type does not show  Enter log in  Esc go back",
    );
    frame
}

/// The row of keys, above the last one.
pub(crate) fn keys(frame: &mut Frame, text: &str) {
    let row = frame.size().rows() - 2;
    let text = cut(text, frame.size().columns() - 1);
    frame.put(row, 1, Style::Plain, &text);
    frame.paint(row, Style::Selected);
}

/// A question in the last row.
pub(crate) fn prompt(frame: &mut Frame, question: &str) {
    let text = format!("{question} Type y to do it, any other key not to.");
    last_row(frame, Style::Warning, &text);
}

/// A remark in the last row.
pub(crate) fn note(frame: &mut Frame, text: &str) {
    last_row(frame, Style::Title, text);
}

fn last_row(frame: &mut Frame, style: Style, text: &str) {
    let row = frame.size().rows() - 1;
    let blank = " ".repeat(frame.size().columns());
    frame.put(row, 0, Style::Plain, &blank);
    let text = cut(text, frame.size().columns() - 1);
    frame.put(row, 1, style, &text);
}

/// Draws what the machine is and how it is; returns the first row below.
fn header(frame: &mut Frame, snapshot: &Snapshot) -> usize {
    let width = frame.size().columns();
    let Some(status) = snapshot.status() else {
        frame.put(0, 1, Style::Plain, PRODUCT);
        frame.paint(0, Style::Selected);
        let (word, text) = match snapshot.fault() {
            Some(_) => (
                "UNKNOWN",
                "PID 1 does not answer; it is asked again and again",
            ),
            None => ("STARTING", "waiting for PID 1"),
        };
        let after = frame.put(1, 1, Style::Warning, word);
        frame.put(1, after + 2, Style::Plain, text);
        return 3;
    };

    let build: String = status.build.chars().take(9).collect();
    let mut name = format!("{PRODUCT} {} ({build})", cut(&status.version, 16));
    if let Some(slot) = &status.slot {
        name = format!("{name}   slot {}", cut(slot, 8));
    }
    let up = format!("up {} ", uptime(status.uptime_ms));
    let room = width.saturating_sub(name.len() + up.len() + 5);
    let host = format!("{}   {up}", cut(&status.hostname, room));
    frame.put(0, 1, Style::Plain, &name);
    frame.put_right(0, Style::Plain, &host);
    frame.paint(0, Style::Selected);

    let (style, word) = match status.health.state {
        _ if snapshot.fault().is_some() => (Style::Warning, "UNKNOWN"),
        HealthState::Healthy => (Style::Good, "HEALTHY"),
        HealthState::Starting => (Style::Warning, "STARTING"),
        HealthState::Degraded => (Style::Warning, "DEGRADED"),
        HealthState::Failed => (Style::Bad, "FAILED"),
    };
    let after = frame.put(1, 1, style, word);
    let boot = boot(status);
    let room = width.saturating_sub(after + 2 + boot.len() + 2);
    frame.put(
        1,
        after + 2,
        Style::Plain,
        &cut(&summary(snapshot, status), room),
    );
    frame.put_right(1, Style::Plain, &boot);
    let Some(end) = &status.previous_end else {
        return 3;
    };
    let text = format!("The boot before ended: {end}");
    frame.put(2, 1, Style::Plain, &cut(&text, width - 1));
    4
}

/// With seconds, so that a person sees that the page is alive.
fn uptime(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = match days {
        0 => String::new(),
        days => format!("{}d ", days.min(99_999)),
    };
    format!("{days}{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

fn boot(status: &Status) -> String {
    let mut parts = Vec::new();
    if let Some(count) = status.boot_count {
        parts.push(format!("boot {count}"));
    }
    if let Some(ready) = status.userspace_ready_ms {
        parts.push(match ready {
            0..10_000 => format!("ready after {ready} ms"),
            _ => format!("ready after {}", duration(ready)),
        });
    }
    parts.join(", ")
}

fn summary(snapshot: &Snapshot, status: &Status) -> String {
    if snapshot.fault().is_some() {
        return "what PID 1 said last".to_owned();
    }
    let ready = |s: &&ServiceStatus| matches!(s.state, ServiceState::Ready | ServiceState::Done);
    let up = status.services.iter().filter(ready).count();
    format!("{up} of {} services up", status.services.len())
}

fn service_title(
    frame: &mut Frame,
    at: usize,
    snapshot: &Snapshot,
    shown: usize,
    first: usize,
    width: usize,
) {
    let names = name_width(snapshot);
    let total = snapshot.services().len();
    let title = if total == 0 {
        "SERVICES (not known yet)".to_owned()
    } else {
        format!(
            "  {:names$} {:8} {:>6} {:>8} {:>8}  STATUS",
            "SERVICE", "STATE", "PID", "FOR", "RESTARTS"
        )
    };
    frame.put(at, 0, Style::Title, &cut(&title, width));
    if shown < total {
        let part = format!("{}-{} of {total} ", first + 1, first + shown);
        frame.put_right(at, Style::Title, &part);
    }
}

/// Draws a title and at most `space` rows; returns the row after. What is left out is counted.
fn section(frame: &mut Frame, at: usize, title: &str, rows: &[Row], space: usize) -> usize {
    frame.put(at, 0, Style::Title, title);
    for (offset, row) in rows.iter().take(space).enumerate() {
        frame.put(at + 1 + offset, 0, row.style, &row.text);
    }
    if rows.len() > space {
        let more = format!("{} more ", rows.len() - space);
        frame.put_right(at, Style::Plain, &more);
    }
    at + 1 + space
}

/// The first of `total` rows to show in `space` rows, so that `selected` is among them.
fn window(total: usize, space: usize, selected: usize) -> usize {
    let centred = selected.saturating_sub(space / 2);
    centred.min(total.saturating_sub(space))
}
