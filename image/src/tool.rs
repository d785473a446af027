//! Runs the host's tools in an environment that leaves no trace in what they write.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

/// A host tool that could not do its part.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The program is not on the machine.
    #[error("`{program}` is not installed: run ci/setup")]
    Missing {
        /// What was looked for in PATH.
        program: String,
    },
    /// The program is there but did not start.
    #[error("cannot start `{program}`")]
    Start {
        /// What was to be started.
        program: String,
        /// Why the kernel refused.
        #[source]
        source: io::Error,
    },
    /// The program ran and reported a failure.
    #[error("`{program}` failed ({status}): {message}")]
    Failed {
        /// What was run, with its arguments.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        message: String,
    },
}

/// A file that could not be read, written or made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// Why the kernel refused.
    #[source]
    pub source: io::Error,
}

/// A command that sees neither the locale, the time zone nor the clock of this machine.
pub(crate) struct Tool {
    command: Command,
}

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        // Debian keeps some of the tools out of an ordinary user's PATH.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        Self { command }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Lets the tool talk to the person directly: for cargo, whose progress is worth seeing.
    pub(crate) fn run_visibly(mut self) -> Result<(), ToolError> {
        let status = self
            .command
            .status()
            .map_err(|source| self.start_error(source))?;
        if status.success() {
            return Ok(());
        }
        Err(ToolError::Failed {
            program: self.line(),
            status,
            message: "see its messages above".to_owned(),
        })
    }

    /// Runs to the end and returns what was written to standard output.
    pub(crate) fn run(mut self) -> Result<String, ToolError> {
        let output = self
            .command
            .output()
            .map_err(|source| self.start_error(source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let mut message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if message.is_empty() {
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .clone_into(&mut message);
        }
        Err(ToolError::Failed {
            program: self.line(),
            status: output.status,
            message,
        })
    }

    fn start_error(&self, source: io::Error) -> ToolError {
        let program = self.command.get_program().to_string_lossy().into_owned();
        if source.kind() == io::ErrorKind::NotFound {
            ToolError::Missing { program }
        } else {
            ToolError::Start { program, source }
        }
    }

    fn line(&self) -> String {
        let mut line = self.command.get_program().to_string_lossy().into_owned();
        for arg in self.command.get_args() {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }
}

/// SHA-256 of files, in their order. By openssl: this also runs unoptimised, and our own code
/// would then need seconds for what takes openssl a tenth of one.
pub(crate) fn sha256<P: AsRef<Path>>(files: &[P]) -> Result<Vec<String>, ToolError> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let files = files.iter().map(AsRef::as_ref);
    let text = Tool::new("openssl")
        .args(["dgst", "-sha256", "-r"])
        .args(files)
        .run()?;
    let digest = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    Ok(text.lines().map(digest).collect())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(at("read", path))
}

pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(at("read", path))
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    fs::write(path, content).map_err(at("write", path))
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::copy(from, to).map(drop).map_err(at("copy", from))
}

pub(crate) fn make_directory(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(at("make the directory", path))
}

pub(crate) fn at<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_names_itself_and_the_way_out() {
        let error = Tool::new("x0-no-such-tool").run().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`x0-no-such-tool` is not installed: run ci/setup"
        );
    }

    #[test]
    fn checksums_come_in_the_order_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        write(&one, "").unwrap();
        write(&two, "abc").unwrap();
        let sums = sha256(&[&two, &one, &two]).unwrap();
        assert!(sums[0].starts_with("ba7816bf"), "{sums:?}");
        assert!(sums[1].starts_with("e3b0c442"), "{sums:?}");
        assert_eq!(sums[0], sums[2]);
        assert!(sha256(&[folder.path().join("three")]).is_err());
    }

    #[test]
    fn a_failed_tool_shows_its_last_words() {
        let error = Tool::new("sh")
            .args(["-c", "echo alas >&2; exit 3"])
            .run()
            .unwrap_err();
        assert!(error.to_string().ends_with("alas"), "{error}");
    }
}
