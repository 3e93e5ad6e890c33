//! Goal: the zips of the layer are such that Lambda can use them: the binary starts on Amazon
//! Linux 2 and 2023, the names and modes are those that Lambda looks for, and the sizes are within
//! their bounds. Method: zips and the binary in them are parsed by crates that did not write them.
//! Zips with planted mistakes are checked always, those of `cargo xtask layer` if they are there.

#[path = "../src/zip.rs"]
mod zip;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, elf};

use crate::zip::{Content, zip};

/// The glibc of Amazon Linux 2, on which the older runtimes are.
const GLIBC: [u32; 2] = [2, 26];
/// Each environment reads them when it starts.
const BINARY_BYTES_MAX: usize = 12 << 20;
const ZIP_BYTES_MAX: usize = 6 << 20;
/// The build without the node.
const PROXY: &str = "aft-layer-proxy";
const PROXY_BYTES_MAX: usize = 2 << 20;
/// The libraries that every Amazon Linux has: the parts of glibc, and the compiler's own.
const LIBRARIES: &[&str] = &[
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

/// An entry of a zip, as a reader finds it.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
}

fn entries(zip: &[u8]) -> Vec<(String, Entry)> {
    let archive = rawzip::ZipArchive::from_slice(zip).expect("it is a zip");
    let mut found = Vec::new();
    let mut entries = archive.entries();
    while let Some(header) = entries.next_entry().expect("its directory is whole") {
        let path = header.file_path().try_normalize().expect("a path in the zip").as_ref().to_owned();
        let entry = archive.get_entry(header.wayfinder()).expect("the entry is there");
        let mut content = Vec::new();
        let read = match header.compression_method() {
            rawzip::CompressionMethod::STORE => {
                entry.verifying_reader(entry.data()).read_to_end(&mut content)
            }
            rawzip::CompressionMethod::DEFLATE => {
                let reader = flate2::bufread::DeflateDecoder::new(entry.data());
                entry.verifying_reader(reader).read_to_end(&mut content)
            }
            other => panic!("{path}: the method {other:?}"),
        };
        read.unwrap_or_else(|why| panic!("{path}: {why}"));
        found.push((path, Entry { mode: header.external_attributes() >> 16, content }));
    }
    found
}

/// Returns the numbers of a version such as `GLIBC_2.17`.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

/// Returns the mistakes of a program: another architecture, other libraries, a newer glibc.
fn of_program(program: &[u8], machine: elf::Machine, glibc: [u32; 2]) -> Vec<String> {
    let file = match ElfFile64::<Endianness>::parse(program) {
        Ok(file) => file,
        Err(why) => return vec![format!("no program for Linux: {why}")],
    };
    let endian = file.endian();
    let mut found = Vec::new();
    let is_for = file.elf_header().e_machine(endian);
    if is_for != machine {
        found.push(format!("it is for the machine {is_for:?}, not {machine:?}"));
    }
    let sections = file.elf_section_table();
    let versions = sections.gnu_verneed(endian, program).expect("the versions are whole");
    let Some((mut libraries, link)) = versions else {
        found.push("no versions of symbols: is it linked against glibc?".to_owned());
        return found;
    };
    let strings = sections.strings(endian, program, link).expect("the names are whole");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    while let Some((library, mut symbols)) = libraries.next().expect("the libraries are whole") {
        let library = text(library.file(endian, strings).expect("a library has a name"));
        if !LIBRARIES.contains(&library.as_str()) {
            found.push(format!("it needs {library}"));
        }
        while let Some(symbol) = symbols.next().expect("the versions are whole") {
            let version = text(symbol.name(endian, strings).expect("a version has a name"));
            if version.strip_prefix("GLIBC_").is_some_and(|version| numbers(version) > glibc.to_vec()) {
                found.push(format!("it needs {version} of {library}"));
            }
        }
    }
    found
}

/// Returns the newest version of glibc that a program needs.
fn newest(program: &[u8]) -> Vec<u32> {
    let all =
        |minor: &u32| of_program(program, elf::EM_X86_64, [2, *minor]).iter().any(|of| of.contains("GLIBC_"));
    vec![2, (0..100).take_while(all).count() as u32]
}

/// Returns the mistakes of a zip of the layer, or of the function that sweeps.
fn of_zip(bytes: &[u8], name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if bytes.len() > ZIP_BYTES_MAX {
        found.push(format!("{} bytes, of at most {ZIP_BYTES_MAX}", bytes.len()));
    }
    let binary_bytes_max = if name.starts_with(PROXY) { PROXY_BYTES_MAX } else { BINARY_BYTES_MAX };
    let machine = if name.contains("arm64") { elf::EM_AARCH64 } else { elf::EM_X86_64 };
    let (program, link): (_, &[_]) = match name.starts_with("aft-maintain") {
        true => ("bootstrap", &[]),
        false => ("extensions/aft-layer", &[("aft-exec", "extensions/aft-layer")]),
    };
    let entries = entries(bytes);
    let names: BTreeSet<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let expected: BTreeSet<&str> = link.iter().map(|(name, _)| *name).chain([program]).collect();
    if names != expected || names.len() != entries.len() {
        found.push(format!("the names are {:?}, not {expected:?}", entries.iter().map(|(name, _)| name)));
    }
    for (name, Entry { mode, content }) in &entries {
        if let Some((_, target)) = link.iter().find(|(link, _)| link == name) {
            if (*mode, content.as_slice()) != (0o120_777, target.as_bytes()) {
                found.push(format!("{name} is no link to {target}: mode {mode:o}"));
            }
        } else if name == program {
            if *mode != 0o100_755 {
                found.push(format!("{name} has the mode {mode:o}"));
            }
            if content.len() > binary_bytes_max {
                found.push(format!("{name} has {} bytes, of at most {binary_bytes_max}", content.len()));
            }
            found.extend(of_program(content, machine, GLIBC));
        }
    }
    found
}

fn check(zip: &[u8], name: &str, expect: &[&str]) {
    let found = of_zip(zip, name);
    let fits =
        found.len() == expect.len() && found.iter().zip(expect).all(|(found, part)| found.contains(part));
    assert!(fits, "{name}: {found:#?}, and expected: {expect:?}");
}

/// Returns the folder in which `cargo xtask layer` leaves its zips.
fn built() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).expect("infra/xtask lies two folders below the root");
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())).join("zips")
}

#[test]
fn zips_that_were_built_fit() {
    let files = std::fs::read_dir(built()).into_iter().flatten().map_while(Result::ok);
    let zips: Vec<PathBuf> =
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|of| of == "zip")).collect();
    if zips.is_empty() {
        println!("no zips in {}: `cargo xtask layer` makes them", built().display());
    }
    for path in zips {
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let bytes = std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        check(&bytes, &name, &[]);
        println!("{name}: {} bytes, and fits", bytes.len());
    }
}

#[test]
fn planted_mistakes_in_zips_are_found() {
    let script = Content::Program(b"#!/bin/sh");
    let link = Content::Link("extensions/aft-layer");
    let layer = BTreeMap::from([("extensions/aft-layer", script), ("aft-exec", link)]);
    let name = "aft-layer-x86_64.zip";
    // The program of a right zip would be the only thing that is missing here.
    check(&zip(&layer), name, &["no program for Linux"]);
    let with = |name, content| {
        let mut contents = layer.clone();
        contents.insert(name, content);
        zip(&contents)
    };
    check(&with("README.md", script), name, &["the names are", "no program"]);
    check(&with("aft-exec", Content::Link("aft-layer")), name, &["aft-exec is no link to", "no program"]);
    check(&with("aft-exec", script), name, &["aft-exec is no link to", "no program"]);
    check(&with("extensions/aft-layer", link), name, &["has the mode 120777", "no program"]);
    let large = vec![0; BINARY_BYTES_MAX + 1];
    check(&with("extensions/aft-layer", Content::Program(&large)), name, &["12582913 bytes", "no program"]);
    let large = vec![0; PROXY_BYTES_MAX + 1];
    let of_proxy = with("extensions/aft-layer", Content::Program(&large));
    check(&of_proxy, "aft-layer-proxy-arm64.zip", &["2097153 bytes", "no program"]);
    check(&of_proxy, name, &["no program"]);
    check(&zip(&layer), "aft-maintain-arm64.zip", &["the names are"]);
    check(&zip(&BTreeMap::from([("bootstrap", script)])), "aft-maintain-arm64.zip", &["no program"]);
    let mut noise = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    })
    .take(ZIP_BYTES_MAX)
    .collect();
    check(
        &with("extensions/aft-layer", Content::Program(&noise)),
        name,
        &["of at most 6291456", "no program"],
    );
}

/// This test is a program that is linked against the glibc of this machine.
#[test]
fn planted_mistakes_in_programs_are_found() {
    let program = std::env::current_exe().and_then(std::fs::read).expect("the test reads itself");
    let program = &program[..];
    let here = if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 };
    let other = if here == elf::EM_AARCH64 { elf::EM_X86_64 } else { elf::EM_AARCH64 };
    assert_eq!(of_program(program, here, [3, 0]), [""; 0], "its own glibc is older than 3");
    let old = of_program(program, here, [2, 0]);
    assert!(old.iter().any(|found| found.contains("GLIBC_2.")), "{old:?}");
    let found = of_program(program, other, [3, 0]);
    assert!(found.len() == 1 && found[0].contains("it is for the machine"), "{found:?}");
    println!("this test needs glibc {:?}", newest(program));
    assert_eq!(of_program(&program[..100], here, [3, 0]).len(), 1, "a piece of a program");
}

#[test]
fn versions_are_compared_as_numbers() {
    assert!(numbers("2.4") < numbers("2.26") && numbers("2.2.5") < numbers("2.26"));
    assert!(numbers("2.34") > GLIBC.to_vec() && numbers("2.26") == GLIBC);
    assert_eq!(numbers("PRIVATE"), [0; 0]);
}

#[test]
fn zips_are_the_same_every_time_and_sorted() {
    let contents = [("b/c", Content::Program(b"one")), ("a", Content::Link("b/c"))];
    let (one, two) = (zip(&contents.into()), zip(&contents.into_iter().rev().collect()));
    assert_eq!(one, two);
    let expected = [
        ("a".to_owned(), Entry { mode: 0o120_777, content: b"b/c".to_vec() }),
        ("b/c".to_owned(), Entry { mode: 0o100_755, content: b"one".to_vec() }),
    ];
    assert_eq!(entries(&one), expected);
}
