//! Datagrams on a ring: they have no connection, and each is answered from the buffer in which it came.

use super::Ring;
use crate::failure::Failure;
use crate::net::Front;
use crate::net::datagrams::Taken as Brought;
use crate::phase::{Count, Id, Observer};
use crate::service::Service;
use crate::sys::{self, Packet, Sent, Taken};
use std::io;

/// The operation that brings one, as the lines of `--phases` call it.
const RECEIVE_PACKET: &str = "IORING_OP_RECVMSG";

impl Ring {
    /// Answers a datagram.
    ///
    /// # Errors
    /// Only when the socket itself is broken.
    pub fn answer_packet<S: Service + ?Sized, O: Observer>(
        &mut self,
        front: &Front,
        input: io::Result<(Packet, Taken)>,
        service: &S,
        observer: &mut O,
    ) -> Result<(), Failure> {
        let Front::Datagram(socket) = front else { return Ok(()) };
        let (packet, mut taken) = match input {
            Ok(input) => input,
            // No buffer was left, or it was cancelled.
            Err(error) if sys::uring_goes_on(&error) => return Ok(()),
            Err(error) => return socket.classify(Err(error), observer).map(drop),
        };
        observer.receive_completed(Id::LISTENER, RECEIVE_PACKET, &packet);
        if let Brought::Packet(packet) = socket.classify(Ok(packet), observer)? {
            let bytes = self.raw.bytes(&mut taken);
            match observer.service(|| service.datagram(bytes)) {
                Some(_) if packet.from.unnamed() => {
                    observer.tally().add(Count::Unsent, 1);
                }
                Some(reply) => {
                    self.sends += 1;
                    self.raw.send_packet(socket, taken, reply);
                    return Ok(());
                }
                None => {}
            }
        }
        self.raw.give_back(taken);
        Ok(())
    }
}

/// A datagram is on its way, or will never be.
pub(super) fn posted<O: Observer>(sent: &Sent, observer: &mut O) {
    match &sent.result {
        Ok(n) => observer.send_completed(Id::LISTENER, sent.len, *n, false),
        Err(error) => {
            observer.tally().notice(Count::Unsent, || {
                format!("IORING_OP_SEND of {} B: {}", sent.len, sys::describe(error))
            });
        }
    }
}
