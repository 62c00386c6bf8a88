//! The example `enrich`: HTTP requests of plugins, many at once, through kills.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::support;
use crate::support::broker;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const RECOVERY: Duration = Duration::from_secs(90);
/// As many requests as the pipeline may have in flight.
const IN_FLIGHT: u64 = 200;
const CUSTOMERS: u64 = 2000;

/// A server of customers that takes this long for each request. Customer 404 is unknown.
struct Server {
    url: String,
    in_flight: AtomicU64,
    most: AtomicU64,
    requests: AtomicU64,
}

impl Server {
    fn start(delay: Duration) -> Arc<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let count = AtomicU64::default;
        let server = Arc::new(Server { url, in_flight: count(), most: count(), requests: count() });
        let shared = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, server) = (stream.unwrap(), Arc::clone(&shared));
                // A process that is killed resets its connections.
                thread::spawn(move || server.serve(stream, delay).ok());
            }
        });
        server
    }

    fn serve(&self, mut stream: TcpStream, delay: Duration) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        while let Some(request) = lines.next() {
            let customer = request?
                .split(' ')
                .nth(1)
                .and_then(|path| path.rsplit('/').next())
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap();
            for line in lines.by_ref() {
                if line?.is_empty() {
                    break;
                }
            }
            self.requests.fetch_add(1, Ordering::SeqCst);
            self.most.fetch_max(self.in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(delay);
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            let (status, body) = match customer {
                404 => ("404 Not Found", String::new()),
                _ => ("200 OK", format!("{{\"tier\":\"t{customer}\"}}")),
            };
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        }
        Ok(())
    }
}

fn order(number: u64) -> Raw {
    let customer = number % CUSTOMERS;
    let value = format!("{{\"customer\":{customer},\"n\":{number}}}");
    Raw {
        timestamp: 1_767_225_600_000,
        key: Some(customer.to_string().into_bytes()),
        value: Some(value.into_bytes()),
        headers: Vec::new(),
    }
}

/// The numbers of the orders in a topic by customer, in the order of the topic, and whether each has its tier.
fn enriched(topic: &str, partitions: usize) -> BTreeMap<u64, Vec<u64>> {
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (_, record) in (0..partitions).flat_map(|partition| java::dump(topic, partition)) {
        let value: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let customer = value["customer"].as_u64().unwrap();
        assert_eq!(value["tier"], format!("t{customer}"), "{value}");
        found.entry(customer).or_default().push(value["n"].as_u64().unwrap());
    }
    found
}

/// Each order waits for a response of its own, on as many executors as there are requests in flight, whatever the number of cores.
#[test]
fn two_hundred_requests_are_in_flight_and_kills_lose_nothing_and_keep_the_order_of_keys() {
    const ORDERS: u64 = 40_000;
    // At 20 ms the speed of the machine decides how many are in flight.
    let delay = Duration::from_millis(if support::full() { 20 } else { 100 });
    broker::brokers();
    let _alone = support::load();
    let server = Server::start(delay);
    let [input, output] = ["in", "out"].map(|end| java::create(&format!("enrich-{end}"), 2, &[]));
    let dead = java::create("enrich-dead", 1, &[]);
    let group = unique("enrich");
    let more = format!(
        "session_timeout = \"6s\"\n[limits]\nparallelism = {IN_FLIGHT}\n[on_error]\nretries = \"forever\"\ndead_letter = \"{dead}\"\n"
    );
    let step = format!(
        "batch = 1\ntimeout = \"4s\"\nsettings = {{ url = \"{0}\" }}\nallow = {{ http = [\"{0}\"] }}",
        server.url
    );
    let pipeline = Pipeline::with_step(&input, &output, &group, &more, &step);
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/target/wasm/enrich.wasm");
    pipeline.install(&fs::read(plugin).unwrap());
    for chunk in 0..ORDERS / 2000 {
        let of = |partition: u64| -> Vec<Raw> {
            (chunk * 2000..(chunk + 1) * 2000).filter(|number| number % CUSTOMERS % 2 == partition).map(order).collect()
        };
        java::produce(&input, 0, &of(0));
        java::produce(&input, 1, &of(1));
    }
    let run = || pipeline.run_with(&["--set", "order=\"key\""]);
    let mut process = run();
    for _ in 0..2 {
        let goal = server.requests.load(Ordering::SeqCst) + ORDERS / 8;
        process.wait("requests", RECOVERY, |_| server.requests.load(Ordering::SeqCst) >= goal);
        let in_flight = server.in_flight.load(Ordering::SeqCst);
        process.kill();
        assert!(in_flight > 0, "it is killed while requests are in flight");
        process = run();
    }
    process.wait("the lag to reach zero", RECOVERY, |_| java::lag(&group, &input) == 0);
    let requests = |process: &Process, result: &str| {
        let (_, metrics) = process.get("/metrics").unwrap();
        let line = metrics.lines().find(|line| {
            line.starts_with("wasmill_plugin_http_requests_total{") && line.contains(&format!("result=\"{result}\""))
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert!(requests(&process, "response") > Some(0.0) && requests(&process, "refused").is_none());
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0), "{}", process.log());

    let found = enriched(&output, 2);
    let mut repeats = 0;
    for customer in (0..CUSTOMERS).filter(|customer| *customer != 404) {
        let numbers = &found[&customer];
        let mut fresh: Vec<u64> = Vec::new();
        for number in numbers {
            match fresh.last().is_none_or(|last| number > last) {
                true => fresh.push(*number),
                false => repeats += 1,
            }
        }
        let expected: Vec<u64> = (0..ORDERS / CUSTOMERS).map(|turn| turn * CUSTOMERS + customer).collect();
        assert_eq!((&fresh, numbers.last()), (&expected, expected.last()), "customer {customer}: {numbers:?}");
    }
    assert!(!found.contains_key(&404));
    let rejected = java::dump(&dead, 0).len() as u64;
    assert!((ORDERS / CUSTOMERS..ORDERS / CUSTOMERS * 3).contains(&rejected), "{rejected} dead letters");
    let [most, all] = [&server.most, &server.requests].map(|count| count.load(Ordering::SeqCst));
    say(&format!("enrich: {all} requests for {ORDERS} orders, {most} at once at most; {repeats} outputs repeated"));
    assert!((IN_FLIGHT * 9 / 10..=IN_FLIGHT).contains(&most), "{most} requests were in flight at once");
}

/// What the page says, typed: the example's own files, with a server in its place.
#[test]
fn the_example_gives_each_order_the_tier_of_its_customer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/enrich");
    let server = Server::start(Duration::from_millis(1));
    let input = folder.join("input.ndjson");
    let place = [format!("step.0.settings.url=\"{}\"", server.url), format!("step.0.allow.http=[\"{}\"]", server.url)];
    let set: Vec<&str> = place.iter().flat_map(|set| ["--set", set]).collect();
    let mut process = Process::dev_with(&folder.join("pipeline.toml"), &input, &set);
    assert_eq!(process.exit(RECOVERY), Some(0), "{}", process.log());
    let lines = fs::read_to_string(&input).unwrap().lines().count();
    let printed = process.out();
    assert_eq!(printed.matches("\\\"tier\\\":\\\"t").count(), lines - 1, "{printed}");
}
