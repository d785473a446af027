//! The store through its real socket, client and file.

#[cfg(test)]
mod backups;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod state;
#[cfg(test)]
mod support;
