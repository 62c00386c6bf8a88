//! Findings about a step's component, so that all commands report them with the same text and place.
//!
//! It only handles texts; the loader of a component knows why it can't be loaded.

use super::Pipeline;
use super::report::Report;

impl Pipeline {
    /// Adds why the component of a step can't be loaded. The part of `why` after its last `; ` is the help.
    pub fn add_unloaded(&self, step: usize, why: &str, report: &mut Report) {
        let Some(spans) = self.spans.steps.get(step) else { return };
        let text = self.hide(why);
        let (message, help) = text.rsplit_once("; ").unwrap_or((&text, "`wasmill inspect` says what it is and needs"));
        report.add(spans.wasm, message, help);
    }

    /// Adds why the plugin of the step with this name can't start.
    pub fn add_unstarted(&self, step: &str, why: &str, report: &mut Report) {
        let number = self.steps.iter().position(|settings| *settings.name == *step);
        let Some(spans) = number.and_then(|number| self.spans.steps.get(number)) else { return };
        let message = self.hide(&format!("step `{step}` does not start: {}", why.trim()));
        let help = "its plugin was given these `settings`, ports, `timeout` and `memory`: change what it complains of";
        report.add(spans.settings, message, help);
    }
}
