//! A plugin with state for tests: counts the records of each key and window, until something goes wrong as the settings say.
//!
//! `settings = { fault = "trap", in = "emit", marker = "bad", attempts = 1 }`: the fault happens in a call that has a record whose value
//! contains the marker, by default `bad`; in `merge` and `emit`, a cell of such a record. `in` is `add` by default. With `attempts` it
//! happens only the first times that the record or the window is tried.
//!
//! | `fault` | what happens |
//! |---|---|
//! | `trap` | panics |
//! | `loop` | never ends |
//! | `error` | an error for the whole call |
//! | `reject` | `add`, `emit`: the record or window is rejected with the code `told-to` |
//! | `retry` | `add`, `emit`: it asks for a retry, by default only at the first attempt |
//! | `too-few-lengths` | an entry of `lengths` is missing, in `emit` of `counts` |
//! | `too-many-lengths` | there is one too many |
//! | `length-below-2` | a length is -3 |
//! | `bytes-left-over` | there is a byte that no length names |
//! | `bytes-missing` | the last byte is missing |
//! | `cell-too-large` | `add`, `merge`: the first cell of the call has 65,537 bytes |
//! | `failures-out-of-order` | `add`, `emit`: a failure of the second record or window comes before one of the first; of an only one there are two |
//! | `failure-out-of-range` | `add`, `emit`: a failure of one that isn't there |
//!
//! An outcome is `{"key":"k","from":0,"to":60000,"count":2}`, with times in milliseconds. A cell is the count in 8 bytes, the least
//! significant first, and a byte that is 1 if a record contained the marker.
//!
//! It uses the SDK's bindings, not its traits, which can't break the contract. `faults` is what is done to a right answer.

mod columns;
mod faults;
mod settings;

use std::cell::OnceCell;

use wasmill_sdk::bindings::reducer::exports::wasmill::plugin::reducer::Folded;
use wasmill_sdk::bindings::reducer::exports::wasmill::plugin::reducer::Guest;
use wasmill_sdk::bindings::reducer::exports::wasmill::plugin::reducer::Windows;
use wasmill_sdk::bindings::reducer::wasmill::plugin::cells::Cells;
use wasmill_sdk::bindings::reducer::wasmill::plugin::cells::Changes;
use wasmill_sdk::bindings::wasmill::plugin::columns::Batch;
use wasmill_sdk::bindings::wasmill::plugin::columns::Outcome;
use wasmill_sdk::bindings::wasmill::plugin::types::Source;

use columns::State;
use columns::length;
use settings::Place;
use settings::Settings;

thread_local! {
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Component;

impl Guest for Component {
    fn init(settings: String, _ports: Vec<String>) -> Result<(), String> {
        let settings = Settings::parse(&settings)?;
        SETTINGS.with(|known| known.set(settings)).map_err(|_| "`init` was called twice".to_owned())
    }

    fn add(_source: Source, batch: Batch, cells: Cells) -> Result<Folded, String> {
        with(|settings| add(settings, &batch, &cells))
    }

    fn merge(pairs: Cells) -> Result<Changes, String> {
        with(|settings| merge(settings, &pairs))
    }

    fn emit(windows: Windows) -> Result<Outcome, String> {
        with(|settings| emit(settings, &windows))
    }
}

const _: () = {
    wasmill_sdk::__plugin! { state = (1, &[]), }
    wasmill_sdk::bindings::reducer::export!(Component with_types_in wasmill_sdk::bindings::reducer);
};

fn with<T>(run: impl FnOnce(&Settings) -> Result<T, String>) -> Result<T, String> {
    SETTINGS.with(|settings| run(settings.get().ok_or("the plugin was called before `init`")?))
}

fn add(settings: &Settings, batch: &Batch, cells: &Cells) -> Result<Folded, String> {
    let mut states: Vec<Option<State>> = columns::cells(cells).map(|cell| cell.map(State::read)).collect();
    let records: Vec<bool> = columns::records(batch).map(|(_, value)| settings.is_marked(value)).collect();
    let told = settings.told(Place::Add, &records, &batch.attempts);
    faults::before(&told)?;
    let failures = faults::failures(&told);
    for (index, (&cell, &marked)) in cells.index.iter().zip(&records).enumerate() {
        if !failures.iter().any(|failed| failed.index as usize == index) {
            let state = states[cell as usize].get_or_insert_default();
            state.count += 1;
            state.marked |= marked;
        }
    }
    let mut changes = Changes { lengths: Vec::new(), data: Vec::new() };
    for (number, state) in states.iter().enumerate() {
        let added = |(index, cell): (usize, &u32)| {
            *cell as usize == number && !failures.iter().any(|failed| failed.index as usize == index)
        };
        match state {
            Some(state) if cells.index.iter().enumerate().any(added) => {
                let cell = state.written();
                changes.lengths.push(length(cell.len()));
                changes.data.extend(cell);
            }
            Some(_) | None => changes.lengths.push(-2),
        }
    }
    faults::change(&told, &mut changes.lengths, &mut changes.data);
    Ok(Folded { changes, failures })
}

fn merge(settings: &Settings, pairs: &Cells) -> Result<Changes, String> {
    let states: Vec<State> = columns::cells(pairs).map(|cell| State::read(cell.unwrap_or_default())).collect();
    let marked: Vec<bool> = states.iter().map(|state| state.marked).collect();
    let told = settings.told(Place::Merge, &marked, &[]);
    faults::before(&told)?;
    let mut changes = Changes { lengths: Vec::new(), data: Vec::new() };
    for pair in states.chunks_exact(2) {
        let [earlier, later] = [&pair[0], &pair[1]];
        let marked = earlier.marked || later.marked;
        let cell = State { count: earlier.count.wrapping_add(later.count), marked }.written();
        changes.lengths.push(length(cell.len()));
        changes.data.extend(cell);
    }
    faults::change(&told, &mut changes.lengths, &mut changes.data);
    Ok(changes)
}

fn emit(settings: &Settings, windows: &Windows) -> Result<Outcome, String> {
    let keyed: Vec<(Option<&[u8]>, State)> =
        columns::records(&windows.keyed).map(|(key, value)| (key, State::read(value.unwrap_or_default()))).collect();
    let marked: Vec<bool> = keyed.iter().map(|(_, state)| state.marked).collect();
    let told = settings.told(Place::Emit, &marked, &windows.keyed.attempts);
    faults::before(&told)?;
    let failures = faults::failures(&told);
    let mut outcome = Outcome {
        counts: Vec::new(),
        ports: Vec::new(),
        partitions: Vec::new(),
        timestamps: Vec::new(),
        layout: Vec::new(),
        data: Vec::new(),
        failures,
    };
    let times = windows.starts.iter().zip(&windows.ends);
    for (index, ((key, state), (from, to))) in keyed.into_iter().zip(times).enumerate() {
        if outcome.failures.iter().any(|failed| failed.index as usize == index) {
            outcome.counts.push(0);
            continue;
        }
        let key = serde_json::to_string(&key.map(String::from_utf8_lossy)).map_err(|e| e.to_string())?;
        let text = format!("{{\"key\":{key},\"from\":{from},\"to\":{to},\"count\":{}}}", state.count);
        outcome.counts.push(1);
        outcome.layout.extend([-2, length(text.len()), -2]);
        outcome.data.extend(text.into_bytes());
    }
    faults::outcome(&told, &mut outcome);
    Ok(outcome)
}

#[cfg(test)]
mod tests;
