//! The HTTP side of a process: metrics, probes and the version, on a thread of their own.
//!
//! It only reads: it can't block or starve the data path, and no path changes anything. It has a bounded number of connections, and when
//! all are taken the oldest goes: whoever opens many takes none of the descriptors that Kafka needs, and keeps no probe out. `/livez` is about this process
//! alone; it never depends on a broker, or an outage would become a storm of restarts. What health means is decided by
//! the pipeline, and asked for with each request.

mod pages;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::metrics::Metrics;
use crate::pipeline::Health;

/// Asked at each probe.
pub type HealthCheck = dyn Fn() -> Health + Send + Sync;

/// The listening thread; dropping it stops and joins it.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why nothing is served.
#[derive(Debug)]
pub enum ServeError {
    /// The address is taken, or is none of this machine's.
    Address(io::Error),
    /// The kernel has no descriptor for what waits for connections.
    Loop(io::Error),
    /// It has no thread.
    Thread(io::Error),
}

impl Server {
    /// Binds `listen` and serves until dropped.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn start(listen: SocketAddr, metrics: Arc<Metrics>, health: Arc<HealthCheck>) -> Result<Server, ServeError> {
        let listener = bind(listen).map_err(ServeError::Address)?;
        listener.set_nonblocking(true).map_err(ServeError::Address)?;
        let local_addr = listener.local_addr().map_err(ServeError::Address)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(ServeError::Loop)?;
        let (stop, stopped) = oneshot::channel();
        let pages = pages::router(metrics, health);
        let serve = move || {
            runtime.block_on(async move {
                match tokio::net::TcpListener::from_std(listener) {
                    // Dropping the runtime drops the connections too: a scraper that keeps one open holds nobody up.
                    Ok(listener) => drop(tokio::spawn(accept(listener, pages))),
                    Err(error) => tracing::error!(%error, "metrics and probes can't be served"),
                }
                // An error says that the owner is gone, which means the same.
                let _ = stopped.await;
            });
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(serve).map_err(ServeError::Thread)?;
        Ok(Server { local_addr, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens: the port is known even if 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was reported by its hook.
            let _ = thread.join();
        }
    }
}

/// Connections at once: each is answered in a moment, so that the oldest is idle when there are that many.
const CONNECTIONS_MAX: usize = 64;
/// A request has to be there after this time, also the next one of a connection that stays open.
const REQUEST: Duration = Duration::from_secs(5);
/// A request's head is not larger than this.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The pause after a connection that can't be taken, as when no descriptor is left.
const BREATH: Duration = Duration::from_millis(100);

async fn accept(listener: tokio::net::TcpListener, pages: Router) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() == CONNECTIONS_MAX {
                    open.pop_front().iter().for_each(AbortHandle::abort);
                }
                open.push_back(tokio::spawn(talk(stream, pages.clone())).abort_handle());
            }
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}

async fn talk(stream: TcpStream, pages: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST).max_buf_size(HEAD_BYTES_MAX);
    // An error is the other side's: what it sent was no request, or it is gone.
    let _ = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages)).await;
}

/// Tries to bind a taken address so often, with a pause between two tries: a process that was killed holds its address until the
/// kernel has taken its memory apart, and whoever starts the next one may be faster.
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
