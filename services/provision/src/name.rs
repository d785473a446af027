//! The machine's name.

use config::{Section as _, System};
use runtime::Chain;
use store_api::{Configuration, FollowError};

/// Gives the machine the name that the configuration asks for. Without one it keeps its name until
/// the next boot.
///
/// # Errors
/// With the reason for the store, when it cannot.
pub fn apply(told: Result<Configuration, FollowError>) -> Result<(), String> {
    let configuration = match told {
        Ok(configuration) => configuration,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "the store is away; the machine keeps its name");
            return Ok(());
        }
    };
    let system = System::read(&configuration.sections).map_err(|error| error.to_string())?;
    let Some(hostname) = system.hostname else {
        return Ok(());
    };
    if rustix::system::uname().nodename().to_bytes() == hostname.as_str().as_bytes() {
        return Ok(());
    }
    rustix::system::sethostname(hostname.as_str().as_bytes())
        .map_err(|error| format!("the host name {hostname} cannot be set: {error}"))?;
    tracing::info!(hostname = hostname.as_str(), "the machine has a new name");
    Ok(())
}
