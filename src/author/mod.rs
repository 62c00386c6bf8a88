//! Plugins as source: the folder that a new one begins with, how one is built, and building again when its source changes.
//!
//! Nothing here runs a plugin. What was built is looked at like any other file.

mod project;
mod rebuild;
mod scaffold;
mod shared;
mod toolchain;

pub use project::Built;
pub use project::Project;
pub use rebuild::Rebuild;
pub use scaffold::create;
pub use scaffold::create_pipeline;
pub use scaffold::is_name;
