//! The figures that every Prometheus client library offers of its process, under the names that
//! they all use.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::time::{ClockId, clock_gettime};

/// Reads `/proc/self` at each scrape. What the sandbox hides is left out.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(stat) = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|text| Stat::parse(&text))
        {
            let ticks = per_second(rustix::param::clock_ticks_per_second());
            let page = rustix::param::page_size() as u64;
            counter(
                &mut encoder,
                "process_cpu_seconds",
                "User and system time spent",
                seconds(stat.cpu_ticks, ticks),
            )?;
            gauge(
                &mut encoder,
                "process_resident_memory_bytes",
                "Resident memory",
                whole(stat.resident_pages.saturating_mul(page)),
            )?;
            gauge(
                &mut encoder,
                "process_virtual_memory_bytes",
                "Virtual memory",
                whole(stat.virtual_bytes),
            )?;
            gauge(
                &mut encoder,
                "process_threads",
                "Threads",
                whole(stat.threads),
            )?;
            gauge(
                &mut encoder,
                "process_start_time_seconds",
                "Start of the process since the Unix epoch",
                boot_time_s() + seconds(stat.start_ticks, ticks),
            )?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the descriptor that reads the folder.
            let count = files.count().saturating_sub(1);
            let help = "Open file descriptors";
            gauge(&mut encoder, "process_open_fds", help, whole(count as u64))?;
        }
        Ok(())
    }
}

/// The fields of proc_pid_stat(5) that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name, which may contain spaces and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // `rest` begins with field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// When the machine started, by the wall clock as it is now.
fn boot_time_s() -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |now| now.as_secs_f64());
    let up = clock_gettime(ClockId::Boottime);
    now - (up.tv_sec as f64 + up.tv_nsec as f64 / 1e9)
}

fn seconds(ticks: u64, per_second: f64) -> f64 {
    whole(ticks) / per_second
}

fn per_second(ticks: u64) -> f64 {
    whole(ticks.max(1))
}

/// OpenMetrics numbers are IEEE doubles; whole ones are exact up to 2^53.
fn whole(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_may_look_like_fields() {
        let text = "7 (a) b 9) S 1 7 7 0 -1 0 1 2 3 4 250 50 0 0 20 0 3 0 4711 8192 5 0\n";
        assert_eq!(
            Stat::parse(text),
            Some(Stat {
                cpu_ticks: 300,
                threads: 3,
                start_ticks: 4711,
                virtual_bytes: 8192,
                resident_pages: 5,
            })
        );
        assert_eq!(Stat::parse("7 (cut) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn the_start_of_this_process_is_in_the_past_and_after_boot() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let stat = Stat::parse(&stat).unwrap();
        let ticks = per_second(rustix::param::clock_ticks_per_second());
        let start = boot_time_s() + seconds(stat.start_ticks, ticks);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(start <= now.as_secs_f64() && start >= boot_time_s());
    }
}
