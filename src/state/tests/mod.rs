//! Tests of the whole of `state`: single cases, the table against a simple one, the model, and a benchmark.

mod bench;
mod broker;
mod cases;
mod input;
mod model;
mod process;
mod random;
mod table;
