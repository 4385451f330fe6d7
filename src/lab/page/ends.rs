//! Why lines end: a word for charts, a paragraph for the page.

use crate::lab::compare::Kind;

/// Beside a line's end.
#[must_use]
pub(super) fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::OneAtATime => "one at a time",
        Kind::PoolFull => "pool is full",
        Kind::SetFull => "set is full",
        Kind::Descriptors => "no descriptors",
        Kind::NoFlow => "no more flows",
        Kind::Unsettled => "not settled",
        Kind::Unserved => "some unserved",
        Kind::Unavailable => "not available",
        Kind::Failed => "failed",
    }
}

/// Head of its section.
#[must_use]
pub(super) fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::OneAtATime => "One client at a time",
        Kind::PoolFull => "A pool is full",
        Kind::SetFull => "The set of select is full",
        Kind::Descriptors => "Descriptors ran out",
        Kind::NoFlow => "No more threads or processes",
        Kind::Unsettled => "Still making threads or processes",
        Kind::Unserved => "Not all clients were served in time",
        Kind::Unavailable => "Not available here",
        Kind::Failed => "It failed",
    }
}

/// What it means and what to do about it.
#[must_use]
pub(super) fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::OneAtATime => {
            "One flow of control that blocks in a receive serves the client it waits for. The next one is connected by the kernel and \
             waits in the backlog, however long, until the first one leaves. What is measured is still one client, so its line ends."
        }
        Kind::PoolFull => {
            "A worker is taken for a whole connection. Clients beyond the number of workers wait in the pool's queue or in the backlog \
             until one leaves; connections that stay open make that for ever. More workers (serve --workers) move the limit."
        }
        Kind::SetFull => {
            "A set of select(2) is an array of 1,024 bits (FD_SETSIZE), and a descriptor is an index into it. A client whose descriptor does \
             not fit is turned away at once; a server that did not check would write outside of the set."
        }
        Kind::Descriptors => {
            "Each connection is a descriptor, in the generator and in the server (threads keep a second one for each client); a process may have \
             as many as RLIMIT_NOFILE says. The hard limit is used; root can raise it (ulimit -Hn)."
        }
        Kind::NoFlow => {
            "A thread or a process for each client, and the system gave no more of them (EAGAIN from clone(2)): ulimit -u, the pids limit of a \
             container, kernel.threads-max."
        }
        Kind::Unsettled => {
            "When the measurement began, or during it, the server was still making a thread or a process for some of its clients. That work is \
             no part of a request, and would be counted as if it were. A machine with less to do, or a longer --duration, gives it time."
        }
        Kind::Unserved => {
            "Nothing in the model's nature limits it here, but in the time of this measurement some clients got no answer at all. A longer \
             --duration tells whether it is slow or stuck."
        }
        Kind::Unavailable => {
            "This machine refuses what the model is made of: a ring of io_uring, by its kernel, by sysctl or by the filter of a sandbox. No other model \
             is measured in its place."
        }
        Kind::Failed => {
            "The server or the clients could not do their part; the reason is in the words of whoever failed."
        }
    }
}
