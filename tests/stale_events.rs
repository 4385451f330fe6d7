//! Fault 11: an event or list entry for a descriptor that was closed since, and whose number is new again.
//! Nobody may get a stranger's bytes.

mod support;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use support::{PATIENCE, alone, long, pattern, serve};
use waitcopy::model;
use waitcopy::net::{Bind, Clients, Endpoint, Front, Mode, Settings, Turn};
use waitcopy::phase::{Counting, End, Id, Tally};
use waitcopy::service::Echo;
use waitcopy::sys::{self, Epoll, EpollEvent, FdSet, Interest, PollFd};

const ROUNDS: u64 = 10_000;

/// The library's parts of a multiplexing server, turned by hand.
struct Server {
    front: Front,
    clients: Clients,
    observer: Counting,
    epoll: Epoll,
    address: SocketAddr,
}

/// A client and the server's identity for it.
struct Client {
    stream: TcpStream,
    id: Id,
}

/// Who is ready, by one readiness call: as a model would learn it.
type Batch = fn(&Server) -> Vec<Id>;

impl Server {
    fn new() -> Self {
        let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let front = Front::bind(any, &Bind { backlog: 128, ..Bind::default() }).unwrap();
        front.set_nonblocking().unwrap();
        Self {
            address: front.endpoint().address().ip().unwrap(),
            front,
            clients: Clients::new(&Settings::default(), Mode::Nonblocking),
            observer: Counting(Tally::new(false).unwrap()),
            epoll: sys::epoll_create1().unwrap(),
        }
    }

    /// A client that is connected and not accepted yet: it has taken its own descriptor, so that
    /// the server's gets the lowest free number.
    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn admit(&mut self, stream: TcpStream) -> Client {
        let mut admitted = None;
        let enter = |_: &_, id, _: &mut _| {
            admitted = Some(id);
            Ok(())
        };
        self.clients.admit_all(&mut self.front, &Echo, &mut self.observer, enter).unwrap();
        let id = admitted.unwrap();
        self.epoll.add(self.clients.get(id).unwrap(), Interest::READ, id.token()).unwrap();
        Client { stream, id }
    }

    fn turn(&mut self, id: Id) -> Turn {
        self.clients.turn(id, &Echo, &mut self.observer)
    }

    fn number(&self, id: Id) -> i32 {
        self.clients.get(id).unwrap().as_fd().as_raw_fd()
    }
}

fn by_epoll(server: &Server) -> Vec<Id> {
    let mut events = [EpollEvent::EMPTY; 8];
    let n = server.epoll.epoll_wait(&mut events, None).unwrap();
    events[..n].iter().map(|event| Id::of_token(event.token())).collect()
}

fn by_poll(server: &Server) -> Vec<Id> {
    let entry = |(id, connection)| (id, PollFd::new(connection, true, false));
    let (ids, mut list): (Vec<_>, Vec<_>) = server.clients.iter().map(entry).unzip();
    sys::poll(&mut list, None).unwrap();
    ids.iter().zip(list).filter(|(_, entry)| entry.ready()).map(|(id, _)| *id).collect()
}

fn by_select(server: &Server) -> Vec<Id> {
    let mut read = FdSet::new();
    server.clients.iter().for_each(|(_, connection)| _ = read.insert(connection).unwrap());
    sys::select(&mut read, &mut FdSet::new(), None).unwrap();
    let ready = server.clients.iter().filter(|(_, connection)| read.contains(connection));
    ready.map(|(id, _)| id).collect()
}

fn assert_gets(client: &mut Client, own: &[u8]) {
    let mut reply = vec![0; own.len()];
    client.stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply, own);
}

/// Each round: A and B are ready in one batch; in A's turn B is closed and C gets its number; then
/// comes the event that was meant for B. C is the next round's B.
fn closed_by_its_neighbour(batch: Batch) {
    let mut server = Server::new();
    let stream = server.dial();
    let mut a = server.admit(stream);
    let stream = server.dial();
    let mut b = server.admit(stream);
    for round in 0..ROUNDS {
        let messages = [0, 1, 2].map(|who| pattern(40, 3 * round + who));
        a.stream.write_all(&messages[0]).unwrap();
        b.stream.write_all(&messages[1]).unwrap();
        let mut ready = batch(&server);
        while !(ready.contains(&a.id) && ready.contains(&b.id)) {
            ready = batch(&server);
        }
        let mut stream = server.dial();
        stream.write_all(&messages[2]).unwrap();

        assert_eq!(server.turn(a.id), Turn::Short);
        let number = server.number(b.id);
        server.clients.close(b.id, End::Served, &mut server.observer);
        let mut c = server.admit(stream);
        assert_eq!(server.number(c.id), number, "round {round}: the number is new again");

        assert_eq!(server.turn(b.id), Turn::Empty, "round {round}: a stranger was served");
        // Closing by the old identity, as a failed call on it would, is no business of C's either.
        server.clients.close(b.id, End::Failed, &mut server.observer);
        while !batch(&server).contains(&c.id) {}
        let unread = sys::fionread(server.clients.get(c.id).unwrap()).unwrap();
        assert_eq!(unread, messages[2].len(), "round {round}: bytes taken by the stale event");
        assert_eq!(server.turn(c.id), Turn::Short);
        assert_gets(&mut a, &messages[0]);
        assert_gets(&mut c, &messages[2]);
        b = c;
    }
    assert_eq!(server.clients.len(), 2);
}

// Each in a process of its own: nobody else may take the number that has become free.

#[test]
fn a_stale_epoll_event_reaches_nobody() {
    alone("a_stale_epoll_event_reaches_nobody", || closed_by_its_neighbour(by_epoll));
}

#[test]
fn a_stale_poll_entry_reaches_nobody() {
    alone("a_stale_poll_entry_reaches_nobody", || closed_by_its_neighbour(by_poll));
}

#[test]
fn a_stale_bit_of_select_reaches_nobody() {
    alone("a_stale_bit_of_select_reaches_nobody", || closed_by_its_neighbour(by_select));
}

/// Ends a connection in one of the ways that make events and free a number.
fn leave(mut stream: TcpStream, own: &[u8], round: usize) {
    let mut reply = vec![0; own.len()];
    match round % 4 {
        // Reset, perhaps before the server has looked.
        0 => sys::set_linger(&stream, 0).unwrap(),
        // Closed with the reply unread, which makes a reset of it.
        1 => {}
        2 => {
            stream.read_exact(&mut reply).unwrap();
            assert_eq!(reply, own);
            sys::set_linger(&stream, 0).unwrap();
        }
        _ => {
            stream.shutdown(Shutdown::Write).unwrap();
            reply.clear();
            stream.read_to_end(&mut reply).unwrap();
            assert_eq!(reply, own, "its own bytes, and nothing after them");
        }
    }
}

for_each_model! {
    /// Neighbours leave in all ways while new ones come: on the real server nobody gets foreign bytes.
    fn churn_mixes_up_nobody(model: &str) {
        if model::find(model).unwrap().is_exempt("neighbour") {
            // One client at a time: there is no neighbour.
            return;
        }
        let server = serve(model).args(&["--service", "echo"]).start();
        let mut resident = server.connect();
        let mut neighbours = VecDeque::new();
        let rounds = if long() { 10_000 } else { 2_000 };
        for round in 0..rounds {
            let mut stream = server.connect();
            let own = pattern(100 + round % 50, round as u64);
            stream.write_all(&own).unwrap();
            neighbours.push_back((stream, own));
            // In bursts, so that departures and arrivals fall into one batch of events.
            if neighbours.len() == 24 {
                for (i, (stream, own)) in neighbours.drain(..16).enumerate() {
                    leave(stream, &own, round + i);
                }
                let message = pattern(60, !(round as u64));
                resident.write_all(&message).unwrap();
                let mut reply = vec![0; message.len()];
                resident.read_exact(&mut reply).unwrap();
                assert_eq!(reply, message);
            }
        }
        for (stream, own) in neighbours {
            leave(stream, &own, 3);
        }
        drop(resident);
        let ended = server.stop().clean();
        assert!(ended.count("reset") > 0, "nobody was reset: {}", ended.stderr);
        assert_eq!(ended.count("failed"), 0, "{}", ended.stderr);
    }
}
