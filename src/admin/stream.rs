//! Answers that go on as things happen: server-sent events.
//!
//! The number of streams is bounded. An event is made only when the one before is on its way, so a slow reader holds little memory. A
//! reader that takes nothing for half a minute is disconnected and counted. A sign of life is sent when there is nothing else, so that
//! each side finds out when the other one is gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::response::IntoResponse;
use axum::response::Response;
use hyper::body::Frame;
use prometheus::IntCounter;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::timeout;

use super::connections::Connection;

/// The most streams of log lines and of taps.
const LOGS_MAX: usize = 16;
const TAPS_MAX: usize = 8;
/// The time in which a reader has to take something.
const TAKES: Duration = Duration::from_secs(30);
/// After this time without an event a sign of life is sent.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// The streams that may still be opened.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) logs: Arc<Semaphore>,
    pub(super) taps: Arc<Semaphore>,
}

impl Default for Streams {
    fn default() -> Streams {
        Streams { logs: Arc::new(Semaphore::new(LOGS_MAX)), taps: Arc::new(Semaphore::new(TAPS_MAX)) }
    }
}

/// The sending end of a stream. Dropping it ends the stream.
pub(super) struct Events {
    frames: mpsc::Sender<Bytes>,
    connection: Arc<Connection>,
    dropped: IntCounter,
    sent: Instant,
    _permit: OwnedSemaphorePermit,
}

/// The reader is gone, or was disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl Events {
    /// Begins a stream: its sending end, and the answer that the reader gets. `dropped` counts a reader that takes nothing.
    pub(super) fn begin(
        connection: &Arc<Connection>,
        permit: OwnedSemaphorePermit,
        dropped: IntCounter,
    ) -> (Events, Response) {
        let (frames, sent) = mpsc::channel(1);
        connection.set_stream(true);
        let connection = Arc::clone(connection);
        let events = Events { frames, connection, dropped, sent: Instant::now(), _permit: permit };
        let headers: [(HeaderName, &str); 4] = [
            (CONTENT_TYPE, "text/event-stream"),
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // Proxies that keep answers back until they are whole.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        (events, (headers, Body::new(Frames(sent))).into_response())
    }

    /// Sends an event.
    ///
    /// # Errors
    /// If the reader is gone.
    pub(super) async fn send(&mut self, event: &str, data: &impl Serialize) -> Result<(), Gone> {
        // JSON has no line breaks, which would end the data.
        let data = serde_json::to_string(data).map_err(|_| Gone)?;
        self.put(format!("event: {event}\ndata: {data}\n\n")).await
    }

    /// Waits for this time. Returns early if the reader is gone.
    ///
    /// # Errors
    /// If the reader is gone.
    pub(super) async fn wait(&mut self, time: Duration) -> Result<(), Gone> {
        if timeout(time, self.frames.closed()).await.is_ok() {
            return Err(Gone);
        }
        if self.sent.elapsed() >= SIGN_OF_LIFE { self.put(":\n\n".to_owned()).await } else { Ok(()) }
    }

    async fn put(&mut self, text: String) -> Result<(), Gone> {
        match timeout(TAKES, self.frames.send(text.into())).await {
            Ok(Ok(())) => {
                self.sent = Instant::now();
                Ok(())
            }
            Ok(Err(_)) => Err(Gone),
            Err(_) => {
                self.dropped.inc();
                self.connection.close();
                Err(Gone)
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.connection.set_stream(false);
    }
}

/// The body of the answer.
struct Frames(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Frames>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
