//! Accepts connections, within a bound on their number.
//!
//! A connection above the bound closes the oldest one, which is idle because each request is answered quickly. A connection with a stream is
//! an exception: it is closed only if its reader takes nothing, see `stream.rs`, and there are fewer streams than connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// The maximum number of connections.
const CONNECTIONS_MAX: usize = 64;
/// The time limit for a request to arrive, also for later requests of the same connection.
pub(super) const REQUEST: Duration = Duration::from_secs(5);
/// The maximum size of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The pause after a failed accept, for example when no descriptor is left.
const BREATH: Duration = Duration::from_millis(100);

/// A connection, as a request sees the one on which it came.
#[derive(Debug, Default)]
pub(super) struct Connection {
    task: OnceLock<AbortHandle>,
    /// Whether a stream is being sent on it.
    has_stream: AtomicBool,
}

impl Connection {
    pub(super) fn set_stream(&self, has_stream: bool) {
        self.has_stream.store(has_stream, Ordering::Relaxed);
    }

    /// Closes it at once.
    pub(super) fn close(&self) {
        self.task.get().into_iter().for_each(AbortHandle::abort);
    }

    fn is_over(&self) -> bool {
        self.task.get().is_some_and(AbortHandle::is_finished)
    }
}

/// Accepts connections as long as it is polled.
pub(super) async fn accept(listener: TcpListener, pages: Router) {
    let mut open: VecDeque<Arc<Connection>> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                open.retain(|connection| !connection.is_over());
                if open.len() >= CONNECTIONS_MAX {
                    let idle = open.iter().position(|connection| !connection.has_stream.load(Ordering::Relaxed));
                    open.remove(idle.unwrap_or(0)).iter().for_each(|connection| connection.close());
                }
                let connection = Arc::new(Connection::default());
                let extensions = (Extension(ConnectInfo(from)), Extension(Arc::clone(&connection)));
                let task = tokio::spawn(talk(stream, pages.clone().layer(extensions.0).layer(extensions.1)));
                // Only this line sets it.
                let _ = connection.task.set(task.abort_handle());
                open.push_back(connection);
            }
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}

async fn talk(stream: TcpStream, pages: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST).max_buf_size(HEAD_BYTES_MAX);
    // An error is caused by the client: it sent an invalid request or closed the connection.
    let _ = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages)).await;
}
