//! Ports for servers that are killed and come back at the same port.
//!
//! Not from the range that the kernel gives to clients by default (32768 and up): while a server is down, some connection could take its port,
//! and a client that tries to reach it there could even be connected to itself.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::Range;

use crate::{Error, Home};

const RANGE: Range<u16> = 20_000..32_000;
/// How many are tried: a machine where so many in a row are taken has another problem.
const TRIED_MAX: usize = 100;

/// A port that no other process of ours takes while this lives; others might, so a clash at the start is to be expected.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Locked as long as it is open.
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

/// On both loopback addresses: a server may take both.
fn free(number: u16) -> bool {
    let refused =
        |result: io::Result<TcpListener>| result.is_err_and(|why| why.kind() == io::ErrorKind::AddrInUse);
    // A machine without IPv6 has nothing of it in use.
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
