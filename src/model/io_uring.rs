//! **io_uring**: operations are handed over, completions come back. One call waits for all clients, and the data is there when it returns.
//!
//! - What blocks: the process, in `io_uring_enter`, for all of its clients at once.
//! - Who copies: the kernel, inside the same `io_uring_enter`, into a buffer that it takes from the ring (`DEFER_TASKRUN`).
//! - Calls per request: 1 with one client: it hands the last answer over and waits for the next request. Towards 0 the more come at
//!   once. `getpeername` and `close` once per connection.
//! - Limits: Linux 6.0; many sandboxes forbid it. A receive in flight holds memory in the kernel for each client.
//! - See it: `make strace-io-uring`; the operations themselves are no system calls, and no trace has them.

use super::{Clients, Failure, Front, Mode, Observer, Service, Settings, Stop};
use crate::net::{Accepted, Ring};
use crate::phase::Id;
use crate::sys::Completion;
use std::io;
use std::os::fd::OwnedFd;

/// Serves all clients until the stop.
///
/// # Errors
/// Set-up and listener failures, a kernel or sandbox that refuses rings; no client's.
pub fn serve<S: Service + ?Sized, O: Observer>(
    mut front: Front,
    settings: &Settings,
    service: &S,
    observer: &mut O,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut clients = Clients::new(settings, Mode::Completion);
    let mut ring = Ring::new(settings, &front)?;
    ring.watch(stop);
    ring.listen(&front);
    // Until the stop, and then until the kernel has let go of everything.
    while ring.flies(&clients, stop) {
        if front.wakes() {
            ring.listen(&front);
        }
        // wait and copy
        let timeout = clients.timeout(&front);
        ring.enter(&mut clients, timeout, observer)?;
        while let Some(completion) = ring.completion() {
            match completion {
                Completion::Accepted { client, more } => {
                    admit(&mut ring, &mut clients, &mut front, (client, more), observer)?;
                }
                Completion::Ready => {}
                Completion::Received { token, input, more } => {
                    let id = Id::of_token(token);
                    ring.answer(&mut clients, id, (input, more), service, observer);
                }
                Completion::Packet { input, more } => {
                    ring.answer_packet(&front, input, service, observer)?;
                    if !more {
                        ring.listen(&front);
                    }
                }
            }
        }
        ring.expire(&mut clients, observer);
    }
    clients.drain(front, service, observer, stop)
}

/// Takes in a client who has been accepted, and asks for its input. `more` will come without being asked for again.
fn admit<O: Observer>(
    ring: &mut Ring,
    clients: &mut Clients,
    front: &mut Front,
    (client, more): (io::Result<OwnedFd>, bool),
    observer: &mut O,
) -> Result<(), Failure> {
    if let Accepted::Client(socket, peer) = front.accepted(client, observer)? {
        if let Some(id) = clients.settle(socket, peer, observer) {
            ring.receive(clients, id);
        }
    }
    if !more && !front.rests() {
        ring.listen(front);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Clients, Completion, Front, Mode, Ring, Settings, admit};
    use crate::net::{Bind, Endpoint};
    use crate::phase::{Count, Counting, Tally};
    use std::io;
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    /// A multishot accept ends with its first error. Whose that was is counted, and the next client is asked for: at once after one
    /// client's, after a rest where descriptors or memory are short. Most of them nobody can have the kernel say, so they are handed in.
    #[test]
    fn after_an_accept_that_failed_the_next_client_is_accepted() {
        if let Err(failure) = Ring::available(false) {
            eprintln!("SKIPPED: {failure}");
            assert!(std::env::var_os("NO_SKIP").is_none(), "NO_SKIP=1, but skipped: {failure}");
            return;
        }
        let one_client =
            [("ECONNABORTED", 103), ("EPROTO", 71), ("EPERM", 1), ("ENETUNREACH", 101)];
        one_client.into_iter().for_each(|error| goes_on_after(error, Count::AcceptRetried));
        let shortage = [("EMFILE", 24), ("ENFILE", 23), ("ENOBUFS", 105), ("ENOMEM", 12)];
        shortage.into_iter().for_each(|error| goes_on_after(error, Count::AcceptRested));
    }

    fn goes_on_after((name, errno): (&str, i32), count: Count) {
        let endpoint = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let mut front = Front::bind(endpoint, &Bind::default()).unwrap();
        let settings = Settings::default();
        let mut clients = Clients::new(&settings, Mode::Completion);
        let mut ring = Ring::new(&settings, &front).unwrap();
        let mut observer = Counting(Tally::new(false).unwrap());
        let failed = (Err(io::Error::from_raw_os_error(errno)), false);
        admit(&mut ring, &mut clients, &mut front, failed, &mut observer).unwrap();
        assert_eq!(observer.0.get(count), 1, "{name}");
        let _client = TcpStream::connect(front.endpoint().address().ip().unwrap()).unwrap();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < Duration::from_secs(10), "nobody is accepted after {name}");
            if front.wakes() {
                ring.listen(&front);
            }
            ring.enter(&mut clients, Some(Duration::from_millis(10)), &mut observer).unwrap();
            if let Some(completion) = ring.completion() {
                let accepted =
                    matches!(completion, Completion::Accepted { client: Ok(_), more: true });
                break assert!(accepted, "after {name}");
            }
        }
    }
}
