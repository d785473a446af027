//! Answers for people: columns, colours where a terminal shows them, times.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::Error;

/// Where answers go.
pub(crate) struct Output<'w> {
    to: &'w mut dyn Write,
    pub(crate) json: bool,
    pub(crate) colours: bool,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

/// What a word means for whoever reads it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Bad,
    Good,
    Plain,
    Weak,
    Wary,
}

impl<'w> Output<'w> {
    pub(crate) fn new(to: &'w mut dyn Write, json: bool, colours: bool) -> Self {
        Self { to, json, colours }
    }

    /// Prints what a program wants, where a program asks.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> Result<bool, Error> {
        if self.json {
            let text = serde_json::to_string_pretty(value)?;
            self.line(&text)?;
        }
        Ok(self.json)
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<(), Error> {
        Ok(writeln!(self.to, "{text}")?)
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), Error> {
        self.to.write_all(text.as_bytes())?;
        Ok(self.to.flush()?)
    }

    /// `text` in the colour of `tone`.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Bad => "31",
            Tone::Good => "32",
            Tone::Wary => "33",
            Tone::Weak => "2",
            Tone::Plain => return text.to_owned(),
        };
        match self.colours {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// Name and value, one below the other.
    pub(crate) fn facts(&mut self, facts: &[(&str, String)]) -> Result<(), Error> {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            let gap = " ".repeat(width - name.len());
            let name = self.paint(Tone::Weak, name);
            let indented = value.replace('\n', &format!("\n{}", " ".repeat(width + 2)));
            self.line(&format!("{name}{gap}  {indented}"))?;
        }
        Ok(())
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Error> {
        let text = table.render(self);
        self.text(&text)
    }
}

/// Rows below a heading.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [(Tone, String); N]) {
        self.rows.push(cells.into());
    }

    fn render(&self, output: &Output<'_>) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|(_, text)| text.chars().count()).max();
            widest.unwrap_or(0).max(self.heads[column].len())
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let heads = self
            .heads
            .iter()
            .map(|head| (Tone::Weak, (*head).to_owned()));
        let mut text = String::new();
        for row in std::iter::once(heads.collect::<Vec<_>>()).chain(self.rows.iter().cloned()) {
            let last = row
                .iter()
                .rposition(|(_, text)| !text.is_empty())
                .unwrap_or(0);
            for (column, (tone, cell)) in row.iter().enumerate().take(last + 1) {
                let gap = match column == last {
                    true => 0,
                    false => widths[column] - cell.chars().count() + 2,
                };
                let painted = output.paint(*tone, cell);
                write!(text, "{painted}{}", " ".repeat(gap)).expect("strings take all");
            }
            text.push('\n');
        }
        text
    }
}

/// Colours only where a terminal shows them and nobody objects (<https://no-color.org>).
pub(crate) fn colours_wanted() -> bool {
    let objection = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !objection && !dumb
}

/// `3.2 s`, `4 min 10 s`, `2 h 5 min`, `12 d 3 h`.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if milliseconds < 10_000 => {
            format!("{}.{} s", seconds, milliseconds % 1000 / 100)
        }
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut scale = 1_u64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if count / scale < 1024 || unit == "GiB" {
            let tenths = count % scale * 10 / scale;
            return match scale {
                1 => format!("{count} {unit}"),
                _ => format!("{}.{tenths} {unit}", count / scale),
            };
        }
        scale *= 1024;
    }
    format!("{count} B")
}

/// Milliseconds since 1970 as UTC, e.g. `2026-11-21 14:05:09`. Days to a date as in Howard
/// Hinnant's "chrono-compatible low-level date algorithms".
pub(crate) fn date(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{:02}",
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(duration(3_260), "3.2 s");
        assert_eq!(duration(59_999), "59 s");
        assert_eq!(duration(250_000), "4 min 10 s");
        assert_eq!(duration(7_500_000), "2 h 5 min");
        assert_eq!(duration(1_047_600_000), "12 d 3 h");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1_572_864), "1.5 MiB");
        assert_eq!(bytes(5 << 40), "5120.0 GiB");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(date(1_795_269_909_123), "2026-11-21 14:05:09");
        assert_eq!(date(-1), "1969-12-31 23:59:59");
    }

    #[test]
    fn columns_align_with_colours_too() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row([(Tone::Plain, "a".into()), (Tone::Good, "ready".into())]);
        table.row([
            (Tone::Plain, "network".into()),
            (Tone::Bad, "failed".into()),
        ]);
        let mut sink = Vec::new();
        let plain = table.render(&Output::new(&mut sink, false, false));
        assert_eq!(plain, "NAME     STATE\na        ready\nnetwork  failed\n");
        let painted = table.render(&Output::new(&mut sink, false, true));
        assert!(
            painted.contains("a        \u{1b}[32mready\u{1b}[0m\n"),
            "{painted:?}"
        );
    }
}
