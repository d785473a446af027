//! Who may connect now: pure, with the time coming in.

use std::collections::HashMap;
use std::net::IpAddr;

/// Connections at a time, sessions included.
const CONNECTIONS_MAX: usize = 16;
/// Those that have not shown a key yet; sessions of others keep their places.
const STRANGERS_MAX: usize = 8;
/// The same from one source.
const STRANGERS_PER_SOURCE: usize = 3;
/// What a source has at first, and at most; each connection takes one, and a key gives it back.
const TOKENS: u64 = 10;
const REFILL_MS: u64 = 6_000;
/// Sources that are remembered. Beyond it the one that is fullest of tokens is forgotten.
const SOURCES_MAX: usize = 1024;

/// Why a connection is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("too many connections")]
    Full,
    #[error("too many connections without a key")]
    Strangers,
    #[error("too many attempts of this source")]
    Source,
}

#[derive(Debug, Default)]
struct Source {
    tokens: u64,
    filled_ms: u64,
    strangers: usize,
}

/// Counts connections.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    connections: usize,
    strangers: usize,
    sources: HashMap<IpAddr, Source>,
}

impl Limits {
    /// A connection came; it is a stranger's until [`Limits::known`].
    pub(crate) fn admit(&mut self, now_ms: u64, address: IpAddr) -> Result<(), Refused> {
        if self.connections >= CONNECTIONS_MAX {
            return Err(Refused::Full);
        }
        if self.strangers >= STRANGERS_MAX {
            return Err(Refused::Strangers);
        }
        self.make_room(now_ms);
        let source = self.sources.entry(source(address)).or_insert(Source {
            tokens: TOKENS,
            filled_ms: now_ms,
            strangers: 0,
        });
        source.refill(now_ms);
        if source.tokens == 0 || source.strangers >= STRANGERS_PER_SOURCE {
            return Err(Refused::Source);
        }
        source.tokens -= 1;
        source.strangers += 1;
        self.strangers += 1;
        self.connections += 1;
        Ok(())
    }

    /// It has shown a key.
    pub(crate) fn known(&mut self, address: IpAddr) {
        self.strangers = self.strangers.saturating_sub(1);
        if let Some(source) = self.sources.get_mut(&source(address)) {
            source.strangers = source.strangers.saturating_sub(1);
            source.tokens = (source.tokens + 1).min(TOKENS);
        }
    }

    /// It has ended.
    pub(crate) fn gone(&mut self, address: IpAddr, was_known: bool) {
        self.connections = self.connections.saturating_sub(1);
        if !was_known {
            self.strangers = self.strangers.saturating_sub(1);
            if let Some(source) = self.sources.get_mut(&source(address)) {
                source.strangers = source.strangers.saturating_sub(1);
            }
        }
    }

    fn make_room(&mut self, now_ms: u64) {
        if self.sources.len() < SOURCES_MAX {
            return;
        }
        for source in self.sources.values_mut() {
            source.refill(now_ms);
        }
        let idle = self
            .sources
            .iter()
            .filter(|(_, source)| source.strangers == 0);
        let fullest = idle.max_by_key(|(_, source)| source.tokens);
        if let Some(address) = fullest.map(|(address, _)| *address) {
            self.sources.remove(&address);
        }
    }
}

impl Source {
    fn refill(&mut self, now_ms: u64) {
        let fresh = now_ms.saturating_sub(self.filled_ms) / REFILL_MS;
        self.filled_ms += fresh * REFILL_MS;
        self.tokens = self.tokens.saturating_add(fresh).min(TOKENS);
    }
}

/// Whoever has one IPv6 address has a /64 of them.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[test]
    fn a_source_that_tries_and_tries_has_to_wait() {
        let mut limits = Limits::default();
        for _ in 0..TOKENS {
            limits.admit(0, address(1)).unwrap();
            limits.gone(address(1), false);
        }
        assert_eq!(limits.admit(0, address(1)), Err(Refused::Source));
        limits.admit(0, address(2)).unwrap();
        limits.admit(REFILL_MS, address(1)).unwrap();
        assert_eq!(limits.connections, 2);
    }

    #[test]
    fn who_has_a_key_is_not_counted() {
        let mut limits = Limits::default();
        for _ in 0..100 {
            limits.admit(0, address(1)).unwrap();
            limits.known(address(1));
            limits.gone(address(1), true);
        }
        assert_eq!((limits.connections, limits.strangers), (0, 0));
    }

    #[test]
    fn strangers_leave_room_for_sessions() {
        let mut limits = Limits::default();
        for number in 0..8 {
            limits.admit(0, address(number)).unwrap();
        }
        assert_eq!(limits.admit(0, address(9)), Err(Refused::Strangers));
        limits.known(address(0));
        limits.admit(0, address(9)).unwrap();
        let (one, other) = ("2001:db8::1", "2001:db8::2");
        for _ in 0..STRANGERS_PER_SOURCE {
            limits.gone(address(9), false);
            limits.admit(0, one.parse().unwrap()).unwrap();
        }
        limits.gone(address(1), false);
        assert_eq!(
            limits.admit(0, other.parse().unwrap()),
            Err(Refused::Source)
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut limits = Limits::default();
        for number in 0..5_000_u32 {
            let address = IpAddr::V4(number.into());
            limits.admit(u64::from(number), address).unwrap();
            limits.gone(address, false);
        }
        assert!(limits.sources.len() <= SOURCES_MAX);
    }
}
