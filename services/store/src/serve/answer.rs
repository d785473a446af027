//! What each method does.

use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use store_api::wire::{
    AppliedCall, ApplyCall, BeginEditReply, EventsCall, EventsReply, GenerationReply, GetReply,
    HistoryReply, ListReply, RollbackCall, StatisticsReply, UploadCall, ValidateReply, WatchReply,
};
use store_api::{Application, Change, DESCRIPTION, INTERFACE, Problem, Refusal, Statistics};

use super::connection::Follow;
use super::request::{Method, Request, general};
use super::{Action, Caller, Server};
use crate::backup::FILE_MAX_BYTES;
use crate::core::Command;
use crate::engine::{Fail, Proposal, View, event, object};
use crate::event::Record;
use crate::worker::Done;
use crate::writer::{Job, Ticket};
use crate::{moment, open, snapshot};

const EVENTS_DEFAULT: u32 = 100;
const EVENTS_MAX: u32 = 1000;
const HISTORY_DEFAULT: u32 = 50;
const HISTORY_MAX: u32 = 200;
const SERVICE_DESCRIPTION: &str = include_str!("../org.varlink.service.varlink");

type Answer = Result<Value, Refusal>;

impl Server {
    pub(super) fn act(&mut self, ticket: Ticket, caller: &Caller, request: Request) -> Action {
        let name = format!("{:?}", request.method);
        let name = name.split(['(', ' ']).next().unwrap_or_default();
        if let Err(refusal) = caller.check(&request.method, name) {
            return Action::Answer(Err(refusal));
        }
        let more = request.more;
        let service = caller.service.clone();
        match request.method {
            Method::Applied(call) => self.applied(service, call),
            Method::Apply(call) => self.apply(call),
            Method::Backup(call) => self.back_up(call),
            Method::BeginEdit(call) => Action::Answer(self.begin_edit(ticket, &call.author)),
            Method::Cancel(call) => write(move |batch| {
                let command = Command::Cancel {
                    generation: call.generation,
                };
                batch.step(command, &call.author, Some(&call.reason))?;
                Ok(json!({}))
            }),
            Method::Configuration => self.configuration(caller, more),
            Method::ConfigurationStatus => {
                let status = json!({ "status": self.effective.status(self.editing.editor()) });
                if !more {
                    return Action::Answer(Ok(status));
                }
                let last = status.clone();
                Action::Follow(Follow::Status { last }, vec![status])
            }
            Method::Confirm(call) => write(move |batch| {
                let command = Command::Confirm {
                    generation: call.generation,
                };
                batch.step(command, &call.author, None)?;
                Ok(json!({}))
            }),
            Method::Delete(call) => write(move |batch| {
                let existed = batch.delete(&service, &call.key, call.expected)?;
                Ok(json!({ "existed": existed }))
            }),
            Method::Description(interface) => Action::Answer(match interface.as_str() {
                INTERFACE => Ok(json!({ "description": DESCRIPTION })),
                "org.varlink.service" => Ok(json!({ "description": SERVICE_DESCRIPTION })),
                _ => Err(general(
                    "InterfaceNotFound",
                    json!({ "interface": interface }),
                )),
            }),
            Method::EndEdit(call) => {
                let ended = self.editing.end(&call.session, moment::boottime_ms());
                self.spread_status();
                Action::Answer(ended.map(|()| json!({})))
            }
            Method::Events(call) => self.events(call, more),
            Method::Generation(call) => self.look(|view| {
                let number = call.number;
                let found = view.generation(number)?;
                Ok(match found {
                    Some((generation, text)) => Ok(to_value(&GenerationReply { generation, text })),
                    None => Err(Refusal::NoSuchGeneration { number }),
                })
            }),
            Method::Get(call) => self.look(|view| {
                let entry = view.get(&service, &call.key)?;
                Ok(Ok(to_value(&GetReply { entry })))
            }),
            Method::History(call) => self.look(|view| {
                let limit = call.limit.unwrap_or(HISTORY_DEFAULT).min(HISTORY_MAX);
                let generations = view.history(call.before, limit as usize)?;
                Ok(Ok(to_value(&HistoryReply { generations })))
            }),
            Method::Import(call) => Action::Slow(Box::new(move |_| {
                if let Err(refusal) = check(&call.text) {
                    return Done::Reply(Err(refusal));
                }
                Done::Write(Box::new(move |batch| {
                    let generation = batch.import(&call.text, &call.source)?;
                    Ok(json!({ "generation": generation }))
                }))
            })),
            Method::Info => Action::Answer(Ok(json!({
                "vendor": "x0tta6bl4",
                "product": "x0tta6bl4 OS store",
                "version": env!("CARGO_PKG_VERSION"),
                "url": "https://github.com/x0tta6bl4",
                "interfaces": ["org.varlink.service", INTERFACE],
            }))),
            Method::List(call) => self.look(|view| {
                let (entries, next) = view.list(&service, &call.prefix, call.after.as_deref())?;
                Ok(Ok(to_value(&ListReply { entries, next })))
            }),
            Method::Put(call) => write(move |batch| {
                let version = batch.put(&service, &call.key, call.value, call.expected)?;
                Ok(json!({ "version": version }))
            }),
            Method::Record(call) => {
                if let Err(refusal) = self.limits.take(&service, moment::boottime_ms()) {
                    return Action::Answer(Err(refusal));
                }
                write(move |batch| {
                    let sequence = batch.record(&service, &call.kind, call.payload)?;
                    Ok(json!({ "sequence": sequence }))
                })
            }
            Method::Restore(call) => self.restore(ticket, call),
            Method::Rollback(call) => write(move |batch| roll_back(batch, call)),
            Method::Snapshot => self.snapshot(),
            Method::Statistics => Action::Answer(
                self.statistics()
                    .map(|statistics| to_value(&StatisticsReply { statistics })),
            ),
            Method::Upload(call) => Action::Answer(self.upload(ticket, &call)),
            Method::Validate(call) => Action::Slow(Box::new(move |_| {
                let problems = match check(&call.text) {
                    Err(Refusal::Invalid { problems }) => problems,
                    Err(other) => return Done::Reply(Err(other)),
                    Ok(()) => Vec::new(),
                };
                Done::Reply(Ok(to_value(&ValidateReply { problems })))
            })),
            Method::VerifyEvents => Action::Slow(Box::new(|engine| {
                let verdict = engine.view().and_then(|view| view.verify());
                let verdict = verdict.map_err(|error| storage(&error));
                Done::Reply(verdict.map(|verdict| json!({ "verdict": verdict })))
            })),
            Method::Watch(call) => self.watch(&service, call.prefix),
        }
    }

    fn applied(&mut self, service: String, call: AppliedCall) -> Action {
        let message: String = call.message.unwrap_or_default().chars().take(512).collect();
        self.effective.applied(Application {
            service: service.clone(),
            generation: call.generation,
            ok: call.ok,
            message: message.clone(),
        });
        self.spread_status();
        if call.ok {
            return Action::Answer(Ok(json!({})));
        }
        let generation = call.generation;
        write(move |batch| {
            let words = format!("{service}: {message}");
            let done = batch.step(Command::Fail { generation }, &service, Some(&words));
            match done {
                // Nobody waits for it: it stays, and the log says so.
                Err(Fail::Refused(_)) => {
                    let payload = json!({ "generation": generation, "reason": message });
                    batch.record(&service, "config.not-applied", object(payload))?;
                }
                other => other?,
            }
            Ok(json!({}))
        })
    }

    fn apply(&mut self, call: ApplyCall) -> Action {
        let session = call.session.as_deref();
        if let Err(refusal) = self.editing.check(session, moment::boottime_ms()) {
            return Action::Answer(Err(refusal));
        }
        Action::Slow(Box::new(move |_| {
            if let Err(refusal) = check(&call.text) {
                return Done::Reply(Err(refusal));
            }
            Done::Write(Box::new(move |batch| {
                let generation = batch.apply(Proposal {
                    text: call.text,
                    author: call.author,
                    reason: call.reason,
                    copy_of: None,
                    confirm_within_ms: milliseconds(call.confirm_within_s),
                })?;
                Ok(json!({ "generation": generation }))
            }))
        }))
    }

    fn begin_edit(&mut self, ticket: Ticket, author: &str) -> Answer {
        let mut token = [0; 16];
        rustix::rand::getrandom(&mut token, rustix::rand::GetRandomFlags::empty()).map_err(
            |error| Refusal::StorageFailed {
                reason: format!("no random numbers: {error}"),
            },
        )?;
        let token = token.iter().map(|byte| format!("{byte:02x}")).collect();
        let (time, boottime) = (moment::time_ms(), moment::boottime_ms());
        let session = self.editing.begin(ticket, author, token, time, boottime)?;
        self.spread_status();
        Ok(to_value(&BeginEditReply {
            session,
            generation: self.effective.generation(),
            text: self.effective.text.clone(),
        }))
    }

    fn configuration(&self, caller: &Caller, more: bool) -> Action {
        let configuration = self.effective.for_caller(caller);
        if !more {
            return Action::Answer(Ok(configuration));
        }
        let generation = self.effective.generation();
        Action::Follow(Follow::Configuration { generation }, vec![configuration])
    }

    fn events(&self, call: EventsCall, more: bool) -> Action {
        let limit = call.limit.unwrap_or(EVENTS_DEFAULT).clamp(1, EVENTS_MAX) as usize;
        let found = self.engine.view().and_then(|view| {
            let mut page = view.events(call.after, limit, |record| wants(&call, record))?;
            let mut pages = Vec::new();
            // Whoever follows gets everything up to now first, however many replies that takes.
            while let Some((last, _)) = page.last().filter(|_| more && call.after.is_some()) {
                let after = Some(last.sequence);
                let next = view.events(after, limit, |record| wants(&call, record))?;
                pages.push(std::mem::replace(&mut page, next));
            }
            if pages.is_empty() {
                pages.push(page);
            }
            Ok((pages, view.fill()?.last_event))
        });
        let (pages, since) = match found {
            Ok(found) => found,
            Err(error) => return Action::Answer(Err(storage(&error))),
        };
        let mut replies = pages.iter().map(|page| {
            let events = page.iter().map(|(record, hash)| event(record, hash));
            to_value(&EventsReply {
                events: events.collect(),
            })
        });
        if !more {
            return Action::Answer(Ok(replies
                .next()
                .unwrap_or_else(|| json!({ "events": [] }))));
        }
        let replies = replies.collect();
        let filter = call;
        Action::Follow(Follow::Events { filter, since }, replies)
    }

    fn watch(&self, service: &str, prefix: String) -> Action {
        let found = self.engine.view().and_then(|view| {
            let mut pages = Vec::new();
            let mut after = None;
            loop {
                let (entries, next) = view.list(service, &prefix, after.as_deref())?;
                let changes = entries.into_iter().map(|entry| Change {
                    key: entry.key,
                    value: Some(entry.value),
                    version: entry.version,
                });
                pages.push(to_value(&WatchReply {
                    changes: changes.collect(),
                }));
                after = next;
                if after.is_none() {
                    return Ok((pages, view.revision()?));
                }
            }
        });
        match found {
            Ok((pages, since)) => Action::Follow(Follow::Keys { prefix, since }, pages),
            Err(error) => Action::Answer(Err(storage(&error))),
        }
    }

    fn upload(&mut self, ticket: Ticket, call: &UploadCall) -> Answer {
        let bytes = BASE64
            .decode(&call.chunk)
            .map_err(|_| Refusal::BadParameter {
                parameter: "chunk".into(),
                reason: "it is not base64".into(),
            })?;
        let others = self.connections.iter();
        if others
            .filter(|(other, _)| **other != ticket)
            .any(|(_, connection)| connection.upload.is_some())
        {
            let what = "another upload".into();
            return Err(Refusal::Busy { what });
        }
        let Some(connection) = self.connections.get_mut(&ticket) else {
            return Ok(json!({}));
        };
        if call.offset == 0 {
            let file = tempfile::tempfile_in(&self.folder).map_err(failed)?;
            connection.upload = Some((file, 0));
        }
        let Some((file, length)) = connection
            .upload
            .as_mut()
            .filter(|(_, l)| *l == call.offset)
        else {
            return Err(Refusal::BadParameter {
                parameter: "offset".into(),
                reason: "it is not what was uploaded before".into(),
            });
        };
        let total = *length + bytes.len() as u64;
        if total > FILE_MAX_BYTES {
            connection.upload = None;
            return Err(Refusal::TooLarge {
                what: "backup".into(),
                bytes: total,
                limit: FILE_MAX_BYTES,
            });
        }
        std::io::Write::write_all(file, &bytes).map_err(failed)?;
        *length = total;
        Ok(json!({ "length": total }))
    }

    pub(super) fn statistics(&self) -> Result<Statistics, Refusal> {
        let view = self.engine.view().map_err(|error| storage(&error))?;
        let fill = view.fill().map_err(|error| storage(&error))?;
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshots = snapshot::newest_first(&self.folder);
        let notes = [self.note.as_str(), self.effective.note.as_str()];
        let notes: Vec<&str> = notes.into_iter().filter(|note| !note.is_empty()).collect();
        let file = std::fs::metadata(self.folder.join(open::FILE));
        Ok(Statistics {
            durable: self.durable,
            note: notes.join("; "),
            file_bytes: file.map_or(0, |file| file.len()),
            commits: figures.commits,
            writes: figures.writes,
            commit_p50_us: figures.quantile_us(0.5),
            commit_p99_us: figures.quantile_us(0.99),
            commit_max_us: figures.max_us,
            state_keys: fill.state_keys,
            state_bytes: fill.state_bytes,
            events: fill.events,
            events_bytes: fill.events_bytes,
            first_event: fill.first_event,
            last_event: fill.last_event,
            generation: self.effective.generation(),
            connections: self.connections.len() as u64,
            refused_connections: self.refused_connections,
            snapshots: snapshots.len() as u64,
            newest_snapshot_ms: snapshots.first().and_then(|path| snapshot::made_ms(path)),
        })
    }

    fn look(&self, read: impl FnOnce(&View) -> Result<Answer, Box<redb::Error>>) -> Action {
        let answer = self.engine.view().and_then(|view| read(&view));
        Action::Answer(answer.unwrap_or_else(|error| Err(storage(&error))))
    }
}

fn write(
    job: impl FnOnce(&mut crate::engine::Batch<'_>) -> Result<Value, Fail> + Send + 'static,
) -> Action {
    let job: Job = Box::new(job);
    Action::Write(job)
}

fn roll_back(batch: &mut crate::engine::Batch<'_>, call: RollbackCall) -> Result<Value, Fail> {
    let proposal = Proposal {
        text: String::new(),
        author: call.author,
        reason: call.reason,
        copy_of: None,
        confirm_within_ms: milliseconds(call.confirm_within_s),
    };
    let generation = batch.roll_back(call.to, proposal)?;
    Ok(json!({ "generation": generation }))
}

/// Whether a document may become a generation.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    if text.len() > config::SIZE_MAX_BYTES {
        return Err(Refusal::TooLarge {
            what: "document".into(),
            bytes: text.len() as u64,
            limit: config::SIZE_MAX_BYTES as u64,
        });
    }
    config::Document::parse(text).map(drop).map_err(|problems| {
        let problems = problems.into_iter().map(|problem| Problem {
            line: problem.line,
            column: problem.column,
            path: problem.path,
            message: problem.message,
            suggestion: problem.suggestion,
        });
        Refusal::Invalid {
            problems: problems.collect(),
        }
    })
}

pub(super) fn milliseconds(seconds: Option<u32>) -> Option<u64> {
    seconds.map(|seconds| u64::from(seconds) * 1000)
}

pub(super) fn wants(filter: &EventsCall, record: &Record) -> bool {
    let kind = filter.kind.as_ref().is_none_or(|kind| {
        let rest = record.kind.strip_prefix(kind.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    let service = filter.service.as_ref();
    kind && service.is_none_or(|service| *service == record.service)
}

pub(super) fn to_value(reply: &impl serde::Serialize) -> Value {
    serde_json::to_value(reply).expect("replies have string keys only and no fallible serialiser")
}

pub(super) fn storage(error: &redb::Error) -> Refusal {
    Refusal::StorageFailed {
        reason: error.to_string(),
    }
}

pub(super) fn failed(error: std::io::Error) -> Refusal {
    Refusal::StorageFailed {
        reason: error.to_string(),
    }
}
