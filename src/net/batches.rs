//! Datagrams by the batch: as many as are there in one call, and their answers in another (`--batch`).

use super::connection::uninterrupted;
use super::{Datagrams, Taken};
use crate::failure::Failure;
use crate::phase::{Count, Id, Input, Observer};
use crate::service::Service;
use crate::stop::Stop;
use crate::sys::{self, Batch};
use std::io;

/// What one call has brought.
struct Letters {
    /// How many, with those that cannot be answered.
    all: usize,
    whole: usize,
    bytes: usize,
}

impl Input for Letters {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn whole(&self) -> bool {
        self.whole > 0
    }

    fn requests(&self) -> u64 {
        self.whole as u64
    }
}

impl Datagrams {
    /// One turn by batches, until the socket is empty or `most` datagrams are answered; whether there may be more.
    ///
    /// # Errors
    /// As [`Datagrams::receive`].
    pub(super) fn turn_batched<S: Service + ?Sized, O: Observer>(
        &self,
        most: usize,
        batch: &mut Batch,
        service: &S,
        observer: &mut O,
    ) -> Result<bool, Failure> {
        let mut taken = 0;
        while taken < most {
            // copy
            let received = uninterrupted(observer, |observer| {
                observer.receive(Id::LISTENER, false, || self.take(batch, None))
            });
            taken += match received {
                Ok(letters) => {
                    self.answer_batch(letters.all, batch, service, observer)?;
                    if letters.all < batch.count() {
                        return Ok(false);
                    }
                    letters.all
                }
                Err(error) => match self.classify(Err(error), observer)? {
                    Taken::Nobody => return Ok(false),
                    Taken::Lost | Taken::Packet(_) => 1,
                },
            };
        }
        Ok(true)
    }

    /// Waits for a datagram, takes those that are there with it, and answers them.
    ///
    /// # Errors
    /// As [`Datagrams::receive`].
    pub(super) fn turn_batched_waiting<S: Service + ?Sized, O: Observer>(
        &self,
        batch: &mut Batch,
        service: &S,
        observer: &mut O,
        stop: &Stop,
    ) -> Result<(), Failure> {
        // wait and copy
        let received = observer.receive_waiting(Id::LISTENER, || {
            stop.interruptible(self, || self.take(batch, Some(stop)))
        });
        match received {
            Ok(letters) => self.answer_batch(letters.all, batch, service, observer),
            Err(error) => self.classify(Err(error), observer).map(drop),
        }
    }

    fn take(&self, batch: &mut Batch, stop: Option<&Stop>) -> io::Result<Letters> {
        let mut letters = Letters { all: batch.recvmmsg(self)?, whole: 0, bytes: 0 };
        for n in 0..letters.all {
            let (packet, _) = batch.packet(n);
            // A socket that the stop has shut gives empty ones from nobody.
            let stopped = stop.is_some_and(|stop| stop.left().is_some());
            if stopped && packet.len == 0 && packet.from.unnamed() {
                letters.all = n;
                break;
            }
            if !packet.truncated {
                letters.whole += 1;
                letters.bytes += packet.len;
            }
        }
        Ok(letters)
    }

    /// Answers the first `count` of a batch. One that cannot be sent costs no other.
    fn answer_batch<S: Service + ?Sized, O: Observer>(
        &self,
        count: usize,
        batch: &mut Batch,
        service: &S,
        observer: &mut O,
    ) -> Result<(), Failure> {
        for n in 0..count {
            let (packet, bytes) = batch.packet(n);
            let Taken::Packet(packet) = self.classify(Ok(packet), observer)? else { continue };
            let Some(reply) = observer.service(|| service.datagram(bytes)) else { continue };
            if packet.from.unnamed() {
                observer.tally().add(Count::Unsent, 1);
            } else {
                batch.reply(n, reply.min(packet.len));
            }
        }
        // send
        let mut sent = 0;
        while sent < batch.replies() {
            let mut went = 0;
            let result = uninterrupted(observer, |observer| {
                observer.send(Id::LISTENER, 0, || {
                    let (count, bytes) = batch.sendmmsg(self, sent)?;
                    went = count;
                    Ok(bytes)
                })
            });
            sent += match result {
                Ok(_) => went,
                Err(error) => {
                    let to = batch.destination(sent);
                    observer.tally().notice(Count::Unsent, || {
                        let what = sys::describe(&error);
                        format!("sendmmsg {} to {to}: {what}", self.endpoint())
                    });
                    1
                }
            };
        }
        Ok(())
    }
}
