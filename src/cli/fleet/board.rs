//! What the server asks of the pipelines of a process.

use std::sync::Arc;

use super::Fleet;
use super::lifecycle::Event;
use super::member::Member;
use crate::admin::Board;
use crate::admin::Operation;
use crate::admin::Refused;
use crate::admin::Served;

/// The pipelines of a process, for the server.
pub(super) struct FleetBoard(pub(super) Arc<Fleet>);

impl Board for FleetBoard {
    fn pipelines(&self) -> Vec<Arc<Served>> {
        self.0.lock().members.iter().map(|member| Arc::clone(&member.served)).collect()
    }

    fn operate(&self, pipeline: &str, operation: &Operation) -> Result<String, Refused> {
        let fleet = &self.0;
        let mut inner = fleet.lock();
        if inner.is_ending {
            return Err(Refused::Conflict("the process ends".to_owned()));
        }
        let member =
            inner.members.iter_mut().find(|member| *member.served.name == *pipeline).ok_or(Refused::Unknown)?;
        let (event, done) = match operation {
            Operation::Pause | Operation::Resume => {
                let pauses = *operation == Operation::Pause;
                runs(member, operation)?;
                member.pause(pauses);
                let done = match pauses {
                    true => "what is in flight is finished, and nothing more is read until `resume`",
                    false => "records are read again",
                };
                return Ok(done.to_owned());
            }
            Operation::Restart => (Event::Restart, "it is started from its file, after it was drained if it runs"),
            Operation::Stop => (Event::Stop, "it is drained, and stays stopped until `start`"),
            Operation::Start if !member.life.has_ended() && !member.life.is_leaving() => {
                let what = format!("it is {} already; `restart` starts it anew", state(member));
                return Err(Refused::Conflict(what));
            }
            Operation::Start => (Event::Start, "it is started from its file"),
            Operation::Reload if member.life.has_ended() && !member.life.has_failed() => {
                return Err(Refused::Conflict("it is stopped: `start` reads its file".to_owned()));
            }
            Operation::Reload => (Event::Changed, "its file is read again; the log and `reloads` tell the result"),
        };
        let number = member.number;
        fleet.tell(&mut inner, number, event);
        Ok(done.to_owned())
    }
}

fn state(member: &Member) -> &'static str {
    member.served.metrics.state().state.label()
}

/// Refuses an operation on a pipeline that doesn't run.
fn runs(member: &Member, operation: &Operation) -> Result<(), Refused> {
    if member.life.has_ended() {
        let what = format!("`{operation}` is for a pipeline that runs, and it is {}: `start` starts it", state(member));
        return Err(Refused::Conflict(what));
    }
    if member.life.is_leaving() {
        return Err(Refused::Conflict(format!("`{operation}` is for a pipeline that runs, and it is being drained")));
    }
    Ok(())
}
