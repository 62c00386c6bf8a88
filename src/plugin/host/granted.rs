//! WASI as wasmtime has it, for plugins that are granted `http` or `files`.
//!
//! Such a plugin can wait: for a server, or for a timer. So its calls run on a stack of their own and end at their deadline,
//! wherever they wait, with their instance. Clocks, random numbers and the environment are those of the step's grants, as for all
//! plugins; output goes to the log; there are no sockets; and of files there are the folders that the step grants, to read. Nothing
//! outside of them is reached by a link or `..`: see `cap-primitives`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use http::Request;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::Trap;
use wasmtime::component::Linker;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::Deterministic;
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::HostMonotonicClock;
use wasmtime_wasi::HostWallClock;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::WasiCtxView;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::IsTerminal;
use wasmtime_wasi::cli::StdoutStream;
use wasmtime_wasi::p2;
use wasmtime_wasi::p2::StreamResult;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::RequestOptions;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::WasiHttpCtx;
use wasmtime_wasi_http::WasiHttpCtxView;
use wasmtime_wasi_http::WasiHttpHooks;
use wasmtime_wasi_http::WasiHttpView;

use crate::plugin::contract::Level;
use crate::plugin::deadline::TICK;
use crate::plugin::grants::Grants;
use crate::plugin::host::Host;
use crate::plugin::host::printed::PRINTED_BYTES_MAX;
use crate::plugin::host::printed::Stream;
use crate::plugin::host::requests;
use crate::plugin::host::requests::Client;
use crate::plugin::host::wasi::RANDOM_BYTES_MAX;
use crate::plugin::host::wasi::RESOLUTION;
use crate::plugin::host::wasi::Refused;
use crate::plugin::host::wasi::WasiState;
use crate::plugin::host::wasi::nanoseconds;

/// The most handles that an instance has at once.
const HANDLES_MAX: usize = 1024;
/// The most requests that an instance has in flight.
const REQUESTS_MAX: usize = 64;
/// What is written to the body of a request at once.
const CHUNK_BYTES: usize = 64 << 10;
/// The most lines about refused requests that are kept until the end of a call.
const NOTES_MAX: usize = 8;

/// The part of an instance's data that only plugins with these grants have.
pub(in crate::plugin) struct Granted {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    requests: Requests,
    said: Arc<Said>,
    runtime: Option<Handle>,
}

/// What an instance says during a call, until its end.
#[derive(Default)]
struct Said {
    /// Locked for a moment, by the thread that runs the instance or one that sends its requests.
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    printed: Vec<(Stream, Bytes)>,
    bytes: usize,
    notes: Vec<String>,
}

impl Granted {
    /// For an instance of a step with these grants, which sends its requests with `client`.
    ///
    /// # Errors
    /// If a folder can't be opened.
    pub(in crate::plugin) fn new(
        grants: &Grants,
        rehearsal: bool,
        client: Option<Arc<Client>>,
        runtime: Handle,
    ) -> io::Result<Granted> {
        let mut granted = Granted::with::<io::Error>(grants, rehearsal, client, |wasi| {
            for folder in &grants.files {
                let opened = wasi.preopened_dir(folder, folder.to_string_lossy(), FsPerms::ReadOnly);
                opened.map_err(|error| unopened(folder, &error))?;
            }
            Ok(())
        })?;
        granted.runtime = Some(runtime);
        Ok(granted)
    }

    /// Without any grant.
    fn nothing() -> Granted {
        let Ok(nothing) = Granted::with::<Infallible>(&Grants::default(), false, None, |_| Ok(()));
        nothing
    }

    fn with<E>(
        grants: &Grants,
        rehearsal: bool,
        client: Option<Arc<Client>>,
        open: impl FnOnce(&mut WasiCtxBuilder) -> Result<(), E>,
    ) -> Result<Granted, E> {
        let said = Arc::new(Said::default());
        let given = || Clocks(Mutex::new(WasiState::new(grants, rehearsal)));
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(Output { said: Arc::clone(&said), stream: Stream::Stdout })
            .stderr(Output { said: Arc::clone(&said), stream: Stream::Stderr })
            .wall_clock(given())
            .monotonic_clock(given())
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        if !grants.random || rehearsal {
            let mut sequence = WasiState::new(&Grants::default(), rehearsal);
            // A sequence of numbers can't be refused.
            let bytes = sequence.random_bytes(SEQUENCE_BYTES).unwrap_or_else(|_| vec![0; 8]);
            wasi.secure_random(Deterministic::new(bytes.clone()))
                .insecure_random(Deterministic::new(bytes))
                .insecure_random_seed(0);
        }
        for (name, value) in grants.env.iter().flatten() {
            wasi.env(name, &value.0);
        }
        open(&mut wasi)?;
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let requests = Requests {
            client,
            until: None,
            in_flight: Arc::new(Semaphore::new(REQUESTS_MAX)),
            said: Arc::clone(&said),
        };
        Ok(Granted { wasi: wasi.build(), http: WasiHttpCtx::new(), table, requests, said, runtime: None })
    }
}

/// Numbers repeat after this many bytes where they aren't granted.
const SEQUENCE_BYTES: u64 = 4096;

fn unopened(folder: &Path, error: &wasmtime::Error) -> io::Error {
    let kind = error.downcast_ref::<io::Error>().map_or(io::ErrorKind::Other, io::Error::kind);
    io::Error::new(kind, format!("the folder {} of `allow.files` can't be opened: {error:#}", folder.display()))
}

/// Defines all of WASI for a plugin with these grants. What they don't grant is there, and refuses.
pub(in crate::plugin) fn link_granted(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

impl Host {
    /// Starts a call, which may take this long.
    pub(in crate::plugin) fn begin_waiting(&mut self, timeout: Duration) {
        if let Some(granted) = &mut self.granted {
            granted.requests.until = requests::now().checked_add(timeout);
        }
    }

    /// What the call of a plugin that may wait runs with.
    pub(in crate::plugin) fn waiting(&self) -> wasmtime::Result<Waiting> {
        let granted =
            self.granted.as_ref().and_then(|granted| Some((granted.runtime.clone()?, granted.requests.until)));
        let (runtime, until) =
            granted.ok_or_else(|| Refused::because("it was granted nothing to wait for".to_owned()))?;
        Ok(Waiting { runtime, until })
    }

    /// Writes what a plugin has said during a call.
    pub(super) fn take_said(&mut self) {
        let Some(granted) = &self.granted else { return };
        let lines = std::mem::take(&mut *granted.said.lines.lock().unwrap_or_else(PoisonError::into_inner));
        for (stream, bytes) in lines.printed {
            self.print(stream, &bytes);
        }
        for note in lines.notes {
            self.write_line(Level::Warn, &note);
        }
    }

    fn granted(&mut self) -> &mut Granted {
        self.granted.get_or_insert_with(|| Box::new(Granted::nothing()))
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let granted = self.granted();
        WasiCtxView { ctx: &mut granted.wasi, table: &mut granted.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let granted = self.granted();
        WasiHttpCtxView { hooks: &mut granted.requests, table: &mut granted.table, ctx: &mut granted.http }
    }
}

/// Where a call that may wait runs, and until when.
pub(in crate::plugin) struct Waiting {
    runtime: Handle,
    until: Option<Instant>,
}

impl Waiting {
    /// Runs the call on this thread. At its deadline it is dropped, and traps as one does that never returns.
    pub(in crate::plugin) fn run<T>(self, call: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
        let Some(until) = self.until else { return self.runtime.block_on(call) };
        self.runtime.block_on(async {
            // The clock of deadlines comes first where the guest runs, as it can tell where.
            let until = tokio::time::Instant::from_std(until) + TICK * 2;
            tokio::time::timeout_at(until, call).await.unwrap_or_else(|_| Err(Trap::Interrupt.into()))
        })
    }
}

/// The clocks of the step's grants.
struct Clocks(Mutex<WasiState>);

impl HostWallClock for Clocks {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now()
    }
}

impl HostMonotonicClock for Clocks {
    fn resolution(&self) -> u64 {
        nanoseconds(RESOLUTION)
    }

    fn now(&self) -> u64 {
        nanoseconds(self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed())
    }
}

/// Where a plugin prints. What it prints in one call beyond the bound is dropped.
#[derive(Clone)]
struct Output {
    said: Arc<Said>,
    stream: Stream,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 takes this one.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn p2::OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl p2::Pollable for Output {
    async fn ready(&mut self) {}
}

impl p2::OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut lines = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let room = PRINTED_BYTES_MAX.saturating_sub(lines.bytes);
        let printed = bytes.slice(..bytes.len().min(room));
        lines.bytes += printed.len();
        if !printed.is_empty() {
            // A copy, as the slice would keep all of the bytes.
            lines.printed.push((self.stream, Bytes::copy_from_slice(&printed)));
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINTED_BYTES_MAX)
    }
}

/// The requests of one instance.
struct Requests {
    client: Option<Arc<Client>>,
    /// The end of the running call.
    until: Option<Instant>,
    in_flight: Arc<Semaphore>,
    said: Arc<Said>,
}

type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let Some(client) = self.client.clone() else { return Box::new(async { Err(Error::HttpRequestDenied) }) };
        let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            return Box::new(async { Err(Error::ConnectionLimitReached) });
        };
        let (until, said) = (self.until, Arc::clone(&self.said));
        let sent = async move {
            let (sent, note) = client.send(request, options.unwrap_or_default(), until).await;
            if let Some(note) = note {
                let mut lines = said.lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.notes.len() < NOTES_MAX && !lines.notes.contains(&note) {
                    lines.notes.push(note);
                }
            }
            // It is in flight until its body has been read, or dropped.
            let response = sent?.map(|body| {
                let kept = move |error| {
                    let _ = &permit;
                    error
                };
                body.map_err(kept).boxed_unsync()
            });
            Ok((response, Box::new(async { Ok(()) }) as Box<dyn Future<Output = Result<(), Error>> + Send>))
        };
        Box::new(sent)
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> wasmtime_wasi_http::p2::bindings::http::types::ErrorCode {
        wasmtime_wasi_http::p2::bindings::http::types::ErrorCode::HttpProtocolError
    }
}
