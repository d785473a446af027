//! The rows of the page's sections, in full; the page decides how many of them it has room for.

use api::{ServiceState, ServiceStatus};

use crate::model::{Interface, Link, Snapshot};
use crate::screen::Style;
use crate::text::{cut, duration, wrap};

/// One row of a section.
pub(crate) struct Row {
    pub(crate) style: Style,
    pub(crate) text: String,
}

fn row(style: Style, text: impl Into<String>) -> Row {
    Row {
        style,
        text: text.into(),
    }
}

pub(crate) fn services(snapshot: &Snapshot, width: usize) -> Vec<Row> {
    let names = name_width(snapshot);
    snapshot
        .services()
        .iter()
        .map(|service| {
            let style = match service.state {
                ServiceState::Ready | ServiceState::Done => Style::Plain,
                ServiceState::Failed => Style::Bad,
                _ => Style::Warning,
            };
            let pid = service.pid.map_or("-".to_owned(), |pid| pid.to_string());
            let text = format!(
                "  {:names$} {:8} {:>6} {:>8} {:>8}  {}",
                cut(&service.name, names),
                service.state,
                pid,
                duration(service.uptime_ms),
                count(service.restarts),
                remark(service, snapshot.services()),
            );
            row(style, cut(&text, width))
        })
        .collect()
}

/// Everything about one service.
pub(crate) fn explain(service: &ServiceStatus, width: usize) -> Vec<Row> {
    let needs = match service.needs.is_empty() {
        true => "nothing".to_owned(),
        false => service.needs.join(", "),
    };
    let kind = match service.critical {
        true => "critical: the machine is healthy only with it",
        false => "not critical",
    };
    let mut rows = Vec::new();
    for (what, text) in [
        ("is", service.description.as_str()),
        ("", kind),
        ("needs", &needs),
        ("says", &service.status_text),
        ("ended", service.last_exit.as_deref().unwrap_or_default()),
    ] {
        if text.is_empty() {
            continue;
        }
        for (number, part) in wrap(text, width - 10).into_iter().enumerate() {
            let what = if number == 0 { what } else { "" };
            rows.push(row(Style::Plain, format!("  {what:7} {part}")));
        }
    }
    rows
}

pub(crate) fn addresses(snapshot: &Snapshot, details: bool, width: usize) -> Vec<Row> {
    let interfaces = snapshot.interfaces();
    let widest = |of: fn(&Interface) -> &String, most| {
        let lengths = interfaces.iter().map(|interface| of(interface).len());
        lengths.max().unwrap_or(0).min(most)
    };
    let columns = Columns {
        names: widest(|interface| &interface.name, 15),
        roles: widest(|interface| &interface.role, 6),
        width,
    };
    if interfaces.is_empty() {
        return vec![row(Style::Plain, "  (no network interface)")];
    }
    let one = |interface| interface_rows(interface, &columns, details);
    let mut rows: Vec<Row> = interfaces.iter().flat_map(one).collect();
    let route = |text: &String| row(Style::Plain, cut(&format!("  {text}"), width));
    rows.extend(snapshot.routes().iter().map(route));
    rows
}

/// What is wrong, in full or in one row each.
pub(crate) fn problems(snapshot: &Snapshot, short: bool, width: usize) -> Vec<Row> {
    let mut texts = Vec::new();
    texts.extend(snapshot.fault().map(str::to_owned));
    if let Some(status) = snapshot.status() {
        texts.extend(status.health.reasons.iter().cloned());
        if status.notify_rejected > 0 {
            let count = status.notify_rejected;
            texts.push(format!("{count} messages to PID 1 came from no service"));
        }
    }
    for problem in snapshot.problems() {
        if !texts.iter().any(|text| text.contains(problem.as_str())) {
            texts.push(problem.clone());
        }
    }
    let room = width - 4;
    let mut rows = Vec::new();
    for text in &texts {
        if short {
            rows.push(row(Style::Warning, format!("  ! {}", cut(text, room))));
            continue;
        }
        for (number, part) in wrap(text, room).into_iter().enumerate() {
            let mark = if number == 0 { '!' } else { ' ' };
            rows.push(row(Style::Warning, format!("  {mark} {part}")));
        }
    }
    rows
}

pub(crate) fn name_width(snapshot: &Snapshot) -> usize {
    let names = snapshot.services().iter().map(|service| service.name.len());
    names.max().unwrap_or(0).clamp(7, 14)
}

/// How the addresses are laid out.
struct Columns {
    names: usize,
    roles: usize,
    width: usize,
}

fn interface_rows(interface: &Interface, columns: &Columns, details: bool) -> Vec<Row> {
    let &Columns {
        names,
        roles,
        width,
    } = columns;
    let (style, link) = match interface.link {
        Link::Up => (Style::Plain, "up"),
        Link::NoCarrier => (Style::Warning, "no cable"),
        Link::Off => (Style::Plain, "off"),
        Link::Absent => (Style::Warning, "no card"),
    };
    let all = &interface.addresses;
    let only_local = all.iter().all(|address| address.is_link_local());
    let shown = all
        .iter()
        .filter(|address| details || only_local || !address.is_link_local());
    let mut head = format!("  {:names$} ", cut(&interface.name, names));
    if roles > 0 {
        head.push_str(&format!("{:roles$} ", cut(&interface.role, roles)));
    }
    head.push_str(&format!("{link:8}  "));
    let indent = head.len();
    let mut rows = vec![head];
    for address in shown {
        let text = match address.origin.is_empty() {
            true => address.address.clone(),
            false => format!("{} {}", address.address, address.origin),
        };
        let text = cut(&text, width.saturating_sub(indent));
        let last = rows.last_mut().expect("it begins with one row");
        if last.len() > indent && last.len() + 2 + text.len() <= width {
            last.push_str(", ");
            last.push_str(&text);
        } else if last.len() > indent {
            rows.push(format!("{:indent$}{text}", ""));
        } else {
            last.push_str(&text);
        }
    }
    if all.is_empty() {
        rows[0].push_str("no address");
    }
    if !interface.note.is_empty() {
        let last = rows.last_mut().expect("it begins with one row");
        last.push_str(&format!(", {}", interface.note));
    }
    let rows = rows.into_iter();
    rows.map(|text| row(style, cut(&text, width))).collect()
}

/// The most useful few words on a service.
fn remark(service: &ServiceStatus, all: &[ServiceStatus]) -> String {
    let says = &service.status_text;
    let last = service.last_exit.as_deref();
    match service.state {
        ServiceState::Waiting => match missing(service, all) {
            names if names.is_empty() => says.clone(),
            names => format!("for {}", names.join(", ")),
        },
        // A service that ended by itself has said why.
        ServiceState::Stopped if !says.is_empty() => says.clone(),
        ServiceState::Backoff | ServiceState::Failed | ServiceState::Stopped => {
            match (last, says.is_empty()) {
                (Some(last), true) => last.to_owned(),
                (Some(last), false) => format!("{last}; {says}"),
                (None, _) => says.clone(),
            }
        }
        _ if says.is_empty() && service.restarts > 0 => {
            last.map_or(String::new(), |last| format!("before: {last}"))
        }
        _ => says.clone(),
    }
}

/// The needed services that are not ready.
fn missing<'a>(service: &'a ServiceStatus, all: &[ServiceStatus]) -> Vec<&'a str> {
    let is_ready = |name: &str| {
        all.iter().any(|other| {
            other.name == name && matches!(other.state, ServiceState::Ready | ServiceState::Done)
        })
    };
    let needs = service.needs.iter().map(String::as_str);
    needs.filter(|name| !is_ready(name)).collect()
}

fn count(number: u64) -> String {
    match number {
        0..=99_999 => number.to_string(),
        _ => "many".to_owned(),
    }
}
