//! The pipeline of the delivery tests: two steps and three outputs. Each record goes to two outputs.
//!
//! Step one forwards each record, and sends a copy to `audit`; step two sends it to `main` or `other`, depending on its key. So `audit` has
//! the whole feed, `main` and `other` together have it, too, and a record is settled when two topics have acknowledged it.

use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Reader;
use crate::support::java::Tally;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

/// The names of the outputs, which are also the ports.
const OUTPUTS: [&str; 3] = ["main", "audit", "other"];

/// Topics, the pipeline between them, and counting readers.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) input: String,
    /// The topic of the output `main`.
    pub(crate) main: String,
    pub(crate) group: String,
    pub(crate) pipeline: Pipeline,
    views: [Reader; 2],
}

impl Delivery {
    /// `more` is appended to the keys of `[input]`.
    pub(crate) fn new(name: &str, partitions: usize, more: &str) -> Delivery {
        Delivery::in_group(name, unique(name), partitions, more)
    }

    /// Like [`Delivery::new`], with a given group name.
    pub(crate) fn in_group(name: &str, group: String, partitions: usize, more: &str) -> Delivery {
        Delivery::from(java::create(&format!("{name}-in"), partitions, &[]), name, group, partitions, more)
    }

    /// Like [`Delivery::in_group`], from an existing topic.
    pub(crate) fn from(input: String, name: &str, group: String, partitions: usize, more: &str) -> Delivery {
        let outputs = OUTPUTS.map(|output| {
            java::create(&format!("{name}-{output}"), partitions, &["message.timestamp.type=LogAppendTime"])
        });
        let [main, audit, other] = &outputs;
        java::permit(&[&input], &[main, audit, other], &group);
        let pipeline = Pipeline::of(&format!(
            "[[step]]\nname = \"tee\"\nwasm = \"../tee.wasm\"\n\n[[step]]\nname = \"split\"\nwasm = \"../split.wasm\"\n\n\
             [output.main]\ntopic = \"{main}\"\n\n[output.audit]\ntopic = \"{audit}\"\n\n[output.other]\ntopic = \"{other}\"\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n{more}\n"
        ));
        pipeline.install_as("tee.wasm", &component::tee());
        pipeline.install_as("split.wasm", &component::split(2));
        let views = [Reader::of(&[main, other]), Reader::of(&[audit])];
        let [main, _, _] = outputs;
        Delivery { input, main, group, pipeline, views }
    }

    /// Counts everything that the topics contain now. `fresh` counts records with all their outputs, and `heights` are above every output.
    /// The other values are the worse ones of the two paths.
    pub(crate) fn tally(&self) -> Tally {
        let [split, audit] = self.views.each_ref().map(Reader::tally);
        let mut heights = audit.heights;
        heights.resize(heights.len().max(split.heights.len()), 0);
        for (height, other) in heights.iter_mut().zip(split.heights) {
            *height = other.max(*height);
        }
        Tally {
            fresh: split.fresh.min(audit.fresh),
            repeats: split.repeats.max(audit.repeats),
            disorder: split.disorder + audit.disorder,
            foreign: split.foreign + audit.foreign,
            stale: split.stale + audit.stale,
            heights,
        }
    }

    /// How many records the broker appended between two times, on the path with more of them.
    pub(crate) fn appended(&self, from_ms: u64, to_ms: u64) -> u64 {
        self.views.iter().map(|view| view.appended(from_ms, to_ms)).max().unwrap_or(0)
    }

    /// How many acknowledged records of a feed lack an output, and which ones, as `partition/offset`.
    pub(crate) fn missing(&self, feed: &Feed) -> (u64, String) {
        let [split, audit] = self.views.each_ref().map(|view| view.missing(feed));
        (split.0 + audit.0, split.1 + &audit.1)
    }

    /// Verifies at the end of a test that every record of the feed has its outputs, each key's records in order with the newest last, and
    /// that there is nothing else.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn assert_delivered(&self, feed: &Feed) -> Tally {
        let tally = self.assert_complete(feed);
        assert_eq!(tally.stale, 0, "keys that end with an old value");
        tally
    }

    /// Like `assert_delivered`, but allows old values that arrived late.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn assert_complete(&self, feed: &Feed) -> Tally {
        let fed = feed.stop();
        let tally = self.tally();
        assert_eq!(self.missing(feed), (0, String::new()), "records that are missing");
        assert_eq!((tally.disorder, tally.foreign), (0, 0), "disorder and foreign records");
        assert_eq!(tally.heights, fed, "the end of each partition");
        assert_eq!(java::committed(&self.group, &self.input), fed, "committed at the end");
        tally
    }
}
