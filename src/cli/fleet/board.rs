//! What the server asks of the pipelines of a process.

use std::sync::Arc;

use super::Fleet;
use super::Inner;
use super::lifecycle::Event;
use super::member::Member;
use crate::admin::Board;
use crate::admin::Operation;
use crate::admin::Refused;
use crate::admin::Served;
use crate::pipeline::RecordAt;
use crate::pipeline::ReloadPreview;
use crate::record::RecordId;

/// The pipelines of a process, for the server.
pub(super) struct FleetBoard(pub(super) Arc<Fleet>);

impl Board for FleetBoard {
    fn pipelines(&self) -> Vec<Arc<Served>> {
        self.0.lock().members.iter().map(|member| Arc::clone(&member.served)).collect()
    }

    fn operate(&self, pipeline: &str, operation: &Operation) -> Result<String, Refused> {
        let fleet = &self.0;
        let mut inner = fleet.lock();
        let member = member(&mut inner, pipeline)?;
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

    fn skip(&self, pipeline: &str, record: &RecordId) -> Result<String, Refused> {
        let fleet = &self.0;
        let mut inner = fleet.lock();
        let member = member(&mut inner, pipeline)?;
        is_stopped_at(member.stopped_at().as_ref(), record)?;
        if !member.leave_out(record) {
            let number = member.number;
            // One that is about to end is started after that.
            fleet.tell(&mut inner, number, Event::Restart);
        }
        Ok(format!("it goes on; the record at {record} is tried once more, and left out if it fails again"))
    }

    fn would_reload(&self, pipeline: &str, answer: ReloadPreview) -> Result<(), Refused> {
        let mut inner = self.0.lock();
        let member = member(&mut inner, pipeline)?;
        if member.would_reload(answer) {
            return Ok(());
        }
        Err(Refused::Conflict(format!("it is {}: `start` reads its file", state(member))))
    }
}

/// The pipeline of this name, as long as the process doesn't end.
fn member<'a>(inner: &'a mut Inner, pipeline: &str) -> Result<&'a mut Member, Refused> {
    if inner.is_ending {
        return Err(Refused::Conflict("the process ends".to_owned()));
    }
    inner.members.iter_mut().find(|member| *member.served.name == *pipeline).ok_or(Refused::Unknown)
}

/// Refuses to leave out a record at which the pipeline didn't stop.
fn is_stopped_at(stopped: Option<&RecordAt>, record: &RecordId) -> Result<(), Refused> {
    let what = match stopped {
        None => "no record has stopped it or holds it".to_owned(),
        Some(stopped) if stopped.place != *record => {
            format!("it has stopped at {}, and not at {record}", stopped.place)
        }
        Some(RecordAt { may_be_left_out: false, .. }) => {
            "too many of its records fail: it would stop at the next one. Fix the plugin, then `start`".to_owned()
        }
        Some(_) => return Ok(()),
    };
    Err(Refused::Conflict(what))
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
