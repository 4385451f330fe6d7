//! `serve --report FILE --events N`: what is kept of each call agrees with the figures of the same report.

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use support::{WAITCOPY, assert_refused, exchange, report, scratch, serve, watchdog, who};
use waitcopy::json::Value;
use waitcopy::model::Who;
use waitcopy::phase::{Event, How, What};

/// Two clients, one after the other, two messages each; the report, and where the clients were.
fn served(model: &str, test: &str, flags: &[&str]) -> (Value, [SocketAddr; 2]) {
    let path = scratch(&format!("{test}-{model}.json"));
    let server = serve(model).args(&["--report", path.to_str().unwrap()]).args(flags).start();
    let came = [(), ()].map(|()| {
        let mut client = server.connect();
        exchange(&mut client, b"hello");
        exchange(&mut client, b"again");
        leave(client)
    });
    server.stop().clean();
    (report(&path), came)
}

/// The client's last word, the server's end of file, in this order.
fn leave(mut client: TcpStream) -> SocketAddr {
    let address = client.local_addr().unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    address
}

fn events(report: &Value) -> Vec<Event> {
    let Some(Value::List(list)) = report.get("events") else { panic!("no events: {report}") };
    list.iter().map(|event| Event::of_json(event).unwrap()).collect()
}

for_each_model! {
    fn the_events_agree_with_the_phases_of_the_report(model: &str) {
        let (report, came) = served(model, "agree", &["--events", "1000"]);
        assert_eq!(report.count("events_lost"), Some(0));
        let events = events(&report);
        assert!(events.is_sorted_by_key(|event| event.start), "{events:#?}");
        let figure = |path: &str| report.count(path).unwrap_or_else(|| panic!("no {path}"));
        let of = |what| events.iter().filter(move |event| event.what == what);
        let inputs = || of(What::Receive).filter_map(|event| event.phases);
        // Nothing is measured twice: the sums are the same to the nanosecond.
        assert_eq!(inputs().map(|p| p.wait).sum::<u64>(), figure("phases.wait.total_ns"));
        assert_eq!(inputs().map(|p| p.queued).sum::<u64>(), figure("phases.queued.total_ns"));
        assert_eq!(inputs().map(|p| p.copy).sum::<u64>(), figure("phases.copy.total_ns"));
        let accepted: u64 = of(What::Accept).map(|event| event.phases.unwrap().wait).sum();
        assert_eq!(accepted, figure("phases.accept.total_ns"));
        let sent: u64 = of(What::Send).map(|event| event.end - event.start).sum();
        assert_eq!(sent, figure("phases.send.total_ns") + figure("phases.room.total_ns"));
        assert_eq!(of(What::Send).map(|event| event.amount).sum::<u64>(), figure("counts.bytes_out"));
        let started: u64 = of(What::Start).map(|event| event.end - event.start).sum();
        assert_eq!(started, figure("phases.start.total_ns"));
        for (n, client) in came.into_iter().enumerate() {
            for (what, times) in [(What::Accept, 1), (What::Receive, 3), (What::Send, 2), (What::Close, 1)] {
                let of_client = of(what).filter(|event| event.client == Some(client));
                assert_eq!(of_client.count(), times, "{what:?} of client {n}: {events:#?}");
            }
        }
    }
}

for_each_model! {
    fn the_calls_of_a_flow_follow_one_another(model: &str) {
        let (report, _) = served(model, "follow", &["--events", "1000"]);
        let events = events(&report);
        let flows: BTreeSet<_> = events.iter().map(|event| (event.process, event.flow)).collect();
        for flow in &flows {
            let own = events.iter().filter(|event| (event.process, event.flow) == *flow);
            let own: Vec<_> = own.collect();
            let apart = own.windows(2).all(|pair| pair[0].end <= pair[1].start);
            assert!(apart, "two things at once in one flow: {own:#?}");
        }
        let receiving: BTreeSet<_> = events
            .iter()
            .filter(|event| event.what == What::Receive)
            .map(|event| (event.process, event.flow))
            .collect();
        let starts = events.iter().filter(|event| event.what == What::Start).count();
        // Each client had a flow of its own, where that is the way.
        match who(model) {
            Who::One => assert_eq!((flows.len(), starts), (1, 0)),
            Who::Threads | Who::Fork => assert_eq!((receiving.len(), starts), (2, 2)),
            Who::Pool | Who::Prefork | Who::Reuseport => assert!(starts >= receiving.len()),
        }
        let processes: BTreeSet<_> = events.iter().map(|event| event.process).collect();
        assert_eq!(processes.len() > 1, support::forks(model), "{processes:?}");
    }
}

for_each_model! {
    fn without_the_flag_the_report_has_no_events(model: &str) {
        let (report, _) = served(model, "absent", &[]);
        let Value::Object(members) = &report else { panic!("{report}") };
        let names: Vec<_> = members.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "waitcopy", "model", "endpoint", "service", "buffer", "recorded", "counts", "usage",
                "method", "calls", "again", "phases", "wall_ns", "partition_ns", "observer_ns_per_request",
                "calibrated_copy_ns",
            ]
        );
    }
}

#[test]
fn what_does_not_fit_is_counted() {
    watchdog(support::PATIENCE, || {
        for model in ["epoll", "fork"] {
            let (all, _) = served(model, "fits", &["--events", "1000"]);
            let (some, _) = served(model, "lost", &["--events", "3"]);
            assert_eq!(events(&some).len(), 3);
            // Two accepts, six receives, four sends and services, two ends at least, of which three are kept.
            let lost = some.count("events_lost").unwrap();
            assert!((15..=events(&all).len() as u64 + 20).contains(&lost), "{lost}: {all}");
            let requests = |report: &Value| report.count("phases.wait.count");
            assert_eq!((requests(&some), requests(&all)), (Some(4), Some(4)));
        }
    });
}

#[test]
fn a_row_of_calls_in_vain_is_told_from_its_first_to_its_last() {
    watchdog(support::PATIENCE, || {
        let path = scratch("row.json");
        let flags = ["--events", "100", "--report", path.to_str().unwrap()];
        let server = serve("nonblocking").args(&flags).start();
        let mut client = server.connect();
        exchange(&mut client, b"hello");
        let before = server.cpu();
        support::until("asked a few times", || {
            server.cpu() > before + std::time::Duration::from_millis(20)
        });
        client.write_all(b"again").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        leave(client);
        server.stop().clean();
        let report = report(&path);
        let (again, inputs) = (report.count("again.recvfrom").unwrap(), events(&report));
        let inputs = inputs.iter().filter(|event| event.what == What::Receive);
        let polled: Vec<_> = inputs.filter_map(|event| Some((event, event.phases?))).collect();
        let (event, phases) = polled[1];
        assert_eq!(phases.how, How::Polled);
        let row = phases.again;
        assert!(row.calls > 100 && row.calls <= again, "{row:?} of {again}");
        assert!(row.first < row.last && row.last < event.start, "{event:?}");
        assert_eq!(event.start - row.first, phases.wait);
        assert!(row.inside <= phases.wait);
    });
}

#[test]
fn a_client_without_an_address_is_known_by_its_slot() {
    watchdog(support::PATIENCE, || {
        let path = scratch("unix.json");
        let flags = ["--events", "100", "--report", path.to_str().unwrap()];
        let unix = scratch("events.sock");
        let server = Command::new(WAITCOPY)
            .args(["serve", "epoll", "--unix", unix.to_str().unwrap()])
            .args(flags)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        support::until("it listens", || unix.exists());
        let mut client = std::os::unix::net::UnixStream::connect(&unix).unwrap();
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        drop(client);
        waitcopy::sys::kill(server.id(), waitcopy::sys::SIGTERM).unwrap();
        let mut server = server;
        assert!(server.wait().unwrap().success());
        let events = events(&report(&path));
        let received = events.iter().find(|event| event.what == What::Receive).unwrap();
        // It has no address, and is known by its slot.
        assert_eq!((received.client, received.id.map(|id| id.slot)), (None, Some(0)));
    });
}

#[test]
fn nonsense_is_refused() {
    watchdog(support::PATIENCE, || {
        let refused = |words: &str, said: &str| {
            assert_refused(Command::new(WAITCOPY).args(words.split(' ')), 2, said);
        };
        refused("serve epoll --events 5", "--events go into a report: --report FILE is missing");
        refused("serve epoll --events 0 --report /tmp/x", "--events 0: a whole number, 1 or more");
        refused("serve epoll --events ten --report /tmp/x", "--events ten: a whole number");
        refused("serve epoll --events 100001 --report /tmp/x", "--events: at most 100000");
    });
}
