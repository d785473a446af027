//! One connection, in a process of its own: the SSH protocol, and one session.
//!
//! The listener hands over the socket on standard input and a line to itself on standard output. A
//! bug in the protocol's code then costs this connection and no other.

use std::borrow::Cow;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use russh::server::{self, Auth, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{
    Channel, ChannelId, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac,
};
use tokio::net::TcpStream;

use crate::pump::{self, Input};
use crate::session::{Job, Terminal};
use crate::settings::{Briefing, Report, key};
use crate::words;

/// Wrong keys that a client may show. Agents often hold several.
const AUTH_TRIES: usize = 6;
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A client may send as much before somebody reads it; the queue for a program holds that, too.
const WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// Why a connection ends badly.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("the listener did not say what to do")]
    Briefing(#[source] io::Error),
    #[error("the briefing makes no sense")]
    Syntax(#[source] serde_json::Error),
    #[error("the host key makes no sense")]
    HostKey(#[source] russh::keys::ssh_key::Error),
    #[error("cannot use the socket")]
    Socket(#[source] io::Error),
    #[error("the protocol failed")]
    Protocol(#[from] russh::Error),
}

/// Serves the connection on standard input until it is over.
///
/// # Errors
/// When the client or the network does not keep to the protocol.
pub fn connection() -> Result<(), ConnectionError> {
    let own =
        |fd: rustix::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map_err(ConnectionError::Socket);
    let socket = std::net::TcpStream::from(own(std::io::stdin().as_fd())?);
    let reports: UnixStream = own(std::io::stdout().as_fd())?.into();
    let mut line = String::new();
    BufReader::new(&reports)
        .read_line(&mut line)
        .map_err(ConnectionError::Briefing)?;
    let briefing: Briefing = serde_json::from_str(&line).map_err(ConnectionError::Syntax)?;
    let host_key =
        PrivateKey::from_openssh(&briefing.host_key).map_err(ConnectionError::HostKey)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ConnectionError::Socket)?
        .block_on(serve(socket, reports, briefing, host_key))
}

async fn serve(
    socket: std::net::TcpStream,
    reports: UnixStream,
    briefing: Briefing,
    host_key: PrivateKey,
) -> Result<(), ConnectionError> {
    socket
        .set_nonblocking(true)
        .map_err(ConnectionError::Socket)?;
    let socket = TcpStream::from_std(socket).map_err(ConnectionError::Socket)?;
    let idle = Duration::from_secs(briefing.idle_s);
    let activity = pump::Activity::default();
    let client = Client {
        keys: briefing
            .keys
            .iter()
            .filter_map(|text| key(text).ok())
            .collect(),
        reports,
        shell: briefing.shell,
        language: String::new(),
        channel: None,
        terminal: None,
        input: None,
        activity: activity.clone(),
    };
    let running = server::run_stream(Arc::new(config(host_key)), socket, client).await?;
    let handle = running.handle();
    tokio::select! {
        ended = running => ended?,
        () = activity.rest(idle) => {
            let reason = "no key was pressed for too long".to_owned();
            handle
                .disconnect(russh::Disconnect::ByApplication, reason, "en".to_owned())
                .await?;
        }
    }
    Ok(())
}

/// Only what is modern, whatever the library would still offer.
fn config(host_key: PrivateKey) -> server::Config {
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    server::Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-x0tta6bl4")),
        methods,
        auth_rejection_time: Duration::from_millis(500),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        window_size: WINDOW_BYTES,
        preferred: Preferred {
            kex: Cow::Borrowed(&[
                kex::MLKEM768X25519_SHA256,
                kex::CURVE25519,
                kex::CURVE25519_PRE_RFC_8731,
                // Against the Terrapin attack (CVE-2023-48795).
                kex::EXTENSION_SUPPORT_AS_SERVER,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
            ]),
            key: Cow::Borrowed(&[Algorithm::Ed25519]),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(&[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM]),
            // Both ciphers authenticate by themselves; a name has to be there all the same.
            mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM]),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        max_auth_attempts: AUTH_TRIES,
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        ..server::Config::default()
    }
}

struct Client {
    keys: Vec<PublicKey>,
    reports: UnixStream,
    shell: String,
    language: String,
    /// The only session. A second one would be younger than its connection, and who confirms a
    /// configuration has to come over a new one.
    channel: Option<ChannelId>,
    terminal: Option<Terminal>,
    input: Option<Input>,
    activity: pump::Activity,
}

impl Client {
    fn knows(&self, key: &PublicKey) -> Option<&PublicKey> {
        self.keys
            .iter()
            .find(|known| known.key_data() == key.key_data())
    }

    fn report(&self, report: &Report) {
        if let Ok(mut line) = serde_json::to_vec(report) {
            line.push(b'\n');
            // A listener that is gone ends this process anyway.
            (&self.reports).write_all(&line).ok();
        }
    }

    fn run(
        &mut self,
        id: ChannelId,
        arguments: Vec<String>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.channel != Some(id) || self.input.is_some() {
            return session.channel_failure(id);
        }
        let job = Job {
            program: self.shell.clone(),
            arguments,
            language: self.language.clone(),
        };
        let started = pump::start(&job, self.terminal.as_ref(), session.handle(), id);
        match started {
            Ok(input) => {
                self.input = Some(input);
                session.channel_success(id)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot start a session");
                session.channel_failure(id)
            }
        }
    }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        if self.knows(offer.public_key).is_some() {
            return Ok(Auth::Accept);
        }
        let key = offer.public_key.fingerprint(HashAlg::Sha256).to_string();
        self.report(&Report::Refused { key });
        Ok(Auth::reject())
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        verified: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let key = verified.public_key.fingerprint(HashAlg::Sha256).to_string();
        match self.knows(verified.public_key) {
            Some(known) => {
                let comment = known.comment().to_string();
                self.report(&Report::Accepted { key, comment });
                Ok(Auth::Accept)
            }
            None => {
                self.report(&Report::Refused { key });
                Ok(Auth::reject())
            }
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Dropping the reply refuses.
        if self.channel.is_none() {
            self.channel = Some(channel.id());
            reply.accept().await;
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        kind: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.channel != Some(id) || self.terminal.is_some() || self.input.is_some() {
            return session.channel_failure(id);
        }
        match Terminal::open(kind, columns, rows) {
            Ok(terminal) => {
                self.terminal = Some(terminal);
                session.channel_success(id)
            }
            Err(error) => {
                tracing::warn!(%error, "no pseudo-terminal");
                session.channel_failure(id)
            }
        }
    }

    async fn window_change_request(
        &mut self,
        _id: ChannelId,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(terminal) = &self.terminal {
            terminal.resize(columns, rows);
        }
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name == "LANG" {
            value.clone_into(&mut self.language);
            return session.channel_success(id);
        }
        session.channel_failure(id)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.run(id, Vec::new(), session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match words::split(command) {
            Ok(mut words) => {
                // `ssh router x0ctl status` is what people type.
                if words.first().is_some_and(|word| word == "x0ctl") {
                    words.remove(0);
                }
                self.run(id, words, session)
            }
            Err(error) => {
                session.channel_success(id)?;
                session.extended_data(id, 1, format!("x0tta6bl4: {error}\r\n").into_bytes())?;
                session.exit_status_request(id, 2)?;
                session.eof(id)?;
                session.close(id)
            }
        }
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn data(
        &mut self,
        _id: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.activity.note();
        match &self.input {
            // Waiting here would keep window changes and keep-alives waiting, too.
            Some(input) if !input.send(data) => Err(russh::Error::Disconnect),
            _ => Ok(()),
        }
    }

    async fn channel_eof(
        &mut self,
        _id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(input) = &mut self.input {
            input.end();
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        _id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Hangs up on the session.
        self.input = None;
        Ok(())
    }
}
