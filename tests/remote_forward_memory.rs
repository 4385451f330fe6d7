//! What a forwarded message costs in memory: what it is long.
#![cfg(feature = "remote")]

#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use sessions::{knowing, with_sshd};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use waitcopy::lab::sshd::Options;
use waitcopy::reactor::Reactor;
use waitcopy::remote::forward::{Outlet, Place};
use waitcopy::remote::{Input, Sink};

const MESSAGE: usize = 100;
const MESSAGES: usize = 1000;

/// Says a message as often as the last one has come back.
#[derive(Clone, Default)]
struct Ball(Rc<Game>);

#[derive(Default)]
struct Game {
    sent: Cell<usize>,
    back: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Input for Ball {
    async fn arrival(&mut self) {
        poll_fn(|cx| {
            if self.0.back.get() == self.0.sent.get() {
                return Poll::Ready(());
            }
            self.0.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = if self.0.sent.get() < MESSAGES * MESSAGE { MESSAGE } else { 0 };
        buffer[..n].fill(b'x');
        self.0.sent.set(self.0.sent.get() + n);
        Ok(n)
    }
}

impl Sink for Ball {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.back.set(self.0.back.get() + bytes.len());
        self.0.waker.take().into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl Outlet for Ball {
    fn end(&mut self) {}
}

#[test]
fn no_buffer_is_made_for_each_message() {
    with_sshd(Options::default(), |sshd| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Place { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            io::copy(&mut &client, &mut &client).unwrap();
        });
        let (reactor, client) = (Reactor::new().unwrap(), knowing(&sshd));
        let session = reactor.run(client.connect_on(&reactor)).unwrap();
        let forwards = reactor.run(session.forwards()).unwrap();
        let ball = Ball::default();
        let (mut input, mut output) = (ball.clone(), ball.clone());
        // Libssh2's own are not counted.
        let mut carried = Ok(Default::default());
        let cost = allocation_counter::measure(|| {
            carried = reactor.run(forwards.stream(&to, &mut input, &mut output));
        });
        assert_eq!(carried.unwrap().back, (MESSAGES * MESSAGE) as u64);
        let each = cost.bytes_total / MESSAGES as u64;
        println!(
            "a message of {MESSAGE} bytes there and back: {each} bytes, {} times",
            cost.count_total
        );
        assert!(each < 20 * MESSAGE as u64, "{each}");
    });
}
