//! One running service: start, SIGKILL, restart on the same port and data, pause.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::log::Log;
use crate::port::Port;
use crate::service::Keys;
use crate::supervised::{self, Supervised};
use crate::{Error, Home, Service};

/// How long a service may take until it serves: alone a second or two, Ceph a dozen; more on a machine that compiles.
const START_TIME_MAX: Duration = Duration::from_secs(120);
/// How long a server may take to stop where it is: its threads do it one by one.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How often it is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How many ports a start tries, should others take them in between.
const PORTS_TRIED_MAX: usize = 5;
/// What services say of a port that is taken, in lower case.
const PORT_TAKEN: &str = "already in use";
/// Services that know regions were started without one, and this is then theirs.
pub(crate) const REGION: &str = "us-east-1";

/// A service that was started. Its process ends and its data goes when it is dropped, and also when this process dies.
///
/// Every call blocks: in async code, wrap [`Server::restart`] in `spawn_blocking`.
#[derive(Debug)]
pub struct Server {
    service: Service,
    version: String,
    /// What runs, of the fetched.
    program: PathBuf,
    /// None between a kill and a restart.
    process: Option<Supervised>,
    port: Port,
    /// Removed after the process has ended: declared below it.
    data: TempDir,
    /// Over all starts.
    log: Log,
}

impl Server {
    pub(crate) fn start(service: Service, home: &Home) -> Result<Server, Error> {
        let program = service.program(home)?;
        let data = tempfile::Builder::new()
            .prefix(&format!("aft-{service}-"))
            .tempdir_in(service.recipe().data_root())
            .map_err(Error::io("cannot make a temporary directory"))?;
        let port = Port::find(home)?;
        let mut server = Server {
            service,
            version: service.version(home),
            program,
            process: None,
            port,
            data,
            log: Log::default(),
        };
        let mut tried = 1;
        loop {
            match server.run() {
                Err(Error::Ended { said, .. })
                    if tried < PORTS_TRIED_MAX && said.to_lowercase().contains(PORT_TAKEN) =>
                {
                    server.port = Port::find(home)?;
                    tried += 1;
                }
                Err(why) => return Err(why),
                Ok(()) => return Ok(server),
            }
        }
    }

    /// Which service it is.
    pub fn service(&self) -> Service {
        self.service
    }

    /// Its version, as figures name it.
    pub fn version(&self) -> String {
        self.version.clone()
    }

    /// The directory of its data, until it is dropped.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Where it listens, as `http://127.0.0.1:PORT`; the same after a restart.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Where it listens; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The URL of a store on it. What it needs is to be made first: a bucket by [`Server::create_bucket`], a table by `aft store init`.
    pub fn store_url(&self) -> String {
        self.service.recipe().store_url(self.port())
    }

    /// What a process that opens the store needs in its environment.
    pub fn environment(&self) -> Vec<(&'static str, &'static str)> {
        let keys = self.service.recipe().keys();
        let of =
            |keys: Keys| vec![("AWS_ACCESS_KEY_ID", keys.access), ("AWS_SECRET_ACCESS_KEY", keys.secret)];
        keys.map(of).unwrap_or_default()
    }

    /// The access key of who may do everything, where requests are signed.
    ///
    /// # Panics
    /// If the service takes no signed requests.
    pub fn access_key(&self) -> &'static str {
        self.keys().access
    }

    /// The secret of [`Server::access_key`].
    ///
    /// # Panics
    /// As [`Server::access_key`].
    pub fn secret_key(&self) -> &'static str {
        self.keys().secret
    }

    fn keys(&self) -> Keys {
        self.service.recipe().keys().unwrap_or_else(|| panic!("{} takes no signed requests", self.service))
    }

    /// The region that clients sign for.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// The last lines that it printed, over all its starts.
    pub fn log_tail(&self) -> String {
        self.log.text()
    }

    /// Makes an empty bucket.
    ///
    /// # Errors
    /// If there is one of that name, or the service does not run.
    ///
    /// # Panics
    /// If the service does not speak S3.
    pub fn create_bucket(&self, name: &str) -> Result<(), Error> {
        self.service.recipe().create_bucket(self.data.path(), self.port(), name)
    }

    /// Whether it answers that it serves, now.
    pub fn answers(&self) -> bool {
        self.service.recipe().answers(self.port())
    }

    /// kill -9, now; [`Server::restart`] brings it back. Nothing if it was killed before.
    ///
    /// # Panics
    /// If it had ended by itself: nothing but a test ends a service.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let early = process.ended().expect("a child can be waited for");
        drop(process);
        assert!(early.is_none(), "{} ended by itself ({early:?}):\n{}", self.service, self.log_tail());
    }

    /// Kills it if it runs, starts it again on the same port and data, and waits until it serves.
    ///
    /// # Errors
    /// If it does not come to serve.
    ///
    /// # Panics
    /// As [`Server::kill`].
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill();
        self.run()
    }

    /// Stops it with SIGSTOP: connections stand, and nothing is answered. A kill and a drop end it all the same.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        let since = Instant::now();
        while !self.process.as_ref().is_some_and(Supervised::is_stopped) {
            assert!(since.elapsed() < STOP_TIME_MAX, "{} does not stop", self.service);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it go on after [`Server::pause`].
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        let process = self.process.as_mut().expect("paused and resumed only while it runs");
        process.signal(signal).unwrap_or_else(|why| panic!("{}: {signal:?}: {why}", self.service));
    }

    /// Starts the process and waits until it serves.
    fn run(&mut self) -> Result<(), Error> {
        assert!(self.process.is_none(), "one process at a time");
        let mut command = supervised::command(&self.program, Some(self.data.path()));
        // Nothing of the caller's environment: it may name other keys, regions, proxies and endpoints.
        command.env_clear().env("HOME", self.data.path()).current_dir(self.data.path());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        self.service.recipe().serve(&mut command, self.data.path(), self.port());
        let process = Supervised::spawn(command, &self.log)
            .map_err(Error::io(format!("cannot start {}", self.program.display())))?;
        self.process = Some(process);
        let served = self.wait_until_it_serves();
        if served.is_err() {
            self.process = None;
        }
        served
    }

    fn wait_until_it_serves(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            // Asked first, looked at then: an answer counts only from a process that still runs, since another could hold the port.
            let answers = self.answers();
            let process = self.process.as_mut().expect("started above");
            if let Some(status) = process.ended().map_err(Error::io("cannot wait for a child"))? {
                // Its pipes are read to their end before its words are taken.
                self.process = None;
                let (service, how) = (self.service, status.to_string());
                return Err(Error::Ended { service, how, said: self.log_tail() });
            }
            if answers {
                return Ok(());
            }
            if start.elapsed() >= START_TIME_MAX {
                let (service, port, waited) = (self.service, self.port(), START_TIME_MAX);
                return Err(Error::NotReady { service, port, waited, said: self.log_tail() });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process = None;
        if std::thread::panicking() {
            eprintln!("--- {}'s last lines\n{}", self.service, self.log_tail());
        }
    }
}
