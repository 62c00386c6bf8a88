//! Plugin sources: creating a project from a template, building it, and rebuilding it when its source changes.
//!
//! Nothing here runs a plugin. The built component is checked like any other.

mod languages;
mod project;
mod rebuild;
mod scaffold;
mod shared;
mod toolchain;

pub use languages::Language;
pub use project::Built;
pub use project::Project;
pub use rebuild::Rebuild;
pub use scaffold::create;
pub use scaffold::create_pipeline;
pub use scaffold::is_name;
