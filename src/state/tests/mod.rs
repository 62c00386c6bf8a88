//! Tests of the whole of `state`: single cases, the table against a simple one, and the model.

mod broker;
mod cases;
mod input;
mod model;
mod process;
mod random;
mod table;
