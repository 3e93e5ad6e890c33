//! `AFT_SKIP_SERVICES=minio,moto`: the only way to leave a service's tests out. The totals show it.

use std::io::Write;

use crate::{Error, Service};

const VARIABLE: &str = "AFT_SKIP_SERVICES";
/// Names in the same variable that other tests read: the languages of `tests/e2e/tests/clients.rs`,
/// and the clocks of `tests/e2e/src/wall_clock.rs`.
const OF_OTHERS: &[&str] = &["python", "node", "faketime"];

/// Returns the services that the environment leaves out.
pub(crate) fn read() -> Result<Vec<Service>, Error> {
    parse(&std::env::var_os(VARIABLE).unwrap_or_default().to_string_lossy())
}

/// Prints that the running test leaves a service out. `cargo xtask test` reads the line and counts
/// the test as skipped.
pub(crate) fn tell(service: Service) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {service} ({VARIABLE})\n", thread.name().unwrap_or("a test"));
    let mut out = std::io::stdout().lock();
    // Not `println!`, whose output the test harness captures while the test passes. If the pipe is
    // closed, there is no reader of the totals either.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

fn parse(list: &str) -> Result<Vec<Service>, Error> {
    let names = list.split(',').map(str::trim);
    names.filter(|name| !name.is_empty() && !OF_OTHERS.contains(name)).map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, expect: Option<&[Service]>) {
        assert_eq!(parse(list).ok().as_deref(), expect, "{list:?}");
    }

    #[test]
    fn lists_of_names_are_read() {
        check("", Some(&[]));
        check("minio", Some(&[Service::Minio]));
        check(" moto , minio,", Some(&[Service::Moto, Service::Minio]));
        check("python,node,faketime, minio", Some(&[Service::Minio]));
        check("minoi", None);
        check("minio;moto", None);
    }
}
