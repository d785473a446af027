//! The recommendations (`kspp.toml`) and our deviations from them (`deviations.toml`), held against
//! a finished configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::{Config, Value};

/// Recommendations with our answers.
#[derive(Debug)]
pub struct Hardening {
    recommended: BTreeMap<String, Recommendation>,
    deviations: Vec<Deviation>,
}

#[derive(Debug)]
struct Recommendation {
    value: Value,
    about: String,
}

/// A recommendation that is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    pub option: String,
    pub recommended: String,
    pub ours: String,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not as expected", path.display())]
    Parse {
        path: PathBuf,
        source: toml::de::Error,
    },
    #[error("CONFIG_{option} is recommended twice, in \"{first}\" and \"{second}\"")]
    Twice {
        option: String,
        first: String,
        second: String,
    },
    #[error("the deviation of CONFIG_{option} gives no reason")]
    NoReason { option: String },
    #[error("CONFIG_{option} has two deviations")]
    TwoDeviations { option: String },
}

/// Something to mend, in the kernel's options or in the table.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// Not as recommended, and nobody says why.
    Unexplained {
        option: String,
        about: String,
        recommended: Value,
        got: Value,
    },
    /// Explained, but the kernel or the recommendation is another by now.
    Outdated { deviation: Deviation, got: Value },
    /// As recommended: the explanation can go.
    Needless { deviation: Deviation },
    /// No recommendation says anything about this option.
    Unknown { deviation: Deviation },
}

/// The result of a check.
#[derive(Debug)]
pub struct Verdict {
    pub followed: usize,
    pub explained: Vec<Deviation>,
    pub findings: Vec<Finding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecommendationFile {
    group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    about: String,
    #[serde(default)]
    on: Vec<String>,
    #[serde(default)]
    off: Vec<String>,
    #[serde(default)]
    values: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviationFile {
    deviation: Vec<Deviation>,
}

impl Hardening {
    /// The two tables in `folder`.
    pub fn read(folder: &Path) -> Result<Self, CheckError> {
        let groups: RecommendationFile = read_toml(&folder.join("kspp.toml"))?;
        let answers: DeviationFile = read_toml(&folder.join("deviations.toml"))?;
        Self::new(groups, answers)
    }

    fn new(groups: RecommendationFile, answers: DeviationFile) -> Result<Self, CheckError> {
        let mut recommended: BTreeMap<String, Recommendation> = BTreeMap::new();
        for group in groups.group {
            let on = group.on.into_iter().map(|option| (option, "y".to_owned()));
            let off = group.off.into_iter().map(|option| (option, "n".to_owned()));
            for (option, value) in on.chain(off).chain(group.values) {
                let new = Recommendation {
                    value: Value::from_short(&value),
                    about: group.about.clone(),
                };
                if let Some(old) = recommended.insert(option.clone(), new) {
                    return Err(CheckError::Twice {
                        option,
                        first: old.about,
                        second: group.about,
                    });
                }
            }
        }
        let deviations = answers.deviation;
        for (index, deviation) in deviations.iter().enumerate() {
            let option = &deviation.option;
            if deviation.reason.trim().is_empty() {
                return Err(CheckError::NoReason {
                    option: option.clone(),
                });
            }
            if deviations[..index]
                .iter()
                .any(|other| other.option == *option)
            {
                return Err(CheckError::TwoDeviations {
                    option: option.clone(),
                });
            }
        }
        Ok(Self {
            recommended,
            deviations,
        })
    }

    pub fn check(&self, config: &Config) -> Verdict {
        let mut verdict = Verdict {
            followed: 0,
            explained: Vec::new(),
            findings: Vec::new(),
        };
        for (option, recommendation) in &self.recommended {
            let got = config.value(option);
            let deviation = self.deviations.iter().find(|one| one.option == *option);
            match (got == recommendation.value, deviation) {
                (true, None) => verdict.followed += 1,
                (true, Some(deviation)) => verdict.findings.push(Finding::Needless {
                    deviation: deviation.clone(),
                }),
                (false, None) => verdict.findings.push(Finding::Unexplained {
                    option: option.clone(),
                    about: recommendation.about.clone(),
                    recommended: recommendation.value.clone(),
                    got,
                }),
                (false, Some(deviation)) => {
                    let describes = Value::from_short(&deviation.ours) == got
                        && Value::from_short(&deviation.recommended) == recommendation.value;
                    if describes {
                        verdict.explained.push(deviation.clone());
                    } else {
                        verdict.findings.push(Finding::Outdated {
                            deviation: deviation.clone(),
                            got,
                        });
                    }
                }
            }
        }
        let unknown = self
            .deviations
            .iter()
            .filter(|deviation| !self.recommended.contains_key(&deviation.option))
            .map(|deviation| Finding::Unknown {
                deviation: deviation.clone(),
            });
        verdict.findings.extend(unknown);
        verdict
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexplained {
                option,
                about,
                recommended,
                got,
            } => write!(
                f,
                "CONFIG_{option} ({about}): {recommended} is recommended, the kernel has {got}: \
                 change a fragment, or say why in deviations.toml"
            ),
            Self::Outdated { deviation, got } => write!(
                f,
                "CONFIG_{}: deviations.toml says {} instead of {}, but the kernel has {got}",
                deviation.option, deviation.ours, deviation.recommended
            ),
            Self::Needless { deviation } => write!(
                f,
                "CONFIG_{}: the kernel follows the recommendation: take the line out of \
                 deviations.toml",
                deviation.option
            ),
            Self::Unknown { deviation } => write!(
                f,
                "CONFIG_{}: in deviations.toml, but kspp.toml recommends nothing about it",
                deviation.option
            ),
        }
    }
}

fn read_toml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, CheckError> {
    let text = fs::read_to_string(path).map_err(|source| CheckError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| CheckError::Parse {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = r#"
        [[group]]
        about = "test"
        on = ["A", "B"]
        off = ["C"]
        values = { N = "32" }
    "#;

    fn hardening(deviations: &str) -> Result<Hardening, CheckError> {
        let answers = if deviations.is_empty() {
            "deviation = []"
        } else {
            deviations
        };
        Hardening::new(
            toml::from_str(GROUPS).unwrap(),
            toml::from_str(answers).unwrap(),
        )
    }

    fn messages(deviations: &str, config: &str) -> Vec<String> {
        let verdict = hardening(deviations).unwrap().check(&Config::parse(config));
        verdict.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_kernel_that_follows_needs_no_word() {
        let verdict = hardening("")
            .unwrap()
            .check(&Config::parse("CONFIG_A=y\nCONFIG_B=y\nCONFIG_N=32\n"));
        assert_eq!((verdict.followed, verdict.findings.len()), (4, 0));
    }

    #[test]
    fn whatever_is_not_followed_must_be_explained() {
        assert_eq!(
            messages("", "CONFIG_A=y\nCONFIG_C=y\nCONFIG_N=32\n"),
            [
                "CONFIG_B (test): y is recommended, the kernel has n: change a fragment, or say \
                 why in deviations.toml",
                "CONFIG_C (test): n is recommended, the kernel has y: change a fragment, or say \
                 why in deviations.toml",
            ]
        );
    }

    #[test]
    fn an_explanation_must_describe_the_kernel_as_it_is() {
        let explained = r#"
            [[deviation]]
            option = "N"
            recommended = "32"
            ours = "28"
            reason = "test"
        "#;
        assert!(messages(explained, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_N=28\n").is_empty());
        assert_eq!(
            messages(explained, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_N=30\n"),
            ["CONFIG_N: deviations.toml says 28 instead of 32, but the kernel has 30"]
        );
        assert_eq!(
            messages(explained, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_N=32\n"),
            [
                "CONFIG_N: the kernel follows the recommendation: take the line out of deviations.toml"
            ]
        );
    }

    #[test]
    fn an_explanation_of_nothing_and_one_without_a_reason_are_refused() {
        let entry = |option: &str, reason: &str| {
            format!(
                "[[deviation]]\noption = \"{option}\"\nrecommended = \"y\"\nours = \"n\"\n\
                 reason = \"{reason}\"\n"
            )
        };
        assert_eq!(
            messages(&entry("X", "test"), "CONFIG_A=y\nCONFIG_B=y\nCONFIG_N=32\n"),
            ["CONFIG_X: in deviations.toml, but kspp.toml recommends nothing about it"]
        );
        assert!(matches!(
            hardening(&entry("A", " ")),
            Err(CheckError::NoReason { .. })
        ));
        assert!(matches!(
            hardening(&(entry("A", "x") + &entry("A", "y"))),
            Err(CheckError::TwoDeviations { .. })
        ));
    }

    #[test]
    fn our_own_tables_are_sound() {
        Hardening::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    }
}
