//! What a pipeline says of itself to a probe.

/// A snapshot for `/livez` and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether every thread of the data path still moves. It never depends on a broker.
    pub live: bool,
    /// Whether records would flow now.
    pub ready: bool,
    /// The single checks behind `ready`, for `/readyz?verbose`.
    pub checks: Vec<Check>,
    /// Those behind `live`.
    pub threads: Vec<Check>,
}

/// One line of `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether it holds.
    pub ok: bool,
    /// What it is about: `config`, `pipeline/orders`, `broker`.
    pub name: String,
    /// `ok`, or why not.
    pub detail: String,
}
