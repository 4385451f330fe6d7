//! Long streams with every byte accounted for, and models run in this process.

use super::pattern;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use waitcopy::failure::Failure;
use waitcopy::net::{Bind, Endpoint, Front, Settings};
use waitcopy::phase::{Counting, Tally};
use waitcopy::service::Service;
use waitcopy::stop::Stop;
use waitcopy::sys;

/// A stream without end and the notes' answer to it. It repeats after a prime number of bytes, which no
/// loss of whole buffers hits.
pub struct Endless {
    asked: Vec<u8>,
    answered: Vec<u8>,
}

impl Endless {
    pub fn new(seed: u64) -> Self {
        let asked = pattern(100_003, seed);
        let answered = asked.to_ascii_uppercase();
        Self { asked, answered }
    }

    /// Some bytes of it, from `at` on.
    fn from(&self, at: usize) -> &[u8] {
        &self.asked[at % self.asked.len()..]
    }

    /// Receives once, at most `most` bytes, which must be the answer from `at` on. 0 at the end of the
    /// stream: an orderly one, or a reset behind the last byte.
    pub fn receive(&self, stream: &mut TcpStream, at: usize, most: usize) -> usize {
        let expected = &self.answered[at % self.answered.len()..];
        let mut bytes = vec![0; most.min(expected.len())];
        let received = stream.read(&mut bytes).unwrap_or_else(|e| {
            assert_ne!(e.kind(), ErrorKind::WouldBlock, "nothing, not even the end, after {at}");
            0
        });
        assert!(bytes[..received] == expected[..received], "a wrong byte after {at} right ones");
        received
    }

    /// Receives to the end of the stream; how long the whole answer is.
    pub fn receive_all(&self, stream: &mut TcpStream, mut at: usize, most: usize) -> usize {
        loop {
            match self.receive(stream, at, most) {
                0 => return at,
                n => at += n,
            }
        }
    }

    /// Sends and reads nothing, until there is no room left: the server has stopped reading. How much.
    pub fn fill(&self, stream: &TcpStream) -> usize {
        /// More than all buffers of the kernel hold: a server that takes this much keeps it itself.
        const BOUND: usize = 128 << 20;
        stream.set_nonblocking(true).unwrap();
        let mut writer = stream;
        let mut sent = 0;
        loop {
            match writer.write(self.from(sent)) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let mut room = [sys::PollFd::new(stream, false, true)];
                    if sys::poll(&mut room, Some(Duration::from_millis(100))).unwrap() == 0 {
                        break;
                    }
                }
                Err(e) => panic!("send after {sent} bytes: {e}"),
            }
            assert!(sent < BOUND, "no back-pressure: {sent} bytes taken, no answer read");
        }
        stream.set_nonblocking(false).unwrap();
        sent
    }

    /// A thread that sends `len` bytes, or as many as are taken, and then ends its direction.
    pub fn feed(self: &Arc<Self>, stream: &TcpStream, len: usize) -> JoinHandle<()> {
        let (bytes, mut stream) = (Arc::clone(self), stream.try_clone().unwrap());
        thread::spawn(move || {
            let mut sent = 0;
            while sent < len {
                let some = bytes.from(sent);
                let some = &some[..some.len().min(len - sent)];
                if stream.write_all(some).is_err() {
                    return;
                }
                sent += some.len();
            }
            // ENOTCONN: it was reset meanwhile, which the receiving side sees.
            let _ = stream.shutdown(sys::Shutdown::Write);
        })
    }
}

/// A model as a user of the library runs it: a thread of this process, a listener and a stop of its own.
pub struct Library {
    pub address: SocketAddr,
    pub stop: Arc<Stop>,
    tally: Tally,
    flow: JoinHandle<Result<(), Failure>>,
}

impl Library {
    pub fn start<S: Service + Send + 'static>(model: &str, service: S, stop: Stop) -> Self {
        let serve = waitcopy::model::find(model).unwrap().run.counting;
        let endpoint = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let reuse_port = super::who(model) == waitcopy::model::Who::Reuseport;
        let bind = Bind { backlog: 16, reuse_port, ..Bind::default() };
        let listener = Front::bind(endpoint, &bind).unwrap();
        let address = listener.endpoint().address().ip().unwrap();
        let tally = Tally::new(false).unwrap();
        let (mut observer, stop) = (Counting(tally.clone()), Arc::new(stop));
        let stopped = Arc::clone(&stop);
        let flow = thread::spawn(move || {
            serve(listener, &Settings::default(), &service, &mut observer, &stopped)
        });
        Self { address, stop, tally, flow }
    }

    /// Asks it to stop, from this thread, and waits for its good end.
    pub fn stop(self) -> Tally {
        self.stop.request();
        self.flow.join().unwrap().unwrap();
        self.tally
    }

    /// Why it has ended without having served.
    pub fn refused(self) -> Failure {
        self.flow.join().unwrap().unwrap_err()
    }
}
