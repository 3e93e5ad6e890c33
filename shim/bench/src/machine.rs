//! The machine that a figure was measured on. A figure means nothing without it.

use std::fs;
use std::thread;

/// Describes the machine and the program in one line, as far as the system reports them.
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut parts = vec![format!("{cores} cores")];
    parts.extend(field("/proc/cpuinfo", "model name"));
    if let Some(kib) = field("/proc/meminfo", "MemTotal").and_then(|text| kib(&text)) {
        parts.push(format!("{:.1} GiB", kib as f64 / (1024.0 * 1024.0)));
    }
    if let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        parts.push(format!("Linux {}", release.trim()));
    }
    parts.push(version());
    parts.join(" · ")
}

/// Returns the program's version and build profile. Figures from a debug build are not comparable.
pub(crate) fn version() -> String {
    let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    format!("aft {} ({build})", env!("CARGO_PKG_VERSION"))
}

/// Returns the text after the first `name … :` in a file of `/proc`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn says_cores_and_version() {
        let text = super::describe();
        assert!(text.contains("cores") && text.contains("aft "), "{text}");
    }
}
