//! What the tests of `socketserver` share: servers in a thread of the test, clients of each transport, and a handler that
//! tells its steps.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by test binaries that each use a part"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use waitcopy::concurrency::Work;
use waitcopy::failure::Failure;
use waitcopy::net::Endpoint;
use waitcopy::phase::{Count, Counting, Tally};
use waitcopy::socketserver::{
    Builder, Connection, Datagram, DatagramHandler, Server, Stopper, StreamHandler, Streams, tcp,
};

/// A free port of loopback.
pub const ANY: &str = "127.0.0.1:0";
/// The ways that need nothing of their host; the others are driven through the examples.
pub const WAYS: [&str; 3] = ["one", "threads", "pool"];
/// Nobody waits for longer: a test that does has failed, and says where.
pub const LIMIT: Duration = Duration::from_secs(20);

pub fn by<K>(way: &str, builder: Builder<K>) -> Builder<K> {
    match way {
        "one" => builder.one(),
        "threads" => builder.threads(),
        "pool" => builder.pool(2),
        _ => panic!("{way}"),
    }
}

pub fn tcp_by(way: &str) -> Builder<Streams> {
    by(way, tcp(ANY))
}

/// The notes' handler.
pub fn upper(client: &mut Connection<'_>) -> io::Result<()> {
    let mut data = [0; 1024];
    while let n @ 1.. = client.read(&mut data)? {
        client.write_all(&data[..n].to_ascii_uppercase())?;
    }
    Ok(())
}

/// Time passes: waits for an event that does not come.
pub fn pause(time: Duration) {
    let (_keeps_it_open, never) = mpsc::channel::<()>();
    never.recv_timeout(time).unwrap_err();
}

/// A server that serves in a thread of this process.
pub struct Running {
    pub endpoint: Endpoint,
    pub stopper: Stopper,
    pub tally: Tally,
    flow: JoinHandle<Result<(), Failure>>,
}

impl Running {
    pub fn start<W: Work<Counting> + Send + 'static>(server: Server<W>) -> Self {
        let (endpoint, stopper) = (server.server_address(), server.stopper());
        let tally = server.tally();
        let flow = thread::spawn(move || server.serve_forever());
        Self { endpoint, stopper, tally, flow }
    }

    pub fn address(&self) -> SocketAddr {
        self.endpoint.address().ip().unwrap()
    }

    pub fn connect(&self) -> Client {
        Client::connect(&self.endpoint)
    }

    pub fn count(&self, count: Count) -> u64 {
        self.tally.get(count)
    }

    pub fn is_finished(&self) -> bool {
        self.flow.is_finished()
    }

    /// Waits for its good end.
    pub fn join(self) -> Tally {
        self.flow.join().unwrap().unwrap();
        self.tally
    }

    pub fn stop(self) -> Tally {
        self.stopper.shutdown();
        self.join()
    }
}

/// The client's end of a connection, over IP or a path.
pub enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    pub fn connect(endpoint: &Endpoint) -> Self {
        let address = endpoint.address();
        if let Some(ip) = address.ip() {
            let stream = TcpStream::connect(ip).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.set_write_timeout(Some(LIMIT)).unwrap();
            return Self::Tcp(stream);
        }
        let stream = UnixStream::connect(address.path().unwrap()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self::Unix(stream)
    }

    pub fn tcp(&self) -> &TcpStream {
        let Self::Tcp(stream) = self else { panic!("a Unix client") };
        stream
    }

    /// Sends, and reads the whole answer.
    pub fn exchange(&mut self, message: &[u8]) {
        self.write_all(message).unwrap();
        let mut reply = vec![0; message.len()];
        self.read_exact(&mut reply).unwrap();
        assert_eq!(reply, message.to_ascii_uppercase());
    }

    /// Has no more to say.
    pub fn end(&self) {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// What still comes, up to the server's end.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Half-close, then the server's end.
    pub fn leave(mut self) {
        self.end();
        assert_eq!(self.rest(), b"");
    }

    /// The server has closed it: an end, or a reset behind which nothing comes.
    pub fn closed(&mut self) {
        match self.read(&mut [0; 64]) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("neither end nor reset: {other:?}"),
        }
    }
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a step goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Fails,
    Panics,
}

/// A handler with all three parts, which tells each of them with the number of requests that this clone has seen.
#[derive(Clone)]
pub struct Steps {
    told: Sender<(&'static str, u32)>,
    wrong: Option<(&'static str, Wrong)>,
    requests: u32,
}

impl Steps {
    pub fn new(wrong: Option<(&'static str, Wrong)>) -> (Self, Receiver<(&'static str, u32)>) {
        let (told, steps) = mpsc::channel();
        (Self { told, wrong, requests: 0 }, steps)
    }

    fn step(&mut self, name: &'static str) -> io::Result<()> {
        if name == "setup" {
            self.requests += 1;
        }
        let _ = self.told.send((name, self.requests));
        match self.wrong {
            Some((at, Wrong::Fails)) if at == name => Err(io::Error::other("poison")),
            Some((at, Wrong::Panics)) if at == name => panic!("poison"),
            _ => Ok(()),
        }
    }
}

impl StreamHandler for Steps {
    fn setup(&mut self, _: &mut Connection<'_>) -> io::Result<()> {
        self.step("setup")
    }

    fn handle(&mut self, client: &mut Connection<'_>) -> io::Result<()> {
        self.step("handle")?;
        upper(client)
    }

    fn finish(&mut self, _: &mut Connection<'_>) -> io::Result<()> {
        self.step("finish")
    }
}

impl DatagramHandler for Steps {
    fn setup(&mut self, _: &mut Datagram<'_>) -> io::Result<()> {
        self.step("setup")
    }

    fn handle(&mut self, request: &mut Datagram<'_>) -> io::Result<()> {
        self.step("handle")?;
        let answer = request.bytes().to_ascii_uppercase();
        request.reply(&answer)
    }

    fn finish(&mut self, _: &mut Datagram<'_>) -> io::Result<()> {
        self.step("finish")
    }
}

/// Holds handlers until it is opened for one, or for all.
#[derive(Clone)]
pub struct Gate {
    arrived: Sender<()>,
    opened: Arc<Mutex<Receiver<()>>>,
}

impl Gate {
    /// The gate, what tells of each arrival, and what opens it.
    pub fn new() -> (Self, Receiver<()>, Sender<()>) {
        let (arrived, arrivals) = mpsc::channel();
        let (open, opened) = mpsc::channel();
        (Self { arrived, opened: Arc::new(Mutex::new(opened)) }, arrivals, open)
    }

    /// Waits until it is opened, or its opener is gone.
    pub fn pass(&self) {
        let _ = self.arrived.send(());
        let _ = self.opened.lock().unwrap().recv();
    }
}
