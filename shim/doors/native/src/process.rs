//! Metrics of the process and of the build, under the names that Prometheus's client libraries use.
//!
//! They are read from `/proc` whenever the metrics are. On a system without it they are left out.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

/// The numbers of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Numbers {
    /// The time on all processors, in seconds.
    cpu_s: f64,
    threads: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
    /// The time from the boot of the machine to the start of the process, in seconds.
    started_after_boot_s: f64,
}

/// Describes the metrics, and sets those that do not change.
pub(crate) fn describe() {
    describe_gauge!("aft_build_info", "1; the labels tell the version");
    gauge!("aft_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    describe_counter!("process_cpu_seconds_total", Unit::Seconds, "Time on all processors, in whole seconds");
    describe_gauge!("process_open_fds", "Open file descriptors");
    describe_gauge!("process_max_fds", "The most file descriptors that may be open");
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory in use");
    describe_gauge!("process_virtual_memory_bytes", Unit::Bytes, "Memory reserved");
    describe_gauge!("process_threads", "Threads");
    describe_gauge!("process_start_time_seconds", Unit::Seconds, "Start of the process, in Unix time");
}

/// Sets the metrics that change.
pub(crate) fn read() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    gauge!("process_max_fds").set(limit.map_or(f64::INFINITY, |limit| limit as f64));
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // The listing itself is one of them.
        gauge!("process_open_fds").set(open.count().saturating_sub(1) as f64);
    }
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page_bytes = rustix::param::page_size() as f64;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some(numbers) = parse(&stat, ticks, page_bytes) else { return };
    counter!("process_cpu_seconds_total").absolute(numbers.cpu_s as u64);
    gauge!("process_threads").set(numbers.threads);
    gauge!("process_virtual_memory_bytes").set(numbers.virtual_bytes);
    gauge!("process_resident_memory_bytes").set(numbers.resident_bytes);
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    if let Some(boot_s) = boot_time(&boot) {
        gauge!("process_start_time_seconds").set(boot_s + numbers.started_after_boot_s);
    }
}

/// Parses `/proc/self/stat` (proc_pid_stat(5)).
fn parse(stat: &str, ticks_per_s: f64, page_bytes: f64) -> Option<Numbers> {
    // The second field is the program's name in parentheses, which may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The manual counts fields from 1, and the first of these is its third.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Numbers {
        cpu_s: (field(14)? + field(15)?) / ticks_per_s,
        threads: field(20)?,
        started_after_boot_s: field(22)? / ticks_per_s,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page_bytes,
    })
}

/// Returns the time at which the machine started, in Unix time, from `/proc/stat`.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_their_fields() {
        let stat = "77 (a) b) S 1 77 77 0 -1 4194560 1000 0 0 0 250 50 0 0 20 0 9 0 12345 1000000 300 18446744073709551615 1";
        let expect = Numbers {
            cpu_s: 3.0,
            threads: 9.0,
            virtual_bytes: 1e6,
            resident_bytes: 300.0 * 4_096.0,
            started_after_boot_s: 123.45,
        };
        assert_eq!(parse(stat, 100.0, 4_096.0), Some(expect));
        for short in ["", "77 (a) S", "no parenthesis"] {
            assert_eq!(parse(short, 100.0, 4_096.0), None, "{short}");
        }
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1.7e9));
        assert_eq!(boot_time(""), None);
    }
}
