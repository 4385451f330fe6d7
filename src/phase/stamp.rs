//! The kernel's receive stamp, made ready before the first client needs it.

use crate::sys;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Keeps the kernel stamping: a connection to itself with `SO_TIMESTAMPNS` on.
///
/// The first socket that asks for stamps switches them on for the whole host, a little later
/// (the kernel patches its code in a work queue), so the first packets may carry none. This pair asks
/// first, tries until a stamp comes, and stays open so that the switch stays on.
#[derive(Debug)]
pub struct Primed {
    _pair: (OwnedFd, OwnedFd),
    /// Whether stamps come at all.
    pub works: bool,
}

impl Primed {
    /// Makes the pair on loopback and sends single bytes through it until one is stamped, 100 at most.
    ///
    /// # Errors
    /// The errno of whichever socket call failed.
    pub fn new() -> io::Result<Self> {
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = sys::socket(any, sys::Kind::Stream)?;
        sys::bind(&listener, any)?;
        sys::listen(&listener, 1)?;
        let sender = sys::socket(any, sys::Kind::Stream)?;
        sys::connect(&sender, sys::getsockname(&listener)?)?;
        let (receiver, _) = sys::accept4(&listener)?;
        sys::set_timestamps(&receiver)?;
        sys::set_nodelay(&sender)?;
        // Some kernels or sandboxes might not deliver: never hang on our own pair.
        sys::set_receive_timeout(&receiver, Duration::from_millis(100))?;
        let mut works = false;
        for _ in 0..100 {
            sys::send(&sender, b"?")?;
            match sys::recvmsg(&receiver, &mut [0]) {
                Ok(received) => works = received.stamp.is_some(),
                // A signal came first: the next byte may do.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if works {
                break;
            }
            // Lets the work queue run; not a synchronisation, the loop checks the result.
            sys::ppoll(&mut [], Some(Duration::from_millis(1)))?;
        }
        Ok(Self { _pair: (sender, receiver), works })
    }
}
