//! How the two ways of a forwarded stream end: each by itself, and none in the middle of a packet.
#![cfg(feature = "remote")]

#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use sessions::{Told, knowing, on, together, with_sshd};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{self, TryRecvError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use support::{pattern, until};
use waitcopy::lab::sshd::{Options, Sshd};
use waitcopy::reactor::{Deadline, Reactor, yield_now};
use waitcopy::remote::forward::{Listen, Outlet, Place};
use waitcopy::remote::{Input, Reason, Session, Sink};
use waitcopy::sys;

/// How often is looked for what no event tells.
const TICK: Duration = Duration::from_millis(1);

/// One connection, on a thread.
fn once(serve: impl FnOnce(TcpStream) + Send + 'static) -> Place {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    place(at)
}

fn place(at: SocketAddr) -> Place {
    Place { host: at.ip().to_string(), port: at.port() }
}

/// A stream here whose pieces, and whose failure, the test brings.
#[derive(Clone, Default)]
struct Fed(Rc<Food>);

#[derive(Default)]
struct Food {
    pieces: RefCell<VecDeque<io::Result<Vec<u8>>>>,
    /// How often somebody has come for more: what he had before he has passed on.
    asked: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Fed {
    fn feed(&self, piece: io::Result<Vec<u8>>) {
        self.0.pieces.borrow_mut().push_back(piece);
        self.0.waker.take().into_iter().for_each(Waker::wake);
    }

    fn asked(&self) -> usize {
        self.0.asked.get()
    }
}

impl Input for Fed {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.asked.set(self.asked() + 1);
        let piece = poll_fn(|cx| match self.0.pieces.borrow_mut().pop_front() {
            Some(piece) => Poll::Ready(piece),
            None => {
                self.0.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        });
        let piece = piece.await?;
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

/// Counts what comes, or fails at it.
#[derive(Clone, Default)]
struct Taken {
    bytes: Rc<Cell<usize>>,
    fails: bool,
    failed: Told,
}

impl Sink for Taken {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.fails {
            self.failed.tell();
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.bytes.set(self.bytes.get() + bytes.len());
        Ok(())
    }
}

impl Outlet for Taken {
    fn end(&mut self) {}
}

/// What a terminal that is gone says.
const EIO: i32 = 5;

fn cut() -> io::Result<Vec<u8>> {
    Err(io::Error::from_raw_os_error(EIO))
}

#[test]
fn who_cannot_be_read_any_more_still_gets_the_answer() {
    with_sshd(Options::default(), |sshd| {
        let to = once(|mut client| {
            let mut asked = Vec::new();
            client.read_to_end(&mut asked).unwrap();
            client.write_all(&pattern(1 << 20, 3)).unwrap();
            assert_eq!(asked, b"half a question");
        });
        on(&sshd, async |_, session| {
            let forwards = session.forwards().await.unwrap();
            let (mut fed, mut taken) = (Fed::default(), Taken::default());
            fed.feed(Ok(b"half a question".to_vec()));
            fed.feed(cut());
            let error = forwards.stream(&to, &mut fed, &mut taken).await.unwrap_err();
            assert_eq!(error.reason(), Reason::Io(Some(EIO)), "{error}");
            assert!(error.to_string().contains("read here: "), "{error}");
            assert_eq!(taken.bytes.get(), 1 << 20);
            sessions::works(session).await;
        });
    });
}

#[test]
fn who_takes_no_more_is_still_read_to_his_end() {
    with_sshd(Options::default(), |sshd| {
        let (heard, hears) = mpsc::channel();
        let to = once(move |mut client| {
            // More than a window of what nobody takes.
            client.write_all(&pattern(5 << 20, 4)).unwrap();
            let mut all = vec![0; 1 << 20];
            client.read_exact(&mut all).unwrap();
            heard.send(all).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        });
        on(&sshd, async |reactor, session| {
            let forwards = session.forwards().await.unwrap();
            let (fed, mut taken) = (Fed::default(), Taken { fails: true, ..Taken::default() });
            let (bytes, failed) = (pattern(1 << 20, 7), taken.failed.clone());
            let feeding = async {
                failed.wait().await;
                bytes.chunks(10_000).for_each(|piece| fed.feed(Ok(piece.to_vec())));
                let heard = loop {
                    match hears.try_recv() {
                        Err(TryRecvError::Empty) => reactor.sleep(Deadline::after(TICK)).await,
                        heard => break heard.unwrap(),
                    }
                };
                assert!(heard == bytes);
                // Nobody is left here: that is the end.
                fed.feed(Ok(Vec::new()));
            };
            let mut input = fed.clone();
            let carrying = async {
                let error = forwards.stream(&to, &mut input, &mut taken).await.unwrap_err();
                assert!(error.to_string().contains("write here: "), "{error}");
            };
            together::<()>(vec![Box::pin(feeding), Box::pin(carrying)]).await;
            sessions::works(session).await;
        });
    });
}

#[test]
fn a_client_that_resets_is_let_go_although_the_other_end_stays() {
    with_sshd(Options::default(), |sshd| {
        let (ended, ends) = mpsc::channel();
        let to = once(move |mut client| {
            // Its end is the client's; nothing is said and nothing is closed.
            let _ = client.read(&mut [0]);
            let _ = client.read(&mut [0]);
            ended.send(client).unwrap();
        });
        on(&sshd, async |reactor, session| {
            let forwards = session.forwards().await.unwrap();
            let at = forwards.local(&Listen { bind: None, port: 0 }, to).unwrap();
            let mut client = TcpStream::connect(at).unwrap();
            client.write_all(b"!").unwrap();
            let counted = async |connections, open| {
                while (forwards.counts().connections, forwards.counts().open) != (connections, open)
                {
                    reactor.sleep(Deadline::after(TICK)).await;
                }
            };
            counted(1, 1).await;
            sys::set_linger(&client, 0).unwrap();
            drop(client);
            counted(1, 0).await;
            drop(ends.recv().unwrap());
        });
    });
}

/// A session over a command that passes everything on, and stops taking what goes to the server whenever the test stops it.
struct Way {
    /// The process that takes it.
    upward: u32,
}

impl Way {
    fn on(sshd: &Sshd, test: impl AsyncFnOnce(&Reactor, &Session, &Self)) {
        let mark = sshd.folder().join("upward");
        let command = format!(
            "bash -c 'exec 3<>/dev/tcp/%h/%p 4<&0; cat <&4 >&3 & echo $! >{0}.new; mv {0}.new {0}; exec cat <&3'",
            mark.display()
        );
        let (reactor, client) = (Reactor::new().unwrap(), knowing(sshd));
        let client = client.proxy_command(&command).unwrap();
        reactor.run(async {
            let session = client.connect_on(&reactor).await.unwrap();
            let upward = std::fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
            test(&reactor, &session, &Self { upward }).await;
        });
    }

    fn close(&self) {
        sys::kill(self.upward, sys::SIGSTOP).unwrap();
        until("it is stopped", || support::state(self.upward) == 'T');
    }

    fn open(&self) {
        sys::kill(self.upward, sys::SIGCONT).unwrap();
    }
}

/// Lets everybody else go as far as he comes.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// Waits until a number has not grown for a while.
async fn still(reactor: &Reactor, number: impl Fn() -> usize) {
    let mut last = (usize::MAX, 0);
    while last.1 < 30 {
        reactor.sleep(Deadline::after(Duration::from_millis(10))).await;
        last = if number() == last.0 { (last.0, last.1 + 1) } else { (number(), 0) };
    }
}

const PIECE: usize = 16 << 10;

#[test]
fn room_in_the_window_that_is_half_told_is_told_to_its_end() {
    with_sshd(Options::default(), |sshd| {
        let echo = once(|client| drop(io::copy(&mut &client, &mut &client)));
        let (begin, begins) = mpsc::channel();
        let flood = once(move |mut client| {
            begins.recv().unwrap();
            client.write_all(&pattern(4 << 20, 9)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let _ = client.read(&mut [0]);
        });
        Way::on(&sshd, async |reactor, session, way| {
            let forwards = session.forwards().await.unwrap();
            let (filler, echoed) = (Fed::default(), Taken::default());
            let (cut_off, flooded) = (Fed::default(), Taken::default());
            let one = async {
                let (mut input, mut output) = (filler.clone(), echoed.clone());
                forwards.stream(&echo, &mut input, &mut output).await.unwrap();
            };
            let other = async {
                let (mut input, mut output) = (cut_off.clone(), flooded.clone());
                let error = forwards.stream(&flood, &mut input, &mut output).await.unwrap_err();
                assert!(error.to_string().contains("read here: "), "{error}");
            };
            let directing = async {
                filler.feed(Ok(vec![1; PIECE]));
                while echoed.bytes.get() < PIECE || cut_off.asked() == 0 {
                    yield_now().await;
                }
                // How many packets the way has room for: the one after them is sent in part.
                way.close();
                let before = filler.asked();
                let mut fed = 0;
                while filler.asked() == before + fed {
                    filler.feed(Ok(vec![2; PIECE]));
                    fed += 1;
                    settle().await;
                }
                let room = fed - 1;
                println!("room for {room} packets");
                way.open();
                while echoed.bytes.get() < (1 + fed) * PIECE {
                    yield_now().await;
                }
                // So many, and no packet is sent in part; but the next one will be: that which tells of room for the flood.
                way.close();
                let before = filler.asked();
                (0..room).for_each(|_| filler.feed(Ok(vec![3; PIECE])));
                settle().await;
                assert_eq!(filler.asked(), before + room);
                begin.send(()).unwrap();
                while flooded.bytes.get() == 0 {
                    yield_now().await;
                }
                still(reactor, || flooded.bytes.get()).await;
                assert!(flooded.bytes.get() < 2 << 20, "{}", flooded.bytes.get());
                // Whoever is behind that packet must not lose it.
                cut_off.feed(cut());
                settle().await;
                way.open();
                filler.feed(Ok(Vec::new()));
            };
            together::<()>(vec![Box::pin(directing), Box::pin(one), Box::pin(other)]).await;
            assert_eq!(flooded.bytes.get(), 4 << 20);
            assert!(echoed.bytes.get().is_multiple_of(PIECE));
            sessions::works(session).await;
        });
    });
}
