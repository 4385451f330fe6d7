//! What may be dropped in the middle, and what then becomes of the session.

use super::{Transport, Way};
use crate::remote::error::{Error, Step};
use crate::sys::ssh::Channel;
use ssh2::{BlockDirections, Session};
use std::rc::Rc;

/// A channel on its way out, and where it goes when the way is cut short.
pub(super) struct Closing {
    pub(super) channel: Option<Channel>,
    pub(super) transport: Rc<Transport>,
}

impl Closing {
    pub(super) async fn drive(&mut self) -> Result<(), Error> {
        let transport = Rc::clone(&self.transport);
        let channel = &mut self.channel;
        let free = |_: &Session| {
            let Some(taken) = channel.take() else { return Ok(()) };
            taken.free().map_err(|(back, error)| {
                *channel = Some(back);
                error
            })
        };
        transport.drive(Way::Send, Step::Close, "channel", free).await?;
        transport.closed.set(true);
        Ok(())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.transport.orphans.borrow_mut().extend(self.channel.take());
    }
}

/// One operation, which may have a packet of its own sent in part.
pub(super) struct Operation<'a> {
    transport: &'a Transport,
    number: u64,
}

impl<'a> Operation<'a> {
    pub(super) fn begin(transport: &'a Transport) -> Self {
        let number = transport.operations.get() + 1;
        transport.operations.set(number);
        Self { transport, number }
    }

    /// It said `EAGAIN`: is there a packet of which a part is sent, and is it this one's?
    pub(super) fn note(&self) {
        let outbound = matches!(
            self.transport.session.block_directions(),
            BlockDirections::Outbound | BlockDirections::Both
        );
        match self.transport.sending.get() {
            _ if !outbound => self.transport.sent(),
            None => self.transport.sending.set(Some(self.number)),
            Some(_) => {}
        }
    }

    /// Whether the packet that is sent in part is another's: only who began it can send the rest.
    pub(super) fn is_behind(&self) -> bool {
        self.transport.sending.get().is_some_and(|number| number != self.number)
    }

    /// Whether it is this one's.
    pub(super) fn is_mid_packet(&self) -> bool {
        self.transport.sending.get() == Some(self.number)
    }

    /// It has come to its end.
    pub(super) fn end(self) {
        if self.is_mid_packet() {
            self.transport.sent();
        }
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if self.is_mid_packet() {
            self.transport.abandon("in the middle of a packet");
        }
    }
}

/// An operation that the session knows only one of, while it goes on.
pub(super) struct Held<'a>(pub(super) &'a Transport);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.abandon("between question and answer");
    }
}
