//! Which source an image is made from: what the image says of itself, and when it was "made".

use std::path::Path;

use crate::Error;
use crate::tool::{Tool, ToolError};

/// Version, commit and time; the time is the commit's, so that no clock enters the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Version of the workspace.
    pub version: String,
    /// Full commit id, with `-dirty` when tracked files differ from it.
    pub commit: String,
    /// Commit time in seconds of Unix time.
    pub time_s: u64,
}

impl Source {
    /// Asks git about the checkout.
    pub fn of(workspace: &Path) -> Result<Self, Error> {
        let git = |args: &[&str]| -> Result<String, ToolError> {
            // A caller inside a git hook has variables set that point at another repository.
            let tool = Tool::new("git").directory(workspace).env_remove("GIT_DIR");
            let text = tool.env_remove("GIT_INDEX_FILE").args(args).run()?;
            Ok(text.trim().to_owned())
        };
        let commit = git(&[
            "describe",
            "--always",
            "--abbrev=40",
            "--exclude=*",
            "--dirty",
        ])?;
        let time = git(&["log", "-1", "--format=%ct"])?;
        let time_s = time
            .parse()
            .map_err(|_| Error::NoCommitTime { answer: time })?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit,
            time_s,
        })
    }

    /// The time as RFC 3339 writes it.
    pub(crate) fn time_utc(&self) -> String {
        let (days, seconds) = (self.time_s / 86400, self.time_s % 86400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// Content of `/usr/lib/os-release` and of the kernel image's `.osrel` section.
    pub fn os_release(&self) -> String {
        let Self {
            version,
            commit,
            time_s,
        } = self;
        format!(
            "ID=x0tta6bl4\nNAME=\"x0tta6bl4 OS\"\nPRETTY_NAME=\"x0tta6bl4 OS {version}\"\n\
             VERSION_ID={version}\nBUILD_ID={commit}\nX0_BUILD_TIME={time_s}\n"
        )
    }
}

/// Year, month and day of a day counted from 1970-01-01, in years that begin in March, so that
/// the leap day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        for time_s in [
            0,
            951_782_399,
            951_782_400,
            1_709_164_800,
            1_735_689_599,
            4_102_444_800,
        ] {
            let source = Source {
                version: String::new(),
                commit: String::new(),
                time_s,
            };
            let arguments = ["-u", "-d", &format!("@{time_s}"), "+%Y-%m-%dT%H:%M:%SZ"];
            let expected = Tool::new("date").args(arguments).run().unwrap();
            assert_eq!(source.time_utc(), expected.trim());
        }
    }
}
