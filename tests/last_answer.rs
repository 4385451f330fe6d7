//! A service's last answer (`Answer::SendThenClose`): all of it arrives, nothing is answered behind it, and the connection is closed,
//! whatever is in the way and whenever the stop comes.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use support::streams::Library;
use support::{exchange, forks, pattern, scratch, until};
use waitcopy::model::{Who, find};
use waitcopy::net::{Bind, Endpoint, Front, Settings, Transport};
use waitcopy::phase::{Count, Counting, Tally};
use waitcopy::service::{Answer, Service};
use waitcopy::stop::Stop;
use waitcopy::sys;

/// Upper; what ends with a full stop is the last.
struct FullStop;

impl Service for FullStop {
    fn stream(&self, bytes: &mut [u8]) -> Answer {
        bytes.make_ascii_uppercase();
        match bytes {
            [.., b'.'] => Answer::SendThenClose(bytes.len()),
            _ => Answer::Send(bytes.len()),
        }
    }
}

for_each_model! {
    /// Nothing is in the way: the end comes behind the answer, and the next client is served.
    fn a_connection_ends_with_it(model: &str) {
        // Who forks refuses a host with threads, and every test has one (tests/workers.rs).
        if forks(model) {
            return;
        }
        let server = Library::start(model, FullStop, Stop::new(Duration::from_secs(300)).unwrap());
        for _ in 0..3 {
            let mut client = TcpStream::connect(server.address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            exchange(&mut client, b"not yet");
            exchange(&mut client, b"and this is all.");
            assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "the end");
        }
        assert_eq!(server.stop().get(Count::Requests), 6);
    }
}

/// The second receive brings the last answer, if the first is let go.
struct Second {
    calls: Arc<AtomicUsize>,
    entered: Sender<()>,
    open: Mutex<Receiver<()>>,
}

impl Service for Second {
    fn stream(&self, bytes: &mut [u8]) -> Answer {
        if self.calls.fetch_add(1, SeqCst) > 0 {
            return Answer::SendThenClose(bytes.len());
        }
        self.entered.send(()).unwrap();
        self.open.lock().unwrap().recv().unwrap();
        Answer::Send(bytes.len())
    }
}

/// Whether the thread of this process with that name sleeps.
fn sleeps(name: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let named = format!("({name}) ");
    stats.filter_map(|stat| Some(stat.split_once(&named)?.1.starts_with('S'))).any(|sleeps| sleeps)
}

for_each_model! {
    /// The client has not read it when the stop comes, and has said something more meanwhile. More than the socket holds in one
    /// answer, so that the rest is kept; on a Unix socket, where unread input takes no answer along.
    fn a_stop_while_it_is_on_its_way_changes_nothing(model: &str) {
        const LEN: usize = 300_000;
        let entry = find(model).unwrap();
        // Neither a forked flow nor several listeners on one path.
        if forks(model) || entry.who == Who::Reuseport {
            return;
        }
        let path = scratch(&format!("last-{model}"));
        let endpoint = Endpoint::at_path(Transport::Unix, &path).unwrap();
        let front = Front::bind(endpoint, &Bind { backlog: 16, ..Bind::default() }).unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let (entered, enters) = mpsc::channel();
        let (opens, open) = mpsc::channel();
        let service = Second { calls: Arc::clone(&calls), entered, open: Mutex::new(open) };
        let settings = Settings { buffer: 1 << 20, ..Settings::default() };
        let stop = Stop::new(Duration::from_secs(300)).unwrap();
        let mut observer = Counting(Tally::new(false).unwrap());
        thread::scope(|scope| {
            let serve = || (entry.run.counting)(front, &settings, &service, &mut observer, &stop);
            let flow = thread::Builder::new().name(model.to_owned()).spawn_scoped(scope, serve);
            let mut client = UnixStream::connect(&path).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            client.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
            client.write_all(b"1").unwrap();
            enters.recv().unwrap();
            // All of it waits for the second receive.
            sys::set_send_buffer(&client, 212_992).unwrap();
            let message = pattern(LEN, 9);
            message.chunks(1 << 15).for_each(|part| client.write_all(part).unwrap());
            opens.send(()).unwrap();
            let arrived = || sys::fionread(&client).unwrap();
            until("the answer has begun, and waits for room", || {
                calls.load(SeqCst) == 2 && arrived() > 1 && (sleeps(model) || entry.is_exempt("cpu"))
            });
            assert!(arrived() < LEN, "all of it had room: nothing is on its way");
            client.write_all(b"more").unwrap();
            stop.request();
            let (mut reply, mut part) = (Vec::new(), [0; 1 << 16]);
            loop {
                match client.read(&mut part) {
                    Ok(0) => break,
                    Ok(n) => reply.extend_from_slice(&part[..n]),
                    // The end of a connection with unread input.
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                    Err(error) => panic!("{error} after {} bytes", reply.len()),
                }
            }
            assert_eq!(calls.load(SeqCst), 2, "answered behind the last answer");
            assert_eq!(reply.len(), 1 + LEN);
            assert!(reply[1..] == message);
            flow.unwrap().join().unwrap().unwrap();
        });
    }
}
