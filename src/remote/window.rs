//! The size of a terminal here, as a remote command is told of it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Columns and rows of a terminal. A clone is the same window: whoever hears of a change sets it, and [`Exec::window`](super::Exec::window)
/// passes it on.
#[derive(Clone, Default)]
pub struct Window(Rc<Inner>);

#[derive(Default)]
struct Inner {
    size: Cell<(u16, u16)>,
    /// Nobody has been told of the size yet.
    news: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (columns, rows) = self.size();
        write!(f, "Window({columns} x {rows})")
    }
}

impl Window {
    /// A window of that size.
    #[must_use]
    pub fn new(columns: u16, rows: u16) -> Self {
        let window = Self::default();
        window.0.size.set((columns, rows));
        window
    }

    /// Columns and rows.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        self.0.size.get()
    }

    /// It has this size now. Of several changes in a row the last one counts.
    pub fn resize(&self, columns: u16, rows: u16) {
        if self.0.size.replace((columns, rows)) != (columns, rows) {
            self.0.news.set(true);
            if let Some(waker) = self.0.waker.take() {
                waker.wake();
            }
        }
    }

    /// Waits for another size.
    pub(super) async fn changed(&self) -> (u16, u16) {
        poll_fn(|cx| {
            if self.0.news.take() {
                return Poll::Ready(());
            }
            self.0.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        self.size()
    }
}
