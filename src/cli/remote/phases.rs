//! Where the time of a verb went: the steps to the session, then wait and copy.

use super::show::Size;
use crate::failure::Failure;
use crate::json::Value;
use crate::phase::{Call, Nanos, Part, Recorder, Tally, Waits};
use crate::reactor::Reactor;
use crate::remote::Steps;
use crate::sys::ssh::Traffic;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The observer of a verb's flow of control.
pub(super) struct Phases {
    tally: Tally,
    recorder: Rc<RefCell<Recorder>>,
    steps: Cell<Steps>,
    /// The flow's parts when the session was there.
    login: Cell<Moment>,
    traffic: Cell<Traffic>,
}

/// The parts of the flow's time up to a moment, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    wall: u64,
    wait: u64,
    /// Calls that take bytes from the kernel, decrypt them and hand them on.
    copy_in: u64,
    /// Calls that encrypt bytes and hand them to the kernel.
    copy_out: u64,
}

impl Moment {
    fn since(self, before: Self) -> Self {
        Self {
            wall: self.wall - before.wall,
            wait: self.wait - before.wait,
            copy_in: self.copy_in - before.copy_in,
            copy_out: self.copy_out - before.copy_out,
        }
    }

    /// Neither: files, terminals, our own work.
    fn other(self) -> u64 {
        self.wall.saturating_sub(self.wait + self.copy_in + self.copy_out)
    }

    fn json(self) -> Value {
        Value::object([
            ("wall_ns", self.wall.into()),
            ("wait_ns", self.wait.into()),
            ("copy_in_ns", self.copy_in.into()),
            ("copy_out_ns", self.copy_out.into()),
            ("other_ns", Value::from(self.other())),
        ])
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |ns: u64| {
            format!("{} ({:.0} %)", Nanos(ns), 100.0 * ns as f64 / self.wall.max(1) as f64)
        };
        write!(
            f,
            "{:>9}   wait {}  copy in {}  copy out {}  other {}",
            Nanos(self.wall),
            share(self.wait),
            share(self.copy_in),
            share(self.copy_out),
            share(self.other()),
        )
    }
}

impl Phases {
    /// A reactor that is watched.
    pub(super) fn watch() -> Result<(Self, Reactor), Failure> {
        let failed = |error| Failure::new("recorder", "", error);
        let tally = Tally::new(false).map_err(failed)?;
        let recorder = Recorder::new("remote", Waits::Readiness, false, tally.clone(), false)
            .map_err(failed)?;
        let recorder = Rc::new(RefCell::new(recorder));
        let reactor = Reactor::observed(Rc::clone(&recorder) as _)?;
        let (steps, login, traffic) = (Cell::default(), Cell::default(), Cell::default());
        Ok((Self { tally, recorder, steps, login, traffic }, reactor))
    }

    /// The session is there.
    pub(super) fn logged_in(&self, steps: Steps) {
        self.steps.set(steps);
        self.login.set(self.now());
    }

    /// What has passed the socket in all.
    pub(super) fn passed(&self, traffic: Traffic) {
        self.traffic.set(traffic);
    }

    fn now(&self) -> Moment {
        self.recorder.borrow_mut().settle();
        Moment {
            wall: self.tally.wall(),
            wait: self.tally.spent(Part::Wait),
            copy_in: self.tally.spent(Part::Receive),
            copy_out: self.tally.spent(Part::Send),
        }
    }

    fn steps(&self) -> [(&'static str, Duration); 4] {
        let Steps { resolve, connect, handshake, auth } = self.steps.get();
        [("resolve", resolve), ("connect", connect), ("handshake", handshake), ("auth", auth)]
    }

    pub(super) fn to_json(&self) -> Value {
        let (all, login) = (self.now(), self.login.get());
        let steps = self.steps().map(|(name, took)| (format!("{name}_ns"), nanos(took).into()));
        let Traffic { receives, receives_again, sends, bytes_in, bytes_out } = self.traffic.get();
        let mut members = steps.to_vec();
        let mut more = |name: &str, value| members.push((name.to_owned(), value));
        more("to_session", login.json());
        more("session", all.since(login).json());
        more("epoll_waits", self.tally.calls(Call::EpollWait).into());
        let socket = [
            ("receives", receives),
            ("receives_again", receives_again),
            ("sends", sends),
            ("bytes_in", bytes_in),
            ("bytes_out", bytes_out),
        ];
        more("socket", Value::object(socket.map(|(name, n)| (name, n.into()))));
        Value::object(members)
    }

    /// The table, for a verb on a host.
    pub(super) fn table(&self, verb: &str, whom: &str) -> String {
        let (all, login) = (self.now(), self.login.get());
        let steps =
            self.steps().map(|(name, took)| format!("  {name:<10}{:>9}\n", Nanos(nanos(took))));
        let Traffic { receives, receives_again, sends, bytes_in, bytes_out } = self.traffic.get();
        format!(
            "phases of {verb} on {whom}\n{}  {:<10}{login}\n  {verb:<10}{}\n  \
             socket: {} in by {receives} receives (and {receives_again} in vain), {} out by {sends} sends; \
             {} waits (epoll_wait)\n",
            steps.concat(),
            "all four",
            all.since(login),
            Size(bytes_in),
            Size(bytes_out),
            self.tally.calls(Call::EpollWait),
        )
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
