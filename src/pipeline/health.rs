//! The health of a pipeline, as probes see it.

/// A snapshot for `/livez` and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether every thread of the data path still makes progress. It never depends on a broker.
    pub live: bool,
    /// Whether records would flow now.
    pub ready: bool,
    /// The individual checks behind `ready`, for `/readyz?verbose`.
    pub checks: Vec<Check>,
    /// The individual checks behind `live`.
    pub threads: Vec<Check>,
    /// A line for each partition of a step with windows, for `/readyz?verbose`.
    pub partitions: Vec<String>,
}

/// One line of `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether the check passes.
    pub ok: bool,
    /// What is checked: `config`, `pipeline/orders`, `broker`.
    pub name: String,
    /// `ok`, or why not.
    pub detail: String,
}
