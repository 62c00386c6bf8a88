//! A proxy between wasmill and the node that can delay, hold back, drop or modify answers, and reset connections.
//!
//! It knows only the necessary parts of Kafka's protocol: a frame starts with its length, a request with its api key, version and
//! correlation id, and an answer with the correlation id. Invariant: everything else passes byte for byte and in order.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

pub(crate) const PRODUCE: i16 = 0;
pub(crate) const OFFSET_COMMIT: i16 = 8;
pub(crate) const HEARTBEAT: i16 = 12;
pub(crate) const ADD_PARTITIONS_TO_TXN: i16 = 24;
pub(crate) const END_TXN: i16 = 26;
pub(crate) const TXN_OFFSET_COMMIT: i16 = 28;

/// A listening proxy.
pub(crate) struct Proxy {
    listener: Mutex<Option<TcpListener>>,
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    orders: Mutex<Orders>,
    changed: Condvar,
}

/// The faults that the proxy is told to inject, and what it did.
#[derive(Default)]
struct Orders {
    delay: Duration,
    /// Holds back everything from the node.
    hold: bool,
    /// Holds back everything to the node.
    hold_requests: bool,
    /// The api key whose answers are dropped, and how many: each `every`th.
    swallow: Option<(i16, u64)>,
    /// The api key whose answers get an error code, the code, and how many: each `every`th.
    code: Option<(i16, i16, u64)>,
    /// The api key whose requests are throttled, and the bytes per second of each connection.
    throttle: Option<(i16, u64)>,
    /// The number of answers with the chosen api key, and how many of them were dropped or modified.
    answers: u64,
    hits: u64,
    open: HashMap<u64, [TcpStream; 2]>,
    next: u64,
}

impl Proxy {
    pub(crate) fn bind() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        Proxy { listener: Mutex::new(Some(listener)), port, shared: Arc::default() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts forwarding to this port.
    pub(crate) fn serve(&self, to: u16) {
        let listener = self.listener.lock().unwrap().take().expect("it serves once");
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(io::Result::ok) {
                // The node is down: closes the client's connection, as a load balancer would.
                let Ok(node) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
                connect(&shared, client, node);
            }
        });
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.shared.orders()
    }

    /// Delays every answer by this time.
    pub(crate) fn delay(&self, by: Duration) {
        self.orders().delay = by;
    }

    /// Starts or stops holding back everything from the node; connections stay open.
    pub(crate) fn hold(&self, hold: bool) {
        self.orders().hold = hold;
        self.shared.changed.notify_all();
    }

    /// Holds back everything in both directions until further notice; connections stay open.
    pub(crate) fn cut(&self) {
        let mut orders = self.orders();
        (orders.hold, orders.hold_requests) = (true, true);
    }

    /// Drops each `every`th answer to this kind of request.
    pub(crate) fn swallow(&self, api: i16, every: u64) {
        let mut orders = self.orders();
        orders.swallow = Some((api, every));
        (orders.answers, orders.hits) = (0, 0);
    }

    /// How many answers were dropped or modified so far.
    pub(crate) fn hits(&self) -> u64 {
        self.orders().hits
    }

    /// Puts an error code into each `every`th answer to this kind of request.
    pub(crate) fn answer_with(&self, api: i16, code: i16, every: u64) {
        let mut orders = self.orders();
        orders.code = Some((api, code, every));
        (orders.answers, orders.hits) = (0, 0);
    }

    /// Limits this kind of request to this number of bytes per second and connection.
    pub(crate) fn throttle(&self, api: i16, bytes_per_s: u64) {
        self.orders().throttle = Some((api, bytes_per_s));
    }

    /// Stops dropping, modifying and throttling. Returns how many answers were dropped or modified.
    pub(crate) fn relent(&self) -> u64 {
        let mut orders = self.orders();
        (orders.swallow, orders.code, orders.throttle) = (None, None, None);
        (orders.delay, orders.hold, orders.hold_requests) = (Duration::ZERO, false, false);
        self.shared.changed.notify_all();
        orders.hits
    }

    /// Resets every connection. Returns their number.
    pub(crate) fn reset(&self) -> usize {
        let open: Vec<[TcpStream; 2]> = self.orders().open.drain().map(|(_, pair)| pair).collect();
        for stream in open.iter().flatten() {
            // With a linger time of 0 the last close is a reset. Shutting down the reading side wakes the threads, which then close
            // the sockets.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Read);
        }
        self.shared.changed.notify_all();
        open.len()
    }
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while something is held back, unless the connection is reset.
    fn wait_while(&self, number: u64, holds: impl Fn(&Orders) -> bool) -> MutexGuard<'_, Orders> {
        let waits = |orders: &mut Orders| holds(orders) && orders.open.contains_key(&number);
        self.changed.wait_while(self.orders(), waits).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the time that a request of this size takes, or until there is no throttle.
    fn wait_for_throttle(&self, api: i16, bytes: usize) {
        let Some((_, bytes_per_s)) = self.orders().throttle.filter(|(throttled, _)| *throttled == api) else { return };
        let ms = u64::try_from(bytes).unwrap() * 1000 / bytes_per_s;
        let still = |orders: &mut Orders| orders.throttle.is_some();
        let wait = Duration::from_millis(ms);
        drop(self.changed.wait_timeout_while(self.orders(), wait, still));
    }
}

/// The unanswered requests of a connection: correlation id, api key and version.
type Asked = Arc<Mutex<HashMap<i32, (i16, i16)>>>;

fn connect(shared: &Arc<Shared>, client: TcpStream, node: TcpStream) {
    let _ = client.set_nodelay(true);
    let _ = node.set_nodelay(true);
    let (Ok(client_twice), Ok(node_twice)) = (client.try_clone(), node.try_clone()) else { return };
    let (Ok(client_kept), Ok(node_kept)) = (client.try_clone(), node.try_clone()) else { return };
    let number = {
        let mut orders = shared.orders();
        orders.next += 1;
        let number = orders.next;
        orders.open.insert(number, [client_kept, node_kept]);
        number
    };
    let asked: Asked = Arc::default();
    let up = (Arc::clone(shared), Arc::clone(&asked));
    thread::spawn(move || requests(&up.0, number, client, node, &up.1));
    let down = Arc::clone(shared);
    thread::spawn(move || answers(&down, number, node_twice, client_twice, &asked));
}

fn requests(shared: &Shared, number: u64, mut from: TcpStream, mut to: TcpStream, asked: &Asked) {
    while let Ok(frame) = read_frame(&mut from) {
        let (api, version, id) = (int16(&frame, 4), int16(&frame, 6), int32(&frame, 8));
        asked.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (api, version));
        shared.wait_for_throttle(api, frame.len());
        drop(shared.wait_while(number, |orders| orders.hold_requests));
        if to.write_all(&frame).is_err() {
            break;
        }
    }
    end(shared, number, &to);
}

fn answers(shared: &Shared, number: u64, mut from: TcpStream, mut to: TcpStream, asked: &Asked) {
    while let Ok(mut frame) = read_frame(&mut from) {
        let request = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&int32(&frame, 4));
        let (passes, delay) = {
            let mut orders = shared.wait_while(number, |orders| orders.hold);
            (request.is_none_or(|request| orders.pass(request, &mut frame)), orders.delay)
        };
        thread::sleep(delay);
        if passes && to.write_all(&frame).is_err() {
            break;
        }
    }
    end(shared, number, &to);
}

/// One side has closed the connection: closes the other side, unless both were reset.
fn end(shared: &Shared, number: u64, to: &TcpStream) {
    if shared.orders().open.remove(&number).is_some() {
        let _ = to.shutdown(Shutdown::Both);
    }
}

impl Orders {
    /// Whether an answer passes; it may be modified.
    fn pass(&mut self, (api, version): (i16, i16), frame: &mut [u8]) -> bool {
        let chosen = |ordered: Option<i16>| ordered == Some(api);
        if !chosen(self.swallow.map(|(api, _)| api)) && !chosen(self.code.map(|(api, _, _)| api)) {
            return true;
        }
        self.answers += 1;
        if let Some((_, every)) = self.swallow
            && self.answers.is_multiple_of(every)
        {
            self.hits += 1;
            return false;
        }
        if let Some((_, code, every)) = self.code
            && self.answers.is_multiple_of(every)
            && let Some(at) = place_of_code(api, version, frame.len())
        {
            self.hits += 1;
            frame[at..at + 2].copy_from_slice(&code.to_be_bytes());
        }
        true
    }
}

/// The position of the last partition's error code in an answer, including the length field.
fn place_of_code(api: i16, version: i16, length: usize) -> Option<usize> {
    match (api, version) {
        // Correlation id, throttle time, error code.
        (HEARTBEAT, 1..=3) => Some(12),
        (HEARTBEAT, 4..) => Some(13),
        // The code is the last field of its partition; from version 8 on each level ends with a byte of tags.
        (OFFSET_COMMIT, 3..=7) => Some(length - 2),
        (OFFSET_COMMIT, 8..) => Some(length - 5),
        // Code, base offset, append time, start offset; from version 8 on record errors and a message; then the throttle time.
        (PRODUCE, 5..=7) => Some(length - 30),
        (PRODUCE, 8) => Some(length - 36),
        // Compact encoding: one byte each for record errors, message and three levels of tags.
        (PRODUCE, 9..) => Some(length - 35),
        _ => None,
    }
}

fn read_frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let size = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
    if !(8..=256 << 20).contains(&size) {
        return Err(io::Error::other("no frame of Kafka's"));
    }
    let mut frame = vec![0; 4 + size];
    frame[..4].copy_from_slice(&length);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn int16(frame: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([frame[at], frame[at + 1]])
}

fn int32(frame: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}
