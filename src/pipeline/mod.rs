//! The workers of one pipeline: start, status, stop. [`Handle`] is what others hold.

mod health;

pub use health::Check;
pub use health::Health;
