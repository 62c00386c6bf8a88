//! The dead-letter topic of a pipeline: what is in it, and the way of its records back through the pipeline.
//!
//! [`read`] and [`Replay`] talk to brokers, everything else here is pure. A replay is a loop of a reader, the pipeline's steps and a
//! producer that handles one chunk of records at a time: it is made for thousands of records, not for the rate of a pipeline, and so it
//! has nothing in flight between two chunks. Where it stands is committed for the group `GROUP.dlq`, see [`progress`].

mod counts;
mod deliver;
mod filter;
mod letter;
mod member;
mod outcome;
mod progress;
mod read;
mod replay;

use std::time::Duration;

pub use counts::Counts;
pub use counts::Row;
pub use filter::Filter;
pub use letter::Letter;
pub use letter::REPLAYS_MAX;
pub use progress::Choice;
pub use progress::Scan;
pub use read::read;
pub use replay::Replay;
pub use replay::ReplayOptions;
pub use replay::Stopped;
pub use replay::Tally;

use crate::kafka;
use crate::kafka::settings::Isolation;
use crate::kafka::settings::OnGap;
use crate::kafka::settings::OnRecreate;
use crate::kafka::settings::Start;

/// How long to wait for the brokers' answers.
pub const LIMIT: Duration = Duration::from_secs(15);
/// A process that is killed leaves the group after this time.
const SESSION: Duration = Duration::from_secs(10);

/// The connection of a pipeline, with its dead-letter topic as the input, and the group that keeps the progress of replays.
/// `None` if the pipeline has no such topic.
#[must_use]
pub fn settings(pipeline: &kafka::Settings) -> Option<kafka::Settings> {
    let topic = pipeline.dead_letter.as_ref()?.topic.clone()?;
    let mut settings = pipeline.clone();
    let input = &mut settings.input;
    input.topics = vec![topic];
    input.group = format!("{}.dlq", input.group);
    input.instance_id = None;
    input.start = Start::Earliest;
    // What was taken back is no dead letter.
    input.isolation = Isolation::ReadCommitted;
    // What is gone can't be replayed.
    input.on_gap = OnGap::Continue;
    input.on_recreate = OnRecreate::Beginning;
    input.session_timeout = SESSION;
    Some(settings)
}
