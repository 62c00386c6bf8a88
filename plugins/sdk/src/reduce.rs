//! Keyed state: what a plugin for windows implements, and what it is called with.
//!
//! The host owns keys, windows, lateness and the bytes of the accumulators. `cell` says what these bytes are, `fold` runs the calls of
//! the contract, and `keys` those of plugins that find keys and times themselves.

pub(crate) mod cell;
pub(crate) mod fold;
pub(crate) mod keys;
mod time;
mod window;

pub use keys::KeyBuffer;
pub use keys::Keyed;
pub use window::Window;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Emitter;
use crate::Failure;
use crate::Record;
use crate::Verdict;

/// A plugin with an accumulator for each key and window.
///
/// The host keeps the accumulators, as bytes: each call brings those that it needs and takes them back. An accumulator begins as
/// `Acc::default()`. Call [`export_reduce!`](crate::export_reduce) to make it the plugin of a crate.
///
/// ```
/// use std::time::Duration;
///
/// use wasmill_sdk::Emitter;
/// use wasmill_sdk::Record;
/// use wasmill_sdk::Reduce;
/// use wasmill_sdk::Verdict;
/// use wasmill_sdk::Window;
/// use wasmill_sdk::testing::Input;
/// use wasmill_sdk::testing::ReduceHarness;
///
/// /// Counts the records of each key in each window.
/// struct Count;
///
/// impl Reduce for Count {
///     type Acc = u64;
///
///     fn init(_settings: &str, _ports: &[String]) -> Result<Self, String> {
///         Ok(Count)
///     }
///
///     fn add(&mut self, count: &mut u64, _: Record<'_>) -> Verdict {
///         *count += 1;
///         Ok(())
///     }
///
///     fn merge(&mut self, count: &mut u64, later: u64) {
///         *count += later;
///     }
///
///     fn emit(&mut self, window: Window<'_>, count: &u64, out: &mut Emitter<'_>) -> Verdict {
///         let text = format!("{} to {}: {count}", window.start_text(), window.end_text());
///         out.output(0).value(Some(text.as_bytes()));
///         Ok(())
///     }
/// }
///
/// wasmill_sdk::export_reduce!(Count);
///
/// let minute = Duration::from_secs(60);
/// let mut count = ReduceHarness::<Count>::new("{}", &["main"], minute, minute)?;
/// for second in [5, 10, 61] {
///     count.push(Input::value("hello").key("k").timestamp(second * 1000));
/// }
/// let windows = count.advance_to(60_000)?;
/// assert_eq!(windows.len(), 1);
/// let outputs = windows[0].outputs.as_ref().unwrap();
/// assert_eq!(outputs[0].key.as_deref(), Some(&b"k"[..]));
/// let value = String::from_utf8_lossy(outputs[0].value.as_ref().unwrap());
/// assert_eq!(value, "1970-01-01T00:00:00.000Z to 1970-01-01T00:01:00.000Z: 2");
/// # Ok::<(), String>(())
/// ```
pub trait Reduce: Sized {
    /// What is kept for a key and a window, 64 KiB at most. It is written with [postcard](https://docs.rs/postcard), which stores fields
    /// by their order, not by their names: each change of the type is a new [`STATE_VERSION`](Reduce::STATE_VERSION), and
    /// `#[serde(flatten)]`, `untagged`, `skip_serializing_if` and `serde_json::Value` can't be read back. For the same accumulator always
    /// the same bytes should be written, so use a `BTreeMap` rather than a `HashMap`: an accumulator whose bytes didn't change isn't
    /// stored again.
    type Acc: Serialize + DeserializeOwned + Default;

    /// The version of [`Acc`](Reduce::Acc), 1 or more. It is the first byte of each stored accumulator.
    const STATE_VERSION: u8 = 1;

    /// Creates the plugin, as [`Transform::init`](crate::Transform::init).
    ///
    /// # Errors
    /// A message for the pipeline's author. The pipeline then doesn't start.
    fn init(settings: &str, ports: &[String]) -> Result<Self, String>;

    /// Adds a record to the accumulator of its key and window. The result must depend on nothing but these two: a record may be added
    /// again to what was before it, also within a call.
    ///
    /// # Errors
    /// If the record failed, see [`reject`](crate::reject), [`retry`](crate::retry) and [`error`](crate::error). The accumulator is then
    /// what it was before the record.
    fn add(&mut self, acc: &mut Self::Acc, record: Record<'_>) -> Verdict;

    /// Merges the accumulator of a later time into `acc`, for windows that overlap: their parts are kept, and put together when a window
    /// closes. It must be associative: in which order neighbours are merged may not matter.
    fn merge(&mut self, acc: &mut Self::Acc, later: Self::Acc);

    /// Emits what is known of a window. An output has the window's key and the window's last millisecond as its timestamp, unless it
    /// sets its own. It needs a value: [`forward`](Emitter::forward) and [`send`](crate::Output::send) would emit the stored bytes of
    /// the accumulator.
    ///
    /// # Errors
    /// If the window's outputs can't be made. They are discarded.
    fn emit(&mut self, window: Window<'_>, acc: &Self::Acc, out: &mut Emitter<'_>) -> Verdict;

    /// Reads an accumulator that an older version of the plugin stored: its version and its bytes, see [`decode`]. `None` if that isn't
    /// possible; the call then fails, with a message that names both versions. With a version that is read here, the plugin is exported
    /// with `export_reduce!(Plugin, reads = [1, 2])`.
    #[must_use]
    fn upgrade(version: u8, bytes: &[u8]) -> Option<Self::Acc> {
        let _ = (version, bytes);
        None
    }
}

/// Decodes stored bytes as another type than [`Reduce::Acc`], for [`Reduce::upgrade`]. `None` if they don't fit the type.
///
/// ```
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Counted {
///     records: u64,
///     bytes: u64,
/// }
///
/// /// Version 1 was the number of records.
/// fn upgrade(version: u8, bytes: &[u8]) -> Option<Counted> {
///     let records = if version == 1 { wasmill_sdk::decode(bytes)? } else { return None };
///     Some(Counted { records, bytes: 0 })
/// }
///
/// assert_eq!(upgrade(1, &[5]).unwrap().records, 5);
/// assert!(upgrade(1, &[5, 0]).is_none() && upgrade(2, &[5]).is_none());
/// ```
#[must_use]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        Ok(_) | Err(_) => None,
    }
}

/// A [`Reduce`] that finds the keys and event times of records itself, for those that the pipeline's file can't name. It is exported with
/// `export_reduce!(Plugin, keys)`.
///
/// ```
/// use wasmill_sdk::Failure;
/// use wasmill_sdk::KeyBuffer;
/// use wasmill_sdk::KeyBy;
/// use wasmill_sdk::Keyed;
/// use wasmill_sdk::Record;
/// use wasmill_sdk::reject;
/// # use wasmill_sdk::{Emitter, Reduce, Verdict, Window};
/// # struct Count;
/// # impl Reduce for Count {
/// #     type Acc = u64;
/// #     fn init(_: &str, _: &[String]) -> Result<Self, String> { Ok(Count) }
/// #     fn add(&mut self, count: &mut u64, _: Record<'_>) -> Verdict { *count += 1; Ok(()) }
/// #     fn merge(&mut self, count: &mut u64, later: u64) { *count += later; }
/// #     fn emit(&mut self, _: Window<'_>, _: &u64, _: &mut Emitter<'_>) -> Verdict { Ok(()) }
/// # }
///
/// /// Lines such as `1767225600 web-1 GET /`: the key is the host's name without its number.
/// impl KeyBy for Count {
///     fn key(&mut self, record: Record<'_>, key: KeyBuffer<'_>) -> Result<Keyed, Failure> {
///         let Some(line) = record.value else { return Ok(key.drop()) };
///         let line = std::str::from_utf8(line).map_err(|e| reject("bad-line", e))?;
///         let mut words = line.split(' ');
///         let seconds: i64 = words.next().unwrap_or_default().parse().map_err(|e| reject("bad-line", e))?;
///         let host = words.next().ok_or_else(|| reject("bad-line", "there is no host"))?;
///         let name = host.split('-').next().unwrap_or(host);
///         Ok(key.bytes(name.as_bytes()).at(seconds.saturating_mul(1000)))
///     }
/// }
///
/// wasmill_sdk::export_reduce!(Count, keys, codes = ["bad-line"]);
/// ```
pub trait KeyBy: Reduce {
    /// Finds the key of a record, and its time if that isn't the record's timestamp. The same record must always have the same. The
    /// contract doesn't say here where a record comes from: its `topic` is empty and its `partition` is 0.
    ///
    /// # Errors
    /// If the record failed.
    fn key(&mut self, record: Record<'_>, key: KeyBuffer<'_>) -> Result<Keyed, Failure>;
}
