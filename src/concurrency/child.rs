//! From fork(2) to the end of a child: what it may not share with its parent, and how it ends without coming back.

use crate::failure::Failure;
use crate::phase::{Call, Count, Metric, Observer, Waits};
use crate::stop::Stop;
use crate::sys::{self, Child, Clock, Ended, Fork, Mask, Signal};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

/// How long after the drain's deadline a child is killed: it ends itself at the deadline, and counts what it has cut.
const GRACE: Duration = Duration::from_millis(500);

/// A child's stop, and its parent, for its signal handlers.
static CHILD: OnceLock<(Stop, u32)> = OnceLock::new();

/// SIGTERM: drain. It may come more than once. From a parent that is gone (it was killed, or a second signal ended it at once) it
/// means the end: nobody would wait for a drain.
fn on_stop(signal: Signal) {
    let Some((stop, parent)) = CHILD.get() else { return };
    if sys::getppid() != *parent {
        sys::exit_at_once(128 + signal);
    }
    stop.request();
    // Also for a send that blocks until then; an error leaves that to the parent's SIGKILL.
    let _ = sys::setitimer(stop.drain());
}

/// SIGALRM: the drain's time is over.
fn on_deadline(_: Signal) {
    if let Some((stop, _)) = CHILD.get() {
        stop.cut();
    }
}

/// Forks. In the child, `life` runs with an observer and a stop of its own, and then the process ends: whatever happens
/// in it, a panic too, it does not unwind into what it has inherited. `life` begins by closing what is not for it.
///
/// # Errors
/// As [`sys::fork`]; in the parent only.
pub(super) fn start<O: Observer>(
    observer: &O,
    stop: &Stop,
    waits: Waits,
    life: impl FnOnce(&mut O, &Stop),
) -> io::Result<Child> {
    // What the parent has buffered would be printed twice.
    let _ = io::stdout().flush();
    let (parent, moment) = (std::process::id(), observer.moment());
    // A signal between the fork and the handlers below would be answered by the parent's handlers, in the child.
    let mask = sys::block_signals()?;
    let forked = sys::fork();
    match forked {
        Ok(Fork::Child) => {
            let lived = catch_unwind(AssertUnwindSafe(|| {
                let stop = settle(stop, parent, &mask)?;
                let mut observer = observer.flow(waits);
                observer.since(Metric::Start, moment);
                life(&mut observer, stop);
                Ok::<_, io::Error>(())
            }));
            let status = match lived {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    let why = sys::describe(&error);
                    let _ = writeln!(io::stderr(), "waitcopy: a child could not begin: {why}");
                    1
                }
                Err(_) => 101,
            };
            let _ = io::stdout().flush();
            sys::exit_at_once(status)
        }
        Ok(Fork::Parent(child)) => sys::restore_signals(&mask).map(|()| child),
        Err(error) => sys::restore_signals(&mask).and(Err(error)),
    }
}

/// A parent and its children.
pub(super) trait Family {
    /// Those who have not been waited for.
    fn children(&self) -> impl Iterator<Item = &Child>;

    /// Waits until one of them ends, at most for so long, and takes its end.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn turn<O: Observer>(
        &mut self,
        wait: Option<Duration>,
        observer: &mut O,
    ) -> Result<(), Failure>;

    /// After a request to stop: has the children drain, kills those who do not end, and waits for all.
    ///
    /// # Errors
    /// As [`Family::turn`].
    fn end<O: Observer>(&mut self, observer: &mut O, stop: &Stop) -> Result<(), Failure> {
        let now = || sys::clock_gettime(Clock::Monotonic);
        let mut kill = Some(now() + stop.left().unwrap_or(stop.drain()) + GRACE);
        self.signal(sys::SIGTERM);
        while self.children().next().is_some() {
            let left = kill.map(|at| at.saturating_sub(now()));
            if left == Some(Duration::ZERO) {
                self.signal(sys::SIGKILL);
                kill = None;
            } else {
                self.turn(left, observer)?;
            }
        }
        Ok(())
    }

    /// Sends a signal to each.
    fn signal(&self, signal: Signal) {
        for child in self.children() {
            // ESRCH: it has ended, and will be waited for.
            let _ = child.signal(signal);
        }
    }
}

/// Whether a child has ended; a bad end is counted.
pub(super) fn ended<O: Observer>(child: &Child, observer: &mut O) -> bool {
    observer.called(Call::Waitid);
    let how = match child.try_wait() {
        Ok(None) => return false,
        Ok(Some(Ended::Exited(0))) => return true,
        Ok(Some(Ended::Exited(status))) => format!("exited with status {status}"),
        Ok(Some(Ended::Killed(signal))) => format!("was killed by signal {signal}"),
        // The host ignores SIGCHLD: it has ended, and nobody knows how.
        Err(_) => return true,
    };
    observer.tally().notice(Count::ChildFailed, || format!("child {} {how}", child.process()));
    true
}

/// Makes the process its own: stop, handlers, signals.
fn settle<'s>(stop: &'s Stop, parent: u32, mask: &Mask) -> io::Result<&'s Stop> {
    stop.part_from_parent()?;
    // ^C reaches the whole process group; the parent passes it on as SIGTERM.
    sys::ignore_signal(sys::SIGINT)?;
    CHILD.get_or_init(|| (stop.clone(), parent));
    sys::on_signal(sys::SIGTERM, on_stop)?;
    sys::on_signal(sys::SIGALRM, on_deadline)?;
    sys::end_with_parent(parent)?;
    // A library's host may have blocked SIGTERM for itself; a child that could not be stopped would be killed.
    sys::restore_signals(&mask.without(sys::SIGTERM).without(sys::SIGALRM))?;
    Ok(stop)
}
