//! A running service: start, SIGKILL, restart at the same port with the same data, pause.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::log::Log;
use crate::port::Port;
use crate::service::Keys;
use crate::supervised::{self, Supervised};
use crate::{Error, Home, Service};

/// The longest time that a start may take: alone a second or two, Ceph a dozen; more on a machine
/// that compiles.
const START_TIME_MAX: Duration = Duration::from_secs(120);
/// The longest time that a server may take to react to SIGSTOP: its threads stop one by one.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// The pause between two checks of a server.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The number of ports that a start tries, in case other processes take them in between.
const PORTS_TRIED_MAX: usize = 5;
/// The part of a service's message about a taken port that all have in common, in lower case.
const PORT_TAKEN: &str = "already in use";
/// The region of every store: the default of the services that have regions.
pub(crate) const REGION: &str = "us-east-1";

/// A service that was started. When the value is dropped, or when this process dies, the service's
/// process is killed and its data removed.
///
/// Every call blocks: in async code, wrap [`Server::restart`] in `spawn_blocking`.
#[derive(Debug)]
pub struct Server {
    service: Service,
    version: String,
    /// The path of the program.
    program: PathBuf,
    /// None between a kill and a restart.
    process: Option<Supervised>,
    port: Port,
    /// The data directory. It is declared below `process` so that it is removed after the process
    /// has ended.
    data: TempDir,
    /// The output of all starts.
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
        // Between the search for a free port and the start, another process may take it: try again.
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

    /// Returns the kind of service.
    pub fn service(&self) -> Service {
        self.service
    }

    /// Returns the service's version, as the figures name it.
    pub fn version(&self) -> String {
        self.version.clone()
    }

    /// Returns the data directory, which exists until the server is dropped.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Returns the address, as `http://127.0.0.1:PORT`; the same after a restart.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Returns the port; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the URL of a store on the server. A bucket has to be made first with
    /// [`Server::create_bucket`], a table with `aft store init`.
    pub fn store_url(&self) -> String {
        self.service.recipe().store_url(self.port())
    }

    /// Returns the environment variables that a process needs to open the store.
    pub fn environment(&self) -> Vec<(&'static str, &'static str)> {
        let keys = self.service.recipe().keys();
        let of =
            |keys: Keys| vec![("AWS_ACCESS_KEY_ID", keys.access), ("AWS_SECRET_ACCESS_KEY", keys.secret)];
        keys.map(of).unwrap_or_default()
    }

    /// Returns the access key of the user with all rights.
    ///
    /// # Panics
    /// If the service takes no signed requests.
    pub fn access_key(&self) -> &'static str {
        self.keys().access
    }

    /// Returns the secret of [`Server::access_key`].
    ///
    /// # Panics
    /// If the service takes no signed requests.
    pub fn secret_key(&self) -> &'static str {
        self.keys().secret
    }

    fn keys(&self) -> Keys {
        self.service.recipe().keys().unwrap_or_else(|| panic!("{} takes no signed requests", self.service))
    }

    /// Returns the region that clients sign for.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// Returns the last lines that the server printed, over all its starts.
    pub fn log_tail(&self) -> String {
        self.log.text()
    }

    /// Creates an empty bucket.
    ///
    /// # Errors
    /// An error if there is a bucket of that name, or if the service does not run.
    ///
    /// # Panics
    /// If the service does not speak S3.
    pub fn create_bucket(&self, name: &str) -> Result<(), Error> {
        self.service.recipe().create_bucket(self.data.path(), self.port(), name)
    }

    /// Returns true if the server currently answers that it serves.
    pub fn answers(&self) -> bool {
        self.service.recipe().answers(self.port())
    }

    /// Kills the server with SIGKILL; [`Server::restart`] starts it again. Does nothing if it was
    /// killed before.
    ///
    /// # Panics
    /// If it had ended by itself: only a test may end a service.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let early = process.ended().expect("a child can be waited for");
        drop(process);
        assert!(early.is_none(), "{} ended by itself ({early:?}):\n{}", self.service, self.log_tail());
    }

    /// Kills the server if it runs, starts it again at the same port with the same data, and waits
    /// until it serves.
    ///
    /// # Errors
    /// [`Error::Ended`] or [`Error::NotReady`] if it does not come to serve.
    ///
    /// # Panics
    /// If the server had ended by itself.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill();
        self.run()
    }

    /// Stops the server with SIGSTOP: connections stay open, and nothing is answered. Killing and
    /// dropping it still work.
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

    /// Lets the server continue after [`Server::pause`].
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
        // Nothing of the caller's environment: it may name other keys, regions, proxies and
        // endpoints.
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
            // Query first, then check the process: an answer counts only while our process runs,
            // since another could hold the port.
            let answers = self.answers();
            let process = self.process.as_mut().expect("started above");
            if let Some(status) = process.ended().map_err(Error::io("cannot wait for a child"))? {
                // Dropping the process reads its pipes to their end, so that the log is complete.
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
