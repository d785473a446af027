//! The whole page: families by name, each in one place, with a `service` label on what services
//! brought.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::exposition::{Family, Kind, Sample};

/// In which of the two notations that Prometheus asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4: what `promtool check metrics` and older scrapers read.
    Text,
}

impl Format {
    /// The `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What is collected for one scrape.
#[derive(Debug, Default)]
pub struct Page {
    families: BTreeMap<String, Family>,
    /// Which family a sample's name belongs to: `a_total` of the counter `a` must not meet a gauge
    /// `a_total`.
    owners: HashMap<String, String>,
}

impl Page {
    /// Adds one number of the node's own.
    pub fn add(&mut self, name: &str, kind: Kind, help: &str, labels: &[(&str, &str)], value: f64) {
        let suffix = kind.suffixes().first().copied().unwrap_or_default();
        let sample = Sample {
            suffix: suffix.to_owned(),
            labels: join(labels),
            value: number(value),
        };
        let family = Family {
            name: name.to_owned(),
            kind,
            unit: String::new(),
            help: help.to_owned(),
            samples: vec![sample],
        };
        // The names of the node's own families are constants of this program, and don't collide.
        self.put(family);
    }

    /// Adds what `service` offers. Returns how many families collided with what was there before
    /// and were left out.
    pub fn merge(&mut self, service: &str, families: Vec<Family>) -> usize {
        let mut left_out = 0;
        for mut family in families {
            for sample in &mut family.samples {
                let own = format!("service=\"{}\"", escaped(service));
                sample.labels = match sample.labels.is_empty() {
                    true => own,
                    false => format!("{own},{}", sample.labels),
                };
            }
            left_out += usize::from(!self.put(family));
        }
        left_out
    }

    fn put(&mut self, family: Family) -> bool {
        if let Some(known) = self.families.get_mut(&family.name) {
            let fits = known.kind == family.kind && known.unit == family.unit;
            if fits {
                known.samples.extend(family.samples);
            }
            return fits;
        }
        let suffixes = family.kind.suffixes().iter().chain([&""]);
        let names: Vec<String> = suffixes.map(|s| format!("{}{s}", family.name)).collect();
        if names.iter().any(|name| self.owners.contains_key(name)) {
            return false;
        }
        for name in names {
            self.owners.insert(name, family.name.clone());
        }
        self.families.insert(family.name.clone(), family);
        true
    }

    /// The text.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        let mut text = String::with_capacity(64 * 1024);
        for family in self.families.values().filter(|f| !f.samples.is_empty()) {
            self.family(family, format, &mut text);
        }
        if format == Format::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }

    fn family(&self, family: &Family, format: Format, text: &mut String) {
        let name = match (format, family.kind) {
            // There metadata carries the name of the samples.
            (Format::Text, Kind::Counter) => format!("{}_total", family.name),
            (Format::Text, Kind::Info) => format!("{}_info", family.name),
            _ => family.name.clone(),
        };
        let kind = match (format, family.kind) {
            (Format::Text, Kind::Info | Kind::StateSet) => "gauge",
            (Format::Text, Kind::GaugeHistogram) => "histogram",
            (Format::Text, Kind::Unknown) => "untyped",
            (_, kind) => kind.name(),
        };
        if !family.help.is_empty() {
            line(text, format_args!("# HELP {name} {}", family.help));
        }
        line(text, format_args!("# TYPE {name} {kind}"));
        if format == Format::OpenMetrics && !family.unit.is_empty() {
            line(text, format_args!("# UNIT {name} {}", family.unit));
        }
        for Sample {
            suffix,
            labels,
            value,
        } in &family.samples
        {
            // OpenMetrics alone has the time of creation.
            if format == Format::Text && suffix == "_created" {
                continue;
            }
            let name = &family.name;
            match labels.is_empty() {
                true => line(text, format_args!("{name}{suffix} {value}")),
                false => line(text, format_args!("{name}{suffix}{{{labels}}} {value}")),
            }
        }
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("a String takes everything");
    text.push('\n');
}

fn join(labels: &[(&str, &str)]) -> String {
    let labels = labels.iter();
    let labels = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    labels.collect::<Vec<_>>().join(",")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '"' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Whole numbers without a fraction, as both formats like them.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::parse;
    use proptest::prelude::*;

    fn merged(texts: &[(&str, &str)]) -> (Page, usize) {
        let mut page = Page::default();
        let left_out = texts
            .iter()
            .map(|(service, text)| page.merge(service, parse(text).unwrap()))
            .sum();
        (page, left_out)
    }

    #[test]
    fn families_of_several_services_lie_together() {
        let text =
            "# TYPE a counter\n# HELP a A.\na_total 1\n# TYPE b gauge\nb{x=\"1\"} 2\n# EOF\n";
        let (mut page, left_out) = merged(&[("one", text), ("two", text)]);
        page.add("node_b", Kind::Gauge, "B.", &[("y", "\"\\\n")], 1.5);
        assert_eq!(left_out, 0);
        assert_eq!(
            page.render(Format::OpenMetrics),
            "# HELP a A.\n# TYPE a counter\na_total{service=\"one\"} 1\na_total{service=\"two\"} 1\n\
             # TYPE b gauge\nb{service=\"one\",x=\"1\"} 2\nb{service=\"two\",x=\"1\"} 2\n\
             # HELP node_b B.\n# TYPE node_b gauge\nnode_b{y=\"\\\"\\\\\\n\"} 1.5\n# EOF\n"
        );
        let text = page.render(Format::Text);
        assert!(text.starts_with("# HELP a_total A.\n# TYPE a_total counter\na_total{"));
        assert!(!text.contains("EOF"));
    }

    #[test]
    fn what_collides_is_left_out_and_counted() {
        let (page, left_out) = merged(&[
            ("one", "# TYPE a counter\na_total 1\n# EOF\n"),
            ("two", "# TYPE a gauge\na 1\n# EOF\n"),
            ("three", "# TYPE a_total gauge\na_total 1\n# EOF\n"),
            ("four", "# TYPE a_total gauge\n# EOF\n"),
        ]);
        assert_eq!(left_out, 3);
        let text = page.render(Format::OpenMetrics);
        assert_eq!(text.matches("TYPE").count(), 1, "{text}");
    }

    proptest! {
        #[test]
        fn a_page_of_anything_can_be_parsed_again(
            texts in prop::collection::vec(
                "(# TYPE [a-c] (gauge|counter|histogram)\n)?([a-c](_total|_sum|_count)?(\\{x=\"[a-z\\\\n]{0,3}\"\\})? [0-9]\n){0,6}# EOF\n",
                1..5,
            ),
        ) {
            let mut page = Page::default();
            for (number, text) in texts.iter().enumerate() {
                if let Ok(families) = parse(text) {
                    page.merge(&format!("s{number}"), families);
                }
            }
            let text = page.render(Format::OpenMetrics).replace("service=", "s=");
            prop_assert!(parse(&text).is_ok(), "{text}");
        }
    }
}
