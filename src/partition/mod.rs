//! One partition's path from fetched to committed. Pure.

mod policy;

pub use policy::Policy;
pub use policy::Retries;
pub use policy::Then;
