//! Reads calls of the control socket. Whoever may write to it is trusted to command, not to be
//! correct.

use api::wire::{Call, DescriptionCall, LogsCall, PowerCall, Reply, ServiceCall, encode};
use api::{INTERFACE, Power};
use serde_json::{Map, Value, json};

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
    Description(String),
    Info,
    Logs { service: String, lines: Option<u32> },
    Power(Power),
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

/// Reads one message, without its NUL byte. None: it is no Varlink call at all.
#[must_use]
pub fn read(message: &[u8]) -> Option<Result<Request, Refusal>> {
    let call: Call = serde_json::from_slice(message).ok()?;
    let (more, oneway) = (call.more, call.oneway);
    let method = method(call);
    Some(method.map(|method| Request {
        method,
        more,
        oneway,
    }))
}

fn method(call: Call) -> Result<Method, Refusal> {
    let parameters = call.parameters.unwrap_or_else(|| Value::Object(Map::new()));
    let own = call
        .method
        .strip_prefix(INTERFACE)
        .and_then(|rest| rest.strip_prefix('.'));
    let service = |parameters| parse::<ServiceCall>(parameters).map(|call| call.service);
    match (own, call.method.as_str()) {
        (Some("Logs"), _) => {
            let LogsCall { service, lines } = parse(parameters)?;
            Ok(Method::Logs { service, lines })
        }
        (Some("Power"), _) => Ok(Method::Power(parse::<PowerCall>(parameters)?.action)),
        (Some("RestartService"), _) => service(parameters).map(Method::Restart),
        (Some("StartService"), _) => service(parameters).map(Method::Start),
        (Some("Status"), _) => Ok(Method::Status),
        (Some("StopService"), _) => service(parameters).map(Method::Stop),
        (None, "org.varlink.service.GetInfo") => Ok(Method::Info),
        (None, "org.varlink.service.GetInterfaceDescription") => {
            let DescriptionCall { interface } = parse(parameters)?;
            Ok(Method::Description(interface))
        }
        _ => Err(Refusal::general(
            "MethodNotFound",
            json!({ "method": call.method }),
        )),
    }
}

fn parse<P: serde::de::DeserializeOwned>(parameters: Value) -> Result<P, Refusal> {
    serde_json::from_value(parameters).map_err(|error| {
        let parameter = error.to_string();
        Refusal::general("InvalidParameter", json!({ "parameter": parameter }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_are_understood() {
        let logs = br#"{"method":"org.x0tta6bl4.Init.Logs","parameters":{"service":"a","lines":3},"more":true}"#;
        let request = read(logs).unwrap().unwrap();
        assert!(request.more && !request.oneway);
        let expected = Method::Logs {
            service: "a".into(),
            lines: Some(3),
        };
        assert_eq!(request.method, expected);
        let status = br#"{"method":"org.x0tta6bl4.Init.Status"}"#;
        assert_eq!(read(status).unwrap().unwrap().method, Method::Status);
    }

    #[test]
    fn mistakes_have_names() {
        let error = |text: &str| read(text.as_bytes()).unwrap().unwrap_err().error;
        let unknown = error(r#"{"method":"org.x0tta6bl4.Init.Explode"}"#);
        assert_eq!(unknown, "org.varlink.service.MethodNotFound");
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
            assert!(read(nonsense.as_bytes()).is_none(), "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = read(&bytes);
        }
    }
}
