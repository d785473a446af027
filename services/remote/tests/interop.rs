//! The real service and Debian's OpenSSH client, on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use api::wire::{Call, Reply, encode};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);

/// Stands for x0ctl.
const SHELL: &str = r#"#!/bin/bash
case "$1" in
    fail) echo "it failed" >&2; exit 7;;
    words) printf '<%s>' "$@"; echo;;
    cat) cat;;
    env) env | sort;;
    leader) echo "$(ps -o sid= $$ | tr -d ' ') $$";;
    sleep) echo started; exec sleep 1000;;
    "") echo "$TERM $(stty size)"
        while read -r line; do
            [ "$line" = bye ] && exit 3
            echo "said $line $(stty size)"
        done;;
esac
"#;

struct Bench {
    folder: tempfile::TempDir,
    service: Child,
    port: u16,
    sections: Sender<Value>,
    outcomes: Receiver<Value>,
    events: Receiver<(String, Value)>,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("shell"), SHELL).expect("the folder is writable");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(file("shell"), mode).expect("it is ours");
        let listener = UnixListener::bind(file("store.sock")).expect("the folder is new");
        let (sections, to_hand_out) = channel();
        let (outcome, outcomes) = channel();
        let (event, events) = channel();
        std::thread::spawn(move || store(&listener, &to_hand_out, &outcome, &event));
        let service = Command::new(env!("CARGO_BIN_EXE_remote"))
            .args([file("store.sock"), folder.path().into(), file("shell")])
            .env("RUNTIME_DIRECTORY", folder.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("the service was built");
        let port = free_port();
        for name in ["good", "bad"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(file(name))
                .status()
                .expect("ci/setup installs openssh-client");
            assert!(made.success());
        }
        Self {
            folder,
            service,
            port,
            sections,
            outcomes,
            events,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn apply(&self, section: Value) -> Value {
        self.sections
            .send(section)
            .expect("the store's thread lives");
        self.outcomes
            .recv_timeout(DEADLINE)
            .expect("the service answers")
    }

    /// Lets the good key in.
    fn open(&self) {
        let key = std::fs::read_to_string(self.file("good.pub")).expect("it was made");
        let listen = format!("127.0.0.1:{}", self.port);
        let applied =
            self.apply(json!({ "enabled": true, "listen": [listen], "authorized_keys": [key] }));
        assert_eq!(applied["ok"], true, "{applied}");
    }

    fn ssh(&self, key: &str, options: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-a",
            "-x",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args(["-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=20"])
        .arg("-o")
        .arg(format!(
            "UserKnownHostsFile={}",
            self.file("known").display()
        ))
        .arg("-i")
        .arg(self.file(key))
        .args(["-p", &self.port.to_string()])
        .args(options)
        .arg("admin@127.0.0.1")
        .stdin(Stdio::null());
        ssh
    }

    fn run(&self, command: &[&str]) -> Output {
        self.ssh("good", &[])
            .args(command)
            .output()
            .expect("ssh is there")
    }

    #[track_caller]
    fn event(&self, kind: &str) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (found, payload) = self.events.recv_timeout(left).expect("the event comes");
            if found == kind {
                return payload;
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.service.kill().ok();
        self.service.wait().ok();
    }
}

/// Below those that the kernel gives to clients: a flood in another test takes many of these.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 10_000).expect("it is small");
    (0..2_000)
        .map(|_| 20_000 + begin + NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("some port is free")
}

fn store(
    listener: &UnixListener,
    sections: &Receiver<Value>,
    outcome: &Sender<Value>,
    event: &Sender<(String, Value)>,
) {
    // The follower's two connections come in this order; the others bring events.
    let (answers, _) = listener.accept().expect("the service connects");
    let (stream, _) = listener.accept().expect("the service connects");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(call) = read(&stream) else { continue };
                let parameters = call.parameters.unwrap_or_default();
                write(&stream, json!({ "sequence": 1 }), false);
                let kind = parameters["kind"].as_str().unwrap_or_default().to_owned();
                event.send((kind, parameters["payload"].clone())).ok();
            }
        });
        read(&stream);
        for (number, section) in (1..).zip(sections) {
            let sections = json!({ "remote": section });
            write(
                &stream,
                json!({ "generation": number, "sections": sections }),
                true,
            );
            let call = read(&answers).expect("the service answers");
            write(&answers, json!({}), false);
            outcome.send(call.parameters.unwrap_or_default()).ok();
        }
    });
}

fn read(stream: &UnixStream) -> Option<Call> {
    let mut message = Vec::new();
    BufReader::new(stream).read_until(0, &mut message).ok()?;
    message.pop()?;
    serde_json::from_slice(&message).ok()
}

fn write(mut stream: &UnixStream, parameters: Value, continues: bool) {
    let reply = Reply {
        parameters: Some(parameters),
        continues,
        error: None,
    };
    // A service that is gone fails the test elsewhere.
    stream.write_all(&encode(&reply)).ok();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_key_opens_a_command_and_its_status_passes() {
    let bench = Bench::start();
    bench.open();
    let output = bench.run(&["fail"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(text(&output.stderr).contains("it failed"), "{output:?}");
    let accepted = bench.event("login.accepted");
    assert_eq!(accepted["name"], "good");
    assert_eq!(bench.event("login.ended")["reason"], "left");

    let output = bench.run(&["x0ctl words 'a b'", "c"]);
    assert_eq!(text(&output.stdout), "<words><a b><c>\n", "{output:?}");
    let output = bench.run(&["words; reboot"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        text(&output.stderr).contains("there is no shell"),
        "{output:?}"
    );

    // The session is young and nobody else's: its leader is the program itself.
    let output = bench.run(&["leader"]);
    let line = text(&output.stdout);
    let (leader, own) = line.trim().split_once(' ').expect("two numbers");
    assert_eq!(leader, own);

    // Nothing comes in but TERM and LANG.
    let mut ssh = bench.ssh("good", &["-o", "SetEnv=LD_PRELOAD=x EDITOR=y"]);
    let output = ssh.arg("env").output().expect("ssh is there");
    assert!(!text(&output.stdout).contains("LD_PRELOAD"), "{output:?}");
    assert!(!text(&output.stdout).contains("EDITOR"), "{output:?}");

    let big = vec![b'x'; 300_000];
    let mut ssh = bench.ssh("good", &[]);
    let mut cat = ssh
        .arg("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh is there");
    let mut input = cat.stdin.take().expect("it is a pipe");
    let writer = {
        let big = big.clone();
        std::thread::spawn(move || input.write_all(&big))
    };
    let output = cat.wait_with_output().expect("it is our child");
    writer
        .join()
        .expect("no panic")
        .expect("cat reads everything");
    assert!(output.status.success() && output.stdout == big);
}

#[test]
fn whoever_has_no_key_stays_outside() {
    let bench = Bench::start();
    // Not before it is configured.
    assert!(TcpStream::connect(("127.0.0.1", bench.port)).is_err());
    let listen = format!("127.0.0.1:{}", bench.port);
    let refused =
        bench.apply(json!({ "enabled": true, "listen": [listen], "authorized_keys": [] }));
    assert_eq!(refused["ok"], false);
    bench.open();
    let output = bench
        .ssh("bad", &[])
        .arg("words")
        .output()
        .expect("ssh is there");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(
        text(&output.stderr).contains("Permission denied (publickey)"),
        "{output:?}"
    );
    assert!(
        bench.event("login.refused")["key"]
            .as_str()
            .is_some_and(|key| key.starts_with("SHA256:"))
    );
    let password = [
        "-o",
        "PreferredAuthentications=password,keyboard-interactive",
    ];
    let output = bench.ssh("good", &password).output().expect("ssh is there");
    assert!(
        text(&output.stderr).contains("Permission denied (publickey)"),
        "{output:?}"
    );
    for old in [
        ["-o", "KexAlgorithms=diffie-hellman-group14-sha256"],
        ["-o", "Ciphers=aes128-ctr"],
        ["-o", "HostKeyAlgorithms=rsa-sha2-512"],
    ] {
        let output = bench
            .ssh("good", &old)
            .arg("words")
            .output()
            .expect("ssh is there");
        assert!(text(&output.stderr).contains("no matching"), "{output:?}");
    }
    for forbidden in [&["-s", "sftp"][..], &["-W", "127.0.0.1:22"]] {
        let mut ssh = bench.ssh("good", &forbidden[..forbidden.len() - 1]);
        match forbidden[0] {
            "-s" => ssh.arg(forbidden[1]),
            _ => {
                ssh = bench.ssh("good", forbidden);
                &mut ssh
            }
        };
        let output = ssh.output().expect("ssh is there");
        assert_eq!(output.status.code(), Some(255), "{output:?}");
    }
    // Taken away again.
    assert_eq!(bench.apply(json!({}))["ok"], true);
    let end = Instant::now() + DEADLINE;
    while TcpStream::connect(("127.0.0.1", bench.port)).is_ok() {
        assert!(Instant::now() < end, "it still listens");
        std::thread::yield_now();
    }
}

#[test]
fn the_host_key_is_the_one_that_the_service_tells() {
    let bench = Bench::start();
    bench.open();
    let scan = Command::new("ssh-keyscan")
        .args(["-T", "20", "-p", &bench.port.to_string(), "127.0.0.1"])
        .output()
        .expect("ci/setup installs openssh-client");
    assert!(text(&scan.stdout).contains(" ssh-ed25519 "), "{scan:?}");
    assert_eq!(text(&scan.stdout).lines().count(), 1, "{scan:?}");
}

#[test]
fn a_terminal_follows_its_window_and_a_lost_client_ends_the_session() {
    let bench = Bench::start();
    bench.open();
    // script(1) gives ssh a terminal whose size can be changed from outside.
    let ssh = bench.ssh("good", &["-tt"]);
    let mut command = Command::new("python3");
    command
        .arg("-c")
        .arg(
            "import fcntl,os,pty,struct,sys,termios\n\
             pid,fd=pty.fork()\n\
             if pid==0: os.execvp(sys.argv[1],sys.argv[1:])\n\
             def size(r,c): fcntl.ioctl(fd,termios.TIOCSWINSZ,struct.pack('HHHH',r,c,0,0))\n\
             def wait(text):\n\
             \x20global seen\n\
             \x20while text not in seen: seen+=os.read(fd,4096)\n\
             seen=b''\n\
             size(33,101)\n\
             import signal; os.kill(pid,signal.SIGWINCH)\n\
             wait(b'xterm-256color')\n\
             os.write(fd,b'hello\\n'); wait(b'said hello 33 101')\n\
             size(44,122)\n\
             while b'more 44 122' not in seen:\n\
             \x20os.write(fd,b'more\\n'); seen=b''; wait(b'said more ')\n\
             \x20while not seen.endswith(b'\\n'): seen+=os.read(fd,4096)\n\
             os.write(fd,b'bye\\n')\n\
             print(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))",
        )
        .arg("ssh")
        .args(ssh.get_args())
        .env("TERM", "xterm-256color");
    let output = command.output().expect("python3 is there");
    let told = text(&output.stdout);
    assert_eq!(told.trim(), "3", "{}", text(&output.stderr));

    let mut ssh = ssh_child(&bench);
    let mut line = String::new();
    let output = ssh.stdout.take().expect("it is a pipe");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it talks");
    assert_eq!(line.trim(), "started");
    ssh.kill().expect("it is our child");
    ssh.wait().expect("it is our child");
    bench.event("login.accepted");
    bench.event("login.ended");
    bench.event("login.accepted");
    bench.event("login.ended");
}

fn ssh_child(bench: &Bench) -> Child {
    bench
        .ssh("good", &[])
        .arg("sleep")
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh is there")
}

#[test]
fn a_flood_and_garbage_leave_the_service_alive() {
    let bench = Bench::start();
    bench.open();
    let address = ("127.0.0.1", bench.port);
    let idle: Vec<_> = (0..200)
        .filter_map(|_| TcpStream::connect(address).ok())
        .collect();
    for number in 0..50_u8 {
        if let Ok(mut stream) = TcpStream::connect(address) {
            stream.write_all(b"SSH-2.0-x\r\n").ok();
            stream.write_all(&[number; 2_000]).ok();
        }
    }
    // Somebody else is not kept away by it.
    let elsewhere = ["-b", "127.0.0.2"];
    let output = bench
        .ssh("good", &elsewhere)
        .arg("words")
        .output()
        .expect("ssh is there");
    assert!(output.status.success(), "{output:?}");
    drop(idle);
    let mut metrics = String::new();
    let socket = UnixStream::connect(bench.file("metrics.sock"));
    socket
        .and_then(|mut socket| socket.read_to_string(&mut metrics))
        .expect("the service lives");
    let closed = metrics
        .lines()
        .find_map(|line| line.strip_prefix("x0_remote_connections_total{outcome=\"closed\"} "))
        .and_then(|count| count.parse::<u32>().ok());
    assert!(closed.is_some_and(|count| count > 150), "{metrics}");
}
