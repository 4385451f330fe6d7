//! A reactor that runs more than once.
#![cfg(feature = "remote")]

mod support;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use support::{PATIENCE, watchdog};
use waitcopy::reactor::{Deadline, Reactor};

#[test]
fn who_is_woken_with_the_main_future_is_polled_in_the_next_run() {
    watchdog(PATIENCE, || {
        let reactor = Reactor::new().expect("a reactor");
        let (main, other) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(None)));
        let polls = Rc::new(Cell::new(0));
        let (place, counted) = (Rc::clone(&other), Rc::clone(&polls));
        reactor.spawn(poll_fn(move |cx| {
            place.set(Some(cx.waker().clone()));
            counted.set(counted.get() + 1);
            Poll::<()>::Pending
        }));
        let mut first = true;
        reactor.run(poll_fn(|cx| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(());
            }
            main.set(Some(cx.waker().clone()));
            let (main, other) = (Rc::clone(&main), Rc::clone(&other));
            reactor.spawn(async move {
                // The main one first: it ends the run.
                [main.take(), other.take()].into_iter().flatten().for_each(Waker::wake);
            });
            Poll::Pending
        }));
        assert_eq!(polls.get(), 1);
        reactor.run(reactor.sleep(Deadline::after(Duration::from_millis(20))));
        assert_eq!(polls.get(), 2, "its wake is not forgotten");
    });
}
