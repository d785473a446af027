//! What is offered on the metrics socket.

use runtime::metrics::{Counter, Gauge, Histogram, Registry};
use store_api::Statistics;

/// Seconds; a flush takes from tens of microseconds (a disk with a safe cache) to seconds (one that
/// is dying).
const BOUNDS: [f64; 12] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0,
];

/// The store's measurements.
#[derive(Clone, Debug)]
pub(crate) struct Measurements {
    pub(crate) commit_seconds: Histogram,
    pub(crate) writes: Counter,
    pub(crate) refused_connections: Counter,
    connections: Gauge<i64>,
    durable: Gauge<i64>,
    generation: Gauge<i64>,
    unconfirmed: Gauge<i64>,
    file_bytes: Gauge<i64>,
    state_bytes: Gauge<i64>,
    event_bytes: Gauge<i64>,
    events: Gauge<i64>,
}

impl Measurements {
    pub(crate) fn new() -> Self {
        Self {
            commit_seconds: Histogram::new(BOUNDS),
            writes: Counter::default(),
            refused_connections: Counter::default(),
            connections: Gauge::default(),
            durable: Gauge::default(),
            generation: Gauge::default(),
            unconfirmed: Gauge::default(),
            file_bytes: Gauge::default(),
            state_bytes: Gauge::default(),
            event_bytes: Gauge::default(),
            events: Gauge::default(),
        }
    }

    /// Offers them until the process ends.
    pub(crate) fn serve(&self) {
        let mut registry = Registry::default();
        let Self {
            commit_seconds,
            writes,
            refused_connections,
            ..
        } = self.clone();
        registry.register(
            "x0_store_commit_seconds",
            "Durable transactions",
            commit_seconds,
        );
        registry.register("x0_store_writes", "Acknowledged writes", writes);
        registry.register(
            "x0_store_refused_connections",
            "Connections that were one too many",
            refused_connections,
        );
        let gauges = [
            ("connections", "Open connections", &self.connections),
            (
                "durable",
                "Whether writes outlive the process",
                &self.durable,
            ),
            (
                "generation",
                "The configuration that applies",
                &self.generation,
            ),
            (
                "unconfirmed",
                "Whether it has to be confirmed",
                &self.unconfirmed,
            ),
            ("file_bytes", "The database", &self.file_bytes),
            (
                "state_bytes",
                "Keys and values of all services",
                &self.state_bytes,
            ),
            ("event_bytes", "The event log", &self.event_bytes),
            ("events", "Records in the event log", &self.events),
        ];
        for (name, help, gauge) in gauges {
            registry.register(format!("x0_store_{name}"), help, gauge.clone());
        }
        runtime::metrics::serve(registry);
    }

    /// Takes over what is counted elsewhere.
    pub(crate) fn update(&self, statistics: &Statistics, is_unconfirmed: bool) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.connections.set(number(statistics.connections));
        self.durable.set(i64::from(statistics.durable));
        self.generation.set(number(statistics.generation));
        self.unconfirmed.set(i64::from(is_unconfirmed));
        self.file_bytes.set(number(statistics.file_bytes));
        self.state_bytes.set(number(statistics.state_bytes));
        self.event_bytes.set(number(statistics.events_bytes));
        self.events.set(number(statistics.events));
    }
}
