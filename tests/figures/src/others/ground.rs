//! The common ground of the comparisons: a directory on a disk, and `aft serve` as a process of its
//! own with its default settings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aft_services::Program;

use crate::site::Failed;

/// The time that a server may take until it listens. It takes about a second, but longer on a busy
/// machine.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// The type of a file system in memory.
const TMPFS: &str = "tmpfs";

/// A running server of AFT. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct AftServer {
    pub(crate) url: String,
    program: Program,
}

/// Returns the path of the program `aft`, which cargo puts beside this one.
///
/// # Errors
/// Returns a message that says how to build it, if it is not there.
pub(crate) fn binary() -> Result<PathBuf, Failed> {
    let here = std::env::current_exe().map_err(|why| format!("cannot find this program: {why}"))?;
    let binary = here.with_file_name("aft");
    if binary.is_file() {
        return Ok(binary);
    }
    Err(format!(
        "{} is not there: run `cargo xtask figures`, which builds it, or `cargo build --release -p aft`",
        binary.display()
    ))
}

/// Makes a directory for one server's data, in the directory in which the other servers have
/// theirs.
///
/// # Errors
/// Returns why the directory cannot be made.
pub(crate) fn folder() -> Result<tempfile::TempDir, Failed> {
    tempfile::tempdir().map_err(|why| format!("cannot make a directory: {why}"))
}

/// Checks that an fsync in the directory for temporary files reaches a disk.
///
/// # Errors
/// Returns a message that says what to set, if the file system is in memory.
pub(crate) fn on_a_disk() -> Result<(), Failed> {
    let folder = std::env::temp_dir();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if kind_of_file_system(&mounts, &folder) == Some(TMPFS) {
        return Err(format!(
            "{} is in memory, where an fsync costs nothing: set TMPDIR to a directory on a disk",
            folder.display()
        ));
    }
    Ok(())
}

/// Returns the type of the file system that contains `path`, from the lines of `/proc/self/mounts`.
fn kind_of_file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(place).then_some((place.len(), kind))
    });
    // Of two mounts at one place, the later hides the earlier.
    mounts.max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

impl AftServer {
    /// Starts a server on a store, and returns when it listens.
    ///
    /// # Errors
    /// Returns the server's output if it ends or does not listen in time.
    pub(crate) async fn start(
        store: &str,
        environment: &[(&'static str, &'static str)],
        folder: &Path,
    ) -> Result<AftServer, Failed> {
        AftServer::start_with(store, &[], environment, folder).await
    }

    /// Starts a server with `more` arguments, and returns when it listens.
    ///
    /// # Errors
    /// Returns the server's output if it ends or does not listen in time.
    pub(crate) async fn start_with(
        store: &str,
        more: &[&str],
        environment: &[(&'static str, &'static str)],
        folder: &Path,
    ) -> Result<AftServer, Failed> {
        let arguments = [&["serve", "--store", store, "--listen", "127.0.0.1:0"], more].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let (environment, folder) = (environment.to_vec(), folder.to_owned());
        let started = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let mut program = Program::start(&binary()?, &arguments, &environment, &folder)
                .map_err(|why| why.to_string())?;
            let url = program.says("listening on ", START_TIME_MAX).map_err(|why| why.to_string())?;
            Ok(AftServer { url, program })
        });
        started.await.map_err(|why| why.to_string())?
    }

    /// Returns the host and the port of its S3 endpoint.
    ///
    /// # Errors
    /// Returns the server's output if it serves none.
    pub(crate) fn s3_host(&mut self) -> Result<String, Failed> {
        let said = self.program.says("listening for S3 on ", START_TIME_MAX);
        let url = said.map_err(|why| why.to_string())?;
        Ok(url.trim_start_matches("http://").to_owned())
    }
}

/// Runs `aft` with `arguments` to its end, and returns its standard output.
///
/// # Errors
/// Returns the command and its standard error if it fails.
pub(crate) async fn aft(
    arguments: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
) -> Result<String, Failed> {
    let ran = tokio::task::spawn_blocking(move || {
        let line = format!("aft {}", arguments.join(" "));
        let output = Command::new(binary()?).args(&arguments).envs(environment).output();
        let output = output.map_err(|why| format!("cannot start {line}: {why}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("`{line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    });
    ran.await.map_err(|why| why.to_string())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_and_latest_mount_contains_a_path() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/vdb /run ext4 rw 0 0\n\
                      tmpfs /tmp tmpfs rw 0 0\n";
        let kind = |path: &str| kind_of_file_system(mounts, Path::new(path));
        assert_eq!(kind("/var/tmp"), Some("ext4"));
        assert_eq!(kind("/tmp/x"), Some(TMPFS));
        assert_eq!(kind("/tmpx"), Some("ext4"));
        assert_eq!(kind("/run/x"), Some("ext4"));
        assert_eq!(kind_of_file_system("", Path::new("/tmp")), None);
    }
}
