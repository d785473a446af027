//! Answers the callers of the control socket.

use api::wire::{
    DescriptionReply, EventsReply, ExplainReply, InfoReply, LogsReply, Reply, StatusReply, encode,
};
use api::{DESCRIPTION, INTERFACE, ServiceStatus, Status};
use rustix::event::epoll;
use serde::Serialize;
use serde_json::{Map, json};

use crate::control::{Follow, Followed, Outcome};
use crate::core::Unit;
use crate::event::{Event, Moment, ServiceId};
use crate::process::Process;
use crate::request::{Method, Refusal, Request, Unusable, VARLINK, read, too_long};
use crate::shell::{Shell, Token, now};

const VARLINK_DESCRIPTION: &str = include_str!("org.varlink.service.varlink");

/// Connections taken before others get their turn.
const ACCEPT_BATCH: usize = 16;

impl Shell {
    pub(crate) fn on_connections(&mut self) {
        for _ in 0..ACCEPT_BATCH {
            match self.control.accept() {
                None => return,
                Some(None) => {}
                Some(Some(place)) => {
                    let Some(client) = self.control.client(place) else {
                        continue;
                    };
                    let token = Token::Client(place).pack();
                    let watched =
                        epoll::add(&self.epoll, client.stream(), token, epoll::EventFlags::IN);
                    if watched.is_err() {
                        self.control.close(place);
                    }
                }
            }
        }
    }

    pub(crate) fn on_client(&mut self, place: usize, flags: epoll::EventFlags) {
        let Some(client) = self.control.client(place) else {
            return;
        };
        let mut outcome = client.flush();
        if outcome == Outcome::Keep && !client.blocked() {
            outcome = client.receive();
        } else if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            outcome = Outcome::Close;
        }
        self.settle_client(place, outcome);
    }

    /// Answers one message of each caller.
    pub(crate) fn answer_pending(&mut self) {
        for place in self.control.pending() {
            let outcome = self.answer_next(place);
            self.settle_client(place, outcome);
        }
    }

    fn answer_next(&mut self, place: usize) -> Outcome {
        let Some(client) = self.control.client(place) else {
            return Outcome::Close;
        };
        if client.blocked() {
            return Outcome::Keep;
        }
        let last_word = |client: &mut crate::control::Client, refusal: Refusal| {
            client.send(&refusal.encode());
            Outcome::Close
        };
        match client.next_message() {
            None => Outcome::Keep,
            Some(Err(())) => last_word(client, too_long()),
            Some(Ok(message)) => match read(&message) {
                Ok(request) => self.answer(place, request),
                Err(Unusable::NoCall(refusal)) => last_word(client, refusal),
                Err(Unusable::Refused(refusal)) => client.send(&refusal.encode()),
                Err(Unusable::Unanswered) => Outcome::Keep,
            },
        }
    }

    fn answer(&mut self, place: usize, request: Request) -> Outcome {
        let follows = self
            .control
            .client(place)
            .is_some_and(|client| client.follows().is_some());
        let reply = match request.method {
            // Its replies would get mixed up with the log's.
            _ if follows => return Outcome::Close,
            Method::Blame => reply(self.core.blame()),
            Method::Events { first } if request.more => {
                return self.follow_events(place, first.unwrap_or(0));
            }
            Method::Events { first } => self.events_from(first.unwrap_or(0), false),
            Method::Explain(service) => match self.core.find(&service) {
                Some(id) => reply(ExplainReply {
                    explanation: self.explain(id),
                }),
                None => not_found(&service),
            },
            Method::Logs { service, lines } => match self.core.find(&service) {
                Some(id) if request.more => return self.follow(place, id, lines),
                Some(id) => self.logs(id, lines, false),
                None => not_found(&service),
            },
            Method::Status => reply(StatusReply {
                status: self.status(),
            }),
            Method::Power(power) => {
                self.step(Event::Power(power));
                reply(Map::new())
            }
            Method::Reexec if self.core.going_down() => {
                Refusal::own("ShuttingDown", json!({})).encode()
            }
            Method::Reexec => {
                self.request_reexec();
                if let Some(client) = self.control.client(place) {
                    client.awaits_reexec = !request.oneway;
                }
                return Outcome::Keep;
            }
            Method::Restart(service) => self.command(&service, Event::Restart),
            Method::Start(service) => self.command(&service, Event::Start),
            Method::Stop(service) => self.command(&service, Event::Stop),
            Method::Info => reply(InfoReply {
                vendor: "x0tta6bl4".into(),
                product: "x0tta6bl4 OS init".into(),
                version: self.place.facts.version.clone(),
                url: "https://varlink.org".into(),
                interfaces: vec![VARLINK.into(), INTERFACE.into()],
            }),
            Method::Description(interface) => match interface.as_str() {
                INTERFACE => reply(DescriptionReply {
                    description: DESCRIPTION.into(),
                }),
                VARLINK => reply(DescriptionReply {
                    description: VARLINK_DESCRIPTION.into(),
                }),
                _ => Refusal::general("InterfaceNotFound", json!({ "interface": interface }))
                    .encode(),
            },
        };
        match self.control.client(place) {
            Some(client) if !request.oneway => client.send(&reply),
            Some(_) => Outcome::Keep,
            None => Outcome::Close,
        }
    }

    fn command(&mut self, service: &str, event: impl Fn(ServiceId) -> Event) -> Vec<u8> {
        let Some(id) = self.core.find(service) else {
            return not_found(service);
        };
        if self.core.going_down() {
            return Refusal::own("ShuttingDown", json!({})).encode();
        }
        self.step(event(id));
        reply(Map::new())
    }

    fn follow(&mut self, place: usize, id: ServiceId, lines: Option<u32>) -> Outcome {
        let first = self.logs(id, lines, true);
        let next = self.processes[id.0].log.next_number();
        let Some(client) = self.control.client(place) else {
            return Outcome::Close;
        };
        let what = Followed::Log(id);
        *client.follows() = Some(Follow { what, next });
        client.send(&first)
    }

    fn follow_events(&mut self, place: usize, first: u64) -> Outcome {
        let events = self.events_from(first, true);
        let (what, next) = (Followed::Events, self.notes.next_number());
        let Some(client) = self.control.client(place) else {
            return Outcome::Close;
        };
        *client.follows() = Some(Follow { what, next });
        client.send(&events)
    }

    fn events_from(&self, first: u64, continues: bool) -> Vec<u8> {
        let (events, lost) = self.notes.since(first);
        encode(&Reply {
            parameters: Some(EventsReply { events, lost }),
            continues,
            error: None,
        })
    }

    /// Keeps a note, and sends it to those who follow the notes.
    pub(crate) fn note(&mut self, kind: &str, id: Option<ServiceId>, reason: &str) {
        let service = id.map(|id| self.core.units()[id.0].service.name.clone());
        let name = service.as_ref().map(|name| name.as_str());
        self.notes.add(now(), kind, name, reason);
        for place in self.control.followers(Followed::Events) {
            let Some(client) = self.control.client(place) else {
                continue;
            };
            let Some(follow) = client.follows() else {
                continue;
            };
            let (events, lost) = self.notes.since(follow.next);
            follow.next = self.notes.next_number();
            let outcome = client.send_more(EventsReply { events, lost });
            self.settle_client(place, outcome);
        }
    }

    fn logs(&self, id: ServiceId, lines: Option<u32>, continues: bool) -> Vec<u8> {
        let log = &self.processes[id.0].log;
        let first = lines.map_or(0, |lines| log.next_number().saturating_sub(lines.into()));
        let parameters = LogsReply {
            lines: log.since(first),
            dropped_bytes: log.dropped_bytes(),
        };
        encode(&Reply {
            parameters: Some(parameters),
            continues,
            error: None,
        })
    }

    fn status(&self) -> Status {
        let now = now();
        let facts = &self.place.facts;
        let hostname = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Status {
            version: facts.version.clone(),
            build: facts.build.clone(),
            hostname,
            slot: facts.slot.clone(),
            boot_count: self.records.boots,
            previous_end: self.records.previous_end.clone(),
            health: self.core.health(),
            uptime_ms: now.0,
            userspace_ready_ms: self.core.userspace_ready_ms(),
            notify_rejected: self.counters.notify_rejected,
            reexecs: self.counters.reexecs,
            last_reexec_us: self.counters.last_reexec_us,
            crash: self.counters.crash.clone(),
            soft_reboots: self.counters.soft_reboots,
            services: self
                .core
                .units()
                .iter()
                .zip(&self.processes)
                .map(|(unit, process)| describe(unit, process, now))
                .collect(),
        }
    }
}

fn describe(unit: &Unit, process: &Process, now: Moment) -> ServiceStatus {
    let service = &unit.service;
    ServiceStatus {
        name: service.name.to_string(),
        description: service.description.clone(),
        state: unit.public_state(),
        pid: unit.pid,
        uptime_ms: now.ms_since(unit.since),
        restarts: unit.restarts,
        status_text: unit.status_text.clone(),
        last_exit: unit.last_exit.clone(),
        critical: service.critical,
        needs: service.needs.iter().map(ToString::to_string).collect(),
        resources: process.resources(),
        stored_fds: u32::try_from(process.kept.stored.len()).unwrap_or(u32::MAX),
    }
}

fn not_found(service: &str) -> Vec<u8> {
    Refusal::own("ServiceNotFound", json!({ "service": service })).encode()
}

fn reply<P: Serialize>(parameters: P) -> Vec<u8> {
    encode(&Reply {
        parameters: Some(parameters),
        continues: false,
        error: None,
    })
}
