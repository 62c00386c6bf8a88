//! SIGTERM under load: what is in flight is finished and committed, so that nothing is lost and nothing comes twice.

use std::time::Duration;

use crate::support;
use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Reader;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

const TIMES: u32 = 5;
/// `shutdown_timeout`'s default.
const LIMIT: Duration = Duration::from_secs(25);

#[test]
fn sigterm_under_load_loses_and_repeats_nothing() {
    let _alone = support::load();
    let input = java::create("term-in", 3, &[]);
    let output = java::create("term-out", 3, &[]);
    let group = unique("term");
    let pipeline = Pipeline::new(&input, &output, &group, "session_timeout = \"6s\"");
    pipeline.install(&component::forward());
    let reader = Reader::start(&output);
    let feed = Feed::start(&input, 20_000, 997, 20, 0);

    for time in 1..=TIMES {
        let mut process = pipeline.run();
        let before = reader.tally().fresh;
        process.wait("records in flight and new ones delivered", Duration::from_secs(60), |process| {
            let in_flight = process.metric("wasmill_in_flight_records").is_some_and(|records| records > 0.0);
            in_flight && java::lag(&group, &input) > 0 && reader.tally().fresh > before + 20_000
        });
        let watch = clock::Watch::start();
        process.terminate();
        assert_eq!(process.exit(LIMIT), Some(0));
        let took = watch.elapsed();
        let tally = reader.tally();
        say(&format!(
            "term: {time} of {TIMES}: ended in {took:?}, {} delivered, {} repeated",
            tally.fresh, tally.repeats
        ));
        assert_eq!(java::committed(&group, &input), tally.heights, "all that was delivered is committed");
        assert_eq!(tally.repeats, 0);
    }

    let fed = feed.stop();
    let mut process = pipeline.run();
    process.wait("the lag to reach zero", Duration::from_secs(60), |_| java::lag(&group, &input) == 0);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
    let tally = reader.tally();
    assert_eq!(reader.missing(&feed), (0, String::new()));
    assert_eq!((tally.repeats, tally.disorder, tally.foreign), (0, 0, 0));
    assert_eq!(tally.heights, fed);
}
