//! Reads calls of the control socket. Whoever may write to it is trusted to command, not to be
//! correct.

use api::wire::{
    Call, DescriptionCall, EventsCall, LogsCall, MAX_REQUEST_BYTES, PowerCall, Reply, ServiceCall,
    encode,
};
use api::{INTERFACE, Power};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The interface that every Varlink service has.
pub(crate) const VARLINK: &str = "org.varlink.service";

/// What a caller wants.
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
#[derive(Debug, Eq, PartialEq)]
pub enum Method {
    Blame,
    Description(String),
    Events { first: Option<u64> },
    Explain(String),
    Info,
    Logs { service: String, lines: Option<u32> },
    Power(Power),
    Reexec,
    Restart(String),
    Start(String),
    Status,
    Stop(String),
}

/// A Varlink error.
#[derive(Debug, Eq, PartialEq)]
pub struct Refusal {
    error: String,
    parameters: Value,
}

impl Refusal {
    /// One of `org.x0tta6bl4.Init`.
    #[must_use]
    pub fn own(name: &str, parameters: Value) -> Self {
        let error = format!("{INTERFACE}.{name}");
        Self { error, parameters }
    }

    /// One of `org.varlink.service`.
    #[must_use]
    pub fn general(name: &str, parameters: Value) -> Self {
        let error = format!("org.varlink.service.{name}");
        Self { error, parameters }
    }

    /// The message that says so.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        encode(&Reply {
            parameters: Some(self.parameters),
            continues: false,
            error: Some(self.error),
        })
    }
}

/// Reads one message, without its NUL byte.
///
/// # Errors
/// [`Unusable::NoCall`] when what follows on the connection can't be trusted either.
pub fn read(message: &[u8]) -> Result<Request, Unusable> {
    let call: Call = serde_json::from_slice(message)
        .map_err(|error| Unusable::NoCall(invalid(&format!("the message is no call: {error}"))))?;
    let (more, oneway) = (call.more, call.oneway);
    let method = method(call).map_err(|refusal| {
        if oneway {
            Unusable::Unanswered
        } else {
            Unusable::Refused(refusal)
        }
    })?;
    Ok(Request {
        method,
        more,
        oneway,
    })
}

/// Why a message is not followed.
#[derive(Debug)]
pub enum Unusable {
    /// It is no Varlink call; there is nothing to wait for after it.
    NoCall(Refusal),
    /// A call that makes no sense.
    Refused(Refusal),
    /// The same, from a caller that takes no reply.
    Unanswered,
}

/// What a caller is told whose message is longer than PID 1 reads.
#[must_use]
pub fn too_long() -> Refusal {
    invalid(&format!(
        "the message is longer than {MAX_REQUEST_BYTES} bytes"
    ))
}

fn invalid(parameter: &str) -> Refusal {
    Refusal::general("InvalidParameter", json!({ "parameter": parameter }))
}

fn method(call: Call) -> Result<Method, Refusal> {
    let parameters = call.parameters.unwrap_or_else(|| Value::Object(Map::new()));
    let own = call
        .method
        .strip_prefix(INTERFACE)
        .and_then(|rest| rest.strip_prefix('.'));
    let service = |parameters| parse::<ServiceCall>(parameters).map(|call| call.service);
    match (own, call.method.as_str()) {
        (Some("Blame"), _) => nothing(parameters).map(|()| Method::Blame),
        (Some("Events"), _) => {
            let EventsCall { first } = parse(parameters)?;
            Ok(Method::Events { first })
        }
        (Some("Explain"), _) => service(parameters).map(Method::Explain),
        (Some("Logs"), _) => {
            let LogsCall { service, lines } = parse(parameters)?;
            Ok(Method::Logs { service, lines })
        }
        (Some("Power"), _) => Ok(Method::Power(parse::<PowerCall>(parameters)?.action)),
        (Some("Reexec"), _) => nothing(parameters).map(|()| Method::Reexec),
        (Some("RestartService"), _) => service(parameters).map(Method::Restart),
        (Some("StartService"), _) => service(parameters).map(Method::Start),
        (Some("Status"), _) => nothing(parameters).map(|()| Method::Status),
        (Some("StopService"), _) => service(parameters).map(Method::Stop),
        (None, "org.varlink.service.GetInfo") => nothing(parameters).map(|()| Method::Info),
        (None, "org.varlink.service.GetInterfaceDescription") => {
            let DescriptionCall { interface } = parse(parameters)?;
            Ok(Method::Description(interface))
        }
        _ => Err(match call.method.rsplit_once('.') {
            Some((interface, _)) if ![INTERFACE, VARLINK].contains(&interface) => {
                Refusal::general("InterfaceNotFound", json!({ "interface": interface }))
            }
            _ => Refusal::general("MethodNotFound", json!({ "method": call.method })),
        }),
    }
}

fn nothing(parameters: Value) -> Result<(), Refusal> {
    parse::<Nothing>(parameters).map(drop)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn parse<P: serde::de::DeserializeOwned>(parameters: Value) -> Result<P, Refusal> {
    serde_json::from_value(parameters).map_err(|error| {
        let text = error.to_string();
        // Varlink wants the parameter's name; serde names it where it can.
        let named = text.starts_with("missing field") || text.starts_with("unknown field");
        let name = text.split('`').nth(1).filter(|_| named);
        invalid(name.unwrap_or(&text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_are_understood() {
        let logs = br#"{"method":"org.x0tta6bl4.Init.Logs","parameters":{"service":"a","lines":3},"more":true}"#;
        let request = read(logs).unwrap();
        assert!(request.more && !request.oneway);
        let expected = Method::Logs {
            service: "a".into(),
            lines: Some(3),
        };
        assert_eq!(request.method, expected);
        let status = br#"{"method":"org.x0tta6bl4.Init.Status"}"#;
        assert_eq!(read(status).unwrap().method, Method::Status);
    }

    #[test]
    fn mistakes_have_names() {
        let error = |text: &str| match read(text.as_bytes()) {
            Err(Unusable::Refused(refusal)) => refusal.error,
            other => panic!("{other:?}"),
        };
        let unknown = error(r#"{"method":"org.x0tta6bl4.Init.Explode"}"#);
        assert_eq!(unknown, "org.varlink.service.MethodNotFound");
        let elsewhere = error(r#"{"method":"io.systemd.Manager.Describe"}"#);
        assert_eq!(elsewhere, "org.varlink.service.InterfaceNotFound");
        let silent = read(br#"{"method":"org.x0tta6bl4.Init.Explode","oneway":true}"#);
        assert!(matches!(silent, Err(Unusable::Unanswered)));
        for parameters in [
            "{}",
            r#"{"action":"explode"}"#,
            r#"{"action":"reboot","now":1}"#,
            "3",
        ] {
            let call =
                format!(r#"{{"method":"org.x0tta6bl4.Init.Power","parameters":{parameters}}}"#);
            assert_eq!(
                error(&call),
                "org.varlink.service.InvalidParameter",
                "{parameters}"
            );
        }
        for nonsense in ["", "{}", "[]", "nonsense", "\u{0}", r#"{"method":7}"#] {
            let unusable = read(nonsense.as_bytes()).unwrap_err();
            assert!(matches!(unusable, Unusable::NoCall(_)), "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = read(&bytes);
        }
    }
}
