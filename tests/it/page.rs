//! The page in a browser: what it shows, its buttons, by mouse and keyboard, wide and narrow, light and dark.
//!
//! It makes the pictures of `docs/`: with `WASMILL_BLESS=1` they are written there.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::support;
use crate::support::browser::Browser;
use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);

/// Adds a pipeline through `plugins/faulty` to a folder. Returns its input.
fn add(folder: &TempDir, name: &str, more: &str) -> String {
    let [input, output, dead] = ["in", "out", "dead"].map(|of| java::create(&format!("{name}-{of}"), 2, &[]));
    let pipeline = Pipeline::new(&input, &output, &unique(name), &more.replace("DEAD", &dead));
    let file = folder.path().join("pipelines").join(format!("{name}.toml"));
    fs::write(file, fs::read_to_string(pipeline.file()).unwrap()).unwrap();
    input
}

fn produce(topic: &str, values: &[&str]) {
    let record = |value: &&str| Raw { value: Some(value.as_bytes().to_vec()), ..Raw::default() };
    java::produce(topic, 0, &values.iter().map(record).collect::<Vec<_>>());
}

/// Keeps a picture of the page.
fn picture(browser: &mut Browser, name: &str) {
    let folder = match env::var_os("WASMILL_BLESS") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images"),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join("images"),
    };
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.png")), browser.screenshot()).unwrap();
}

/// The cell of the overview that has a pipeline's state.
fn cell(name: &str) -> String {
    format!("tr[data-name=\"{name}\"] .state")
}

fn is_state(name: &str, state: &str) -> String {
    format!("document.querySelector('{}')?.innerText === '{state}'", cell(name))
}

#[test]
fn a_user_of_the_page_sees_what_is_stuck_and_gets_it_going_again() {
    let _alone = support::load();
    // Longer than a narrow window is wide, with no place where a line would break.
    let folder = tempfile::Builder::new().prefix("a_folder_whose_name_is_longer_than_a_line_").tempdir().unwrap();
    fs::create_dir(folder.path().join("pipelines")).unwrap();
    fs::write(folder.path().join("plugin.wasm"), component::faulty()).unwrap();
    fs::write(folder.path().join("pipelines/wasmill.toml"), "[http]\ntap = true\n").unwrap();
    let [orders, invoices, refunds] =
        [("orders", ""), ("invoices", ""), ("refunds", "\n[on_error]\ndead_letter = \"DEAD\"\n")]
            .map(|(name, more)| add(&folder, name, more));
    add(&folder, "stock", "");
    let stock = folder.path().join("pipelines/stock.toml");
    let whole = fs::read_to_string(&stock).unwrap();
    fs::write(&stock, whole.replace("[input]", "[inputs]")).unwrap();
    let mut process = Process::fleet(&folder.path().join("pipelines"));
    let _feed = Feed::start(&orders, 500, 97, 20, 0);
    produce(&invoices, &["a", "reject no customer", "b"]);
    produce(&refunds, &["reject no order", "a", "reject no order"]);

    let mut browser = Browser::start();
    let url = format!("http://{}/", process.address());
    process.wait("the page to be served", LIMIT, |process| process.page("/").is_some());
    browser.look(1200, 900, false);
    browser.open(&url);
    browser.wait("the record to stop its pipeline", &is_state("invoices", "failed"));
    browser.wait("the others to run", &is_state("orders", "running"));
    assert!(browser.text("h1").starts_with("A person is needed for"), "{}", browser.text("h1"));
    let stuck = browser.text("section[aria-label=\"invoices\"]");
    for part in [&format!("topic {invoices}, partition 0, offset 1"), "told to reject", "A start is safe", "since"] {
        assert!(stuck.contains(part), "{part}: {stuck}");
    }
    assert!(browser.text("section[aria-label=\"stock\"]").contains("stock.toml"));
    let buttons = browser.names("button");
    assert!(buttons.iter().any(|name| name == "skip invoices"), "{buttons:?}");
    assert!(browser.names("columnheader").len() >= 9, "{:?}", browser.names("columnheader"));
    picture(&mut browser, "overview");

    // The button says what it does, and then does it.
    browser.click("section[aria-label=\"invoices\"] button[data-operation=\"skip\"]");
    browser.wait("the record to be left out", &is_state("invoices", "running"));
    let said = browser.dialogs.join("\n");
    assert!(said.contains("skip invoices") && said.contains("offset=1") && said.contains("leaves out"), "{said}");
    fs::write(&stock, whole).unwrap();
    browser.click("section[aria-label=\"stock\"] button[data-operation=\"start\"]");
    browser.wait("the repaired one to run", &is_state("stock", "running"));

    // A pipeline's page, by keyboard: pause and resume.
    browser.enter("tr[data-name=\"orders\"] a");
    browser.wait("the pipeline's page", "document.querySelector('h1')?.innerText.startsWith('orders')");
    assert!(browser.text("main").contains(&format!("{orders}/0")), "{}", browser.text("main"));
    picture(&mut browser, "pipeline");
    browser.enter("button[data-operation=\"pause\"]");
    browser.wait("the pause", "document.querySelector('h1 .state')?.innerText === 'paused'");
    process.wait("the metrics to say so", LIMIT, |process| {
        let (_, body) = process.get("/metrics").unwrap_or_default();
        body.contains("wasmill_pipeline_state{pipeline=\"orders\",state=\"paused\"} 1")
    });
    browser.enter("button[data-operation=\"resume\"]");
    browser.wait("the resume", "document.querySelector('h1 .state')?.innerText === 'running'");

    // Records as they pass, and what the pipeline holds.
    browser.click("#tap-button");
    browser.wait("records", "document.querySelectorAll('#tap-records li').length > 2");
    let shown = browser.text("#tap-records li");
    assert!(shown.contains("step-one") && shown.contains(&format!("{orders}/")), "{shown}");
    browser.click("#tap-button");
    browser.wait("the end", "document.getElementById('tap-state').innerText.startsWith('Stopped after')");
    let figures = browser.text(".figures");
    assert!(
        figures.contains("plugins ") && figures.contains("all pipelines ") && figures.contains("weight 10"),
        "{figures}"
    );

    // Dead letters.
    browser.open(&format!("{url}pipelines/refunds"));
    browser.wait("the dead letters", "document.querySelector('main').innerText.includes('reject 2')");

    // Narrow and dark: nothing is cut off.
    for page in ["", "pipelines/orders"] {
        browser.look(360, 800, true);
        browser.open(&format!("{url}{page}"));
        assert_eq!(browser.eval("document.documentElement.scrollWidth"), 360, "/{page} is wider than the window");
        let brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)";
        assert!(browser.eval(brightness).as_u64().unwrap() < 200, "the page is dark");
    }
    picture(&mut browser, "narrow");

    let elsewhere: Vec<&String> =
        browser.requests.iter().filter(|asked| !asked.starts_with(&url) && !asked.starts_with("data:")).collect();
    assert!(elsewhere.is_empty() && browser.requests.len() > 4, "{elsewhere:?}");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}
