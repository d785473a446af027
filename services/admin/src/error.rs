use runtime::Chain;
use zbus::DBusError;

/// What a caller is told when its call fails: `org.x0tta6bl4.Error.*`, and in the message what, where
/// and what to do.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.x0tta6bl4.Error")]
pub enum Error {
    /// The bus itself failed.
    #[zbus(error)]
    Bus(zbus::Error),
    /// Another editor, another generation or another job is in the way.
    Conflict(String),
    /// The backend said no for a reason of its own.
    Failed(String),
    /// An argument or an option makes no sense.
    InvalidArgument(String),
    /// The document has mistakes: each with line and column.
    InvalidConfiguration(String),
    /// Too many calls or jobs at once.
    LimitExceeded(String),
    /// There is no such thing.
    NotFound(String),
    /// A policy forbids it; the message names the policy.
    Refused(String),
    /// The backend did not answer in time.
    TimedOut(String),
    /// PID 1 or the store can't be reached.
    Unavailable(String),
}

impl From<api::ConnectError> for Error {
    fn from(error: api::ConnectError) -> Self {
        Self::Unavailable(Chain(&error).to_string())
    }
}

impl From<api::CallError> for Error {
    fn from(error: api::CallError) -> Self {
        use api::CallError;
        let text = Chain(&error).to_string();
        match error {
            CallError::Refused { error, parameters } => refused(&error, &parameters),
            CallError::Deadline => Self::TimedOut(text),
            _ => Self::Unavailable(text),
        }
    }
}

impl From<store_api::ConnectError> for Error {
    fn from(error: store_api::ConnectError) -> Self {
        Self::Unavailable(Chain(&error).to_string())
    }
}

impl From<store_api::CallError> for Error {
    fn from(error: store_api::CallError) -> Self {
        use store_api::CallError;
        match error {
            CallError::Refused(refusal) => refusal.into(),
            CallError::Deadline => Self::TimedOut(error.to_string()),
            _ => Self::Unavailable(Chain(&error).to_string()),
        }
    }
}

impl From<store_api::BackupError> for Error {
    fn from(error: store_api::BackupError) -> Self {
        match error {
            store_api::BackupError::Call(error) => error.into(),
            _ => Self::Failed(Chain(&error).to_string()),
        }
    }
}

impl From<store_api::Refusal> for Error {
    fn from(refusal: store_api::Refusal) -> Self {
        use store_api::Refusal;
        let text = refusal.to_string();
        match refusal {
            Refusal::Invalid { problems } => {
                let problem = |p: &store_api::Problem| {
                    format!("\nline {}, column {}: {}", p.line, p.column, p.message)
                };
                let list: String = problems.iter().map(problem).collect();
                Self::InvalidConfiguration(format!("{text}:{list}"))
            }
            Refusal::BadKey { .. }
            | Refusal::BadParameter { .. }
            | Refusal::TooLarge { .. }
            | Refusal::BadBackup { .. }
            | Refusal::WrongPassphrase {} => Self::InvalidArgument(text),
            Refusal::NoSuchGeneration { .. } => Self::NotFound(text),
            Refusal::Conflict { .. }
            | Refusal::EditInProgress { .. }
            | Refusal::NoSuchSession {}
            | Refusal::ConfirmationPending { .. }
            | Refusal::NotPending { .. }
            | Refusal::Busy { .. } => Self::Conflict(text),
            Refusal::QuotaExceeded { .. } | Refusal::RateLimited { .. } => {
                Self::LimitExceeded(text)
            }
            Refusal::NotAllowed { .. } | Refusal::StorageFailed { .. } | Refusal::Other { .. } => {
                Self::Failed(text)
            }
        }
    }
}

/// PID 1's own errors, in words.
fn refused(error: &str, parameters: &serde_json::Value) -> Error {
    match error.rsplit('.').next().unwrap_or(error) {
        "ServiceNotFound" => {
            let name = parameters["service"].as_str().unwrap_or_default();
            Error::NotFound(format!("there is no service `{name}`"))
        }
        "ShuttingDown" => Error::Failed("the machine is going down".into()),
        "InvalidParameter" => {
            let name = parameters["parameter"].as_str().unwrap_or_default();
            Error::InvalidArgument(format!("PID 1 does not accept `{name}`"))
        }
        "MethodNotFound" => Error::Failed("this PID 1 does not know that call".into()),
        _ => Error::Failed(format!("PID 1 refused: {error} {parameters}")),
    }
}
