//! The page at 3 a.m.: for each thing that ordinarily goes wrong it says what is stuck, why, and what is safe to do.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::kafka;
use crate::kafka::secured::USER;
use crate::support;
use crate::support::broker;
use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);
/// The page has to have the answer by then.
const SOON: Duration = Duration::from_secs(20);

/// The pipelines of a process, each with topics of its own.
struct World {
    folder: TempDir,
}

/// A pipeline, and the names that it uses.
struct Case {
    input: String,
    output: String,
    group: String,
    pipeline: Pipeline,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pipelines")).unwrap();
        fs::write(folder.path().join("plugin.wasm"), component::faulty()).unwrap();
        World { folder }
    }

    /// Adds a pipeline of `plugins/faulty`. `more` may use `DEAD` for the topic of its dead letters.
    fn add(&self, name: &'static str, limits: &[&str], more: &str, adapt: impl Fn(String) -> String) -> Case {
        let [input, output, dead] = ["in", "out", "dead"]
            .map(|of| java::create(&format!("{name}-{of}"), 1, if of == "in" { &[] } else { limits }));
        let group = unique(name);
        let pipeline = Pipeline::new(
            &input,
            &output,
            &group,
            &format!("session_timeout = \"30s\"\n{more}").replace("DEAD", &dead),
        );
        pipeline.install(&component::faulty());
        let text = adapt(fs::read_to_string(pipeline.file()).unwrap());
        fs::write(self.folder.path().join("pipelines").join(format!("{name}.toml")), text).unwrap();
        Case { input, output, group, pipeline }
    }
}

impl Case {
    fn produce(&self, values: &[&str]) {
        self.produce_at(0, values);
    }

    fn produce_at(&self, timestamp: i64, values: &[&str]) {
        let record = |value: &&str| Raw { timestamp, value: Some(value.as_bytes().to_vec()), ..Raw::default() };
        java::produce(&self.input, 0, &values.iter().map(record).collect::<Vec<_>>());
    }
}

/// What the page says about a pipeline that isn't well: the text of its section, and the orders of its buttons.
fn section(process: &Process, name: &str) -> Option<(String, Vec<String>)> {
    let page = process.page("/")?;
    let (_, rest) = page.split_once(&format!("aria-label=\"{name}\">"))?;
    let section = rest.split("</section>").next()?;
    let buttons = section.split("data-operation=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let buttons = buttons.map(str::to_owned).collect();
    Some((text_of(section), buttons))
}

/// The text of a piece of HTML.
fn text_of(html: &str) -> String {
    let mut text = String::new();
    for (number, piece) in html.split('<').enumerate() {
        text.push_str(if number == 0 { piece } else { piece.split_once('>').map_or("", |(_, text)| text) });
    }
    (32_u8..127).fold(text, |text, byte| text.replace(&format!("&#{byte};"), &char::from(byte).to_string()))
}

/// Waits until the page says all of this about a pipeline, and offers these orders.
fn says(process: &mut Process, name: &str, what: &[&str], buttons: &[&str]) {
    let watch = clock::Watch::start();
    let mut last = None;
    let found = clock::look_for(SOON, || {
        last = section(process, name);
        let fits =
            last.as_ref().is_some_and(|(text, found)| what.iter().all(|part| text.contains(part)) && found == buttons);
        fits.then_some(())
    });
    support::say(&format!("on call: {name}: {:?}: {last:?}", watch.elapsed()));
    assert!(found.is_some(), "{name}: {what:?}, {buttons:?}: {last:#?}");
}

/// The start of a pipeline's file with another `[kafka]`.
fn elsewhere(text: &str, kafka: &str) -> String {
    let here = broker::of_wasmill();
    assert!(text.contains(&here));
    text.replacen(&here, kafka, 1)
}

#[test]
fn the_page_says_of_each_trouble_what_is_stuck_why_and_what_is_safe() {
    let _alone = support::load();
    let world = World::new();
    let plain = |text: String| text;
    let poison = world.add("poison", &[], "", plain);
    let traps = world.add("traps", &[], "\n[on_error]\ndead_letter = \"DEAD\"\n", plain);
    let rejects = world.add("rejects", &[], "\n[on_error]\ndead_letter = \"DEAD\"\n", plain);
    let retries = world.add("retries", &[], "\n[on_error]\nretries = \"forever\"\n", plain);
    let huge = world.add("huge", &["max.message.bytes=20000"], "\n[on_error]\ndead_letter = \"DEAD\"\n", plain);
    let gone = world.add("gone", &[], "", plain);
    let denied = world.add("denied", &[], "", plain);
    let behind = world.add("behind", &[], "\n[limits]\nrecords_per_second = 1\n", plain);
    let holds = world.add("holds", &[], "\n[on_error]\nthen = \"hold\"\n", plain);
    let grows = world.add("grows", &[], "", plain);
    let ports = broker::ports();
    let login = format!(
        "brokers = [\"127.0.0.1:{}\"]\ntls = {{ ca = \"{}/ca.pem\" }}\n\
         sasl = {{ mechanism = \"SCRAM-SHA-512\", username = \"{USER}\", password = \"wrong\" }}",
        ports.sasl,
        ports.folder.display()
    );
    let away = world.add("away", &[], "", plain);
    let mut node = kafka::Node::start(broker::jars()).unwrap();
    broker::create_at(&node, &[&away.input, &away.output]);
    let file = |name: &str| world.folder.path().join("pipelines").join(format!("{name}.toml"));
    let text = fs::read_to_string(file("away")).unwrap();
    fs::write(file("away"), elsewhere(&text, &format!("brokers = [\"{}\"]", node.brokers()))).unwrap();
    let mut process = Process::fleet(&world.folder.path().join("pipelines"));
    process.ready();
    assert!(process.page("/").unwrap().contains("Everything is well"), "{:?}", process.page("/"));

    poison.produce(&["a", "reject me", "b"]);
    says(
        &mut process,
        "poison",
        &[&format!("topic {}, partition 0, offset 1", poison.input), "told to reject"],
        &["start", "skip"],
    );
    traps.produce(&vec!["trap"; 300]);
    says(&mut process, "traps", &["the plugin broke on"], &["start"]);
    let many = vec!["reject it"; 300];
    rejects.produce(&many);
    retries.produce(&["retry 100000 100", "b"]);
    huge.produce(&["a", &"x".repeat(50_000)]);
    java::delete(&gone.output);
    gone.produce(&["a"]);
    java::allow("ANONYMOUS", "topic", &denied.output, "read");
    denied.produce(&["a"]);
    // Records that have waited since five minutes ago.
    let then = i64::try_from(clock::unix_ms()).unwrap() - 300_000;
    behind.produce_at(then, &vec!["a"; 300]);
    holds.produce(&["a", "reject me"]);
    rejects.produce(&many);
    for (name, what, buttons) in [
        ("rejects", &["% of its records fail"][..], &["pause"][..]),
        ("retries", &["offset 0"], &["reload"]),
        ("huge", &["max.message.bytes"], &["start", "skip"]),
        ("gone", &["kafka-topics.sh"], &[]),
        ("denied", &["kafka-acls.sh"], &[]),
        ("behind", &["is behind by"], &[]),
        ("holds", &["offset 1"], &["resume", "skip"]),
    ] {
        says(&mut process, name, what, buttons);
    }

    // Partitions that are added are read, and shown, without anybody's help.
    java::add_partitions(&grows.input, 3);
    let watch = clock::Watch::start();
    let added = format!("{}/2", grows.input);
    process.wait("the added partitions to be shown", SOON, |process| {
        process.page("/pipelines/grows").is_some_and(|page| text_of(&page).contains(&added))
    });
    support::say(&format!("on call: added partitions: {:?}", watch.elapsed()));

    node.kill().unwrap();
    says(&mut process, "away", &["no broker", "Nothing is lost", "goes on by itself"], &[]);

    // What is wrong at the start: a file, a password, and a group whose last member was killed.
    let broken = fs::read_to_string(file("poison")).unwrap().replace("[input]", "[inputs]");
    fs::write(file("broken"), broken.replace(&poison.group, "another")).unwrap();
    world.add("password", &[], "", |text| elsewhere(&text, &login));
    let member = world.add("member", &[], "", plain);
    let mut other = member.pipeline.run();
    other.ready();
    other.kill();
    process.hang_up();
    says(&mut process, "broken", &["broken.toml", "inputs"], &["start"]);
    says(&mut process, "password", &["it refused the user or the password"], &[]);
    says(&mut process, "member", &["if a member died, until its session is over"], &[]);
    process.terminate();
    process.exit(LIMIT);
}
