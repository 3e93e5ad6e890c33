//! Ports for servers that are killed and come back at the same port.
//!
//! They are not from the range from which the kernel gives ports to clients by default (32768 and
//! up): while a server is down, some connection could take its port, and a client that tries to
//! reach it there could even be connected to itself.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::Range;

use crate::{Error, Home};

const RANGE: Range<u16> = 20_000..32_000;
/// The number of ports to try: a machine where this many are taken has another problem.
const TRIED_MAX: usize = 100;

/// A port that no other process of ours takes while this value lives. Foreign processes might, so a
/// start has to expect a conflict.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// The lock, which is held while the file is open.
    _lock: File,
}

impl Port {
    pub(crate) fn find(home: &Home) -> Result<Port, Error> {
        let locks = home.path().join("ports");
        fs::create_dir_all(&locks).map_err(Error::io(format!("cannot make {}", locks.display())))?;
        for _ in 0..TRIED_MAX {
            let number = rand::random_range(RANGE);
            let path = locks.join(number.to_string());
            let lock = File::create(&path).map_err(Error::io(format!("cannot make {}", path.display())))?;
            if lock.try_lock().is_ok() && free(number) {
                return Ok(Port { number, _lock: lock });
            }
        }
        let none = io::Error::from(io::ErrorKind::AddrInUse);
        Err(Error::io(format!("{TRIED_MAX} ports of {RANGE:?} are all taken"))(none))
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

/// Returns true if the port is free on both loopback addresses: a server may take both.
fn free(number: u16) -> bool {
    let refused =
        |result: io::Result<TcpListener>| result.is_err_and(|why| why.kind() == io::ErrorKind::AddrInUse);
    // On a machine without IPv6 the second bind fails for another reason, and nothing is in use.
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
        && !refused(TcpListener::bind((Ipv6Addr::LOCALHOST, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of the kernel's choice");
        assert!(!free(taken.local_addr().expect("it is bound").port()));
    }
}
