use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Why a command failed. Each says what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The router's own answer.
    #[error("{message}")]
    Answer {
        /// The last word of the error's name, e.g. `Refused`.
        kind: String,
        /// What it says.
        message: String,
    },
    /// The bus can't be reached.
    #[error("cannot reach the bus at {address}")]
    Bus {
        /// Where it should be.
        address: String,
        /// Why.
        source: zbus::Error,
    },
    /// The bus works, and nobody administers the router on it.
    #[error("nobody owns {name} on the bus: see `x0ctl service show admin`")]
    NoAdmin {
        /// Which name.
        name: String,
    },
    /// Needs the bus.
    #[error("this needs the bus, and it is down: see `x0ctl service list`")]
    NeedsBus,
    /// A file.
    #[error("cannot {what} {path}")]
    File {
        /// E.g. `read`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration is not valid; the problems were printed.
    #[error("the configuration has {0} mistakes: nothing was changed")]
    Invalid(usize),
    /// The new configuration does not apply any more.
    #[error("generation {0} was not confirmed: the old configuration applies again")]
    NotConfirmed(u64),
    /// The person said no.
    #[error("nothing was done")]
    Declined,
    /// Needs a person.
    #[error("{0}")]
    NoTerminal(&'static str),
    /// Something that no other variant fits.
    #[error("{0}")]
    Other(String),
    /// PID 1 can't be reached either.
    #[error("cannot reach PID 1")]
    Init(#[from] api::ConnectError),
    /// PID 1 did not do it.
    #[error("PID 1 did not do it")]
    Call(#[from] api::CallError),
    /// The terminal or a pipe.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
    /// The answer is not what this x0ctl understands.
    #[error("the answer makes no sense to this x0ctl")]
    Syntax(#[from] serde_json::Error),
}

impl Error {
    /// As documented in `--help`.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    fn status(&self) -> u8 {
        match self {
            Self::Answer { kind, .. } => match kind.as_str() {
                "Refused" | "AccessDenied" => 3,
                "Unavailable" | "TimedOut" | "NoReply" | "ServiceUnknown" => 4,
                "NotFound" | "UnknownObject" => 6,
                _ => 1,
            },
            Self::Bus { .. } | Self::NoAdmin { .. } | Self::NeedsBus | Self::Init(_) => 4,
            Self::Invalid(_) | Self::NotConfirmed(_) => 5,
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => 6,
            Self::Call(api::CallError::Refused { error, .. })
                if error.ends_with(".ServiceNotFound") =>
            {
                6
            }
            Self::Call(api::CallError::Refused { .. }) => 1,
            Self::Call(_) => 4,
            _ => 1,
        }
    }
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, message, _) => {
                let kind = name.rsplit('.').next().unwrap_or_default().to_owned();
                let message = message.unwrap_or_else(|| name.to_string());
                Self::Answer { kind, message }
            }
            zbus::Error::InputOutput(source) if source.kind() == io::ErrorKind::TimedOut => {
                Self::Answer {
                    kind: "TimedOut".into(),
                    message: "no answer in time; try again".into(),
                }
            }
            other => Self::Other(format!("the bus failed: {other}")),
        }
    }
}

impl From<zbus::fdo::Error> for Error {
    fn from(error: zbus::fdo::Error) -> Self {
        zbus::Error::from(error).into()
    }
}
