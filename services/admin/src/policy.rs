//! Cedar's answer to "may this caller do that". Policies and schema are part of the program; that
//! they fit each other is shown by the tests below, so that nothing is validated at start-up.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId,
    PolicySet, Request, RestrictedExpression,
};

use crate::caller::Caller;

/// The policies.
pub const POLICIES: &str = include_str!("policy/appliance.cedar");
/// What they speak about.
pub const SCHEMA: &str = include_str!("policy/appliance.cedarschema");

/// The name of the rule when no policy permits the call.
const NOTHING_PERMITS: &str = "nothing-permits-it";

/// Everything that is asked about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    ConfigApply,
    ConfigCancel,
    ConfigConfirm {
        /// The caller's connection was there when the generation was applied.
        connection_is_older: bool,
        /// So was its SSH session.
        session_is_older: bool,
    },
    ConfigEdit,
    ConfigRead,
    ConfigRollback,
    InitPower,
    InitReexec,
    InitSoftReboot,
    InitStatus,
    JobControl,
    JobRead,
    LogLevel,
    ServiceLogs,
    ServiceRestart,
    ServiceStart,
    ServiceStop,
    StoreBackup,
    StoreEvents,
    StoreRestore,
    StoreStatistics,
    StoreVerify,
}

impl Action {
    /// Its name in the policies and in the event log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigApply => "config.apply",
            Self::ConfigCancel => "config.cancel",
            Self::ConfigConfirm { .. } => "config.confirm",
            Self::ConfigEdit => "config.edit",
            Self::ConfigRead => "config.read",
            Self::ConfigRollback => "config.rollback",
            Self::InitPower => "init.power",
            Self::InitReexec => "init.reexec",
            Self::InitSoftReboot => "init.soft-reboot",
            Self::InitStatus => "init.status",
            Self::JobControl => "job.control",
            Self::JobRead => "job.read",
            Self::LogLevel => "log.level",
            Self::ServiceLogs => "service.logs",
            Self::ServiceRestart => "service.restart",
            Self::ServiceStart => "service.start",
            Self::ServiceStop => "service.stop",
            Self::StoreBackup => "store.backup",
            Self::StoreEvents => "store.events",
            Self::StoreRestore => "store.restore",
            Self::StoreStatistics => "store.statistics",
            Self::StoreVerify => "store.verify",
        }
    }

    fn group(self) -> &'static str {
        match self {
            Self::InitStatus
            | Self::JobRead
            | Self::ServiceLogs
            | Self::StoreEvents
            | Self::StoreStatistics => "look",
            _ => "administer",
        }
    }

    fn context(self) -> Vec<(String, RestrictedExpression)> {
        let Self::ConfigConfirm {
            connection_is_older,
            session_is_older,
        } = self
        else {
            return Vec::new();
        };
        let entry = |name: &str, value| (name.to_owned(), RestrictedExpression::new_bool(value));
        vec![
            entry("connection_is_older", connection_is_older),
            entry("session_is_older", session_is_older),
        ]
    }
}

/// The parsed policies.
#[derive(Debug)]
pub struct Policy {
    policies: PolicySet,
    types: Types,
}

#[derive(Debug)]
struct Types {
    action: EntityTypeName,
    appliance: EntityTypeName,
    group: EntityTypeName,
    user: EntityTypeName,
}

/// The built-in policies can't be used. The tests rule it out; it is an error all the same since
/// authorisation must not end in a panic.
#[derive(Debug, thiserror::Error)]
#[error("the built-in policies cannot be evaluated: {0}")]
pub struct PolicyError(String);

impl Policy {
    /// Parses the built-in policies.
    ///
    /// # Errors
    /// When they are broken.
    pub fn load() -> Result<Self, PolicyError> {
        let broken = |error: &dyn std::fmt::Display| PolicyError(error.to_string());
        let name = |name| EntityTypeName::from_str(name).map_err(|error| broken(&error));
        Ok(Self {
            policies: PolicySet::from_str(POLICIES).map_err(|error| broken(&error))?,
            types: Types {
                action: name("Action")?,
                appliance: name("Appliance")?,
                group: name("Group")?,
                user: name("User")?,
            },
        })
    }

    /// Whether `caller` may do it; if not, the policy that says so.
    ///
    /// # Errors
    /// When the policies can't be evaluated.
    pub fn decide(&self, caller: &Caller, action: Action) -> Result<Verdict, PolicyError> {
        let broken = |error: &dyn std::fmt::Display| PolicyError(error.to_string());
        let types = &self.types;
        let user = uid(&types.user, &caller.uid.to_string());
        let asked = uid(&types.action, action.name());
        let groups: HashSet<EntityUid> = caller.groups().map(|g| uid(&types.group, g)).collect();
        let origin = RestrictedExpression::new_string(caller.origin().to_owned());
        let attributes = HashMap::from([("origin".to_owned(), origin)]);
        let principal =
            Entity::new(user.clone(), attributes, groups).map_err(|error| broken(&error))?;
        let group = uid(&types.action, action.group());
        let action_entity = Entity::new_no_attrs(asked.clone(), HashSet::from([group]));
        let entities = Entities::from_entities([principal, action_entity], None)
            .map_err(|error| broken(&error))?;
        let context = Context::from_pairs(action.context()).map_err(|error| broken(&error))?;
        let resource = uid(&types.appliance, "this");
        let request =
            Request::new(user, asked, resource, context, None).map_err(|error| broken(&error))?;
        let answer = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        // A policy that fails to evaluate counts for nothing in Cedar; a `forbid` that counts for
        // nothing is a hole.
        if let Some(error) = answer.diagnostics().errors().next() {
            return Err(PolicyError(error.to_string()));
        }
        if answer.decision() == Decision::Allow {
            return Ok(Verdict::Permitted);
        }
        let rule = (answer.diagnostics().reason().next())
            .map_or(NOTHING_PERMITS, |policy| self.name_of(policy));
        Ok(Verdict::Forbidden(rule.to_owned()))
    }

    fn name_of<'s>(&'s self, policy: &'s PolicyId) -> &'s str {
        let name = self.policies.annotation(policy, "id");
        name.unwrap_or(policy.as_ref())
    }
}

/// The answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The policy that forbids it.
    Forbidden(String),
    /// Go on.
    Permitted,
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

#[cfg(test)]
mod tests;
