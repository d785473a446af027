//! PID 1 of the appliance.
//!
//! Responsible for: the first mounts, the cgroup tree, the life and order of services, their logs in
//! memory, the hardware watchdog, the health gate and its record for the slot selector, power, and
//! dying in a way that resets the machine.
//! Not responsible for: anything that parses the network, DATA (`services/data`), names and addresses
//! (`services/provision`, `services/network`), policy of any kind.
//! Talks to: services through `sd_notify`, whoever may use the control socket through Varlink
//! (`init-api`), the kernel.
//!
//! [`core`] decides and touches nothing; the shell touches everything and decides nothing.

mod args;
mod cgroup;
mod control;
pub mod core;
mod crash;
mod devices;
mod early;
pub mod event;
mod events;
pub mod log;
pub mod notify;
mod power;
mod process;
pub mod request;
mod run;
mod serve;
mod shell;
mod slots;
mod spawn;
mod sys;
mod tell;
mod verdict;
mod watchdog;

pub use run::{RunError, run};
