//! The reactor: deadlines, wakes from everywhere, descriptors by level, and no wait too many.

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, watchdog};
use waitcopy::phase::{Call, End, Id};
use waitcopy::reactor::{Deadline, Interest, Reactor, Source, Told, elsewhere};
use waitcopy::sys::{self, Address};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Counts the waits, and keeps how many were ready after each.
#[derive(Default)]
struct Waits(RefCell<Vec<usize>>);

impl Told for Waits {
    fn wait(&self, _: Call, wait: &mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize> {
        let ready = wait();
        self.0.borrow_mut().push(*ready.as_ref().unwrap_or(&0));
        ready
    }

    fn receive(&self, _: Id, copy: &mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize> {
        copy()
    }

    fn send(
        &self,
        _: Id,
        _: usize,
        call: &mut dyn FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        call()
    }

    fn opened(&self, _: Id, _: &Address) {}

    fn closed(&self, _: Id, _: End) {}
}

fn counted() -> (Reactor, Rc<Waits>) {
    let waits = Rc::new(Waits::default());
    (Reactor::observed(Rc::clone(&waits) as Rc<dyn Told>).unwrap(), waits)
}

/// Two ends, ours non-blocking.
fn pair() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours.into(), theirs)
}

/// Lets everything else that was woken run first.
async fn aside() {
    let mut first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

#[test]
fn deadlines_come_in_their_order_and_never_early() {
    watchdog(PATIENCE, || {
        let (reactor, waits) = counted();
        let order = Rc::new(RefCell::new(Vec::new()));
        let start = Instant::now();
        for after in [30, 10, 20, 10] {
            let (handle, order) = ((*reactor).clone(), Rc::clone(&order));
            reactor.spawn(async move {
                handle.sleep(Deadline::after(ms(after))).await;
                assert!(start.elapsed() >= ms(after), "{after} ms: {:?}", start.elapsed());
                order.borrow_mut().push(after);
            });
        }
        reactor.run(reactor.sleep(Deadline::after(ms(40))));
        assert_eq!(*order.borrow(), [10, 10, 20, 30]);
        // A fraction of a millisecond is no reason to wait zero milliseconds again and again.
        let before = waits.0.borrow().len();
        let deadline = Deadline::after(Duration::from_micros(1500));
        reactor.run(reactor.sleep(deadline));
        assert!(deadline.passed());
        assert!(waits.0.borrow().len() - before <= 3, "{:?}", waits.0.borrow());
    });
}

#[test]
fn an_idle_wait_is_one_wait() {
    watchdog(PATIENCE, || {
        let (reactor, waits) = counted();
        let (fd, _theirs) = pair();
        let silent = Source::new(&reactor, fd).unwrap();
        let read = reactor.within(Deadline::after(ms(50)), silent.ready(Interest::Read));
        assert!(reactor.run(read).is_err());
        let waits = waits.0.borrow();
        assert!((1..=2).contains(&waits.len()), "{waits:?}");
    });
}

#[test]
fn what_is_done_in_time_is_done() {
    watchdog(PATIENCE, || {
        let reactor = Reactor::new().unwrap();
        let past = Deadline::after(Duration::ZERO);
        assert_eq!(reactor.run(reactor.within(past, async { 7 })), Ok(7));
        assert!(reactor.run(reactor.within(past, pending::<()>())).is_err());
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert_eq!((Deadline::NEVER.left(), Deadline::NEVER.passed()), (None, false));
        let never = reactor.within(Deadline::NEVER, reactor.sleep(Deadline::after(ms(1))));
        assert_eq!(reactor.run(never), Ok(()));
    });
}

/// Each drop is counted.
struct Gone(Rc<Cell<usize>>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn spawned_futures_go_on_end_and_are_dropped_with_the_reactor() {
    watchdog(PATIENCE, || {
        let reactor = Reactor::new().unwrap();
        let (gone, ran) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for forever in [false, true, false] {
            let (gone, ran) = (Gone(Rc::clone(&gone)), Rc::clone(&ran));
            let handle = (*reactor).clone();
            reactor.spawn(async move {
                let _gone = gone;
                ran.set(ran.get() + 1);
                if forever {
                    handle.sleep(Deadline::NEVER).await;
                }
            });
        }
        assert_eq!((reactor.spawned(), ran.get()), (3, 0), "they wait for a run");
        reactor.run(aside());
        assert_eq!((reactor.spawned(), ran.get(), gone.get()), (1, 3, 2));
        let handle = (*reactor).clone();
        drop(reactor);
        assert_eq!(gone.get(), 3);
        let late = Gone(Rc::clone(&gone));
        handle.spawn(async move { drop(late) });
        assert_eq!((handle.spawned(), gone.get()), (0, 4), "too late: dropped at once");
    });
}

#[test]
fn another_thread_wakes_a_sleeping_reactor() {
    watchdog(PATIENCE, || {
        let (reactor, waits) = counted();
        let (give, take) = mpsc::channel::<Waker>();
        let (ring, rung) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            let waker = take.recv().unwrap();
            ring.send(()).unwrap();
            waker.wake();
        });
        let mut told = false;
        reactor.run(poll_fn(|cx| {
            if !std::mem::replace(&mut told, true) {
                give.send(cx.waker().clone()).unwrap();
                return Poll::Pending;
            }
            rung.try_recv().map_or(Poll::Pending, Poll::Ready)
        }));
        other.join().unwrap();
        assert!(waits.0.borrow().len() <= 2, "{:?}", waits.0.borrow());
        let answer = reactor.run(async { elsewhere(|| 6 * 7).unwrap().await.unwrap() });
        assert_eq!(answer, 42);
        let panicked = reactor.run(async { elsewhere(|| panic!("on purpose")).unwrap().await });
        let panicked: io::Result<()> = panicked;
        assert_eq!(panicked.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    });
}

/// Write five, read three: the two that are left are reported again, to whoever asks.
#[test]
fn a_level_that_was_not_read_is_told_again() {
    watchdog(PATIENCE, || {
        let reactor = Reactor::new().unwrap();
        let (fd, mut theirs) = pair();
        let source = Source::new(&reactor, fd).unwrap();
        theirs.write_all(b"hello").unwrap();
        reactor.run(async {
            let mut buffer = [0; 3];
            source.ready(Interest::Read).await;
            assert_eq!(sys::read(source.get_ref(), &mut buffer).unwrap(), 3);
            source.ready(Interest::Read).await;
            // Asked for and given up: it is not used up by that.
            drop(Box::pin(source.ready(Interest::Read)));
            source.ready(Interest::Either).await;
            assert_eq!(sys::read(source.get_ref(), &mut buffer).unwrap(), 2);
            let again = source.ready(Interest::Read);
            assert!(reactor.within(Deadline::after(ms(5)), again).await.is_err());
        });
    });
}

#[test]
fn readers_and_writers_of_one_descriptor_wait_apart() {
    watchdog(PATIENCE, || {
        let reactor = Reactor::new().unwrap();
        let (fd, mut theirs) = pair();
        let source = Source::new(&reactor, fd).unwrap();
        while sys::write(source.get_ref(), &[7; 65_536]).is_ok() {}
        reactor.run(async {
            let (mut read, mut write) =
                (pin!(source.ready(Interest::Read)), pin!(source.ready(Interest::Write)));
            let (mut readable, mut writable, mut theirs_said) = (false, false, false);
            let mut order = Vec::new();
            poll_fn(|cx| {
                if !readable && read.as_mut().poll(cx).is_ready() {
                    readable = true;
                    order.push("readable");
                    // Makes room only now.
                    let mut room = vec![0; 1 << 20];
                    let _ = theirs.read(&mut room).unwrap();
                }
                if !writable && write.as_mut().poll(cx).is_ready() {
                    writable = true;
                    order.push("writable");
                }
                if !std::mem::replace(&mut theirs_said, true) {
                    theirs.write_all(b"x").unwrap();
                }
                if readable && writable { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert_eq!(order, ["readable", "writable"]);
        });
    });
}

/// Ready descriptors that nobody waits for are silenced: an idle wait stays one wait.
#[test]
fn what_nobody_waits_for_wakes_nobody() {
    watchdog(PATIENCE, || {
        let (reactor, waits) = counted();
        let (fd, mut theirs) = pair();
        let source = Source::new(&reactor, fd).unwrap();
        reactor.run(async {
            let given_up = reactor.within(Deadline::after(ms(1)), source.ready(Interest::Read));
            assert!(given_up.await.is_err());
            theirs.write_all(b"noise").unwrap();
            reactor.sleep(Deadline::after(ms(1))).await;
        });
        let before = waits.0.borrow().len();
        reactor.run(reactor.sleep(Deadline::after(ms(50))));
        let waited = waits.0.borrow()[before..].to_vec();
        assert!(waited.len() <= 2, "{waited:?}");
    });
}

/// Ends of streams, regular files, and descriptors that are registered twice.
#[test]
fn descriptors_of_every_kind() {
    watchdog(PATIENCE, || {
        let reactor = Reactor::new().unwrap();
        let (fd, theirs) = pair();
        let source = Source::new(&reactor, fd).unwrap();
        drop(theirs);
        let mut buffer = [0; 3];
        let read = source.until(Interest::Read, |fd| sys::read(fd, &mut buffer));
        assert_eq!(reactor.run(read).unwrap(), 0);
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let regular = Source::new(&reactor, file).unwrap();
        reactor.run(regular.ready(Interest::Read));
        reactor.run(regular.ready(Interest::Write));
        let (fd, _theirs) = pair();
        let shared = Rc::new(fd);
        let first = Source::new(&reactor, Rc::clone(&shared)).unwrap();
        let Err(twice) = Source::new(&reactor, Rc::clone(&shared)) else { panic!("twice") };
        assert_eq!(twice.errno(), Some(17), "EEXIST: {twice}");
        drop(first);
        assert!(Source::new(&reactor, shared).is_ok(), "it was taken out again");
    });
}

/// Two futures that wake each other without end hold up neither a deadline nor a descriptor.
#[test]
fn the_busy_leave_room_for_the_others() {
    watchdog(PATIENCE, || {
        let reactor = Reactor::new().unwrap();
        let (fd, mut theirs) = pair();
        let source = Source::new(&reactor, fd).unwrap();
        for _ in 0..2 {
            reactor.spawn(async {
                loop {
                    aside().await;
                }
            });
        }
        theirs.write_all(b"x").unwrap();
        reactor.run(source.ready(Interest::Read));
        reactor.run(reactor.sleep(Deadline::after(ms(2))));
    });
}

#[test]
fn a_panic_leaves_a_reactor_that_runs() {
    watchdog(PATIENCE, || {
        let reactor = Reactor::new().unwrap();
        let run = |what: &str| {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                reactor.run(async {
                    aside().await;
                    if what == "nested" {
                        reactor.run(async {});
                    }
                    panic!("on purpose");
                });
            }));
            let panic = panic.unwrap_err();
            (panic.downcast_ref::<&str>().copied().map(str::to_owned))
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap()
        };
        assert_eq!(run("plain"), "on purpose");
        let refused = run("nested");
        assert!(refused.contains("runs one future at a time"), "{refused}");
        // A spawned one that panics takes the run along, and only that.
        reactor.spawn(async { panic!("in a task") });
        assert!(catch_unwind(AssertUnwindSafe(|| reactor.run(pending::<()>()))).is_err());
        assert_eq!(reactor.run(async { 5 }), 5);
        reactor.run(reactor.sleep(Deadline::after(ms(1))));
    });
}
