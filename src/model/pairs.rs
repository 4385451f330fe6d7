//! The named pairs: a model of this floor, run by more than one flow.
//!
//! | name | model | run by |
//! |---|---|---|
//! | `threads` | blocking | a thread for each request |
//! | `thread-pool` | blocking | N threads behind a queue |
//! | `fork` | blocking | a child for each request |
//! | `prefork` | blocking | N children on one listener |
//! | `reuseport` | epoll | N children with a listener each |

use super::blocking::Conversation;
use super::{Failure, Front, Observer, Service, Settings, Stop, epoll};
use crate::concurrency::{self, Limits};
use crate::phase::Waits;

/// Makes the function of a pair with `blocking`: the same but for who runs it.
macro_rules! blocking_by {
    ($(#[$note:meta])* $name:ident, $who:ident) => {
        $(#[$note])*
        ///
        /// # Errors
        #[doc = concat!("As [`concurrency::", stringify!($who), "::serve`].")]
        pub fn $name<S: Service + ?Sized, O: Observer>(
            front: Front,
            settings: &Settings,
            service: &S,
            observer: &mut O,
            stop: &Stop,
        ) -> Result<(), Failure> {
            let work = Conversation { settings, service };
            concurrency::$who::serve(front, &Limits::of(settings), &work, observer, stop)
        }
    };
}

blocking_by! {
    /// Blocking, with a thread for each connection or datagram.
    threads, threads
}
blocking_by! {
    /// Blocking, by the threads of a pool.
    thread_pool, pool
}
blocking_by! {
    /// Blocking, with a child for each connection or datagram.
    fork, fork
}
blocking_by! {
    /// Blocking, by N children on one listener.
    prefork, prefork
}

/// Epoll in N children, each with a listener of its own.
///
/// # Errors
/// As [`concurrency::reuseport::serve`].
pub fn reuseport<S: Service + ?Sized, O: Observer>(
    front: Front,
    settings: &Settings,
    service: &S,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    let model = |front: Front, observer: &mut O, stop: &Stop| {
        epoll::serve(front, settings, service, observer, stop)
    };
    let limits = Limits::of(settings);
    concurrency::reuseport::serve(front, &limits, Waits::Readiness, observer, stop, model)
}
