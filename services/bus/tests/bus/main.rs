//! The real service with Debian's real broker, as several users. Needs root, which can be anyone.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod life;
#[cfg(test)]
mod load;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tools;
