//! What PID 1 and the store tell of the machine.

use api::{HealthState, ServiceState, Status};
use store_api::Statistics;

use crate::exposition::Kind::{Counter, Gauge, Info};
use crate::node::whole;
use crate::page::Page;

/// Services beyond this number are left out.
const SERVICES_MAX: usize = 64;

/// PID 1's account: slot, boots, health, and each service.
pub(crate) fn init(status: &Status, page: &mut Page) {
    let slot = status.slot.as_deref().unwrap_or("none");
    let labels = [
        ("version", &*status.version),
        ("build", &status.build),
        ("slot", slot),
    ];
    page.add("x0_boot", Info, "What was booted", &labels, 1.0);
    if let Some(count) = status.boot_count {
        page.add(
            "x0_boots",
            Counter,
            "Boots that the selector has counted",
            &[],
            whole(count),
        );
    }
    if let Some(ms) = status.userspace_ready_ms {
        let help = "From the start of PID 1 until every service was ready";
        page.add(
            "x0_boot_userspace_ready_seconds",
            Gauge,
            help,
            &[],
            whole(ms) / 1e3,
        );
    }
    let healthy = flag(status.health.state == HealthState::Healthy);
    page.add(
        "x0_healthy",
        Gauge,
        "Whether the machine does its work without reservation",
        &[],
        healthy,
    );
    let reasons = whole(status.health.reasons.len() as u64);
    page.add(
        "x0_health_reasons",
        Gauge,
        "What keeps the machine from being healthy",
        &[],
        reasons,
    );
    for (name, help, value) in [
        (
            "x0_init_reexecs",
            "Times that PID 1 replaced itself",
            status.reexecs,
        ),
        (
            "x0_init_soft_reboots",
            "Restarts of all services without the kernel",
            status.soft_reboots,
        ),
        (
            "x0_init_notify_rejected",
            "Forged messages to PID 1",
            status.notify_rejected,
        ),
    ] {
        page.add(name, Counter, help, &[], whole(value));
    }
    for service in status.services.iter().take(SERVICES_MAX) {
        let labels = [("service", &*service.name)];
        let state = service.state.to_string();
        let help = "State of the service: the one with the value 1";
        page.add(
            "x0_service_state",
            Gauge,
            help,
            &[labels[0], ("state", &state)],
            1.0,
        );
        let up = flag(matches!(
            service.state,
            ServiceState::Ready | ServiceState::Done
        ));
        page.add(
            "x0_service_up",
            Gauge,
            "Whether the service is ready, or has done its work",
            &labels,
            up,
        );
        let since = whole(service.uptime_ms) / 1e3;
        page.add(
            "x0_service_state_age_seconds",
            Gauge,
            "Time in this state",
            &labels,
            since,
        );
        let restarts = whole(service.restarts);
        page.add(
            "x0_service_restarts",
            Counter,
            "Restarts since the boot",
            &labels,
            restarts,
        );
        let Some(used) = &service.resources else {
            continue;
        };
        let cpu = whole(used.cpu_us) / 1e6;
        page.add(
            "x0_service_cpu_seconds",
            Counter,
            "Processor time",
            &labels,
            cpu,
        );
        for (name, kind, help, value) in [
            (
                "x0_service_memory_bytes",
                Gauge,
                "Memory of all its processes",
                used.memory_bytes,
            ),
            (
                "x0_service_memory_peak_bytes",
                Gauge,
                "The most that it ever had",
                used.memory_peak_bytes,
            ),
            (
                "x0_service_io_read_bytes",
                Counter,
                "Read from disks",
                used.io_read_bytes,
            ),
            (
                "x0_service_io_written_bytes",
                Counter,
                "Written to disks",
                used.io_write_bytes,
            ),
            (
                "x0_service_tasks",
                Gauge,
                "Processes and threads",
                used.tasks,
            ),
        ] {
            page.add(name, kind, help, &labels, whole(value));
        }
    }
}

/// The store's own figures.
pub(crate) fn store(figures: &Statistics, page: &mut Page) {
    for (quantile, value) in [
        ("0.5", figures.commit_p50_us),
        ("0.99", figures.commit_p99_us),
        ("1", figures.commit_max_us),
    ] {
        let help = "Time that a durable transaction took, by quantile";
        let labels = [("quantile", quantile)];
        page.add(
            "x0_store_commit_latency_seconds",
            Gauge,
            help,
            &labels,
            whole(value) / 1e6,
        );
    }
    let durable = flag(figures.durable);
    page.add(
        "x0_store_durable",
        Gauge,
        "Whether writes outlive the store's process",
        &[],
        durable,
    );
    for (name, kind, help, value) in [
        (
            "x0_store_commits",
            Counter,
            "Durable transactions",
            figures.commits,
        ),
        (
            "x0_store_writes",
            Counter,
            "Acknowledged writes",
            figures.writes,
        ),
        (
            "x0_store_file_bytes",
            Gauge,
            "Size of the database",
            figures.file_bytes,
        ),
        (
            "x0_store_state_keys",
            Gauge,
            "Keys of all services",
            figures.state_keys,
        ),
        (
            "x0_store_state_bytes",
            Gauge,
            "Keys and values of all services",
            figures.state_bytes,
        ),
        (
            "x0_store_events",
            Gauge,
            "Records of the event log",
            figures.events,
        ),
        (
            "x0_store_events_bytes",
            Gauge,
            "Size of the event log",
            figures.events_bytes,
        ),
        (
            "x0_store_generation",
            Gauge,
            "The configuration that applies",
            figures.generation,
        ),
        (
            "x0_store_connections",
            Gauge,
            "Open connections",
            figures.connections,
        ),
        (
            "x0_store_refused_connections",
            Counter,
            "Refused connections",
            figures.refused_connections,
        ),
        (
            "x0_store_snapshots",
            Gauge,
            "Automatic copies on DATA",
            figures.snapshots,
        ),
    ] {
        page.add(name, kind, help, &[], whole(value));
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}
