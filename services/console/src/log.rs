//! The view of one service's log: follows the end, or stands still while a person reads.

use crate::input::Key;
use crate::model::LogLine;
use crate::page;
use crate::screen::{Frame, Size, Style};
use crate::text;

/// Rows that are not log: the title, the keys and the row for remarks.
const AROUND: usize = 3;

/// `[  1234.567] `
const STAMP: usize = 13;

#[derive(Debug)]
pub(crate) struct LogView {
    service: String,
    lines: Vec<LogLine>,
    fault: Option<String>,
    fetched: bool,
    /// Rows between the end of the log and the last row shown; 0 follows the end.
    above_end: usize,
}

impl LogView {
    pub(crate) fn new(service: String) -> Self {
        Self {
            service,
            lines: Vec::new(),
            fault: None,
            fetched: false,
            above_end: 0,
        }
    }

    /// The service whose log shall be fetched. While a person reads further up nothing is fetched,
    /// so that the text stands still.
    pub(crate) fn wanted(&self) -> Option<&str> {
        (self.above_end == 0 || !self.fetched).then_some(&*self.service)
    }

    pub(crate) fn update(&mut self, service: &str, lines: Result<Vec<LogLine>, String>) {
        if service != self.service || (self.fetched && self.above_end > 0) {
            return;
        }
        match lines {
            Ok(lines) => {
                self.lines = lines;
                self.fetched = true;
                self.fault = None;
            }
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// Takes a key; true leaves the view.
    pub(crate) fn key(&mut self, key: Key, size: Size) -> bool {
        let page = size.rows() - AROUND;
        let most = self.rows(size).len().saturating_sub(page);
        let to = match key {
            Key::Char(b'q') | Key::Escape | Key::Left => return true,
            Key::Up | Key::Char(b'k') => self.above_end + 1,
            Key::Down | Key::Char(b'j') => self.above_end.saturating_sub(1),
            Key::PageUp | Key::Char(b'b') => self.above_end + page - 1,
            Key::PageDown | Key::Char(b' ') => self.above_end.saturating_sub(page - 1),
            Key::Home | Key::Char(b'g') => most,
            Key::End | Key::Char(b'G' | b'f') => 0,
            _ => self.above_end,
        };
        self.above_end = to.min(most);
        false
    }

    pub(crate) fn draw(&self, size: Size) -> Frame {
        let mut frame = Frame::new(size);
        let space = size.rows() - AROUND;
        let rows = self.rows(size);
        let above_end = self.above_end.min(rows.len().saturating_sub(space));
        let end = rows.len() - above_end;
        let begin = end.saturating_sub(space);
        let place = match above_end {
            0 => "following".to_owned(),
            above => format!("standing still, {above} rows above the end"),
        };
        frame.put(0, 1, Style::Plain, &format!("Log of {}", self.service));
        frame.put_right(0, Style::Plain, &format!("{place} "));
        frame.paint(0, Style::Selected);
        for (row, text) in rows[begin..end].iter().enumerate() {
            frame.put(row + 1, 0, Style::Plain, text);
        }
        if let Some(fault) = &self.fault {
            page::note(&mut frame, &format!("PID 1 gives no log: {fault}"));
        } else if rows.is_empty() {
            let text = if self.fetched {
                "(The service has written nothing.)"
            } else {
                "(waiting for PID 1)"
            };
            frame.put(2, 1, Style::Plain, text);
        }
        page::keys(
            &mut frame,
            "Up/Down PgUp/PgDn scroll   g begin   G end and follow   q back",
        );
        frame
    }

    fn rows(&self, size: Size) -> Vec<String> {
        let width = size.columns() - STAMP;
        let mut rows = Vec::new();
        for line in &self.lines {
            let (seconds, thousandths) = (line.uptime_ms / 1000, line.uptime_ms % 1000);
            // Later than eleven days the thousandths make way.
            let stamp = match seconds {
                0..=999_999 => format!("{seconds}.{thousandths:03}"),
                _ => seconds.min(9_999_999_999).to_string(),
            };
            for (number, part) in text::wrap(&line.text, width).into_iter().enumerate() {
                rows.push(if number == 0 {
                    format!("[{stamp:>10}] {part}")
                } else {
                    format!("{:STAMP$}{part}", "")
                });
            }
        }
        rows
    }
}
