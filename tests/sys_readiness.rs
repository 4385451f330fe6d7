//! The readiness wrappers of `sys` against the kernel: sets and their limit, level and edge, time-outs, interruption.

mod support;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{PATIENCE, alone, connected, errno, listening, skip, until, watchdog};
use waitcopy::sys::{self, Clock, Epoll, EpollEvent, FdSet, Interest, OverLimit, PollFd, Shutdown};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn set_of(fds: &[&OwnedFd]) -> FdSet {
    let mut set = FdSet::new();
    fds.iter().for_each(|fd| _ = set.insert(fd).unwrap());
    set
}

/// The one event that epoll reports. It may take a moment: a loaded kernel delivers later, even on loopback.
fn event(epoll: &Epoll) -> EpollEvent {
    let mut events = [EpollEvent::EMPTY; 4];
    assert_eq!(epoll.epoll_wait(&mut events, Some(PATIENCE)).unwrap(), 1);
    events[0]
}

/// Whether epoll has nothing to report now.
fn quiet(epoll: &Epoll) -> bool {
    epoll.epoll_wait(&mut [EpollEvent::EMPTY], AT_ONCE).unwrap() == 0
}

/// An epoll set with one end of a connection, and the other end.
fn watched(interest: Interest) -> (Epoll, OwnedFd, OwnedFd) {
    let (near, far) = connected();
    let epoll = sys::epoll_create1().unwrap();
    epoll.add(&far, interest, 7).unwrap();
    (epoll, near, far)
}

#[test]
fn a_set_knows_what_it_holds() {
    let (one, other) = sys::socketpair().unwrap();
    let numbers = [one.as_raw_fd() as usize, other.as_raw_fd() as usize];
    let (low, high) = (numbers[0].min(numbers[1]), numbers[0].max(numbers[1]));
    let mut set = FdSet::new();
    assert_eq!((set.span(), set.numbers().count()), (0, 0));
    assert_eq!(set.insert(&one), Ok(numbers[0]));
    assert!(set.contains(&one) && !set.contains(&other));
    assert_eq!(set.span(), numbers[0] + 1);

    let both = set.union(&set_of(&[&other]));
    assert_eq!(both.numbers().collect::<Vec<_>>(), [low, high]);
    assert_eq!(both.span(), high + 1);
    assert_eq!(set.numbers().collect::<Vec<_>>(), [numbers[0]], "union leaves the first as it was");

    set.remove(&other);
    assert!(set.contains(&one));
    set.remove(&one);
    assert_eq!((set == FdSet::new(), set.span()), (true, 0));
}

/// Duplicates until number `wanted` is reached; what was used up on the way is kept open.
fn at_number(wanted: i32, original: &OwnedFd, held: &mut Vec<OwnedFd>) -> OwnedFd {
    loop {
        let fd = original.try_clone().unwrap();
        if fd.as_raw_fd() == wanted {
            return fd;
        }
        assert!(fd.as_raw_fd() < wanted, "number {wanted} is taken");
        held.push(fd);
    }
}

#[test]
fn select_takes_descriptor_1023_and_refuses_1024() {
    alone("select_takes_descriptor_1023_and_refuses_1024", || {
        let limit = sys::getrlimit().unwrap();
        if limit.hard < 1100 {
            return skip("RLIMIT_NOFILE's hard limit is below 1100");
        }
        sys::setrlimit(sys::Limit { soft: 1100, ..limit }).unwrap();
        let (near, far) = sys::socketpair().unwrap();
        let mut held = Vec::new();
        let last = at_number(1023, &far, &mut held);
        let beyond = at_number(1024, &far, &mut held);

        let mut read = FdSet::new();
        assert_eq!(read.insert(&last), Ok(1023));
        let before = read;
        let refused = read.insert(&beyond).unwrap_err();
        assert_eq!(refused, OverLimit { descriptor: 1024 });
        assert!(refused.to_string().contains("descriptor 1024 does not fit"), "{refused}");
        assert!(read == before && !read.contains(&beyond));
        read.remove(&beyond);
        assert_eq!((read.numbers().collect::<Vec<_>>(), read.span()), (vec![1023], 1024));

        assert_eq!(sys::select(&mut read, &mut FdSet::new(), AT_ONCE).unwrap(), 0);
        assert!(read == FdSet::new(), "not ready: taken out");
        sys::send(&near, b"x").unwrap();
        let (mut read, mut write) = (before, before);
        assert_eq!(sys::select(&mut read, &mut write, None).unwrap(), 2);
        assert!(read == before && write == before);
    });
}

#[test]
fn select_overwrites_its_sets_with_what_is_ready() {
    let (near, far) = connected();
    sys::send(&near, b"x").unwrap();
    let mut read = set_of(&[&near, &far]);
    let mut write = set_of(&[&near]);
    sys::poll(&mut [PollFd::new(&far, true, false)], Some(PATIENCE)).unwrap();
    assert_eq!(sys::select(&mut read, &mut write, None).unwrap(), 2);
    assert!(read == set_of(&[&far]) && write == set_of(&[&near]), "{read:?} {write:?}");
}

#[test]
fn level_reports_what_is_left_again() {
    let (epoll, near, far) = watched(Interest::READ);
    assert!(quiet(&epoll));
    sys::send(&near, b"12345").unwrap();
    for left in [5, 2] {
        let event = event(&epoll);
        assert_eq!((event.token(), event.readable(), event.writable()), (7, true, false));
        assert_eq!(sys::recv(&far, &mut [0; 3]).unwrap(), left.min(3));
    }
    assert!(quiet(&epoll), "drained");
}

#[test]
fn edge_reports_a_change_once() {
    let (epoll, near, far) = watched(Interest::READ_EDGE);
    sys::send(&near, b"12345").unwrap();
    assert!(event(&epoll).readable());
    assert_eq!(sys::recv(&far, &mut [0; 3]).unwrap(), 3);
    assert!(quiet(&epoll), "two bytes are left, but nothing has changed");
    // MOD arms again, and carries the new token.
    epoll.modify(&far, Interest::READ_EDGE, u64::MAX).unwrap();
    assert_eq!(event(&epoll).token(), u64::MAX);
    assert!(quiet(&epoll));
    sys::send(&near, b"6").unwrap();
    event(&epoll);
}

#[test]
fn a_half_close_is_a_hang_up_to_those_who_ask() {
    let (edge, near, far) = watched(Interest::EDGE);
    let open = event(&edge);
    assert!(open.writable() && !open.readable() && !open.hung_up());
    let level = sys::epoll_create1().unwrap();
    level.add(&far, Interest::READ, 0).unwrap();
    let silent = sys::epoll_create1().unwrap();
    silent.add(&far, Interest::NONE, 0).unwrap();

    sys::shutdown(&near, Shutdown::Write).unwrap();
    let half = event(&edge);
    assert!(half.readable() && half.writable() && half.hung_up());
    // To a level-triggered reader it is an end of file to be read, as ever.
    let half = event(&level);
    assert!(half.readable() && !half.hung_up());
    assert!(quiet(&silent));

    // A reset is told unasked.
    sys::set_linger(&near, 0).unwrap();
    drop(near);
    let dead = event(&silent);
    assert!(dead.hung_up() && dead.readable() && dead.writable());
}

#[test]
fn epoll_ctl_says_what_is_wrong() {
    let (epoll, near, far) = watched(Interest::READ);
    assert_eq!(errno(epoll.add(&far, Interest::READ, 0)), libc::EEXIST);
    assert_eq!(errno(epoll.modify(&near, Interest::READ, 0)), libc::ENOENT);
    epoll.delete(&far).unwrap();
    assert_eq!(errno(epoll.delete(&far)), libc::ENOENT);
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    assert_eq!(errno(epoll.add(&file, Interest::READ, 0)), libc::EPERM);
    assert_eq!(errno(epoll.epoll_wait(&mut [], AT_ONCE)), libc::EINVAL);
}

#[test]
fn closing_takes_a_descriptor_out_of_the_set() {
    let (epoll, near, far) = watched(Interest::READ);
    sys::send(&near, b"x").unwrap();
    event(&epoll);
    drop(far);
    assert!(quiet(&epoll));
}

#[test]
fn poll_tells_data_room_and_hang_up_apart() {
    let (near, far) = connected();
    let asked = |readable, writable| {
        let mut entry = [PollFd::new(&far, readable, writable)];
        let n = sys::poll(&mut entry, AT_ONCE).unwrap();
        assert_eq!(n, usize::from(entry[0].ready()));
        (entry[0].ready(), entry[0].readable(), entry[0].writable())
    };
    assert_eq!(asked(true, true), (true, false, true));
    assert_eq!(asked(true, false), (false, false, false));
    sys::send(&near, b"x").unwrap();
    until("data", || asked(true, true) == (true, true, true));
    assert_eq!(asked(false, false), (false, false, false));
    sys::set_linger(&near, 0).unwrap();
    drop(near);
    until("the reset, told unasked", || asked(false, false) == (true, true, true));
}

#[test]
fn an_event_counter_stays_readable_for_good() {
    let counter = sys::eventfd().unwrap();
    let epoll = sys::epoll_create1().unwrap();
    epoll.add(&counter, Interest::READ, 1).unwrap();
    let polled = || sys::poll(&mut [PollFd::new(&counter, true, false)], AT_ONCE).unwrap();
    assert_eq!((polled(), !quiet(&epoll)), (0, false));
    sys::eventfd_write(&counter).unwrap();
    for _ in 0..3 {
        assert_eq!((polled(), !quiet(&epoll)), (1, true));
        sys::eventfd_write(&counter).unwrap();
    }
    // A full counter (2^64 - 2) says so, and is readable as well.
    assert_eq!(sys::write(&counter, &(u64::MAX - 5).to_ne_bytes()).unwrap(), 8);
    assert_eq!(errno(sys::eventfd_write(&counter)), libc::EAGAIN);
    assert_eq!(polled(), 1);
}

type Wait = fn(Option<Duration>, &OwnedFd) -> std::io::Result<usize>;

/// The four readiness calls, waiting for one descriptor to become readable.
const WAITS: [(&str, Wait); 4] = [
    ("select", |time, fd| sys::select(&mut set_of(&[fd]), &mut FdSet::new(), time)),
    ("poll", |time, fd| sys::poll(&mut [PollFd::new(fd, true, false)], time)),
    ("ppoll", |time, fd| sys::ppoll(&mut [PollFd::new(fd, true, false)], time)),
    ("epoll_wait", |time, fd| {
        let epoll = sys::epoll_create1()?;
        epoll.add(fd, Interest::READ, 0)?;
        epoll.epoll_wait(&mut [EpollEvent::EMPTY], time)
    }),
];

#[test]
fn time_outs_are_never_early() {
    watchdog(PATIENCE, || {
        let (_near, far) = connected();
        for (name, wait) in WAITS {
            for nanos in [1, 900, 200_000, 1_000_001, 1_300_000, 20_000_000] {
                let asked = Duration::from_nanos(nanos);
                let start = sys::clock_gettime(Clock::Monotonic);
                assert_eq!(wait(Some(asked), &far).unwrap(), 0, "{name}");
                let elapsed = sys::clock_gettime(Clock::Monotonic) - start;
                assert!(elapsed >= asked, "{name}: {elapsed:?} of {asked:?}");
            }
            assert_eq!(wait(AT_ONCE, &far).unwrap(), 0, "{name}");
        }
    });
}

#[test]
fn milliseconds_are_rounded_up() {
    // 0.2 ms rounded down would be 0, and a loop around it would burn the CPU.
    let (_near, far) = connected();
    for (name, wait) in WAITS.iter().filter(|(name, _)| ["poll", "epoll_wait"].contains(name)) {
        let start = sys::clock_gettime(Clock::Monotonic);
        wait(Some(Duration::from_micros(200)), &far).unwrap();
        let elapsed = sys::clock_gettime(Clock::Monotonic) - start;
        assert!(elapsed >= Duration::from_millis(1), "{name}: {elapsed:?}");
    }
}

#[test]
fn what_is_ready_needs_no_time() {
    watchdog(PATIENCE, || {
        let (near, far) = connected();
        sys::send(&near, b"x").unwrap();
        for (name, wait) in WAITS {
            // The longest time is no error either: it saturates.
            for time in [AT_ONCE, Some(Duration::MAX), None] {
                assert_eq!(wait(time, &far).unwrap(), 1, "{name} {time:?}");
            }
        }
    });
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// Makes a call on a thread of its own and sends signals to that thread until it has returned.
fn interrupted(
    call: impl FnOnce() -> std::io::Result<usize> + Send + 'static,
) -> std::io::Result<usize> {
    let (tell, told) = mpsc::channel();
    let caller = thread::spawn(move || {
        let me = std::fs::read_link("/proc/thread-self").unwrap();
        tell.send(me.file_name().unwrap().to_str().unwrap().parse().unwrap()).unwrap();
        call()
    });
    let thread: u32 = told.recv().unwrap();
    until("the call has returned", || {
        // The kernel prefers the thread whose number was given. It may have ended (ESRCH).
        let _ = sys::kill(thread, sys::SIGUSR1);
        caller.is_finished()
    });
    caller.join().unwrap()
}

#[test]
fn a_signal_interrupts_each_call_that_waits() {
    alone("a_signal_interrupts_each_call_that_waits", || {
        sys::on_signal(sys::SIGUSR1, |_| _ = HANDLED.fetch_add(1, SeqCst)).unwrap();
        for (name, wait) in WAITS {
            let (_near, far) = connected();
            let result = interrupted(move || wait(None, &far));
            assert_eq!(errno(result), libc::EINTR, "{name}");
        }
        // These two would go on by themselves under SA_RESTART.
        let (_near, far) = connected();
        assert_eq!(errno(interrupted(move || sys::recv(&far, &mut [0]))), libc::EINTR);
        let (listener, _) = listening();
        assert_eq!(errno(interrupted(move || sys::accept4(&listener).map(|_| 0))), libc::EINTR);
        assert!(HANDLED.load(SeqCst) >= 6);
    });
}

#[test]
fn a_handler_leaves_errno_as_it_was() {
    alone("a_handler_leaves_errno_as_it_was", || {
        let fail_in_handler = |_| {
            HANDLED.fetch_add(1, SeqCst);
            assert!(sys::raise(-1).is_err());
        };
        sys::on_signal(sys::SIGUSR1, fail_in_handler).unwrap();
        let (epoll, near, _far) = watched(Interest::READ);
        assert_eq!(errno(epoll.delete(&near)), libc::ENOENT);
        sys::raise(sys::SIGUSR1).unwrap();
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT));
        assert_eq!(HANDLED.load(SeqCst), 1);
        // What cannot be caught says so.
        for signal in [libc::SIGKILL, 0, -1, 1000] {
            assert_eq!(errno(sys::on_signal(signal, fail_in_handler)), libc::EINVAL);
        }
    });
}

static ALARMS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn an_alarm_comes_and_not_early() {
    alone("an_alarm_comes_and_not_early", || {
        sys::on_signal(sys::SIGALRM, |_| _ = ALARMS.fetch_add(1, SeqCst)).unwrap();
        let start = sys::clock_gettime(Clock::Monotonic);
        sys::setitimer(Duration::from_millis(10)).unwrap();
        until("the alarm", || ALARMS.load(SeqCst) == 1);
        let elapsed = sys::clock_gettime(Clock::Monotonic) - start;
        assert!(elapsed >= Duration::from_millis(10), "{elapsed:?}");
    });
}
