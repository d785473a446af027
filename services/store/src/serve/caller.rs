//! Who calls: the kernel's word (`SO_PEERCRED`), looked up in the table of services.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use manifest::Table;
use runtime::Chain;

use super::request::{Method, Needs};
use store_api::Refusal;

/// A user, as the store knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Its service; the namespace of its keys.
    pub service: String,
    role: Role,
    /// The sections of the configuration that its manifest names.
    pub sections: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Administrator,
    Provision,
    Service,
    Stranger,
}

/// All services by their user.
#[derive(Debug, Default)]
pub struct Callers(HashMap<u32, Arc<Caller>>);

impl Callers {
    /// From the image's table. Without one only root is known.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let table = fs::read(path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| Table::load(&bytes).map_err(|e| Chain(&e).to_string()));
        match table {
            Ok(table) => Self::of(&table),
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "only root is served");
                Self::default()
            }
        }
    }

    /// The services of a table.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let callers = table.services().iter().map(|service| {
            let role = match service.name.as_str() {
                "admin" => Role::Administrator,
                "provision" => Role::Provision,
                _ => Role::Service,
            };
            let caller = Caller {
                service: service.name.as_str().to_owned(),
                role,
                sections: service
                    .config
                    .iter()
                    .map(|n| n.as_str().to_owned())
                    .collect(),
            };
            (service.user.id, Arc::new(caller))
        });
        Self(callers.filter(|(id, _)| *id != 0).collect())
    }

    /// Who has the user id `user`.
    #[must_use]
    pub fn find(&self, user: u32) -> Arc<Caller> {
        if let Some(caller) = self.0.get(&user) {
            return Arc::clone(caller);
        }
        let (service, role) = match user {
            0 => ("root".to_owned(), Role::Administrator),
            _ => (format!("user-{user}"), Role::Stranger),
        };
        Arc::new(Caller {
            service,
            role,
            sections: Vec::new(),
        })
    }
}

impl Caller {
    /// Whether it is `admin` or root.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        self.role == Role::Administrator
    }

    /// Whether it may call `method`, and if not, by which rule.
    ///
    /// # Errors
    /// With the rule.
    pub fn check(&self, method: &Method, name: &str) -> Result<(), Refusal> {
        let reason = match (method.needs(), self.role) {
            (_, Role::Stranger) => "the caller's user belongs to no service",
            (_, Role::Administrator) | (Needs::Service, _) => return Ok(()),
            (Needs::Provision, Role::Provision) => return Ok(()),
            (Needs::Provision, _) => "only provision and administrators may",
            (Needs::Configured, _) if !self.sections.is_empty() => return Ok(()),
            (Needs::Configured, _) => "the service's manifest names no `config` sections",
            (Needs::Administrator, _) => "only administrators may",
        };
        Err(Refusal::NotAllowed {
            method: name.into(),
            reason: reason.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_api::wire::{GetCall, ImportCall, RecordCall};

    fn callers() -> Callers {
        let parse = |name: &str, id: u32, more: &str| {
            let text =
                format!("description = \"x\"\nuser = {{ name = \"{name}\", id = {id} }}\n{more}\n");
            manifest::parse(&name.parse().unwrap(), "test", &text).unwrap()
        };
        let table = manifest::compile_sources(vec![
            parse("admin", 208, ""),
            parse("network", 203, "config = [\"network\"]"),
            parse("provision", 202, ""),
        ]);
        Callers::of(&table.unwrap())
    }

    #[test]
    fn everybody_may_do_what_their_role_allows_and_no_more() {
        let callers = callers();
        let get = Method::Get(GetCall { key: "k".into() });
        let record = Method::Record(RecordCall {
            kind: "k".into(),
            payload: Default::default(),
        });
        let import = Method::Import(ImportCall {
            text: String::new(),
            source: String::new(),
        });
        let cases = [
            // user, Get, Record, Import, Configuration, VerifyEvents
            (0, [true, true, true, true, true]),
            (208, [true, true, true, true, true]),
            (203, [true, true, false, true, false]),
            (202, [true, true, true, false, false]),
            (1000, [false; 5]),
        ];
        for (user, expected) in cases {
            let caller = callers.find(user);
            let methods = [
                &get,
                &record,
                &import,
                &Method::Configuration,
                &Method::VerifyEvents,
            ];
            let allowed = methods.map(|method| caller.check(method, "m").is_ok());
            assert_eq!(allowed, expected, "user {user}");
        }
        assert_eq!(callers.find(203).sections, ["network"]);
    }
}
