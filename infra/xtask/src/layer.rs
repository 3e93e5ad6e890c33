//! `cargo xtask layer`: builds the Lambda layer for Amazon Linux, as zips.
//!
//! ```text
//!   aft-layer-ARCH.zip         extensions/aft-layer   the binary: the extension
//!                              aft-exec               a link to it: the exec wrapper
//!   aft-maintain-ARCH.zip      bootstrap              the binary: the function that sweeps
//!   aft-layer-proxy-ARCH.zip   as the first           without the node, its stores and TLS
//! ```
//!
//! Runtimes on Amazon Linux 2 have glibc 2.26, older than any linker on this machine links against.
//! So zig links, and compiles the C of dependencies: it has the names of every glibc. It comes from
//! PyPI with cargo-zigbuild, into a virtual environment below the target folder.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::step;
use crate::zip::{Content, zip};

/// The packages that link, each with its version.
const PACKAGES: [&str; 2] = ["cargo-zigbuild==0.24.0", "ziglang==0.17.1"];
/// The newest glibc that the binary may need: that of Amazon Linux 2.
const GLIBC: &str = "2.26";
/// The binary, and its package and the profile that it is built with.
const BINARY: &str = "aft-layer";
const PROFILE: &str = "layer";

/// One of the two builds of the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    /// With the node, the stores and TLS.
    Whole,
    /// For a shim at `http://` alone.
    Proxy,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The architecture of the functions.
    #[arg(long, value_enum, default_value_t = Choice::X86_64)]
    arch: Choice,
    /// The folder for the zips [default: zips, in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Choice {
    #[value(name = "x86_64")]
    X86_64,
    Arm64,
    Both,
}

/// An architecture, by the name that Lambda has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    X86_64,
    Arm64,
}

impl Architecture {
    fn target(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64-unknown-linux-gnu",
            Architecture::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "arm64",
        })
    }
}

/// Builds the zips of each architecture that was asked for, and prints their sizes.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let architectures: &[Architecture] = match arguments.arch {
        Choice::X86_64 => &[Architecture::X86_64],
        Choice::Arm64 => &[Architecture::Arm64],
        Choice::Both => &[Architecture::X86_64, Architecture::Arm64],
    };
    let out = arguments.out.clone().unwrap_or_else(|| step::target().join("zips"));
    match build(architectures, &out) {
        Ok(lines) => {
            println!("\n=== Built for glibc {GLIBC} and newer");
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("cargo xtask layer: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Returns a line for each file.
fn build(architectures: &[Architecture], out: &Path) -> Result<Vec<String>, String> {
    // A missing library shows before the first build, which is long.
    for architecture in architectures {
        check_library(*architecture)?;
    }
    let tools = tools()?;
    let mut lines = Vec::new();
    for architecture in architectures {
        for build in [Build::Whole, Build::Proxy] {
            let binary = compile(*architecture, build, &tools)?;
            lines.extend(pack(*architecture, build, &binary, out)?);
        }
    }
    Ok(lines)
}

/// Checks that Rust's standard library is there for an architecture.
fn check_library(architecture: Architecture) -> Result<(), String> {
    let target = architecture.target();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(&rustc).args(["--print", "target-libdir", "--target", target]).output();
    let asked = asked.map_err(|why| format!("cannot start {}: {why}", rustc.to_string_lossy()))?;
    if Path::new(String::from_utf8_lossy(&asked.stdout).trim()).is_dir() {
        return Ok(());
    }
    Err(format!(
        "Rust's standard library for {architecture} is not installed: run `rustup target add {target}`; without \
         rustup, install a Rust toolchain that has the library of {target} and name its compiler in RUSTC"
    ))
}

/// Returns the folder of the programs that link; makes it if there is none of these versions.
fn tools() -> Result<PathBuf, String> {
    let name = PACKAGES.map(|package| package.replace("==", "-")).join("-");
    let directory = step::target().join("tools").join(name);
    // Written last: without it, a folder is what an attempt that failed has left.
    let (programs, whole) = (directory.join("bin"), directory.join("whole"));
    if whole.exists() {
        return Ok(programs);
    }
    let needs = "zig is installed from PyPI: python3 with venv, a way to PyPI and 500 MB of disk are needed";
    let run = |title: &str, command: Command| match step::run(title, command).ok {
        true => Ok(()),
        false => Err(format!("{title}: that has failed, for the reason above; {needs}")),
    };
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&directory);
    run("Make a virtual environment for zig", make)?;
    let mut install = Command::new(programs.join("python"));
    install.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"]).args(PACKAGES);
    run("Install zig, which takes some minutes", install)?;
    fs::write(&whole, "").map_err(|why| format!("cannot write {}: {why}", whole.display()))?;
    Ok(programs)
}

/// Builds the binary, and returns its path.
fn compile(architecture: Architecture, build: Build, tools: &Path) -> Result<PathBuf, String> {
    let target = architecture.target();
    let mut command = step::cargo(["zigbuild", "--locked", "--package", BINARY, "--bin", BINARY]);
    command.args(["--profile", PROFILE, "--target", &format!("{target}.{GLIBC}")]);
    if build == Build::Proxy {
        command.arg("--no-default-features");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(tools.to_owned()).chain(std::env::split_paths(&path)));
    command.env("PATH", path.map_err(|why| format!("the target folder cannot be in PATH: {why}"))?);
    // What it keeps between builds stays in the target folder, too.
    let caches = step::target().join("tools/cache");
    for variable in ["CARGO_ZIGBUILD_CACHE_DIR", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"] {
        command.env(variable, &caches);
    }
    let title = match build {
        Build::Whole => format!("Build the layer for {architecture}"),
        Build::Proxy => format!("Build the layer without the node for {architecture}"),
    };
    if !step::run(&title, command).ok {
        return Err(format!("the build for {architecture} has failed, for the reason above"));
    }
    Ok(step::target().join(target).join(PROFILE).join(BINARY))
}

/// Writes the zips of a binary, and returns a line for each.
fn pack(architecture: Architecture, build: Build, binary: &Path, out: &Path) -> Result<Vec<String>, String> {
    let program = fs::read(binary).map_err(|why| format!("cannot read {}: {why}", binary.display()))?;
    let program = Content::Program(&program);
    let layer = BTreeMap::from([
        ("extensions/aft-layer", program),
        // The link holds the binary once. Lambda unpacks the zip into /opt, and keeps links.
        ("aft-exec", Content::Link("extensions/aft-layer")),
    ]);
    let zips = match build {
        Build::Whole => {
            vec![("aft-layer", layer), ("aft-maintain", BTreeMap::from([("bootstrap", program)]))]
        }
        Build::Proxy => vec![("aft-layer-proxy", layer)],
    };
    fs::create_dir_all(out).map_err(|why| format!("cannot make {}: {why}", out.display()))?;
    let mut lines = vec![shown(binary)?];
    for (name, contents) in zips {
        let file = out.join(format!("{name}-{architecture}.zip"));
        fs::write(&file, zip(&contents)).map_err(|why| format!("cannot write {}: {why}", file.display()))?;
        lines.push(shown(&file)?);
    }
    Ok(lines)
}

/// Returns the size of a file and its path.
fn shown(file: &Path) -> Result<String, String> {
    let about = fs::metadata(file).map_err(|why| format!("cannot read {}: {why}", file.display()))?;
    let path = file.strip_prefix(step::root()).unwrap_or(file);
    Ok(format!("{:>8.2} MiB  {}", about.len() as f64 / f64::from(1 << 20), path.display()))
}
