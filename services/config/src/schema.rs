use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use crate::login::Login;
use crate::metrics::Metrics;
use crate::network::form::Network;
use crate::remote::Remote;
use crate::system::System;

/// The JSON Schema (draft 2020-12) of the document, generated from the types that parse it. Editors
/// complete and check by it; what it cannot say, such as what one key means for another, only
/// [`crate::Document::parse`] tells.
#[must_use]
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Document>()
        .to_value();
    without_null(&mut schema);
    schema
}

/// serde takes null for what is not there; TOML has none, and who reads the schema need not know.
fn without_null(schema: &mut Value) {
    let is_null = |value: &Value| value == "null" || value["type"] == "null";
    match schema {
        Value::Object(table) => {
            // Those of whole sections repeat what their keys say.
            if table
                .get("default")
                .is_some_and(|v| v.is_null() || v.is_object())
            {
                table.remove("default");
            }
            for key in ["anyOf", "type"] {
                let Some(Value::Array(alternatives)) = table.get_mut(key) else {
                    continue;
                };
                alternatives.retain(|alternative| !is_null(alternative));
                if let [only] = alternatives.as_mut_slice() {
                    match only.take() {
                        Value::Object(only) => {
                            table.remove(key);
                            table.extend(only);
                        }
                        only => drop(table.insert(key.to_owned(), only)),
                    }
                }
            }
            table.values_mut().for_each(without_null);
        }
        Value::Array(array) => array.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// Configuration of an x0tta6bl4 router.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "configuration")]
#[derive(Default)]
struct Document {
    system: System,
    network: Network,
    login: Login,
    remote: Remote,
    metrics: Metrics,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../example.toml");

    /// `X0_UPDATE=1 cargo test -p config` writes the file anew.
    #[test]
    fn the_committed_schema_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json");
        if std::env::var_os("X0_UPDATE").is_some() {
            std::fs::write(path, format!("{:#}\n", schema())).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        let committed: Value = serde_json::from_str(&committed).unwrap();
        assert_eq!(committed, schema(), "run X0_UPDATE=1 cargo test -p config");
        assert!(!committed.to_string().contains("null"));
    }

    /// What another implementation says of a document by the schema.
    fn fits(validator: &jsonschema::Validator, text: &str) -> bool {
        let value: Value = toml::from_str(text).unwrap();
        validator.is_valid(&value)
    }

    #[test]
    fn another_validator_takes_what_the_parser_takes_and_refuses_what_has_another_form() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICGAWHVffrzn6WV0REg2G4WyGsBK/Xo8waz9Da73a+jC";
        for good in [
            "",
            EXAMPLE,
            "[system]\n[network]\n[login]\n[remote]\n[metrics]\n",
            "[network.link.eth0]\nmatch = { path = \"pci*\" }\nipv6 = { method = \"auto\" }\n",
            "[[network.route]]\nto = \"::/0\"\nvia = \"fe80::1\"\ndev = \"a\"\n[network.link.a]\n",
            "[metrics]\nlisten = [\"::\", \"0.0.0.0:1\"]\nallow_wan = true\n",
            "[network]\nsearch = [\"example.net.\"]\n",
            &format!("[remote]\nauthorized_keys = [\"  {key}\\t two words\"]\n"),
        ] {
            crate::Document::parse(good).unwrap_or_else(|problems| panic!("{good}: {problems:?}"));
            assert!(fits(&validator, good), "{good}");
        }
        for bad in [
            "[sytem]",
            "system = 1",
            "[system]\nhostname = \"a.b\"",
            "[network]\ndns = \"9.9.9.9\"",
            "[network]\nforwarding = 1",
            "[network.link.\"a b\"]",
            "[network.link.eth0]\nmtu = 70000",
            "[network.link.eth0]\nrole = \"dmz\"",
            "[network.link.eth0]\nmatch = {}",
            "[network.link.eth0]\nvlan = { id = 0, parent = \"a\" }",
            "[network.link.eth0]\nvlan = { id = 1 }",
            "[network.link.eth0]\nipv4 = { addresses = [\"10.0.0.1\"] }",
            "[network.sysctl]\n\"kernel.panic\" = \"1\"",
            "[[network.route]]\nvia = \"10.0.0.1\"",
            "[login]\npassword_hash = \"hunter2\"",
            "[remote]\nauthorized_keys = [\"ssh-dss\"]",
            "[metrics]\nlisten = [\"localhost\"]",
        ] {
            assert!(crate::Document::parse(bad).is_err(), "{bad}");
            assert!(!fits(&validator, bad), "{bad}");
        }
    }
}
