//! Text from elsewhere (logs, status lines, error messages) made fit for an unknown terminal.
//!
//! The page is ASCII: on a serial line nobody says which character set the other end has, and
//! with one byte per column no row can become wider than it was computed to be.

/// An escape sequence is skipped up to this length; beyond it, it is text.
const MAX_SEQUENCE: usize = 32;

/// Makes one line of printable ASCII out of anything.
///
/// Escape sequences vanish, other control characters become spaces, common typographic
/// characters their ASCII likeness, and everything else `?`.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\x1b' {
            rest = skip_sequence(rest);
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            ' '..='~' => line.push(c),
            '\u{2018}' | '\u{2019}' => line.push('\''),
            '\u{201c}' | '\u{201d}' => line.push('"'),
            '\u{2010}'..='\u{2015}' => line.push('-'),
            '\u{2026}' => line.push_str("..."),
            '\u{2192}' => line.push_str("->"),
            '\u{a0}' => line.push(' '),
            c if c.is_ascii_control() => line.push(' '),
            _ => line.push('?'),
        }
    }
    line
}

/// `rest` begins with ESC: returns what follows the sequence (CSI up to its final byte, else only
/// the ESC itself).
fn skip_sequence(rest: &str) -> &str {
    let after = &rest[1..];
    let Some(parameters) = after.strip_prefix('[') else {
        return after;
    };
    for (at, byte) in parameters.bytes().enumerate().take(MAX_SEQUENCE) {
        match byte {
            // A final byte is ASCII, so the slice begins at a character.
            0x40..=0x7e => return &parameters[at + 1..],
            0x20..=0x3f => {}
            _ => break,
        }
    }
    after
}

/// Cuts an ASCII line to `width` columns and marks the cut.
#[must_use]
pub fn cut(line: &str, width: usize) -> String {
    if line.len() <= width {
        return line.to_owned();
    }
    let keep = if width >= 8 { width - 3 } else { width };
    let mut short: String = line.chars().take(keep).collect();
    if keep < width {
        short.truncate(short.trim_end().len());
        short.push_str("...");
    }
    short
}

/// Breaks an ASCII line into rows of at most `width` columns, at spaces where there are some.
#[must_use]
pub fn wrap(line: &str, width: usize) -> Vec<&str> {
    let width = width.max(1);
    let mut rows = Vec::new();
    let mut rest = line.trim_end();
    while rest.len() > width {
        // A space in the last third makes a better break than the edge.
        let at = match rest[..=width].rfind(' ') {
            Some(space) if space * 3 > width * 2 => space,
            _ => width,
        };
        rows.push(rest[..at].trim_end());
        rest = rest[at..].trim_start();
    }
    if !rest.is_empty() || rows.is_empty() {
        rows.push(rest);
    }
    rows
}

/// A duration as a person says it, in at most nine columns: `48s`, `12m 05s`, `3h 07m`, `41d 06h`.
#[must_use]
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 99_999 {
        "ages".to_owned()
    } else if days > 0 {
        format!("{days}d {:02}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {:02}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m {:02}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_vanish_and_their_text_stays() {
        assert_eq!(plain("\x1b[1;31merror\x1b[0m: no\tlink"), "error: no link");
        assert_eq!(plain("\x1b]0;title\x07 x"), "]0;title  x");
        assert_eq!(plain("a\u{9b}2Jb \u{2192} c\u{2026}"), "a?2Jb -> c...");
        assert_eq!(plain("\x1b"), "");
        assert_eq!(plain("\x1b[\x1b[2J!"), "[!");
    }

    #[test]
    fn cuts_are_marked() {
        assert_eq!(cut("two links up", 12), "two links up");
        assert_eq!(cut("two links up, more", 12), "two links...");
        assert_eq!(cut("network", 3), "net");
    }

    #[test]
    fn wraps_at_spaces_when_they_are_near_the_edge() {
        assert_eq!(wrap("aaaa bbbb cccc", 10), ["aaaa bbbb", "cccc"]);
        assert_eq!(wrap("abcdefghijkl", 5), ["abcde", "fghij", "kl"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn durations_read_like_speech() {
        assert_eq!(duration(47_999), "47s");
        assert_eq!(duration(725_000), "12m 05s");
        assert_eq!(duration(11_220_000), "3h 07m");
        assert_eq!(duration(u64::MAX), "ages");
    }

    proptest! {
        #[test]
        fn plain_is_printable_ascii(text in any::<String>()) {
            prop_assert!(plain(&text).bytes().all(|b| (0x20..0x7f).contains(&b)));
        }

        #[test]
        fn nothing_is_wider_than_asked(text in "[ -~]{0,300}", width in 1_usize..100) {
            prop_assert!(cut(&text, width).len() <= width);
            prop_assert!(wrap(&text, width).iter().all(|row| row.len() <= width));
        }

        #[test]
        fn durations_fit_their_column(milliseconds in any::<u64>()) {
            prop_assert!(duration(milliseconds).len() <= 10);
        }
    }
}
