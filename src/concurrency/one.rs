//! **One**: the flow that accepts a request serves it, and then takes the next.
//!
//! - Cost: nothing per request.
//! - Limits: a slow request holds up all that come after it.

use super::acceptor::{Acceptor, Event};
use super::task::run;
use super::{Limits, Work};
use crate::failure::Failure;
use crate::net::Front;
use crate::phase::{Observer, Waits};
use crate::stop::Stop;

/// Serves one request after the other until the stop.
///
/// # Errors
/// Set-up and listener failures; no client's.
pub fn serve<W: Work<O>, O: Observer>(
    front: Front,
    limits: &Limits,
    work: &W,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    in_turn(front, false, limits, work, observer, stop)
}

/// The same, also of a front that other processes share.
pub(super) fn in_turn<W: Work<O>, O: Observer>(
    front: Front,
    shared: bool,
    limits: &Limits,
    work: &W,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut acceptor = Acceptor::new(front, shared, limits, stop)?;
    loop {
        // The acceptor waits for readiness, the work in its calls.
        observer.waits_by(Waits::Readiness);
        let event = acceptor.next(work, observer, stop, None)?;
        observer.waits_by(Waits::InCall);
        match event {
            Event::Task(task) => run(*task, work, observer, stop),
            Event::Ready(_) | Event::Idle => {}
            Event::Over => break,
        }
    }
    acceptor.drain(work, observer, |task, observer| run(task, work, observer, stop))?;
    acceptor.close();
    Ok(())
}
