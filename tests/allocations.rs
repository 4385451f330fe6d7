//! No allocation per request, and none per idle connection beyond its place in the table.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use support::{PATIENCE, exchange, watchdog};
use waitcopy::model::{CATALOGUE, Model, Serve, Who, find};
use waitcopy::net::{Bind, Clients, Endpoint, Front, Settings};
use waitcopy::phase::{Counting, Observer, Recorder, Tally};
use waitcopy::service::Upper;
use waitcopy::stop::Stop;

/// One test at a time: the idle connections of one would push the other's descriptors beyond a select set.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

/// Serves in this thread while `clients` run in another one; what the serving thread allocated.
fn allocated_while<O: Observer>(
    serve: Serve<O>,
    observer: &mut O,
    clients: impl FnOnce(SocketAddr) + Send,
) -> allocation_counter::AllocationInfo {
    let endpoint = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Front::bind(endpoint, &Bind { backlog: 4096, ..Bind::default() }).unwrap();
    let address = listener.endpoint().address().ip().unwrap();
    let stop = Stop::new(Duration::from_secs(5)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            clients(address);
            stop.request();
        });
        allocation_counter::measure(|| {
            serve(listener, &Settings::default(), &Upper, observer, &stop).unwrap();
        })
    })
}

fn tally() -> Tally {
    Tally::new(false).unwrap()
}

fn converse(requests: usize) -> impl FnOnce(SocketAddr) + Send {
    move |address| {
        let mut client = TcpStream::connect(address).unwrap();
        (0..requests).for_each(|_| exchange(&mut client, b"hello"));
    }
}

/// The drain allocates its lists, or does not if the client has left before the stop comes.
const DRAIN: u64 = 8;

#[test]
fn a_thousand_requests_more_allocate_nothing_more() {
    watchdog(PATIENCE, || {
        let _alone = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
        // What other flows allocate is not counted here: a test's figures are its thread's.
        for Model { name, run, waits, .. } in CATALOGUE.iter().filter(|model| model.who == Who::One)
        {
            let counting =
                |n| allocated_while(run.counting, &mut Counting(tally()), converse(n)).count_total;
            assert!(counting(1001) <= counting(1) + DRAIN, "{name}, counting");
            let recording = |n| {
                let mut recorder = Recorder::new(name, *waits, true, tally(), false).unwrap();
                allocated_while(run.recording, &mut recorder, converse(n)).count_total
            };
            assert!(recording(1001) <= recording(1) + DRAIN, "{name}, recording");
        }
    });
}

/// Bytes that a connection of `async` takes beside its place among the clients.
const FUTURE: usize = 250;

#[test]
fn an_idle_connection_takes_its_place_in_the_table_and_no_more() {
    const IDLE: usize = 1000;
    watchdog(PATIENCE, || {
        let _alone = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
        // A future and its waker, each with its place; both tables double.
        for (name, more) in [("epoll", 0), ("epoll-et", 0), ("async", FUTURE)] {
            let model = find(name).unwrap();
            let idle = |n: usize| {
                move |address| {
                    let _silent: Vec<_> =
                        (0..n).map(|_| TcpStream::connect(address).unwrap()).collect();
                    // The backlog is served in order: when this one is answered, all are in.
                    let mut last = TcpStream::connect(address).unwrap();
                    last.write_all(b"x").unwrap();
                    last.read_exact(&mut [0]).unwrap();
                }
            };
            let bytes =
                |n| allocated_while(model.run.counting, &mut Counting(tally()), idle(n)).bytes_max;
            let (none, many) = (bytes(0), bytes(IDLE));
            // The table doubles, so up to twice the places, beside the old half while it moves; the drain
            // at the end keeps a list as well.
            let most = (IDLE * (3 * Clients::BYTES_PER_IDLE + 64 + more)) as u64;
            assert!(many - none <= most, "{}: {} bytes more", model.name, many - none);
        }
    });
}
