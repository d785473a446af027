//! Every parser that takes bytes from outside.

mod access;

use std::io;
use std::time::Duration;

use channel::Relay;
use channel::bus::Conversation;
use data::device::Device;
use network::dhcp::client::{Client, Identity};
use network::random::Random;

use crate::seeds;

/// A parser, and valid input to start from.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// In the order of the way from power-on to a console.
pub const TARGETS: &[Target] = &[
    Target {
        name: "boot-records",
        run: bootstate::fuzz::records,
        seeds: seeds::records,
    },
    Target {
        name: "sealed-boot-records",
        run: bootstate::fuzz::sealed_records,
        seeds: seeds::records,
    },
    Target {
        name: "selector-gpt",
        run: bootstate::fuzz::gpt,
        seeds: seeds::gpt,
    },
    Target {
        name: "pe",
        run: bootstate::fuzz::pe,
        seeds: seeds::pe,
    },
    Target {
        name: "service-table",
        run: service_table,
        seeds: seeds::service_table,
    },
    Target {
        name: "notify",
        run: init::fuzz::notify,
        seeds: seeds::notify,
    },
    Target {
        name: "varlink-call",
        run: init::fuzz::calls,
        seeds: seeds::varlink_calls,
    },
    Target {
        name: "exposition",
        run: access::exposition,
        seeds: access::expositions,
    },
    Target {
        name: "exec-command-line",
        run: access::command_line,
        seeds: access::command_lines,
    },
    Target {
        name: "password-hash",
        run: access::password_hash,
        seeds: access::password_hashes,
    },
    Target {
        name: "varlink-reply",
        run: varlink_reply,
        seeds: seeds::varlink_replies,
    },
    Target {
        name: "pid-1-state",
        run: init::fuzz::state,
        seeds: || vec![init::fuzz::states().0],
    },
    Target {
        name: "pid-1-state-file",
        run: init::fuzz::state_file,
        seeds: || vec![init::fuzz::states().1],
    },
    Target {
        name: "pid-1-log",
        run: init::fuzz::log,
        seeds: || vec![init::fuzz::logs()],
    },
    Target {
        name: "data-gpt",
        run: data_gpt,
        seeds: seeds::gpt,
    },
    Target {
        name: "data-content",
        run: data_content,
        seeds: seeds::content,
    },
    Target {
        name: "provisioning-volume",
        run: provision::judge,
        seeds: seeds::volumes,
    },
    Target {
        name: "document",
        run: document,
        seeds: seeds::documents,
    },
    Target {
        name: "configuration-diff",
        run: configuration_diff,
        seeds: seeds::document_pairs,
    },
    Target {
        name: "configuration-edit",
        run: configuration_edit,
        seeds: seeds::edits,
    },
    Target {
        name: "dhcp",
        run: dhcp,
        seeds: seeds::dhcp,
    },
    Target {
        name: "router-solicitation",
        run: solicitation,
        seeds: seeds::solicitations,
    },
    Target {
        name: "store-call",
        run: store::fuzz::call,
        seeds: store::fuzz::calls,
    },
    Target {
        name: "store-event",
        run: store::fuzz::event,
        seeds: store::fuzz::events,
    },
    Target {
        name: "store-generations",
        run: store::fuzz::machine,
        seeds: store::fuzz::machines,
    },
    Target {
        name: "store-copy",
        run: store::fuzz::copy,
        seeds: store::fuzz::copies,
    },
    Target {
        name: "store-backup",
        run: store::fuzz::encrypted,
        seeds: store::fuzz::encrypted_copies,
    },
    Target {
        name: "bus-policy",
        run: bus_policy,
        seeds: seeds::service_table,
    },
    Target {
        name: "bus-session",
        run: bus_session,
        seeds: seeds::bus_sessions,
    },
    Target {
        name: "console-keys",
        run: console_keys,
        seeds: seeds::keys,
    },
    Target {
        name: "console-text",
        run: console_text,
        seeds: seeds::keys,
    },
    Target {
        name: "dbus-options",
        run: admin::fuzz::options,
        seeds: seeds::dbus_options,
    },
    Target {
        name: "dbus-credentials",
        run: admin::fuzz::credentials,
        seeds: seeds::dbus_credentials,
    },
    Target {
        name: "process-stat",
        run: admin::fuzz::stat,
        seeds: seeds::process_stat,
    },
];

fn service_table(bytes: &[u8]) {
    let Ok(table) = manifest::Table::load(bytes) else {
        return;
    };
    let needs = table.needs_by_position();
    assert!(
        needs
            .iter()
            .enumerate()
            .all(|(own, needs)| needs.iter().all(|need| *need < own))
    );
}

fn varlink_reply(bytes: &[u8]) {
    let Ok(reply) = serde_json::from_slice::<api::wire::StatusReply>(bytes) else {
        return;
    };
    let again = serde_json::to_vec(&reply).expect("what was JSON can be JSON");
    let again: api::wire::StatusReply = serde_json::from_slice(&again).expect("it is the same");
    assert_eq!(again.status, reply.status);
}

fn data_gpt(bytes: &[u8]) {
    let disk = Memory(bytes);
    for block in [
        1,
        disk.size_bytes() / 512 - u64::from(disk.size_bytes() >= 512),
    ] {
        let Ok(table) = data::gpt::Table::read(&disk, block) else {
            continue;
        };
        for partition in table.partitions() {
            assert!(partition.start_bytes() + partition.size_bytes() <= disk.size_bytes());
        }
        // Whether there is one does not matter.
        let _ = table.named("DATA");
    }
}

fn data_content(bytes: &[u8]) {
    let content = data::content::identify(&Memory(bytes)).expect("memory can always be read");
    let blank = matches!(content, data::content::Content::Blank);
    assert!(
        !blank
            || bytes
                .iter()
                .take(data::content::BLANK_BYTES)
                .all(|byte| *byte == 0)
    );
}

fn document(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let document = match config::Document::parse(text) {
        Ok(document) => document,
        Err(problems) => {
            assert!(
                (1..=32).contains(&problems.len()),
                "no or too many problems"
            );
            for problem in problems {
                let shown = problem.to_string();
                assert!(
                    !shown.contains(char::is_control),
                    "{shown:?} reaches a console"
                );
            }
            return;
        }
    };
    // What the store hands out reads as the text did.
    config::check_sections(document.sections()).expect("it was checked as a text");
    let shown = document.public_text();
    let shown = config::Document::parse(&shown).err().unwrap_or_default();
    let is_secret = |path: &str| config::SECRETS.contains(&path);
    assert!(
        shown.iter().all(|problem| is_secret(&problem.path)),
        "{shown:?}"
    );
}

/// Two documents, with a zero byte between them.
fn configuration_diff(bytes: &[u8]) {
    let mut texts = bytes.splitn(2, |byte| *byte == 0).map(std::str::from_utf8);
    let (Some(Ok(old)), Some(Ok(new))) = (texts.next(), texts.next()) else {
        return;
    };
    let (Ok(old), Ok(new)) = (config::Document::parse(old), config::Document::parse(new)) else {
        return;
    };
    let there = config::diff(&old, &new);
    let back = config::diff(&new, &old);
    assert_eq!(there.changes.len(), back.changes.len());
    assert_eq!(there.is_empty(), old.sections() == new.sections());
    assert!(config::diff(&old, &old).is_empty());
}

/// A key, a value and a document, with a zero byte between them.
fn configuration_edit(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0).map(std::str::from_utf8);
    let (Some(Ok(key)), Some(Ok(value)), Some(Ok(text))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    if let Ok(changed) = config::edit::set(text, key, value) {
        config::edit::unset(&changed, key).expect("what was set can be unset");
    }
}

/// As a frame, as a message, and as the answer to each thing that a client has asked.
fn dhcp(bytes: &[u8]) {
    // Whether they are valid does not matter.
    let _ = network::dhcp::frame::unwrap(bytes);
    let _ = network::dhcp::message::Reply::parse(bytes);
    let mac = "52:54:00:12:34:56"
        .parse()
        .expect("it is a hardware address");
    let identity = Identity {
        mac,
        hostname: None,
    };
    let mut client = Client::new(identity, Random::new(1), None);
    let now = Duration::from_secs(100);
    client.handle_link(now, true);
    for _ in 0..2 {
        let Some(transmit) = client.poll_transmit() else {
            return;
        };
        let mut answer = bytes.to_vec();
        if let (Some(to), Some(from)) = (answer.get_mut(4..8), transmit.payload.get(4..8)) {
            to.copy_from_slice(from);
        }
        // A refusal changes nothing.
        let _ = client.handle_packet(now, &answer);
        client.handle_timeout(client.next_timeout().unwrap_or(now));
    }
}

fn solicitation(bytes: &[u8]) {
    for source in ["fe80::1", "::", "ff02::1"] {
        let source = source.parse().expect("it is an address");
        // Either verdict is fine.
        let _ = network::ra::check_solicitation(source, Some(255), bytes);
    }
}

fn bus_policy(bytes: &[u8]) {
    let Ok(table) = manifest::Table::load(bytes) else {
        return;
    };
    let policy = bus::policy::Policy::of(&table);
    for rights in policy.users.values() {
        let named = |name: &String| table.services().iter().any(|s| s.bus.own.contains(name));
        assert!(rights.own.iter().all(named), "a right out of nowhere");
    }
}

/// Pieces of up to 255 bytes, each with who sent it and its length before it.
fn bus_session(mut bytes: &[u8]) {
    let mut session = Conversation::default();
    while let [who, length, rest @ ..] = bytes {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        bytes = rest;
        match who % 4 {
            0 => session.host_sent(&piece[..piece.len().min(session.room_from_host())]),
            1 => {
                let room = piece.len().min(session.room_from_back());
                if session.back_sent(&piece[..room]).is_err() {
                    session.back_lost("it refuses");
                }
            }
            2 => session.back_lost("gone"),
            _ => {
                session.sent_to_back(session.to_back().len());
                session.sent_to_host(session.to_host().len());
            }
        }
        let held = session.to_back().len().max(session.to_host().len());
        assert!(held <= 2 * channel::CAPACITY, "{held} bytes are held");
    }
}

fn console_keys(bytes: &[u8]) {
    let mut parser = console::input::Parser::default();
    for byte in bytes {
        // Any key or none is fine.
        let _ = parser.push(*byte);
    }
    let _ = parser.pause();
    assert!(!parser.waits(), "a pause ends every sequence");
}

fn console_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let plain = console::text::plain(&text);
    assert!(
        !plain.chars().any(char::is_control),
        "a control character got through"
    );
    for width in [1, 2, 80] {
        // Its form does not matter here.
        let _ = console::text::cut(&plain, width);
        let _ = console::text::wrap(&plain, width);
    }
    let _ = console::network::parse(&text);
}

/// A disk of exactly these bytes.
struct Memory<'a>(&'a [u8]);

impl Device for Memory<'_> {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = start
            .checked_add(buffer.len())
            .and_then(|end| self.0.get(start..end));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn zero(&mut self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
