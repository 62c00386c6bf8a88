//! The HTTP server of a process: metrics, probes, the API and the version, on a thread of its own.
//!
//! State of steps with windows and records that pass are data, so they are served only where the file permits it. What changes something is
//! for users who have the token. The server can't block or starve the data path: it reads, and sends messages to pipelines. The number of
//! connections is bounded, so a client that opens many can't use up the descriptors that Kafka needs, and can't keep a probe out. `/livez` is about this process alone and never depends on a broker: otherwise an outage of Kafka would
//! restart all processes. A pipeline decides whether it is healthy; the server asks it for each request.

mod access;
mod api;
mod board;
mod connections;
mod log_filter;
mod logs;
mod openapi;
mod page;
mod pages;
mod series;
mod state;
mod stream;
mod tap;
pub mod view;

use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use access::Access;
pub use board::Board;
pub use board::Look;
pub use board::Operation;
pub use board::Refused;
pub use board::Served;
pub use log_filter::LogFilterRequest;
pub use log_filter::LogFilterView;
use page::history::History;
use pages::Site;
use stream::Streams;

/// The listening thread; dropping it stops and joins it.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the server can't start.
#[derive(Debug)]
pub enum ServeError {
    /// The address is in use, or doesn't belong to this machine.
    Address(io::Error),
    /// The event loop can't be created: no file descriptor is left.
    Loop(io::Error),
    /// The thread can't be started.
    Thread(io::Error),
}

impl Server {
    /// Binds `listen` and serves these pipelines until dropped.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn start(listen: SocketAddr, board: Arc<dyn Board>, access: Access) -> Result<Server, ServeError> {
        let listener = bind(listen).map_err(ServeError::Address)?;
        listener.set_nonblocking(true).map_err(ServeError::Address)?;
        let local_addr = listener.local_addr().map_err(ServeError::Address)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(ServeError::Loop)?;
        let (stop, stopped) = oneshot::channel();
        let site = Arc::new(Site { board, access, history: History::default(), streams: Streams::default() });
        let pages = pages::router(Arc::clone(&site));
        let serve = move || {
            runtime.block_on(async move {
                match tokio::net::TcpListener::from_std(listener) {
                    // Dropping the runtime also closes the connections, so an open connection doesn't delay the end.
                    Ok(listener) => drop(tokio::spawn(connections::accept(listener, pages))),
                    Err(error) => tracing::error!(%error, "metrics and probes can't be served"),
                }
                drop(tokio::spawn(async move { site.sample().await }));
                // An error means that the owner is gone, which is a request to stop, too.
                let _ = stopped.await;
            });
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(serve).map_err(ServeError::Thread)?;
        Ok(Server { local_addr, stop: Some(stop), thread: Some(thread) })
    }

    /// The address that it listens on: with the actual port if port 0 was requested.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged a panic of that thread.
            let _ = thread.join();
        }
    }
}

/// The value of a key in a query, as it is written; empty if it has none.
fn in_query<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// How often to try to bind an address that is in use, with a pause between tries: a killed process holds its address until the kernel has
/// freed its memory, and its successor may start earlier.
const BINDS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let mut tries = 1;
    loop {
        match TcpListener::bind(listen) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < BINDS => {
                tries += 1;
                thread::sleep(PAUSE);
            }
            bound => return bound,
        }
    }
}

#[cfg(test)]
mod tests;
