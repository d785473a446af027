//! The machine's figures, from /proc and /sys, under the names that node_exporter made common.
//!
//! What cannot be read is left out: a page without a disk's figures beats no page.

use std::fs;
use std::path::Path;

use crate::exposition::Kind::{Counter, Gauge};
use crate::page::Page;

/// Interfaces and disks beyond this number are left out.
const DEVICES_MAX: usize = 64;
const CPUS_MAX: usize = 256;

/// Adds everything. `root` is `/`, or a folder with captured files.
pub(crate) fn collect(root: &Path, page: &mut Page) {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    stat(&read("proc/stat"), page);
    memory(&read("proc/meminfo"), page);
    load(&read("proc/loadavg"), page);
    for resource in ["cpu", "io", "memory"] {
        pressure(resource, &read(&format!("proc/pressure/{resource}")), page);
    }
    disks(&read("proc/diskstats"), page);
    network(&read("proc/net/dev"), page);
    links(&root.join("sys/class/net"), page);
    if let Some(seconds) = numbers(&read("proc/uptime")).first() {
        page.add(
            "node_uptime_seconds",
            Gauge,
            "Time since the kernel started",
            &[],
            *seconds,
        );
    }
    if let Some(open) = numbers(&read("proc/sys/fs/file-nr")).first() {
        page.add(
            "node_filefd_allocated",
            Gauge,
            "Open file descriptors of the machine",
            &[],
            *open,
        );
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    if let Ok(now) = now {
        let help = "The clock, since the Unix epoch";
        page.add("node_time_seconds", Gauge, help, &[], now.as_secs_f64());
    }
}

/// Adds how full the file system at `mountpoint` is.
pub(crate) fn filesystem(mountpoint: &str, page: &mut Page) {
    let Ok(usage) = rustix::fs::statvfs(mountpoint) else {
        return;
    };
    let bytes = |blocks: u64| whole(blocks.saturating_mul(usage.f_frsize));
    let labels = [("mountpoint", mountpoint)];
    for (name, help, value) in [
        (
            "node_filesystem_size_bytes",
            "Size of the file system",
            bytes(usage.f_blocks),
        ),
        (
            "node_filesystem_free_bytes",
            "Free space, the reserve included",
            bytes(usage.f_bfree),
        ),
        (
            "node_filesystem_avail_bytes",
            "Free space for services",
            bytes(usage.f_bavail),
        ),
        (
            "node_filesystem_files",
            "Files that the file system can hold",
            whole(usage.f_files),
        ),
        (
            "node_filesystem_files_free",
            "Files that it can hold in addition",
            whole(usage.f_ffree),
        ),
    ] {
        page.add(name, Gauge, help, &labels, value);
    }
}

/// proc_stat(5).
fn stat(text: &str, page: &mut Page) {
    const MODES: [&str; 8] = [
        "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
    ];
    let ticks = whole(rustix::param::clock_ticks_per_second().max(1));
    let mut cpus = 0;
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(' ') else {
            continue;
        };
        let values = numbers(rest);
        let first = values.first().copied().unwrap_or_default();
        if let Some(cpu) = key.strip_prefix("cpu").filter(|cpu| !cpu.is_empty()) {
            cpus += 1;
            if cpus > CPUS_MAX {
                continue;
            }
            for (mode, value) in MODES.iter().zip(&values) {
                let labels = [("cpu", cpu), ("mode", mode)];
                let help = "Time that processors spent in each mode";
                page.add("node_cpu_seconds", Counter, help, &labels, value / ticks);
            }
            continue;
        }
        let (name, kind, help) = match key {
            "btime" => (
                "node_boot_time_seconds",
                Gauge,
                "Start of the kernel since the Unix epoch",
            ),
            "ctxt" => ("node_context_switches", Counter, "Context switches"),
            "intr" => ("node_intr", Counter, "Interrupts"),
            "processes" => (
                "node_forks",
                Counter,
                "Processes and threads that were made",
            ),
            "procs_running" => ("node_procs_running", Gauge, "Threads that run or could run"),
            "procs_blocked" => ("node_procs_blocked", Gauge, "Threads that wait for a disk"),
            _ => continue,
        };
        page.add(name, kind, help, &[], first);
    }
}

/// proc_meminfo(5).
fn memory(text: &str, page: &mut Page) {
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else {
            continue;
        };
        let (name, help) = match key {
            "MemTotal" => ("node_memory_size_bytes", "Memory that the kernel can use"),
            "MemFree" => ("node_memory_free_bytes", "Memory that nobody uses"),
            "MemAvailable" => (
                "node_memory_available_bytes",
                "Memory that programs could still get",
            ),
            "Buffers" => ("node_memory_buffers_bytes", "Memory for blocks of disks"),
            "Cached" => ("node_memory_cached_bytes", "Memory for contents of files"),
            "Shmem" => (
                "node_memory_shared_bytes",
                "Memory of tmpfs and shared memory",
            ),
            "Slab" => (
                "node_memory_slab_bytes",
                "Memory of the kernel's structures",
            ),
            _ => continue,
        };
        if let Some(kib) = numbers(rest).first() {
            page.add(name, Gauge, help, &[], kib * 1024.0);
        }
    }
}

fn load(text: &str, page: &mut Page) {
    let values = numbers(text);
    for (name, value) in ["node_load1", "node_load5", "node_load15"]
        .iter()
        .zip(values)
    {
        page.add(
            name,
            Gauge,
            "Threads that ran or waited, on average",
            &[],
            value,
        );
    }
}

/// Documentation/accounting/psi.rst: `some avg10=… total=<microseconds>`.
fn pressure(resource: &str, text: &str, page: &mut Page) {
    for line in text.lines() {
        let total = line.split_once("total=").map(|(_, total)| numbers(total));
        let Some(total) = total.and_then(|total| total.first().copied()) else {
            continue;
        };
        let (word, help) = match line.split(' ').next() {
            Some("some") => (
                "waiting",
                "Time in which some thread waited for the resource",
            ),
            // The kernel reports a `full` line for the processor as well; it is always zero.
            Some("full") if resource != "cpu" => (
                "stalled",
                "Time in which every thread waited for the resource",
            ),
            _ => continue,
        };
        let name = format!("node_pressure_{resource}_{word}_seconds");
        page.add(&name, Counter, help, &[], total / 1e6);
    }
}

/// Documentation/admin-guide/iostats.rst; sectors there have 512 bytes, whatever the disk's have.
fn disks(text: &str, page: &mut Page) {
    for line in text.lines().take(DEVICES_MAX) {
        let mut words = line.split_whitespace().skip(2);
        let Some(device) = words.next() else {
            continue;
        };
        if device.starts_with("loop") || device.starts_with("ram") {
            continue;
        }
        let values: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
        let [
            reads,
            _,
            read_sectors,
            read_ms,
            writes,
            _,
            written_sectors,
            write_ms,
            _,
            io_ms,
            ..,
        ] = values[..]
        else {
            continue;
        };
        let labels = [("device", device)];
        for (name, help, value) in [
            ("node_disk_reads_completed", "Reads that are done", reads),
            ("node_disk_read_bytes", "Bytes read", read_sectors * 512.0),
            (
                "node_disk_read_time_seconds",
                "Time that all reads took",
                read_ms / 1e3,
            ),
            ("node_disk_writes_completed", "Writes that are done", writes),
            (
                "node_disk_written_bytes",
                "Bytes written",
                written_sectors * 512.0,
            ),
            (
                "node_disk_write_time_seconds",
                "Time that all writes took",
                write_ms / 1e3,
            ),
            (
                "node_disk_io_time_seconds",
                "Time in which the disk was busy",
                io_ms / 1e3,
            ),
        ] {
            page.add(name, Counter, help, &labels, value);
        }
    }
}

/// proc_pid_net(5): `eth0: bytes packets errs drop fifo frame compressed multicast bytes …`.
fn network(text: &str, page: &mut Page) {
    for line in text.lines().take(DEVICES_MAX) {
        let Some((device, rest)) = line.split_once(':') else {
            continue;
        };
        let labels = [("device", device.trim())];
        let values = numbers(rest);
        if values.len() < 16 {
            continue;
        }
        for (offset, direction) in [(0, "receive"), (8, "transmit")] {
            for (at, word, help) in [
                (0, "bytes", "Bytes that the interface has moved"),
                (1, "packets", "Packets that the interface has moved"),
                (2, "errs", "Packets with an error"),
                (3, "drop", "Packets that were dropped"),
            ] {
                let name = format!("node_network_{direction}_{word}");
                page.add(&name, Counter, help, &labels, values[offset + at]);
            }
        }
    }
}

/// Documentation/ABI/testing/sysfs-class-net.
fn links(folder: &Path, page: &mut Page) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten().take(DEVICES_MAX) {
        let name = entry.file_name();
        let device = name.to_string_lossy();
        let labels = [("device", &*device)];
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).ok();
        if let Some(state) = read("operstate") {
            let up = f64::from(u8::from(state.trim() == "up"));
            page.add(
                "node_network_up",
                Gauge,
                "Whether packets can pass",
                &labels,
                up,
            );
        }
        let figures = [
            ("mtu", "node_network_mtu_bytes", Gauge, "Longest packet"),
            (
                "carrier_changes",
                "node_network_carrier_changes",
                Counter,
                "Cable plugged or pulled",
            ),
        ];
        for (file, name, kind, help) in figures {
            if let Some(value) = read(file).and_then(|text| text.trim().parse().ok()) {
                page.add(name, kind, help, &labels, value);
            }
        }
        // Negative or unreadable where nobody knows.
        let speed = read("speed").and_then(|text| text.trim().parse::<f64>().ok());
        if let Some(mbit) = speed.filter(|mbit| *mbit > 0.0) {
            let help = "Speed of the link";
            page.add(
                "node_network_speed_bytes",
                Gauge,
                help,
                &labels,
                mbit * 125_000.0,
            );
        }
    }
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers on the page are doubles; whole ones are exact up to 2^53"
)]
pub(crate) fn whole(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Format;

    #[test]
    fn reads_the_kernels_formats() {
        let mut page = Page::default();
        stat(
            "cpu  1 1\ncpu0 100 0 50 800 2 0 1 0 0 0\nctxt 77\nintr 9 0 0 4\nbtime 1700\n",
            &mut page,
        );
        memory("MemTotal:      100 kB\nHugePages_Total:  0\n", &mut page);
        pressure(
            "io",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0 total=1\n",
            &mut page,
        );
        disks(
            " 254 0 vda 10 0 16 5 3 0 8 7 0 12 12 0 0 0 0 2 1\n 7 0 loop0 1 1 1 1 1 1 1 1 1 1 1\n",
            &mut page,
        );
        network(
            "Inter-| Receive\n face |bytes\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 0 3 0 0 0 0\n",
            &mut page,
        );
        let text = page.render(Format::OpenMetrics);
        for line in [
            "node_cpu_seconds_total{cpu=\"0\",mode=\"user\"} 1",
            "node_context_switches_total 77",
            "node_intr_total 9",
            "node_memory_size_bytes 102400",
            "node_pressure_io_waiting_seconds_total 2.5",
            "node_disk_read_bytes_total{device=\"vda\"} 8192",
            "node_disk_io_time_seconds_total{device=\"vda\"} 0.012",
            "node_network_transmit_drop_total{device=\"eth0\"} 3",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        assert!(!text.contains("loop0"));
    }

    #[test]
    fn garbage_is_left_out() {
        for garbage in [
            "",
            "x",
            ":",
            "cpu0\n",
            "a b c d\n",
            "eth0: 1 2\n",
            "total=\nsome total=x\n",
        ] {
            let mut page = Page::default();
            stat(garbage, &mut page);
            memory(garbage, &mut page);
            load(garbage, &mut page);
            pressure("cpu", garbage, &mut page);
            disks(garbage, &mut page);
            network(garbage, &mut page);
            crate::exposition::parse(&page.render(Format::OpenMetrics)).unwrap();
        }
    }
}
