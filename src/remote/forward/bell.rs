//! What many futures wait for, each with a place of its own: no list is searched, however many they are.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Rung once, and heard by everybody who waits then or later.
#[derive(Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    waiting: Places,
}

/// Who waits, in the order of coming.
#[derive(Default)]
struct Places {
    wakers: RefCell<BTreeMap<u64, Waker>>,
    last: Cell<u64>,
}

impl Places {
    fn take(&self, place: &mut Option<u64>, cx: &Context<'_>) -> u64 {
        let number = *place.get_or_insert_with(|| {
            self.last.set(self.last.get() + 1);
            self.last.get()
        });
        let mut wakers = self.wakers.borrow_mut();
        wakers.entry(number).or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        number
    }

    fn leave(&self, place: Option<u64>) {
        if let Some(number) = place {
            self.wakers.borrow_mut().remove(&number);
        }
    }
}

impl Bell {
    pub(super) fn ring(&self) {
        self.rung.set(true);
        let wakers = self.waiting.wakers.take();
        wakers.into_values().for_each(Waker::wake);
    }

    pub(super) fn rung(&self) -> bool {
        self.rung.get()
    }

    /// Ends when it is rung.
    pub(super) fn heard(&self) -> Heard<'_> {
        Heard { bell: self, place: None }
    }
}

/// Waits for a [`Bell`].
pub(super) struct Heard<'a> {
    bell: &'a Bell,
    place: Option<u64>,
}

impl Future for Heard<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.bell.rung() {
            return Poll::Ready(());
        }
        let bell = self.bell;
        bell.waiting.take(&mut self.place, cx);
        Poll::Pending
    }
}

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        self.bell.waiting.leave(self.place);
    }
}

/// One at a time, first come, first served.
#[derive(Default)]
pub(super) struct Turnstile {
    busy: Cell<bool>,
    waiting: Places,
}

impl Turnstile {
    /// Waits for one's turn, which lasts as long as what it gives.
    pub(super) fn turn(&self) -> Turn<'_> {
        Turn { turnstile: self, place: None }
    }

    fn next(&self) {
        if let Some(waker) = self.waiting.wakers.borrow().values().next() {
            waker.wake_by_ref();
        }
    }
}

/// Waits for a turn.
pub(super) struct Turn<'a> {
    turnstile: &'a Turnstile,
    place: Option<u64>,
}

impl<'a> Future for Turn<'a> {
    type Output = Inside<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Inside<'a>> {
        let turnstile = self.turnstile;
        let number = turnstile.waiting.take(&mut self.place, cx);
        let first = turnstile.waiting.wakers.borrow().keys().next() == Some(&number);
        if turnstile.busy.get() || !first {
            return Poll::Pending;
        }
        turnstile.waiting.leave(self.place.take());
        turnstile.busy.set(true);
        Poll::Ready(Inside(turnstile))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.turnstile.waiting.leave(self.place);
            // It may have been woken for its turn: the next one takes it.
            self.turnstile.next();
        }
    }
}

/// A turn that has come.
pub(super) struct Inside<'a>(&'a Turnstile);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.busy.set(false);
        self.0.next();
    }
}
