//! `[system]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::network::Hostname;
use crate::section::{Checks, Section};

/// The machine as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(rename = "system")]
pub struct System {
    /// The machine's name. Without one it keeps the name that the image gives it.
    pub hostname: Option<Hostname>,
}

impl Section for System {
    const NAME: &'static str = "system";

    type Form = Self;

    fn check(form: Self, _: &mut Checks<'_>) -> Self {
        form
    }
}
