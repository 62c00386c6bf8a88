//! A step with windows, as the worker needs it: from the checked configuration and the state that its plugin declares.
//!
//! Invariant: what is computed in a dry run is what a running pipeline computes, since both begin here.

use crate::aggregate;
use crate::aggregate::Extraction;
use crate::config;
use crate::kafka::settings::Guarantee;
use crate::plugin;
use crate::plugin::Step;
use crate::plugin::World;
use crate::sink::Routes;
use crate::state;
use crate::worker::Reducer;
use crate::worker::WindowedStep;

/// What the worker needs of a step with windows. `last` is the pipeline's last plugin.
#[must_use]
pub fn step(windowed: config::Windowed, delivery: &Guarantee, routes: &Routes, last: Option<&Step>) -> WindowedStep {
    let config::Windowed { name, number, window, key, time, computes, early, memory_bytes, .. } = windowed;
    let delivery = match delivery {
        Guarantee::AtLeastOnce => state::Delivery::AtLeastOnce,
        Guarantee::ExactlyOnce { .. } => state::Delivery::ExactlyOnce,
    };
    let (cell_max, version, extraction, reducer) = match computes {
        config::Computes::Functions(functions) => {
            let extraction = Extraction::new(key, time, functions.pointers());
            (aggregate::CELL_BYTES_MAX, functions.version(), extraction, Reducer::Functions(functions))
        }
        config::Computes::Plugin => {
            let state = last.and_then(Step::state).cloned().unwrap_or_default();
            let finds_keys = last.is_some_and(|step| step.world() == World::ReduceBy);
            let reducer = Reducer::Plugin { finds_keys, reads: state.reads };
            (plugin::CELL_MAX, state.version, Extraction::new(key, time, &[]), reducer)
        }
    };
    WindowedStep {
        name,
        number,
        state: state::Settings { window, delivery, cell_max, version, is_early: early.is_some() },
        early,
        extraction,
        reducer,
        late: routes
            .ports()
            .iter()
            .position(|port| port == config::Windowed::LATE)
            .and_then(|port| u32::try_from(port).ok()),
        memory_bytes: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
    }
}
