//! The whole service on a machine of its own making, scraped as Prometheus would.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use api::wire::{Call, Reply, encode};
use metrics::Sources;
use metrics::exposition::parse;
use runtime::metrics::{Counter, Registry};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(30);

/// A store that hands out sections `metrics` and returns what became of them.
struct Store {
    sections: Sender<Value>,
    outcomes: Receiver<Value>,
}

impl Store {
    fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("the folder is new");
        let (sections, to_hand_out) = channel::<Value>();
        let (teller, outcomes) = channel();
        std::thread::spawn(move || {
            // The follower's two connections come in this order; figures are asked for later.
            let (answers, _) = listener.accept().expect("the service connects");
            let (stream, _) = listener.accept().expect("the service connects");
            std::thread::spawn(move || listener.incoming().for_each(drop));
            read(&stream);
            for (number, section) in (1..).zip(to_hand_out) {
                let sections = json!({ "metrics": section });
                write(
                    &stream,
                    json!({ "generation": number, "sections": sections }),
                    true,
                );
                let call = read(&answers);
                write(&answers, json!({}), false);
                let parameters = call.parameters.expect("Applied has parameters");
                teller.send(parameters).expect("the test waits");
            }
        });
        Self { sections, outcomes }
    }

    fn apply(&self, section: Value) -> Value {
        self.sections
            .send(section)
            .expect("the store's thread lives");
        self.outcomes
            .recv_timeout(DEADLINE)
            .expect("the service answers")
    }
}

fn read(stream: &UnixStream) -> Call {
    let mut message = Vec::new();
    let mut reader = BufReader::new(stream);
    reader
        .read_until(0, &mut message)
        .expect("the client calls");
    message.pop();
    serde_json::from_slice(&message).expect("the client speaks Varlink")
}

fn write(mut stream: &UnixStream, parameters: Value, continues: bool) {
    let reply = Reply {
        parameters: Some(parameters),
        continues,
        error: None,
    };
    stream.write_all(&encode(&reply)).expect("the client reads");
}

fn service(run: &Path, name: &str) -> std::path::PathBuf {
    let folder = run.join(name);
    std::fs::create_dir(&folder).expect("the folder is new");
    folder.join(runtime::metrics::SOCKET)
}

/// A service that says `text` to whoever connects, and nothing more.
fn says(run: &Path, name: &str, text: &'static str) {
    let listener = UnixListener::bind(service(run, name)).expect("the folder is new");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.write_all(text.as_bytes()).ok();
        }
    });
}

fn request(mut stream: impl std::io::Read + std::io::Write, head: &str) -> (String, String) {
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the server answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    socket.local_addr().expect("it is bound").port()
}

#[test]
fn a_page_of_everything_passes_promtool() {
    let folder = tempfile::tempdir().expect("there is room");
    let run = folder.path();
    for name in ["good", "other"] {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("x0_test_requests", "Requests that were answered", counter);
        let socket = service(run, name);
        runtime::metrics::serve_at(&socket, registry).expect("the folder is new");
    }
    says(run, "broken", "x0_test_requests_total one\n# EOF\n");
    says(
        run,
        "liar",
        "# TYPE x0_test_requests gauge\nx0_test_requests 1\n# EOF\n",
    );
    // Accepts and says nothing.
    let _silent = UnixListener::bind(service(run, "silent")).expect("the folder is new");
    std::fs::create_dir(run.join("metrics")).expect("the folder is new");
    let store = Store::start(&run.join("store.sock"));
    let sources = Sources {
        run: run.into(),
        init: run.join("init.sock"),
        store: run.join("store.sock"),
        data: "/".into(),
        ..Sources::default()
    };
    std::thread::spawn(|| metrics::run(sources).expect("the service runs"));

    // Nothing is open before it is configured, and the internet side never by accident.
    let port = free_port();
    let refused = store.apply(json!({ "listen": [format!("0.0.0.0:{port}")] }));
    assert_eq!(refused["ok"], false);
    let message = refused["message"].as_str().expect("a reason");
    assert!(message.contains("internet side"), "{message}");
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    assert!(TcpStream::connect(address).is_err());
    let listen = json!({ "listen": [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] });
    assert_eq!(store.apply(listen)["ok"], true);

    let get = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let (head, text) = request(TcpStream::connect(address).expect("it listens"), get);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    promtool(&text);

    let get = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text; \
               version=1.0.0\r\n\r\n";
    let unix = UnixStream::connect(run.join("metrics/http.sock")).expect("it always listens");
    let (head, text) = request(unix, get);
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    for line in [
        "x0_test_requests_total{service=\"good\"} 0",
        "x0_test_requests_total{service=\"other\"} 0",
        "x0_metrics_source_up{source=\"init\"} 0",
        "x0_metrics_broken_expositions_total{service=\"broken\"} 1",
        "x0_metrics_broken_expositions_total{service=\"liar\"} 1",
        "x0_metrics_broken_expositions_total{service=\"silent\"} 1",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    for family in [
        "node_cpu_seconds",
        "node_memory_size_bytes",
        "node_filesystem_size_bytes",
    ] {
        assert!(
            text.contains(&format!("# TYPE {family} ")),
            "{family}\n{text}"
        );
    }
    // The page is what it asks of others.
    parse(&text.replace("service=\"", "of=\"")).expect("the page is OpenMetrics");

    for (method, path, status) in [("GET", "/x", "404"), ("POST", "/metrics", "405")] {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let (head, _) = request(TcpStream::connect(address).expect("it listens"), &head);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
    }

    // Idlers take all places: others are turned away, until the idlers' time is over.
    let idlers: Vec<_> = (0..40).map(|_| TcpStream::connect(address)).collect();
    let end = Instant::now() + DEADLINE;
    let get = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    loop {
        let mut answer = String::new();
        let stream = TcpStream::connect(address);
        let answered = stream.and_then(|mut stream| {
            stream.write_all(get)?;
            stream.read_to_string(&mut answer)
        });
        if answered.is_ok() && answer.contains("node_load1") {
            break;
        }
        assert!(Instant::now() < end, "idlers keep everybody away");
        std::thread::yield_now();
    }
    drop(idlers);

    // Taken away again.
    assert_eq!(store.apply(json!({}))["ok"], true);
    let end = Instant::now() + DEADLINE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < end, "it still listens");
        std::thread::yield_now();
    }
}

fn promtool(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ci/setup installs Debian's prometheus");
    let mut input = promtool.stdin.take().expect("it is a pipe");
    input.write_all(text.as_bytes()).expect("promtool reads");
    drop(input);
    let output = promtool.wait_with_output().expect("it is our child");
    let complaints =
        String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{complaints}\n{text}"
    );
}
