//! Which output a step's port leads to, and the dead letter of a failed record.
//!
//! Pure. It doesn't send anything and knows topics only as output numbers.

mod dead_letter;
mod failure_headers;
pub mod size;

pub use dead_letter::DeadLetter;
pub use dead_letter::DeadLetters;
pub use dead_letter::Dialect;
pub use dead_letter::GivenUp;
pub use dead_letter::REPLAYS;
pub use dead_letter::WINDOW;
pub use failure_headers::FailureHeaders;

/// The destination of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the next step.
    NextStep,
    /// To an output, by its index in the file.
    Output(usize),
}

/// The ports of every step. Port 0 is `main`: it leads to the next step, and after the last step to
/// `[output.main]`. The other ports are the other outputs in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    outputs: Vec<String>,
    main: usize,
    steps: usize,
}

impl Routes {
    /// `outputs` are their names in file order; `None` if none of them is `main`.
    #[must_use]
    pub fn new(outputs: Vec<String>, steps: usize) -> Option<Routes> {
        let main = outputs.iter().position(|name| name == "main")?;
        Some(Routes { outputs, main, steps })
    }

    /// The routes of a file whose outputs are not known.
    #[must_use]
    pub fn only_main(steps: usize) -> Routes {
        Routes { outputs: vec!["main".to_owned()], main: 0, steps }
    }

    /// The same outputs for another number of steps.
    #[must_use]
    pub fn for_steps(&self, steps: usize) -> Routes {
        Routes { steps, ..self.clone() }
    }

    /// The names of the ports, which are the same for every step.
    #[must_use]
    pub fn ports(&self) -> Vec<String> {
        let others = self.outputs.iter().enumerate().filter(|&(index, _)| index != self.main);
        std::iter::once("main".to_owned()).chain(others.map(|(_, name)| name.clone())).collect()
    }

    /// The name of an output, by its index in the file.
    #[must_use]
    pub fn name(&self, output: usize) -> Option<&str> {
        self.outputs.get(output).map(String::as_str)
    }

    /// The destination of a step's port. Ports that don't exist never get here: `outcome::check` refuses them.
    #[must_use]
    pub fn destination(&self, step: usize, port: u32) -> Destination {
        match port as usize {
            0 if step + 1 < self.steps => Destination::NextStep,
            0 => Destination::Output(self.main),
            port if port <= self.main => Destination::Output(port - 1),
            port => Destination::Output(port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_main_and_then_the_other_outputs_in_file_order() {
        let names = ["audit", "main", "late"].map(String::from).to_vec();
        let routes = Routes::new(names, 2).unwrap();
        assert_eq!(routes.ports(), ["main", "audit", "late"]);
        assert_eq!(routes.destination(0, 0), Destination::NextStep);
        assert_eq!(routes.destination(1, 0), Destination::Output(1));
        for step in 0..2 {
            assert_eq!(routes.destination(step, 1), Destination::Output(0));
            assert_eq!(routes.destination(step, 2), Destination::Output(2));
        }
    }

    #[test]
    fn an_output_called_main_is_needed() {
        assert_eq!(Routes::new(vec!["audit".into()], 1), None);
    }
}
