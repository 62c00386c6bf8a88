//! A plugin for tests: takes all that Rust can get at, by the standard library and by functions of WASI.
//!
//! A record says what to try: see `tests/secrets/canaries.py`. Anything else is forwarded.
//!
//! JUSTIFICATION: functions of WASI can be called in no other way where the target has none, and the memory is searched beyond what
//! the program owns.

use std::fmt::Debug;
use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;

use wasmill_sdk::Emitter;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;

/// What one read takes at most.
const ROOM: usize = 4096;
/// The file descriptors that folders of the host would have, and some more.
const DESCRIPTORS: std::ops::Range<u32> = 0..10;
/// The names of variables, as the standard library can't list them.
const NAMES: [&str; 5] = ["CANARY", "AWS_SECRET_ACCESS_KEY", "SETTING_PASSWORD", "HOME", "GRANTED"];

/// Where a read puts what it reads.
#[repr(C)]
struct Part {
    at: *mut u8,
    length: u32,
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn args_get(pointers: *mut u32, bytes: *mut u8) -> u32;
    fn environ_get(pointers: *mut u32, bytes: *mut u8) -> u32;
    fn fd_prestat_dir_name(descriptor: u32, bytes: *mut u8, length: u32) -> u32;
    fn fd_read(descriptor: u32, parts: *const Part, count: u32, read: *mut u32) -> u32;
    fn path_open(
        descriptor: u32,
        flags: u32,
        path: *const u8,
        length: u32,
        open: u32,
        rights: u64,
        inheriting: u64,
        of_file: u32,
        opened: *mut u32,
    ) -> u32;
}

struct Thief;

impl Transform for Thief {
    fn init(_settings: &str, _ports: &[String]) -> Result<Self, String> {
        Ok(Thief)
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        let asked = String::from_utf8_lossy(record.value.unwrap_or_default());
        let (kind, argument) = asked.split_once(' ').unwrap_or((&asked, ""));
        let Some(said) = tried(kind, argument) else {
            out.forward(0);
            return Ok(());
        };
        out.output(0).value(Some(format!("told {asked} -> {said}").as_bytes()));
        Ok(())
    }
}

fn tried(kind: &str, argument: &str) -> Option<String> {
    let mut bytes = vec![0; ROOM];
    let mut pointers = vec![0; ROOM];
    let (at, to) = (bytes.as_mut_ptr(), pointers.as_mut_ptr());
    let said = match kind {
        "env" => {
            let found = NAMES.map(|name| (name, std::env::var_os(name)));
            // SAFETY: both have more room than the host has to tell.
            let error = unsafe { environ_get(to, at) };
            format!("{found:?}; {error} {}", text(&bytes))
        }
        "args" => {
            let found: Vec<String> = std::env::args().collect();
            // SAFETY: as above.
            let error = unsafe { args_get(to, at) };
            format!("{found:?}; {error} {}", text(&bytes))
        }
        "cwd" => {
            // SAFETY: the length is that of the bytes.
            let names = DESCRIPTORS.map(|number| unsafe { fd_prestat_dir_name(number, at, 64) });
            let errors: Vec<u32> = names.collect();
            format!("{}; {errors:?} {}", shown(std::env::current_dir()), text(&bytes))
        }
        "stdin" => {
            let mut read = String::new();
            let result = std::io::stdin().read_to_string(&mut read);
            format!("{} {read}; {}", shown(result), descriptor_read(0))
        }
        "file" => {
            let found = DESCRIPTORS.map(|number| opened(number, argument, 0));
            let found: Vec<String> = found.collect();
            format!("{}; {}", shown(fs::read_to_string(argument)), found.join(" "))
        }
        "write" => {
            let found: Vec<String> = DESCRIPTORS.map(|number| opened(number, argument, 1)).collect();
            format!("{}; {}", shown(fs::write(argument, "taken")), found.join(" "))
        }
        "list" => shown(fs::read_dir(argument).map(Iterator::count)),
        "connect" => shown(TcpStream::connect(argument).and_then(|mut connection| {
            connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut read = String::new();
            connection.read_to_string(&mut read)?;
            Ok(read)
        })),
        "exec" => shown(Command::new(argument).output()),
        "memory" => searched(argument),
        _ => return None,
    };
    Some(said)
}

fn shown<T: Debug, E: Debug>(result: Result<T, E>) -> String {
    format!("{result:?}")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn descriptor_read(descriptor: u32) -> String {
    let mut bytes = vec![0; ROOM];
    let part = Part { at: bytes.as_mut_ptr(), length: u32::try_from(bytes.len()).unwrap_or_default() };
    let mut read = 0;
    // SAFETY: the part is that of the bytes.
    let error = unsafe { fd_read(descriptor, &raw const part, 1, &raw mut read) };
    format!("{error} {}", text(&bytes))
}

fn opened(descriptor: u32, path: &str, open: u32) -> String {
    let mut opened = 0;
    let length = u32::try_from(path.len()).unwrap_or_default();
    // SAFETY: the length is that of the path.
    let error =
        unsafe { path_open(descriptor, 1, path.as_ptr(), length, open, u64::MAX, u64::MAX, 0, &raw mut opened) };
    if error == 0 { descriptor_read(opened) } else { error.to_string() }
}

/// What the memory has behind each place with the text, which is backwards here.
fn searched(marker: &str) -> String {
    let text: Vec<u8> = marker.bytes().rev().collect();
    let pages = core::arch::wasm32::memory_size::<0>();
    // SAFETY: the first page is left out, and the memory ends there; nothing is written while it is read.
    let memory = unsafe { std::slice::from_raw_parts((1 << 16) as *const u8, (pages - 1) << 16) };
    let found = memory.windows(text.len()).enumerate().filter(|(_, part)| *part == text);
    let found: Vec<String> =
        found.map(|(at, _)| String::from_utf8_lossy(&memory[at..memory.len().min(at + 60)]).into_owned()).collect();
    format!("{} bytes, {} with it: {found:?}", memory.len(), found.len())
}

wasmill_sdk::export!(Thief);
