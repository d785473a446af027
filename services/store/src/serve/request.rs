//! What a caller may say: one Varlink call, checked before anything is done about it.

use api::wire::{Call, DescriptionCall};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use store_api::wire::{
    AppliedCall, ApplyCall, BackupCall, BeginEditCall, CancelCall, ConfirmCall, DeleteCall,
    EventsCall, GenerationCall, GetCall, HistoryCall, ImportCall, ListCall, Nothing, PutCall,
    RecordCall, RestoreCall, RollbackCall, SessionCall, UploadCall, ValidateCall, WatchCall,
};
use store_api::{INTERFACE, Refusal};

/// A call.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Whether it takes a stream of replies.
    pub more: bool,
    /// Whether it takes no reply at all.
    pub oneway: bool,
}

/// A method with its parameters.
#[derive(Debug)]
pub enum Method {
    Applied(AppliedCall),
    Apply(ApplyCall),
    Backup(BackupCall),
    BeginEdit(BeginEditCall),
    Cancel(CancelCall),
    Configuration,
    ConfigurationStatus,
    Confirm(ConfirmCall),
    Delete(DeleteCall),
    Description(String),
    EndEdit(SessionCall),
    Events(EventsCall),
    Generation(GenerationCall),
    Get(GetCall),
    History(HistoryCall),
    Import(ImportCall),
    Info,
    List(ListCall),
    Put(PutCall),
    Record(RecordCall),
    Restore(RestoreCall),
    Rollback(RollbackCall),
    Snapshot,
    Statistics,
    Upload(UploadCall),
    Validate(ValidateCall),
    VerifyEvents,
    Watch(WatchCall),
}

/// Who may call a method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Needs {
    /// `admin` and root.
    Administrator,
    /// Also `provision`.
    Provision,
    /// Services with sections in their manifest.
    Configured,
    /// Any service.
    Service,
}

impl Method {
    /// Who may call it.
    #[must_use]
    pub fn needs(&self) -> Needs {
        match self {
            Self::Delete(_)
            | Self::Description(_)
            | Self::Get(_)
            | Self::Info
            | Self::List(_)
            | Self::Put(_)
            | Self::Record(_)
            | Self::Statistics
            | Self::Watch(_) => Needs::Service,
            Self::Applied(_) | Self::Configuration => Needs::Configured,
            Self::Import(_) | Self::Validate(_) => Needs::Provision,
            _ => Needs::Administrator,
        }
    }

    /// Whether it answers with a stream, `None` where both will do.
    #[must_use]
    pub fn streams(&self) -> Option<bool> {
        match self {
            Self::Backup(_) | Self::Watch(_) => Some(true),
            Self::Configuration | Self::ConfigurationStatus | Self::Events(_) => None,
            _ => Some(false),
        }
    }
}

/// Reads one message, without its NUL byte. None: it is no Varlink call at all.
#[must_use]
pub fn read(message: &[u8]) -> Option<Result<Request, Refusal>> {
    let call: Call = serde_json::from_slice(message).ok()?;
    let (more, oneway) = (call.more, call.oneway);
    let request = method(call).and_then(|method| {
        if method.streams() == Some(true) && !more {
            return Err(general("ExpectedMore", json!({})));
        }
        Ok(Request {
            method,
            more,
            oneway,
        })
    });
    Some(request)
}

fn method(call: Call) -> Result<Method, Refusal> {
    let p = call.parameters.unwrap_or_else(|| Value::Object(Map::new()));
    let own = call
        .method
        .strip_prefix(INTERFACE)
        .and_then(|rest| rest.strip_prefix('.'));
    Ok(match (own, call.method.as_str()) {
        (Some("Applied"), _) => Method::Applied(parse(p)?),
        (Some("Apply"), _) => Method::Apply(parse(p)?),
        (Some("Backup"), _) => Method::Backup(parse(p)?),
        (Some("BeginEdit"), _) => Method::BeginEdit(parse(p)?),
        (Some("Cancel"), _) => Method::Cancel(parse(p)?),
        (Some("Configuration"), _) => parse(p).map(|Nothing {}| Method::Configuration)?,
        (Some("ConfigurationStatus"), _) => {
            parse(p).map(|Nothing {}| Method::ConfigurationStatus)?
        }
        (Some("Confirm"), _) => Method::Confirm(parse(p)?),
        (Some("Delete"), _) => Method::Delete(parse(p)?),
        (Some("EndEdit"), _) => Method::EndEdit(parse(p)?),
        (Some("Events"), _) => Method::Events(parse(p)?),
        (Some("Generation"), _) => Method::Generation(parse(p)?),
        (Some("Get"), _) => Method::Get(parse(p)?),
        (Some("History"), _) => Method::History(parse(p)?),
        (Some("Import"), _) => Method::Import(parse(p)?),
        (Some("List"), _) => Method::List(parse(p)?),
        (Some("Put"), _) => Method::Put(parse(p)?),
        (Some("Record"), _) => Method::Record(parse(p)?),
        (Some("Restore"), _) => Method::Restore(parse(p)?),
        (Some("Rollback"), _) => Method::Rollback(parse(p)?),
        (Some("Snapshot"), _) => parse(p).map(|Nothing {}| Method::Snapshot)?,
        (Some("Statistics"), _) => parse(p).map(|Nothing {}| Method::Statistics)?,
        (Some("Upload"), _) => Method::Upload(parse(p)?),
        (Some("Validate"), _) => Method::Validate(parse(p)?),
        (Some("VerifyEvents"), _) => parse(p).map(|Nothing {}| Method::VerifyEvents)?,
        (Some("Watch"), _) => Method::Watch(parse(p)?),
        (None, "org.varlink.service.GetInfo") => Method::Info,
        (None, "org.varlink.service.GetInterfaceDescription") => {
            let DescriptionCall { interface } = parse(p)?;
            Method::Description(interface)
        }
        _ => {
            return Err(general(
                "MethodNotFound",
                json!({ "method": call.method.chars().take(128).collect::<String>() }),
            ));
        }
    })
}

/// An error of `org.varlink.service`.
pub(crate) fn general(name: &str, parameters: Value) -> Refusal {
    Refusal::Other {
        name: format!("org.varlink.service.{name}"),
        parameters,
    }
}

fn parse<P: DeserializeOwned>(parameters: Value) -> Result<P, Refusal> {
    serde_json::from_value(parameters).map_err(|error| {
        let parameter: String = error.to_string().chars().take(256).collect();
        general("InvalidParameter", json!({ "parameter": parameter }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        read(text.as_bytes()).unwrap().unwrap_err().to_wire().0
    }

    #[test]
    fn mistakes_have_names() {
        let cases = [
            (
                r#"{"method":"org.x0tta6bl4.Store.Explode"}"#,
                "MethodNotFound",
            ),
            (
                r#"{"method":"org.x0tta6bl4.Store.Get"}"#,
                "InvalidParameter",
            ),
            (
                r#"{"method":"org.x0tta6bl4.Store.Get","parameters":{"key":"a","x":1}}"#,
                "InvalidParameter",
            ),
            (
                r#"{"method":"org.x0tta6bl4.Store.Get","parameters":[1]}"#,
                "InvalidParameter",
            ),
            (
                r#"{"method":"org.x0tta6bl4.Store.Statistics","parameters":{"x":1}}"#,
                "InvalidParameter",
            ),
            (
                r#"{"method":"org.x0tta6bl4.Store.Put","parameters":{"key":"a","value":1,"expected":-1}}"#,
                "InvalidParameter",
            ),
            (
                r#"{"method":"org.x0tta6bl4.Store.Watch","parameters":{"prefix":""}}"#,
                "ExpectedMore",
            ),
        ];
        for (text, name) in cases {
            assert_eq!(
                refusal(text),
                format!("org.varlink.service.{name}"),
                "{text}"
            );
        }
        for text in ["", "{}", "[]", "nonsense", "{\"method\":1}", "\u{fffd}"] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(deep.as_bytes()).is_none(), "no stack is used up");
    }

    #[test]
    fn every_method_of_the_description_is_understood() {
        for line in store_api::DESCRIPTION.lines() {
            if let Some(name) = line
                .strip_prefix("method ")
                .and_then(|l| l.split('(').next())
            {
                let call = format!(r#"{{"method":"{INTERFACE}.{name}","more":true}}"#);
                let found = read(call.as_bytes()).unwrap();
                let is_unknown = matches!(&found, Err(refusal) if refusal.to_wire().0.ends_with("MethodNotFound"));
                assert!(!is_unknown, "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_reader(bytes: Vec<u8>) {
            drop(read(&bytes));
        }
    }
}
