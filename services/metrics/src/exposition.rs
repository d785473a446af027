//! Reads one service's exposition: OpenMetrics 1.0 text, strictly and with bounds.
//!
//! What a service says is not trusted: a page that is merged from twelve sources must stay a page
//! whatever one of them sends. So everything is parsed, and only what was understood goes on.

use std::collections::HashSet;

/// A service's exposition is some kilobytes.
pub const TEXT_MAX_BYTES: usize = 256 * 1024;
const LINE_MAX_BYTES: usize = 4096;
const FAMILIES_MAX: usize = 256;
const SAMPLES_MAX: usize = 4096;

/// The types of OpenMetrics 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    GaugeHistogram,
    Histogram,
    Info,
    StateSet,
    Summary,
    Unknown,
}

impl Kind {
    const ALL: [(Self, &str, &[&str]); 8] = [
        (Self::Counter, "counter", &["_total", "_created"]),
        (Self::Gauge, "gauge", &[""]),
        (
            Self::GaugeHistogram,
            "gaugehistogram",
            &["_bucket", "_gcount", "_gsum"],
        ),
        (
            Self::Histogram,
            "histogram",
            &["_bucket", "_count", "_sum", "_created"],
        ),
        (Self::Info, "info", &["_info"]),
        (Self::StateSet, "stateset", &[""]),
        (
            Self::Summary,
            "summary",
            &["", "_count", "_sum", "_created"],
        ),
        (Self::Unknown, "unknown", &[""]),
    ];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What the names of its samples add to the family's.
    #[must_use]
    pub fn suffixes(self) -> &'static [&'static str] {
        self.row().2
    }

    fn row(self) -> (Self, &'static str, &'static [&'static str]) {
        let found = Self::ALL.into_iter().find(|row| row.0 == self);
        found.expect("every kind has its row")
    }

    fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|row| row.1 == text);
        found.map(|row| row.0)
    }
}

/// One number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What it adds to the family's name.
    pub suffix: String,
    /// As written, without braces.
    pub labels: String,
    /// As written.
    pub value: String,
}

/// What belongs together under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    pub name: String,
    pub kind: Kind,
    pub unit: String,
    /// As written, escapes included.
    pub help: String,
    pub samples: Vec<Sample>,
}

/// Why an exposition is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ExpositionError {
    line: usize,
    reason: &'static str,
}

/// Reads an exposition.
///
/// # Errors
/// With the first line that is not as it has to be.
pub fn parse(text: &str) -> Result<Vec<Family>, ExpositionError> {
    let fail = |line, reason| Err(ExpositionError { line, reason });
    if text.len() > TEXT_MAX_BYTES {
        return fail(1, "the exposition is too long");
    }
    let Some(body) = text.strip_suffix("# EOF\n") else {
        let lines = text.lines().count();
        return fail(lines.max(1), "it does not end with `# EOF`");
    };
    let mut reader = Reader::default();
    for (number, line) in body.split_terminator('\n').enumerate() {
        if let Err(reason) = reader.line(line) {
            return fail(number + 1, reason);
        }
    }
    if !body.is_empty() && !body.ends_with('\n') {
        return fail(1, "`# EOF` is not on a line of its own");
    }
    Ok(reader.families)
}

#[derive(Default)]
struct Reader {
    families: Vec<Family>,
    names: HashSet<String>,
    /// Names and labels of the present family's samples.
    seen: HashSet<(String, String)>,
    samples: usize,
    /// Metadata that the present family has.
    has: [bool; 3],
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if line.len() > LINE_MAX_BYTES {
            return Err("the line is too long");
        }
        if line.chars().any(char::is_control) {
            return Err("a control character");
        }
        match line.strip_prefix("# ") {
            Some(metadata) => self.metadata(metadata),
            None => self.sample(line),
        }
    }

    fn metadata(&mut self, line: &str) -> Result<(), &'static str> {
        let mut words = line.splitn(3, ' ');
        let what = words.next().unwrap_or_default();
        let name = words.next().ok_or("metadata without a name")?;
        let rest = words.next().unwrap_or_default();
        let which = match what {
            "TYPE" => 0,
            "HELP" => 1,
            "UNIT" => 2,
            _ => return Err("neither TYPE nor HELP nor UNIT"),
        };
        let family = self.family(name)?;
        if !family.samples.is_empty() {
            return Err("metadata after samples");
        }
        match which {
            0 => family.kind = Kind::parse(rest).ok_or("an unknown type")?,
            1 => family.help = checked_escapes(rest, false)?.to_owned(),
            _ => {
                if !rest.is_empty() && !name.ends_with(&format!("_{rest}")) {
                    return Err("the name does not end with its unit");
                }
                rest.clone_into(&mut family.unit);
            }
        }
        if std::mem::replace(&mut self.has[which], true) {
            return Err("the same metadata twice");
        }
        Ok(())
    }

    /// The present family, or a new one.
    fn family(&mut self, name: &str) -> Result<&mut Family, &'static str> {
        if self.families.last().is_none_or(|last| last.name != name) {
            if !is_name(name) {
                return Err("a bad name");
            }
            if !self.names.insert(name.to_owned()) {
                return Err("a family in two places");
            }
            if self.families.len() >= FAMILIES_MAX {
                return Err("too many families");
            }
            self.seen.clear();
            self.has = [false; 3];
            self.families.push(Family {
                name: name.to_owned(),
                kind: Kind::Unknown,
                unit: String::new(),
                help: String::new(),
                samples: Vec::new(),
            });
        }
        self.families.last_mut().ok_or("no family")
    }

    fn sample(&mut self, line: &str) -> Result<(), &'static str> {
        self.samples += 1;
        if self.samples > SAMPLES_MAX {
            return Err("too many samples");
        }
        let end = line
            .find(['{', ' '])
            .ok_or("neither metadata nor a sample")?;
        let (name, rest) = line.split_at(end);
        if !is_name(name) {
            return Err("a bad name");
        }
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => ("", rest),
        };
        let rest = rest.strip_prefix(' ').ok_or("no value")?;
        // Exemplars are of no use on a page for Prometheus without tracing: left out.
        let rest = rest.split_once(" # ").map_or(rest, |(before, _)| before);
        let mut words = rest.split(' ');
        let value = words.next().filter(|value| is_number(value));
        let value = value.ok_or("the value is no number")?;
        if words.next().is_some() {
            return Err("a time stamp: a scrape is now");
        }
        // Samples without metadata make a family of their own.
        let known = self.families.last();
        let belongs = known.is_some_and(|family| {
            let suffix = name.strip_prefix(&family.name);
            suffix.is_some_and(|suffix| family.kind.suffixes().contains(&suffix))
        });
        if !belongs {
            self.family(name)?;
        }
        let family = self.families.last_mut().ok_or("no family")?;
        let suffix = &name[family.name.len()..];
        if !self.seen.insert((suffix.to_owned(), labels.to_owned())) {
            return Err("the same sample twice");
        }
        family.samples.push(Sample {
            suffix: suffix.to_owned(),
            labels: labels.to_owned(),
            value: value.to_owned(),
        });
        Ok(())
    }
}

/// Splits `name="value",…} rest`; returns the labels as written, and the rest.
fn labels(text: &str) -> Result<(&str, &str), &'static str> {
    let mut names = HashSet::new();
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            let written = &text[..text.len() - rest.len()];
            // A trailing comma is not allowed in OpenMetrics.
            if written.ends_with(',') {
                return Err("a comma too many");
            }
            return Ok((written, after));
        }
        let (name, after) = rest.split_once("=\"").ok_or("a label without value")?;
        if !is_name(name) || name.contains(':') || !names.insert(name) {
            return Err("a bad label name");
        }
        if name == "service" {
            return Err("the label `service` is the page's own");
        }
        let end = closing_quote(after).ok_or("a label value without end")?;
        checked_escapes(&after[..end], true)?;
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("no comma between labels"),
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Only `\n`, `\\` and `\"`.
fn checked_escapes(text: &str, in_quotes: bool) -> Result<&str, &'static str> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if !matches!(chars.next(), Some('\\' | 'n' | '"')) => {
                return Err("an unknown escape");
            }
            '"' if in_quotes => return Err("a quotation mark inside"),
            _ => {}
        }
    }
    Ok(text)
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
    name.len() <= 200
        && name.bytes().all(plain)
        && name
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    matches!(text, "NaN" | "+Inf" | "-Inf")
        || (text.len() <= 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
            && text.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_the_client_library_writes() {
        use runtime::metrics::{Counter, Family as Labelled, Gauge, Histogram, Registry};
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("x0_test_requests", "Requests", counter);
        let labelled: Labelled<[(&str, &str); 2], Gauge> = Labelled::default();
        let odd = "a \"quoted\" \\ back\nslash";
        labelled.get_or_create(&[("a", odd), ("b", "}")]).set(-7);
        registry.register("x0_test_level", "Level", labelled);
        let histogram = Histogram::new([0.1, 1.0]);
        histogram.observe(0.5);
        registry.register("x0_test_time_seconds", "Time", histogram);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let families = parse(&text).unwrap();
        let names: Vec<&str> = families.iter().map(|family| &*family.name).collect();
        assert_eq!(
            names,
            ["x0_test_requests", "x0_test_level", "x0_test_time_seconds"]
        );
        assert_eq!(families[0].samples[0].suffix, "_total");
        assert_eq!(families[1].samples[0].value, "-7");
        assert_eq!(families[2].samples.len(), 5);
    }

    #[test]
    fn refuses_what_would_break_a_page() {
        let cases = [
            ("", "does not end"),
            ("a 1\n", "does not end"),
            ("a 1# EOF\n", "line of its own"),
            ("# EOF\n# EOF\n", "without a name"),
            ("# EOF x\n# EOF\n", "neither TYPE"),
            ("a 1\nb 1\na 2\n# EOF\n", "two places"),
            ("a 1\na 2\n# EOF\n", "twice"),
            ("a 1\n# TYPE a gauge\n# EOF\n", "after samples"),
            ("# TYPE a gauge\n# TYPE a gauge\n# EOF\n", "twice"),
            ("# TYPE a gage\n# EOF\n", "unknown type"),
            (
                "# TYPE a counter\na_sum 1\n# TYPE a gauge\n# EOF\n",
                "two places",
            ),
            ("# UNIT a seconds\n# EOF\n", "its unit"),
            ("a{service=\"x\"} 1\n# EOF\n", "page's own"),
            ("a{b=\"x\",b=\"y\"} 1\n# EOF\n", "bad label"),
            ("a{b=\"x\",} 1\n# EOF\n", "comma"),
            ("a{b=\"x\\t\"} 1\n# EOF\n", "escape"),
            ("a{b=\"x} 1\n# EOF\n", "without end"),
            ("a one\n# EOF\n", "no number"),
            ("a 1 1234\n# EOF\n", "time stamp"),
            ("a\x07 1\n# EOF\n", "control"),
            ("1a 1\n# EOF\n", "bad name"),
            ("a inf\n# EOF\n", "no number"),
        ];
        for (text, reason) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn is_bounded() {
        let many: String = (0..5000).map(|n| format!("a{{n=\"{n}\"}} 1\n")).collect();
        assert!(parse(&(many + "# EOF\n")).is_err());
        let many: String = (0..300).map(|n| format!("a{n} 1\n")).collect();
        assert!(parse(&(many + "# EOF\n")).is_err());
        let long = format!("a{{b=\"{}\"}} 1\n# EOF\n", "x".repeat(5000));
        assert!(parse(&long).is_err());
        assert!(parse(&"x".repeat(TEXT_MAX_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text in "([a-c_{}\"=, 0-9#\\\\]{0,40}\n){0,8}(# EOF\n)?") {
            let _ = parse(&text);
        }
    }
}
