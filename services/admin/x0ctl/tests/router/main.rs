//! x0ctl against the real thing: a bus of its own (dbus-daemon, with a policy that lets everybody
//! call, so that what is refused is refused by admin), PID 1 in namespaces of its own, admin and
//! store.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod services;
