//! WASI 0.2 for components, as far as there is anything behind it.
//!
//! The runtimes of some languages import most of WASI and use little of it. Output goes to the log; clocks, random numbers and the
//! environment are those of the step's grants; everything else is there and does nothing: no directories, no input, no
//! terminal, and streams and polls that never wait. A handle stands for nothing in the host, so no call allocates for one.
//! `world::admit` has rejected a component that imports other interfaces. Invariant: the result of a call is bounded, and
//! no call waits.

use std::time::Duration;

use wasmtime::Result;
use wasmtime::StoreContextMut;
use wasmtime::component::Component;
use wasmtime::component::ComponentType;
use wasmtime::component::Lift;
use wasmtime::component::Linker;
use wasmtime::component::LinkerInstance;
use wasmtime::component::Lower;
use wasmtime::component::Resource;
use wasmtime::component::ResourceType;
use wasmtime::component::Val;
use wasmtime::component::WasmList;
use wasmtime::component::types::ComponentItem;

use crate::plugin::host::Host;
use crate::plugin::host::printed::PRINTED_BYTES_MAX;
use crate::plugin::host::printed::Stream;
use crate::plugin::host::wasi::RESOLUTION;
use crate::plugin::host::wasi::Refused;
use crate::plugin::host::wasi::nanoseconds;
use crate::plugin::preview1;
use crate::plugin::world::interface;

/// The most pollables that one call may wait for.
const POLLED_MAX: usize = 1024;

type Context<'a> = StoreContextMut<'a, Host>;
type To<'a> = LinkerInstance<'a, Host>;

/// The resources, which are types only.
struct IoError;
struct Pollable;
struct InputStream;
struct OutputStream;
struct TerminalInput;
struct TerminalOutput;
struct Descriptor;
struct DirectoryEntries;
struct Network;
struct TcpSocket;
struct UdpSocket;
struct IncomingDatagrams;
struct OutgoingDatagrams;
struct Addresses;
struct Request;

/// Why a stream's function failed.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    Failed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

/// A time, as the wall clock tells it.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

impl From<Duration> for Datetime {
    fn from(time: Duration) -> Datetime {
        Datetime { seconds: time.as_secs(), nanoseconds: time.subsec_nanos() }
    }
}

/// Defines what a component imports of WASI, by the names and versions that it has.
pub(in crate::plugin) fn link(linker: &mut Linker<Host>, component: &Component) -> Result<()> {
    let engine = component.engine();
    for (name, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if !name.starts_with("wasi:") && name != preview1::HOST {
            continue;
        }
        let mut to = linker.instance(name)?;
        let is_http = name.starts_with("wasi:http/");
        for (item, export) in instance.exports(engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) if is_http => no_requests(&mut to, interface(name), item)?,
                ComponentItem::Resource(_) if is_http => {
                    // What it takes from `wasi:io` is what that has.
                    let ty = resource(item).unwrap_or_else(ResourceType::host::<Request>);
                    to.resource(item, ty, |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(_) => function(&mut to, interface(name), item)?,
                ComponentItem::Resource(_) => {
                    if let Some(ty) = resource(item) {
                        to.resource(item, ty, |_, _| Ok(()))?;
                    }
                }
                ComponentItem::CoreFunc(_)
                | ComponentItem::Module(_)
                | ComponentItem::Component(_)
                | ComponentItem::ComponentInstance(_)
                | ComponentItem::Type(_) => {}
            }
        }
    }
    Ok(())
}

fn resource(name: &str) -> Option<ResourceType> {
    Some(match name {
        "error" | "io-error" => ResourceType::host::<IoError>(),
        "pollable" => ResourceType::host::<Pollable>(),
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "terminal-input" => ResourceType::host::<TerminalInput>(),
        "terminal-output" => ResourceType::host::<TerminalOutput>(),
        "descriptor" => ResourceType::host::<Descriptor>(),
        "network" => ResourceType::host::<Network>(),
        "tcp-socket" => ResourceType::host::<TcpSocket>(),
        "udp-socket" => ResourceType::host::<UdpSocket>(),
        "incoming-datagram-stream" => ResourceType::host::<IncomingDatagrams>(),
        "outgoing-datagram-stream" => ResourceType::host::<OutgoingDatagrams>(),
        "resolve-address-stream" => ResourceType::host::<Addresses>(),
        "directory-entry-stream" => ResourceType::host::<DirectoryEntries>(),
        _ => return None,
    })
}

fn function(to: &mut To<'_>, interface: &str, name: &str) -> Result<()> {
    match interface {
        "wasi:io/poll" => poll(to, name),
        "wasi:io/streams" => match name.strip_prefix("[method]output-stream.") {
            Some(method) => output(to, name, method),
            None => input(to, name),
        },
        "wasi:cli/environment" => environment(to, name),
        "wasi:clocks/wall-clock" | "wasi:clocks/monotonic-clock" => clock(to, interface, name),
        "wasi:random/random" | "wasi:random/insecure" | "wasi:random/insecure-seed" => random(to, name),
        "wasi:sockets/instance-network" => {
            to.func_wrap(name, |_: Context<'_>, (): ()| Ok((Resource::<Network>::new_own(0),)))
        }
        "wasi:sockets/tcp-create-socket" | "wasi:sockets/udp-create-socket" | "wasi:sockets/ip-name-lookup" => {
            denied(to, name)
        }
        _ if interface.starts_with("wasi:sockets/") => {
            refused(to, name, format!("called `{interface}.{name}`, but plugins have no sockets"))
        }
        preview1::HOST => adapted(to, name),
        _ => other(to, name),
    }
}

fn poll(to: &mut To<'_>, name: &str) -> Result<()> {
    match name {
        "[method]pollable.ready" => to.func_wrap(name, |_: Context<'_>, (_,): (Resource<Pollable>,)| Ok((true,))),
        "[method]pollable.block" => to.func_wrap(name, |_: Context<'_>, (_,): (Resource<Pollable>,)| Ok(())),
        "poll" => to.func_wrap(name, |_: Context<'_>, (all,): (WasmList<Resource<Pollable>>,)| {
            if all.len() > POLLED_MAX {
                return Err(Refused::because(format!("polled {} things, where {POLLED_MAX} are the most", all.len())));
            }
            let ready: Vec<u32> = (0..).take(all.len()).collect();
            Ok((ready,))
        }),
        _ => absent(to, name),
    }
}

fn input(to: &mut To<'_>, name: &str) -> Result<()> {
    type Read = (Resource<InputStream>, u64);
    match name {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            to.func_wrap(name, |_: Context<'_>, _: Read| Ok((Err::<Vec<u8>, _>(StreamError::Closed),)))
        }
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => {
            to.func_wrap(name, |_: Context<'_>, _: Read| Ok((Err::<u64, _>(StreamError::Closed),)))
        }
        "[method]input-stream.subscribe" => {
            to.func_wrap(name, |_: Context<'_>, _: (Resource<InputStream>,)| pollable())
        }
        _ => absent(to, name),
    }
}

fn output(to: &mut To<'_>, name: &str, method: &str) -> Result<()> {
    type Stdio = Resource<OutputStream>;
    match method {
        "check-write" => to.func_wrap(name, |_: Context<'_>, _: (Stdio,)| {
            Ok((Ok::<u64, StreamError>(u64::try_from(PRINTED_BYTES_MAX)?),))
        }),
        "write" | "blocking-write-and-flush" => {
            to.func_wrap(name, |mut store: Context<'_>, (stream, bytes): (Stdio, WasmList<u8>)| {
                print(&mut store, stream.rep(), &bytes);
                Ok((Ok::<(), StreamError>(()),))
            })
        }
        "flush" | "blocking-flush" => {
            to.func_wrap(name, |_: Context<'_>, _: (Stdio,)| Ok((Ok::<(), StreamError>(()),)))
        }
        "write-zeroes" | "blocking-write-zeroes-and-flush" => {
            to.func_wrap(name, |_: Context<'_>, _: (Stdio, u64)| Ok((Ok::<(), StreamError>(()),)))
        }
        "splice" | "blocking-splice" => to.func_wrap(name, |_: Context<'_>, _: (Stdio, Resource<InputStream>, u64)| {
            Ok((Err::<u64, _>(StreamError::Closed),))
        }),
        "subscribe" => to.func_wrap(name, |_: Context<'_>, _: (Stdio,)| pollable()),
        _ => absent(to, name),
    }
}

/// A pollable is always ready.
fn pollable() -> Result<(Resource<Pollable>,)> {
    Ok((Resource::new_own(0),))
}

/// Prints what one call may print.
fn print(store: &mut Context<'_>, descriptor: u32, bytes: &WasmList<u8>) {
    let Some(stream) = Stream::of(descriptor) else { return };
    let all = bytes.as_le_slice(&*store);
    let printed = all[..all.len().min(PRINTED_BYTES_MAX)].to_vec();
    store.data_mut().print(stream, &printed);
}

fn environment(to: &mut To<'_>, name: &str) -> Result<()> {
    match name {
        "get-environment" => to.func_wrap(name, |store: Context<'_>, (): ()| {
            let env = store.data().given.env().map(|(name, value)| (name.to_owned(), value.to_owned()));
            Ok((env.collect::<Vec<_>>(),))
        }),
        "get-arguments" => to.func_wrap(name, |_: Context<'_>, (): ()| Ok((Vec::<String>::new(),))),
        "initial-cwd" => to.func_wrap(name, |_: Context<'_>, (): ()| Ok((None::<String>,))),
        _ => absent(to, name),
    }
}

fn clock(to: &mut To<'_>, interface: &str, name: &str) -> Result<()> {
    match (interface, name) {
        ("wasi:clocks/wall-clock", "now") => {
            to.func_wrap(name, |store: Context<'_>, (): ()| Ok((Datetime::from(store.data().given.now()),)))
        }
        ("wasi:clocks/wall-clock", "resolution") => {
            to.func_wrap(name, |_: Context<'_>, (): ()| Ok((Datetime::from(RESOLUTION),)))
        }
        (_, "now") => {
            to.func_wrap(name, |mut store: Context<'_>, (): ()| Ok((nanoseconds(store.data_mut().given.elapsed()),)))
        }
        (_, "resolution") => to.func_wrap(name, |_: Context<'_>, (): ()| Ok((nanoseconds(RESOLUTION),))),
        (_, "subscribe-instant" | "subscribe-duration") => to.func_wrap(name, |_: Context<'_>, _: (u64,)| pollable()),
        _ => absent(to, name),
    }
}

fn random(to: &mut To<'_>, name: &str) -> Result<()> {
    match name {
        "get-random-bytes" | "get-insecure-random-bytes" => to
            .func_wrap(name, |mut store: Context<'_>, (count,): (u64,)| {
                Ok((store.data_mut().given.random_bytes(count)?,))
            }),
        "get-random-u64" | "get-insecure-random-u64" => {
            to.func_wrap(name, |mut store: Context<'_>, (): ()| Ok((store.data_mut().given.random_u64()?,)))
        }
        "insecure-seed" => to.func_wrap(name, |mut store: Context<'_>, (): ()| {
            let given = &mut store.data_mut().given;
            Ok(((given.random_u64()?, given.random_u64()?),))
        }),
        _ => absent(to, name),
    }
}

/// What the adapter of preview 1 asks for.
fn adapted(to: &mut To<'_>, name: &str) -> Result<()> {
    match name {
        "write" => to.func_wrap(name, |mut store: Context<'_>, (stream, bytes): (u32, WasmList<u8>)| {
            print(&mut store, stream, &bytes);
            Ok(())
        }),
        "exit" => to.func_wrap(name, |_: Context<'_>, (code,): (u32,)| -> Result<()> { Err(Refused::exited(code)) }),
        _ => absent(to, name),
    }
}

/// The interfaces of one function each.
fn other(to: &mut To<'_>, name: &str) -> Result<()> {
    match name {
        "get-stdin" => to.func_wrap(name, |_: Context<'_>, (): ()| Ok((Resource::<InputStream>::new_own(0),))),
        "get-stdout" => to.func_wrap(name, |_: Context<'_>, (): ()| Ok((stdio(Stream::Stdout),))),
        "get-stderr" => to.func_wrap(name, |_: Context<'_>, (): ()| Ok((stdio(Stream::Stderr),))),
        "get-terminal-stdin" => to.func_wrap(name, |_: Context<'_>, (): ()| Ok((None::<Resource<TerminalInput>>,))),
        "get-terminal-stdout" | "get-terminal-stderr" => {
            to.func_wrap(name, |_: Context<'_>, (): ()| Ok((None::<Resource<TerminalOutput>>,)))
        }
        "get-directories" => {
            to.func_wrap(name, |_: Context<'_>, (): ()| Ok((Vec::<(Resource<Descriptor>, String)>::new(),)))
        }
        "exit" => to.func_wrap(name, |_: Context<'_>, (status,): (std::result::Result<(), ()>,)| -> Result<()> {
            Err(Refused::exited(u32::from(status.is_err())))
        }),
        "exit-with-code" => {
            to.func_wrap(name, |_: Context<'_>, (code,): (u8,)| -> Result<()> { Err(Refused::exited(code.into())) })
        }
        _ => absent(to, name),
    }
}

fn stdio(stream: Stream) -> Resource<OutputStream> {
    Resource::new_own(stream.descriptor())
}

/// A function of requests, where the step grants none.
fn no_requests(to: &mut To<'_>, interface: &str, name: &str) -> Result<()> {
    let text = format!(
        "called `{interface}.{name}`, but its step grants no HTTP requests: `allow = {{ http = [\"https://host\"] }}`"
    );
    refused(to, name, text)
}

/// A function that traps with this reason.
fn refused(to: &mut To<'_>, name: &str, text: String) -> Result<()> {
    to.func_new(name, move |_, _, _, _| Err(Refused::because(text.clone())))
}

/// A function that would give access to the network. A handle that it doesn't give can't be asked for more.
fn denied(to: &mut To<'_>, name: &str) -> Result<()> {
    if name.starts_with('[') {
        return absent(to, name);
    }
    to.func_new(name, |_, _, _, results| {
        let access = Val::Enum("access-denied".to_owned());
        results.fill(Val::Result(Err(Some(Box::new(access)))));
        Ok(())
    })
}

/// A function that needs a handle which no plugin gets, such as one of a file.
fn absent(to: &mut To<'_>, name: &str) -> Result<()> {
    refused(to, name, format!("called `{name}`, which plugins don't have"))
}
