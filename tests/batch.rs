//! `--batch`: datagrams taken many in a call, and answered in another.

#[path = "support/datagrams.rs"]
mod datagrams;
mod support;
#[path = "support/trace.rs"]
mod trace;

use datagrams::{Peer, Serving, Start};
use std::process::Command;
use support::{PATIENCE, WAITCOPY, assert_refused, pattern, scratch, strace_works, watchdog};
use waitcopy::net::Transport;
use waitcopy::sys::SIGTERM;

const MODELS: [&str; 2] = ["blocking", "epoll"];
/// As many as a Unix datagram queue holds for sure.
const PEERS: usize = 9;

fn start(model: &str, transport: Transport) -> Serving {
    Start::new(model, transport).args(&["--batch", "4", "--buffer", "512"]).start()
}

/// Each server with its peers.
fn each(body: impl Fn(Serving, Vec<Peer>) + Send + 'static) {
    watchdog(PATIENCE, move || {
        for model in MODELS {
            for transport in [Transport::Udp, Transport::Unixgram] {
                let server = start(model, transport);
                let peers = (0..PEERS).map(|_| Peer::of(&server)).collect();
                body(server, peers);
            }
        }
    });
}

#[test]
fn each_gets_its_own_answer_whatever_comes_together() {
    each(|server, peers| {
        for round in 0..50 {
            let message = |n: usize| pattern((round * 11 + n * 57) % 513, n as u64);
            let send = || peers.iter().enumerate().for_each(|(n, peer)| peer.send(&message(n)));
            // More than two batches at once, or as they come.
            if round % 5 == 0 {
                server.while_stopped(send)
            } else {
                send()
            }
            for (n, peer) in peers.iter().enumerate() {
                assert!(peer.receive() == message(n).to_ascii_uppercase(), "round {round}: {n}");
            }
        }
        let ended = server.stop().clean();
        assert_eq!(ended.count("requests"), 50 * PEERS as u64);
        assert_eq!(ended.count("bytes in"), ended.count("out"));
    });
}

#[test]
fn one_that_cannot_be_answered_costs_no_other() {
    each(|server, mut peers| {
        let gone = peers.remove(1);
        let unix = server.endpoint.address().ip().is_none();
        server.while_stopped(|| {
            peers[0].send(b"zero");
            gone.send(b"nobody waits for this");
            peers[1].send(&[b'x'; 513]);
            peers[2].send(b"two");
            drop(gone);
        });
        assert_eq!((peers[0].receive(), peers[2].receive()), (b"ZERO".to_vec(), b"TWO".to_vec()));
        peers[1].exchange(b"short enough");
        let ended = server.stop().clean();
        assert_eq!((ended.count("truncated"), ended.count("requests")), (1, 4));
        // UDP hears of it later, if at all.
        assert!(!unix || ended.count("unsent") == 1, "{}", ended.stderr);
    });
}

#[test]
fn what_was_queued_at_the_stop_is_answered() {
    each(|server, peers| {
        peers[0].exchange(b"here");
        server.while_stopped(|| {
            peers.iter().for_each(|peer| peer.send(b"queued"));
            server.signal(SIGTERM);
        });
        peers.iter().for_each(|peer| assert_eq!(peer.receive(), b"QUEUED"));
        assert_eq!(server.wait().clean().count("requests"), 1 + PEERS as u64);
    });
}

#[test]
fn many_share_a_call() {
    watchdog(PATIENCE, || {
        if !strace_works() {
            return;
        }
        let both = [Transport::Udp, Transport::Unixgram];
        for (model, transport) in MODELS.into_iter().flat_map(|m| both.map(|t| (m, t))) {
            let file = scratch(&format!("batch-{model}-{}.strace", transport.name()));
            // The first receive begins late: by then all of them are there.
            let delay = "inject=recvmmsg:delay_enter=1000000:when=1";
            let wrapper = ["strace", "-f", "-e", delay, "-o", file.to_str().unwrap()];
            let args = ["--batch", "16"];
            let server = Start::new(model, transport).wrapper(&wrapper).args(&args).start();
            let peers: Vec<_> = (0..PEERS).map(|_| Peer::of(&server)).collect();
            peers.iter().for_each(|peer| peer.send(b"together"));
            peers.iter().for_each(|peer| assert_eq!(peer.receive(), b"TOGETHER"));
            server.stop().clean();
            let calls = trace::read(&file).calls;
            let results = |name: &str| -> Vec<i64> {
                calls.iter().filter(|c| c.call == name).filter_map(|c| c.result).collect()
            };
            assert_eq!(results("recvmmsg").iter().filter(|&&n| n > 0).sum::<i64>(), PEERS as i64);
            assert_eq!(results("sendmmsg").iter().sum::<i64>(), PEERS as i64);
            assert!(results("sendmmsg").len() <= 2, "{:?}", results("sendmmsg"));
            assert!(results("sendto").is_empty());
        }
    });
}

#[test]
fn it_is_refused_where_it_means_nothing() {
    let said = "--batch belongs to blocking and epoll, over --udp or --unixgram";
    for words in [&["epoll"][..], &["select", "--udp"], &["epoll", "--unix", "@batch"]] {
        assert_refused(
            Command::new(WAITCOPY).arg("serve").args(words).args(["--batch", "8"]),
            2,
            said,
        );
    }
    let mut phases = Command::new(WAITCOPY);
    phases.args(["serve", "epoll", "--udp", "--batch", "8", "--phases"]);
    assert_refused(&mut phases, 2, "--batch: one call carries many datagrams");
    let mut many = Command::new(WAITCOPY);
    many.args(["serve", "epoll", "--udp", "--batch", "1025"]);
    assert_refused(&mut many, 2, "--batch 1025: at most 1024");
}
