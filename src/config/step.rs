//! What is found wrong with a step when its component is looked into, in the words and at the place in which everybody tells it.
//!
//! It knows texts, not components: the loader of one says why it can't.

use super::Pipeline;
use super::report::Report;

impl Pipeline {
    /// Adds why the component of a step can't be loaded. The last part of the reason, behind a `; `, is what to do.
    pub fn add_unloaded(&self, step: usize, why: &str, report: &mut Report) {
        let Some(spans) = self.spans.steps.get(step) else { return };
        let text = self.hide(why);
        let (message, help) = text.rsplit_once("; ").unwrap_or((&text, "`wasmill inspect` says what it is and needs"));
        report.add(spans.wasm, message, help);
    }

    /// Adds why the plugin of the step of this name refuses to start, or can't.
    pub fn add_unstarted(&self, step: &str, why: &str, report: &mut Report) {
        let number = self.steps.iter().position(|settings| *settings.name == *step);
        let Some(spans) = number.and_then(|number| self.spans.steps.get(number)) else { return };
        let message = self.hide(&format!("step `{step}` does not start: {}", why.trim()));
        let help = "its plugin was given these `settings`, ports, `timeout` and `memory`: change what it complains of";
        report.add(spans.settings, message, help);
    }
}
