//! PID 1 of the appliance.
//!
//! Responsible for: the first mounts, the cgroup tree, the life and order of services, their sockets,
//! stored descriptors and logs in memory, notes of what failed and why, the hardware watchdog, the
//! health gate and its record for the slot selector, power, replacing its own program while it works,
//! coming back from its first crash, and dying at the second in a way that resets the machine.
//! Not responsible for: anything that parses the network, DATA (`services/data`), names and addresses
//! (`services/provision`, `services/network`), policy of any kind.
//! Talks to: services through `sd_notify`, whoever may use the control socket through Varlink
//! (`init-api`), the kernel.
//!
//! Signals: SIGTERM and Ctrl-Alt-Del (SIGINT) reboot, SIGPWR powers off, SIGHUP re-executes.
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
pub mod fuzz;
mod keep;
pub mod log;
pub mod notify;
mod power;
mod process;
mod reexec;
pub mod request;
mod resources;
mod resume;
mod run;
mod sandbox;
mod serve;
mod shell;
mod slots;
mod spawn;
pub mod state;
mod sys;
mod tell;
mod verdict;
mod watchdog;

pub use run::{RunError, run};
