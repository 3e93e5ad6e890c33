//! The processes at the other end of a connection on this machine, as `/proc` shows them.
//!
//! ```text
//!   port of the client ──/proc/net/tcp──► inode of its socket ──/proc/*/fd──► its holders
//!                                                             ──/proc/*/stat─► their ancestors
//! ```
//!
//! A process that forks shares its sockets with its children, so a socket may have several holders.
//! Nothing here is certain for longer than the call: processes end, and sockets are passed on.

use std::fs;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;
use tracing::debug;

/// The most ancestors of a process that are looked at.
const ANCESTORS_MAX: usize = 64;
/// The number of look-ups of one connection. If so many fail, further ones would fail too.
const LOOK_UPS_MAX: u32 = 3;

/// A process. Its number may be another one's later, so the time of its start belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    id: u32,
    /// The clock ticks since the machine started.
    started: u64,
}

impl Process {
    /// Returns true if the process has not ended. One that nobody has waited for counts as ended.
    pub fn is_alive(&self) -> bool {
        stat(self.id).is_some_and(|stat| stat.process == *self && !stat.has_ended)
    }

    /// Makes a process for a test.
    #[cfg(test)]
    pub(crate) fn of(id: u32) -> Process {
        Process { id, started: 1 }
    }
}

/// The processes that hold one socket, each with its ancestors behind it, the nearest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders(Vec<Vec<Process>>);

impl Holders {
    /// Makes holders from lines of processes, of which each begins with the holder itself.
    pub fn new(lines: Vec<Vec<Process>>) -> Holders {
        assert!(lines.iter().all(|line| !line.is_empty()), "a line begins with a holder");
        Holders(lines)
    }

    /// Returns each holder with its ancestors.
    pub fn lines(&self) -> &[Vec<Process>] {
        &self.0
    }

    /// Returns the process that made the socket: the only holder that no other holder is an
    /// ancestor of. `None` if there are several, or none.
    pub fn owner(&self) -> Option<Process> {
        let holds = |process: &Process| self.0.iter().any(|line| line[0] == *process);
        let mut roots = self.0.iter().filter(|line| !line[1..].iter().any(holds)).map(|line| line[0]);
        let owner = roots.next()?;
        roots.next().is_none().then_some(owner)
    }

    /// Looks up who holds the socket at `client` that is connected to `server`.
    ///
    /// It took 8 ms at the median, and 14 ms at the 99th percentile, on a busy machine of two
    /// processors and 98 GiB with 84 processes. 6 ms of it is the kernel's walk over its table of
    /// sockets, which grows with the memory of the machine, and most of the rest the look at each
    /// descriptor of each process.
    ///
    /// # Errors
    /// Returns an error if `/proc` does not show the socket or its holders, for instance because
    /// they run as another user.
    pub fn look_up(client: SocketAddrV4, server: SocketAddrV4) -> io::Result<Holders> {
        let inode = inode(client, server)?;
        let ids = ids_of_holders(inode)?;
        if ids.is_empty() {
            return Err(io::Error::other("no process that this one may look at holds the socket"));
        }
        // A process that has ended meanwhile is left out.
        let lines = ids.into_iter().map(line_of).filter(|line| !line.is_empty());
        Ok(Holders::new(lines.collect()))
    }
}

/// Returns the inode of the socket at `client`.
fn inode(client: SocketAddrV4, server: SocketAddrV4) -> io::Result<u64> {
    let v4 = format!(" {} {} ", written(client), written(server));
    // Some runtimes use sockets of IPv6 for everything.
    let v6 = format!(" {MAPPED}{} {MAPPED}{} ", written(client), written(server));
    for (file, needle) in [("/proc/net/tcp", v4), ("/proc/net/tcp6", v6)] {
        if let Some(inode) = fs::read_to_string(file).ok().and_then(|text| inode_in(&text, &needle)) {
            return Ok(inode);
        }
    }
    Err(io::Error::other("no socket of this machine has the address of the caller"))
}

/// The beginning of an address of IPv6 that stands for one of IPv4, as `/proc/net/tcp6` writes it:
/// three words, each in the order of the machine.
const MAPPED: &str =
    if cfg!(target_endian = "little") { "0000000000000000FFFF0000" } else { "00000000000000000000FFFF" };

/// Returns an address as `/proc/net/tcp` writes it: the address in the order of the machine.
fn written(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

/// Returns the inode in the line of `/proc/net/tcp` that contains `needle`.
fn inode_in(text: &str, needle: &str) -> Option<u64> {
    let at = text.find(needle)?;
    let mut rest = text[at + needle.len()..].lines().next()?.split_whitespace();
    // Behind the addresses: state, queues, timer, retransmits, user, timeout, inode.
    let inode = rest.nth(6)?.parse().ok()?;
    // A socket that is being closed has none.
    (inode != 0).then_some(inode)
}

/// Returns the numbers of the processes that hold a socket.
fn ids_of_holders(inode: u64) -> io::Result<Vec<u32>> {
    let target = format!("socket:[{inode}]");
    let holds = |id: &u32| {
        // Processes of other users do not show what they hold, and others end at this moment.
        let Ok(entries) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
        entries
            .flatten()
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(&target)))
    };
    let entries = fs::read_dir("/proc")?;
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(ids.filter(holds).collect())
}

/// Returns a process with its ancestors, the nearest first; nothing if it has ended.
fn line_of(id: u32) -> Vec<Process> {
    let mut line = Vec::new();
    let mut next = Some(id);
    while let Some(stat) = next.and_then(stat) {
        line.push(stat.process);
        let is_last = stat.parent == 0 || line.len() > ANCESTORS_MAX;
        next = (!is_last).then_some(stat.parent);
    }
    line
}

/// The part of `/proc/PID/stat` that is needed here.
struct Stat {
    process: Process,
    parent: u32,
    has_ended: bool,
}

fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold spaces and brackets. Behind it: state, parent, …, start.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { process: Process { id, started }, parent, has_ended: matches!(state, "Z" | "X") })
}

/// The client's end of a connection, as one of the local endpoints sees it.
#[derive(Debug)]
pub struct Peer {
    client: SocketAddr,
    server: SocketAddr,
    /// Looked up once. A connection seldom changes hands.
    holders: OnceCell<Holders>,
    /// The look-ups that failed.
    failures: AtomicU32,
}

impl Peer {
    /// Makes the end at `client` of a connection to `server`.
    pub fn new(client: SocketAddr, server: SocketAddr) -> Peer {
        Peer { client, server, holders: OnceCell::new(), failures: AtomicU32::new(0) }
    }

    /// Returns the processes that hold this end; `None` if they cannot be found out. The first call
    /// looks them up, on a thread of its own: this one serves all invocations.
    pub async fn holders(&self) -> Option<&Holders> {
        let look_up = || async {
            if self.failures.load(Ordering::Relaxed) >= LOOK_UPS_MAX {
                return Err(());
            }
            let (SocketAddr::V4(client), SocketAddr::V4(server)) = (self.client, self.server) else {
                unreachable!("the endpoints listen on 127.0.0.1");
            };
            let looked = tokio::task::spawn_blocking(move || Holders::look_up(client, server)).await;
            let looked = looked.unwrap_or_else(|why| match why.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(io::Error::other("the layer ends")),
            });
            looked.map_err(|why| {
                self.failures.fetch_add(1, Ordering::Relaxed);
                debug!(client = %client, why = %why, "aft: the process of a connection is not known");
            })
        };
        self.holders.get_or_try_init(look_up).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::process::Command;

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        let SocketAddr::V4(address) = address else { panic!("{address} is of IPv6") };
        address
    }

    fn look_up(client: u16, server: SocketAddr) -> io::Result<Holders> {
        Holders::look_up(SocketAddrV4::new([127, 0, 0, 1].into(), client), v4(server))
    }

    #[test]
    fn the_holders_of_a_connection_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let me = std::process::id();
        // Of IPv4, and of IPv6 with an address of IPv4.
        for address in [server.to_string(), format!("[::ffff:127.0.0.1]:{}", server.port())] {
            let client = TcpStream::connect(&address).unwrap();
            let port = client.local_addr().unwrap().port();
            let holders = look_up(port, server).unwrap();
            let [line] = holders.lines() else { panic!("one process has it: {holders:?}") };
            assert_eq!((line[0].id, holders.owner()), (me, Some(line[0])), "{address}");
            assert!(line[0].is_alive() && line.len() > 1, "{line:?}");

            // A child gets a copy: now two hold it, and the parent has made it.
            let copy = OwnedFd::from(client.try_clone().unwrap());
            let mut child = Command::new("sleep").arg("600").stdin(copy).spawn().unwrap();
            let holders = look_up(port, server).unwrap();
            assert_eq!((holders.lines().len(), holders.owner()), (2, Some(line[0])));
            drop(client);
            let holders = look_up(port, server).unwrap();
            let [line] = holders.lines() else { panic!("the child alone has it: {holders:?}") };
            assert_eq!((line[0].id, line[1].id), (child.id(), me));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!line[0].is_alive() && line[1].is_alive());
            assert!(look_up(port, server).is_err(), "the socket is gone");
        }
    }

    #[test]
    fn lines_of_sockets_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                    0: 0100007F:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n   \
                    1: 0100007F:1F91 0100007F:0050 06 00000000:00000000 03:00001711 00000000     0        0 0 3 0\n";
        let needle = |port| format!(" 0100007F:{port} 0100007F:0050 ");
        assert_eq!(inode_in(text, &needle("1F90")), Some(4711));
        assert_eq!(inode_in(text, &needle("1F91")), None, "it is being closed");
        assert_eq!(inode_in(text, &needle("1F92")), None);
        assert_eq!(inode_in("", &needle("1F90")), None);
    }

    #[test]
    fn the_owner_is_the_first_to_have_had_it() {
        let line = |ids: &[u32]| ids.iter().map(|id| Process::of(*id)).collect::<Vec<_>>();
        let owner = |lines: &[&[u32]]| {
            Holders::new(lines.iter().map(|ids| line(ids)).collect()).owner().map(|owner| owner.id)
        };
        assert_eq!(owner(&[]), None);
        assert_eq!(owner(&[&[5, 3, 1]]), Some(5));
        assert_eq!(owner(&[&[9, 7, 5, 3, 1], &[5, 3, 1]]), Some(5), "9 is a grandchild of 5");
        assert_eq!(owner(&[&[5, 3, 1], &[6, 3, 1]]), None, "their parent has closed it");
    }

    /// The cost of a look-up on this machine: `cargo test -p aft-layer --release --lib cost --
    /// --ignored --nocapture`.
    #[test]
    #[ignore = "it measures"]
    fn the_cost_of_a_look_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let port = client.local_addr().unwrap().port();
        let mut took: Vec<_> = (0..200)
            .map(|_| {
                let since = std::time::Instant::now();
                look_up(port, server).unwrap();
                since.elapsed().as_micros()
            })
            .collect();
        took.sort_unstable();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let processes =
            processes.filter(|one| one.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()));
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap().lines().count();
        println!(
            "{} processes, {sockets} sockets: {} µs, at worst {} µs",
            processes.count(),
            took[100],
            took[199]
        );
    }
}
