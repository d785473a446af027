//! The real PID 1, run as PID 1 of user and PID namespaces on the build host.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keep;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod reexec;
#[cfg(test)]
mod supervision;
