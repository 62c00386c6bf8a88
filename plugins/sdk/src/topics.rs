//! The numbers of topics that outputs name: the host gives them, for one call. Outside of WebAssembly [`crate::testing`] does.
//!
//! A call to the host is expensive, so it is made once for each port and name of a call. A plugin that names no topic has nothing
//! of this linked except for the number of the call.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    /// The number of the call.
    static CALL: Cell<u64> = const { Cell::new(0) };
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { call: 0, numbers: BTreeMap::new() }) };
}

/// The numbers of a call.
struct Known {
    call: u64,
    /// For each name the ports that it was named with, and the numbers.
    numbers: BTreeMap<String, Vec<(u32, u32)>>,
}

/// A call begins: earlier numbers mean nothing any more.
#[inline]
pub(crate) fn begin() {
    CALL.set(CALL.get() + 1);
}

/// The number that stands for a port and the topic of this name.
#[inline(never)]
pub(crate) fn number(port: u32, name: &str) -> u32 {
    KNOWN.with_borrow_mut(|known| {
        if known.call != CALL.get() {
            known.call = CALL.get();
            known.numbers.clear();
        }
        if let Some(numbers) = known.numbers.get(name)
            && let Some(&(_, number)) = numbers.iter().find(|(of, _)| *of == port)
        {
            return number;
        }
        let number = host_number(port, name);
        known.numbers.entry(name.to_owned()).or_default().push((port, number));
        number
    })
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::topics::wasmill::plugin::topics::number as host_number;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::number_of_topic as host_number;
