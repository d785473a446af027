use std::collections::BTreeMap;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use config::{Advertise, IfName, MacAddr, Network};

use super::usable;
use crate::net::{IcmpSocket, Solicitation};
use crate::ra::{Router, check_solicitation};
use crate::random::Random;
use crate::state::Observed;

/// Router advertisements, on each link that sends them and has a carrier.
#[derive(Debug)]
pub(super) struct Advertising {
    random: Random,
    links: BTreeMap<IfName, Advertiser>,
}

#[derive(Debug)]
struct Advertiser {
    config: Advertise,
    name: IfName,
    index: u32,
    mac: MacAddr,
    router: Router,
    socket: IcmpSocket,
}

impl Advertising {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            links: BTreeMap::new(),
        }
    }

    /// Begins and ends advertising as links come and go.
    pub(super) fn follow(
        &mut self,
        network: &Network,
        names: &BTreeMap<IfName, IfName>,
        observed: &Observed,
        now: Duration,
    ) -> Vec<String> {
        let mut wanted = BTreeMap::new();
        for (key, link) in &network.links {
            if let Some(config) = &link.advertise
                && let Some((name, seen)) = usable(key, names, observed)
                && let Some(mac) = seen.mac
                && seen.up
                && seen.carrier
            {
                wanted.insert(key.clone(), (config, name, seen.index, mac));
            }
        }
        self.links.retain(|key, advertiser| {
            let Advertiser {
                config,
                name,
                index,
                mac,
                ..
            } = &*advertiser;
            wanted.get(key) == Some(&(config, name, *index, *mac))
        });
        let mut problems = Vec::new();
        for (key, (config, name, index, mac)) in wanted {
            if self.links.contains_key(&key) {
                continue;
            }
            match IcmpSocket::open(name.as_str(), index) {
                Ok(socket) => {
                    let random = Random::new(self.random.next_u64());
                    let router = Router::new(now, config.clone(), mac, random);
                    let name = name.clone();
                    let config = config.clone();
                    self.links.insert(
                        key,
                        Advertiser {
                            config,
                            name,
                            index,
                            mac,
                            router,
                            socket,
                        },
                    );
                }
                Err(error) => {
                    problems.push(format!("{key}: cannot send router advertisements: {error}"));
                }
            }
        }
        problems
    }

    pub(super) fn handle_default_route(&mut self, now: Duration, has_default_route: bool) {
        for advertiser in self.links.values_mut() {
            advertiser
                .router
                .handle_default_route(now, has_default_route);
        }
    }

    pub(super) fn handle_solicitation(
        &mut self,
        key: &IfName,
        now: Duration,
        solicitation: io::Result<Solicitation>,
    ) {
        let Some(advertiser) = self.links.get_mut(key) else {
            return;
        };
        match solicitation {
            Ok(Solicitation {
                source,
                hop_limit,
                message,
            }) => match check_solicitation(source, hop_limit, &message) {
                Ok(()) => advertiser.router.handle_solicitation(now),
                Err(error) => {
                    tracing::debug!(link = %key, %source, %error, "solicitation ignored");
                }
            },
            Err(error) => {
                tracing::debug!(link = %key, %error, "cannot receive solicitations");
                self.links.remove(key);
            }
        }
    }

    pub(super) fn handle_timeouts(&mut self, now: Duration) {
        for (key, advertiser) in &mut self.links {
            if let Some(message) = advertiser.router.poll_advertisement(now)
                && let Err(error) = advertiser.socket.send(&message)
            {
                // Right after a link has come up its link-local address is still being checked.
                tracing::debug!(link = %key, %error, "advertisement not sent");
                advertiser.router.handle_link_up(now);
            }
        }
    }

    pub(super) fn farewell(&self) {
        for advertiser in self.links.values() {
            if let Err(error) = advertiser.socket.send(&advertiser.router.farewell()) {
                tracing::debug!(link = %advertiser.name, %error, "last advertisement not sent");
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.links
            .values()
            .map(|advertiser| advertiser.router.next_timeout())
            .min()
    }

    pub(super) fn links(&self) -> Vec<&IfName> {
        self.links.keys().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub(super) fn poll_solicitation(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<(IfName, io::Result<Solicitation>)> {
        for (key, advertiser) in &mut self.links {
            if let Poll::Ready(solicitation) = advertiser.socket.poll_receive(context) {
                return Poll::Ready((key.clone(), solicitation));
            }
        }
        Poll::Pending
    }
}
