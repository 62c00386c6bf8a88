//! The HTTP side of a process: metrics, probes and the version, on a thread of their own.
//!
//! It only reads: it can't block or starve the data path, and no path changes anything. `/livez` is about this process
//! alone; it never depends on a broker, or an outage would become a storm of restarts. What health means is decided by
//! the pipeline, and asked for with each request.

mod pages;

use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

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

impl Server {
    /// Binds `listen` and serves until dropped.
    ///
    /// # Errors
    /// If the address is taken or can't be bound, or there is no thread to be had.
    pub fn start(listen: SocketAddr, metrics: Arc<Metrics>, health: Arc<HealthCheck>) -> io::Result<Server> {
        let listener = bind(listen)?;
        listener.set_nonblocking(true)?;
        let local_addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let pages = pages::router(metrics, health);
        let serve = move || {
            runtime.block_on(async move {
                match tokio::net::TcpListener::from_std(listener) {
                    // Dropping the runtime drops the connections too: a scraper that keeps one open holds nobody up.
                    Ok(listener) => drop(tokio::spawn(async move { axum::serve(listener, pages).await })),
                    Err(error) => tracing::error!(%error, "metrics and probes can't be served"),
                }
                // An error says that the owner is gone, which means the same.
                let _ = stopped.await;
            });
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(serve)?;
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
