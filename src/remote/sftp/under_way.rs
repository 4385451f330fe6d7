//! Requests that are sent and not yet answered.

use super::session::Line;
use super::{Reply, Request, Ticket};
use crate::remote::error::Error;
use std::collections::VecDeque;

/// Requests of one kind under way, in order. Those that are left when it goes are abandoned.
pub(super) struct UnderWay<'a, T> {
    line: &'a Line,
    queue: VecDeque<(Ticket, T)>,
}

impl<'a, T> UnderWay<'a, T> {
    pub(super) fn new(line: &'a Line) -> Self {
        Self { line, queue: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Queues a request, with what is to be known when its reply comes.
    pub(super) fn push(&mut self, request: Request<'_>, of: T) -> Result<(), Error> {
        self.queue.push_back((self.line.send(request)?, of));
        Ok(())
    }

    /// The same, to be answered before all others.
    pub(super) fn push_front(&mut self, request: Request<'_>, of: T) -> Result<(), Error> {
        self.queue.push_front((self.line.send(request)?, of));
        Ok(())
    }

    /// The reply to the first; `None`: there is none.
    pub(super) async fn next(&mut self) -> Option<Result<(Reply, T), Error>> {
        let ticket = self.queue.front()?.0;
        let reply = self.line.reply(ticket).await;
        let (_, of) = self.queue.pop_front()?;
        Some(reply.map(|reply| (reply, of)))
    }
}

impl<T> Drop for UnderWay<'_, T> {
    fn drop(&mut self) {
        for (ticket, _) in self.queue.drain(..) {
            self.line.abandon(ticket);
        }
    }
}
