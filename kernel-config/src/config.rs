//! Kconfig's file format: fragments, the result, and what got lost between them.

use std::collections::BTreeMap;
use std::fmt;

/// What an option is set to. "Is not set" and "does not exist" are the same to the compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `# CONFIG_X is not set`
    Unset,
    /// `CONFIG_X=...`: `y`, a number, or a string with its quotes.
    Set(String),
}

impl Value {
    /// From the way people write it in a table: `n` is unset.
    pub fn from_short(text: &str) -> Self {
        match text {
            "n" => Self::Unset,
            set => Self::Set(set.to_owned()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("n"),
            Self::Set(value) => f.write_str(value),
        }
    }
}

/// A line of a fragment that is not Kconfig, or contradicts another.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    #[error(
        "{file}:{line}: neither a comment nor `CONFIG_X=..` nor `# CONFIG_X is not set`: {text}"
    )]
    Syntax {
        file: String,
        line: usize,
        text: String,
    },
    #[error("{file}:{line}: CONFIG_{option} was asked for before, in {before}")]
    Twice {
        file: String,
        line: usize,
        option: String,
        before: String,
    },
    #[error("{file}:{line}: CONFIG_{option}=m, but the kernel has no modules: y, or leave it out")]
    Module {
        file: String,
        line: usize,
        option: String,
    },
}

/// A finished `.config`.
#[derive(Debug, Default)]
pub struct Config {
    options: BTreeMap<String, String>,
}

impl Config {
    /// Everything that is set; other lines are comments.
    pub fn parse(text: &str) -> Self {
        let options = text
            .lines()
            .filter_map(|line| match parse_line(line) {
                Some((option, Value::Set(value))) => Some((option.to_owned(), value)),
                _ => None,
            })
            .collect();
        Self { options }
    }

    pub fn value(&self, option: &str) -> Value {
        self.options
            .get(option)
            .map_or(Value::Unset, |value| Value::Set(value.clone()))
    }
}

/// What the fragments ask for.
#[derive(Debug, Default)]
pub struct Requests {
    by_option: BTreeMap<String, Request>,
}

#[derive(Debug)]
struct Request {
    value: Value,
    file: String,
}

/// An option that Kconfig did not leave as asked: a dependency is missing, or something selects it.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost {
    pub option: String,
    pub file: String,
    pub asked: Value,
    pub got: Value,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            option,
            file,
            asked,
            got,
        } = self;
        write!(f, "{file}: CONFIG_{option}: asked for {asked}, got {got}")
    }
}

impl Requests {
    /// Adds the fragment `text`; `file` is its name, for messages.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), FragmentError> {
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let Some((option, value)) = parse_line(line) else {
                // Prose that merely resembles an option would silently ask for nothing.
                let prose = line.trim().is_empty() || line.starts_with('#');
                if prose && !line.starts_with("# CONFIG_") {
                    continue;
                }
                return Err(FragmentError::Syntax {
                    file: file.to_owned(),
                    line: line_number,
                    text: line.to_owned(),
                });
            };
            if value == Value::Set("m".to_owned()) {
                return Err(FragmentError::Module {
                    file: file.to_owned(),
                    line: line_number,
                    option: option.to_owned(),
                });
            }
            if let Some(before) = self.by_option.get(option) {
                return Err(FragmentError::Twice {
                    file: file.to_owned(),
                    line: line_number,
                    option: option.to_owned(),
                    before: before.file.clone(),
                });
            }
            self.by_option.insert(
                option.to_owned(),
                Request {
                    value,
                    file: file.to_owned(),
                },
            );
        }
        Ok(())
    }

    /// `base` with every line about a requested option replaced by the request.
    pub fn merge_into(&self, base: &str) -> String {
        let mut merged = String::with_capacity(base.len() + 64 * self.by_option.len());
        for line in base.lines() {
            let replaced =
                parse_line(line).is_some_and(|(option, _)| self.by_option.contains_key(option));
            if !replaced {
                merged.push_str(line);
                merged.push('\n');
            }
        }
        merged.push_str(&self.normalised());
        merged
    }

    /// The requests alone, sorted: the same for two sets of fragments that differ in prose only.
    pub fn normalised(&self) -> String {
        self.by_option
            .iter()
            .map(|(option, request)| match &request.value {
                Value::Unset => format!("# CONFIG_{option} is not set\n"),
                Value::Set(value) => format!("CONFIG_{option}={value}\n"),
            })
            .collect()
    }

    /// What did not survive in `config`.
    pub fn lost_in(&self, config: &Config) -> Vec<Lost> {
        self.by_option
            .iter()
            .filter_map(|(option, request)| {
                let got = config.value(option);
                (got != request.value).then(|| Lost {
                    option: option.clone(),
                    file: request.file.clone(),
                    asked: request.value.clone(),
                    got,
                })
            })
            .collect()
    }
}

fn parse_line(line: &str) -> Option<(&str, Value)> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if let Some(rest) = line.strip_prefix("CONFIG_") {
        let (option, value) = rest.split_once('=')?;
        let value = value.trim_end();
        return (is_name(option) && !value.is_empty())
            .then(|| (option, Value::Set(value.to_owned())));
    }
    let option = line
        .strip_prefix("# CONFIG_")?
        .trim_end()
        .strip_suffix(" is not set")?;
    is_name(option).then_some((option, Value::Unset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(text: &str) -> Requests {
        let mut requests = Requests::default();
        requests.add("a.config", text).unwrap();
        requests
    }

    #[test]
    fn prose_is_skipped_and_options_are_sorted() {
        let requests = requests(
            "# Why.\n\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_A=\"x=y\"\nCONFIG_N=0x0 \n",
        );
        assert_eq!(
            requests.normalised(),
            "CONFIG_A=\"x=y\"\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_N=0x0\n"
        );
    }

    #[test]
    fn what_only_resembles_an_option_is_refused() {
        for line in [
            "CONFIG_A",
            "CONFIG_A=",
            "CONFIG_=y",
            "CONFIG A=y",
            "# CONFIG_A is unset",
            " CONFIG_A=y",
            "config_a=y",
        ] {
            let refused = Requests::default().add("a.config", line);
            assert!(
                matches!(refused, Err(FragmentError::Syntax { line: 1, .. })),
                "{line}: {refused:?}"
            );
        }
    }

    #[test]
    fn an_option_is_asked_for_once_and_never_as_a_module() {
        let mut requests = requests("CONFIG_A=y\n");
        let twice = requests.add("b.config", "\n# CONFIG_A is not set\n");
        assert_eq!(
            twice.unwrap_err().to_string(),
            "b.config:2: CONFIG_A was asked for before, in a.config"
        );
        assert!(matches!(
            requests.add("b.config", "CONFIG_B=m"),
            Err(FragmentError::Module { .. })
        ));
    }

    #[test]
    fn a_request_replaces_what_the_base_says() {
        let merged = requests("CONFIG_A=y\n# CONFIG_B is not set\n")
            .merge_into("# Title\n# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_AB=y\n");
        assert_eq!(
            merged,
            "# Title\nCONFIG_AB=y\nCONFIG_A=y\n# CONFIG_B is not set\n"
        );
    }

    #[test]
    fn a_lost_option_is_named_with_its_fragment() {
        let requests =
            requests("CONFIG_A=y\nCONFIG_B=64\n# CONFIG_C is not set\n# CONFIG_D is not set\n");
        let config = Config::parse("CONFIG_B=32\nCONFIG_C=y\n# CONFIG_A is not set\n");
        let lost: Vec<_> = requests
            .lost_in(&config)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lost,
            [
                "a.config: CONFIG_A: asked for y, got n",
                "a.config: CONFIG_B: asked for 64, got 32",
                "a.config: CONFIG_C: asked for n, got y",
            ]
        );
    }
}
