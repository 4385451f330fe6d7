//! The rest of `sys` against the kernel: ownership of descriptors, limits, usage, processes, shared memory,
//! published descriptors, clocks.

mod support;

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use support::{PATIENCE, alone, connected, errno, listening, skip, until, watchdog};
use waitcopy::sys::{self, Clock, Interest, Limit, Published, Shared, Who};

/// What the kernel says about a descriptor of this process; for sockets, event counters and epoll sets that
/// watch one, it is unique (inode, eventfd-id). `None`: no such descriptor.
fn identity(number: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()
}

/// One of each that the wrappers make.
fn one_of_each() -> Vec<(&'static str, OwnedFd)> {
    let (listener, address) = listening();
    let client = sys::socket(address, sys::Kind::Stream).unwrap();
    sys::connect(&client, address).unwrap();
    let (accepted, _) = sys::accept4(&listener).unwrap();
    let (one, other) = sys::socketpair().unwrap();
    let counter = sys::eventfd().unwrap();
    let fds = [
        ("socket", client),
        ("socket that listens", listener),
        ("accept4", accepted),
        ("socketpair", one),
        ("the other of socketpair", other),
        ("eventfd", counter),
    ];
    fds.into()
}

fn assert_close_on_exec(what: &str, number: i32) {
    let info = identity(number).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
    assert!(flags & libc::O_CLOEXEC != 0, "{what}: {info}");
}

#[test]
fn descriptors_are_close_on_exec_and_closed_by_their_owner() {
    for (what, fd) in one_of_each() {
        let number = fd.as_raw_fd();
        assert_close_on_exec(what, number);
        let open = identity(number);
        drop(fd);
        // A parallel test may have the number by now, but not the same file.
        assert_ne!(identity(number), open, "{what}");
    }
}

#[test]
fn an_epoll_set_is_close_on_exec_and_closed_by_its_owner() {
    let (near, _far) = connected();
    let epoll = sys::epoll_create1().unwrap();
    epoll.add(&near, Interest::READ, 0x5ca1_ab1e).unwrap();
    let number = epoll.as_fd().as_raw_fd();
    assert_close_on_exec("epoll_create1", number);
    let open = identity(number).unwrap();
    assert!(open.contains("5ca1ab1e"), "{open}");
    drop(epoll);
    assert_ne!(identity(number), Some(open));
}

#[test]
fn io_uring_is_there_or_says_why_not() {
    match sys::Uring::setup(1, 2) {
        Ok(ring) => assert_close_on_exec("io_uring_setup", ring.as_fd().as_raw_fd()),
        Err(error) => {
            let code = error.raw_os_error().unwrap();
            assert!([libc::EPERM, libc::ENOSYS].contains(&code), "{}", sys::describe(&error));
            skip(&format!("io_uring_setup: {}", sys::describe(&error)));
        }
    }
}

#[test]
fn the_limit_of_descriptors_is_enforced() {
    alone("the_limit_of_descriptors_is_enforced", || {
        let before = sys::getrlimit().unwrap();
        assert!(before.soft <= before.hard);
        let low = Limit { soft: 32.min(before.hard), ..before };
        sys::setrlimit(low).unwrap();
        assert_eq!(sys::getrlimit().unwrap(), low);

        let mut held = Vec::new();
        let full = loop {
            match sys::eventfd() {
                Ok(fd) => held.push(fd),
                Err(error) => break error,
            }
        };
        assert_eq!(full.raw_os_error(), Some(libc::EMFILE));
        assert_eq!(held.last().unwrap().as_raw_fd(), 31);
        assert_eq!(errno(sys::socketpair()), libc::EMFILE);
        assert_eq!(errno(sys::epoll_create1()), libc::EMFILE);
        // One is free again, two are not: no half of a pair is left behind.
        held.pop();
        assert_eq!(errno(sys::socketpair()), libc::EMFILE);
        held.push(sys::eventfd().unwrap());

        let upside_down = Limit { soft: 33, hard: 32 };
        assert_eq!(errno(sys::setrlimit(upside_down)), libc::EINVAL);
        assert_eq!(sys::getrlimit().unwrap(), low);
    });
}

#[test]
fn wait4_tells_the_end_and_the_use_of_a_child_and_of_its_children() {
    watchdog(PATIENCE, || {
        // It waits for its input's end, which only wait4 brings; the loop runs in a child of its own.
        let words = "read line; sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'; exit 7";
        let mut shell = Command::new("sh");
        let child = shell.args(["-c", words]).stdin(Stdio::piped()).spawn().unwrap();
        let (status, usage) = sys::wait4(child).unwrap();
        assert_eq!(status.code(), Some(7));
        assert!(usage.user + usage.system > Duration::from_millis(1), "{usage:?}");
        assert!(usage.max_rss_kib > 100);
        let child = Command::new("sh").args(["-c", "kill -9 $$"]).spawn().unwrap();
        assert_eq!(sys::wait4(child).unwrap().0.signal(), Some(9));
    });
}

#[test]
fn usage_grows_with_work_and_counts_sleep() {
    watchdog(PATIENCE, || {
        let (process, thread) =
            (sys::getrusage(Who::Process).unwrap(), sys::getrusage(Who::Thread).unwrap());
        let (cpu, wall) = (Clock::ThreadCpu, Clock::Monotonic);
        let (cpu_before, wall_before) = (sys::clock_gettime(cpu), sys::clock_gettime(wall));
        until("30 ms of CPU time", || {
            sys::clock_gettime(cpu) - cpu_before > Duration::from_millis(30)
        });
        let cpu_spent = sys::clock_gettime(cpu) - cpu_before;
        assert!(sys::clock_gettime(wall) - wall_before >= cpu_spent, "one thread, one CPU");
        sys::ppoll(&mut [], Some(Duration::from_millis(1))).unwrap();

        let after = sys::getrusage(Who::Thread).unwrap();
        // The kernel's two thirds of it are scaled from ticks, the sum is exact to microseconds.
        let spent = (after.user + after.system) - (thread.user + thread.system);
        assert!(spent >= Duration::from_millis(29), "{spent:?}");
        assert!(after.voluntary > thread.voluntary, "the ppoll has slept");
        let after = sys::getrusage(Who::Process).unwrap();
        assert!(after.user + after.system > process.user + process.system);
        assert!(after.max_rss_kib >= process.max_rss_kib && after.max_rss_kib > 500);
    });
}

#[test]
fn a_child_that_was_waited_for_counts_among_the_children() {
    alone("a_child_that_was_waited_for_counts_among_the_children", || {
        let cpu = || sys::getrusage(Who::Children).map(|usage| usage.user + usage.system).unwrap();
        assert_eq!(cpu(), Duration::ZERO);
        assert!(Command::new("true").status().unwrap().success());
        assert!(cpu() > Duration::ZERO);
    });
}

/// A child that is killed and waited for whatever happens.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_cpu_time_of_a_child_can_be_read_while_it_works() {
    watchdog(PATIENCE, || {
        let child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let child = Held(child);
        let id = child.0.id();
        until("20 ms of work", || sys::process_cpu_time(id).unwrap() > Duration::from_millis(20));
        drop(child);
        assert_eq!(errno(sys::process_cpu_time(u32::MAX)), libc::ESRCH);
    });
}

#[test]
fn kill_reaches_one_process_and_never_a_group() {
    watchdog(PATIENCE, || {
        for group in [0, u32::MAX, 1 << 31] {
            assert_eq!(errno(sys::kill(group, 0)), libc::EINVAL, "{group}");
        }
        let mut child = Held(Command::new("sleep").arg("60").spawn().unwrap());
        sys::kill(child.0.id(), sys::SIGTERM).unwrap();
        assert_eq!(child.0.wait().unwrap().signal(), Some(sys::SIGTERM));
    });
}

#[test]
fn a_child_does_not_outlive_the_thread_that_started_it() {
    watchdog(PATIENCE, || {
        let starter = thread::spawn(|| {
            let mut command = Command::new("sleep");
            let mut child = sys::die_with_parent(command.arg("60")).spawn().unwrap();
            assert!(child.try_wait().unwrap().is_none(), "runs as long as the starter does");
            Held(child)
        });
        let mut orphan = starter.join().unwrap();
        assert_eq!(orphan.0.wait().unwrap().signal(), Some(sys::SIGTERM));
    });
}

#[test]
fn shared_words_are_zero_and_shared() {
    assert_eq!(errno(Shared::<[AtomicU64; 0]>::new()), libc::EINVAL);
    assert_eq!(errno(Shared::<[[AtomicU64; 7]]>::rows(0)), libc::EINVAL);
    // More than one page, and not a whole number of them.
    let words = Shared::<[AtomicU64; 1500]>::new().unwrap();
    count_from_four_threads(&*words);
    let rows = Shared::<[[AtomicU64; 20]]>::rows(75).unwrap();
    assert_eq!(rows.len(), 75);
    count_from_four_threads(rows.as_flattened());
}

fn count_from_four_threads(words: &[AtomicU64]) {
    assert!(words.iter().all(|word| word.load(SeqCst) == 0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|i| _ = words[i % 1500].fetch_add(1, SeqCst)));
        }
    });
    assert_eq!(words.iter().map(|word| word.load(SeqCst)).sum::<u64>(), 40_000);
}

#[test]
fn a_descriptor_is_published_for_the_length_of_a_call() {
    let cell = Published::new();
    let (fd, other) = sys::socketpair().unwrap();
    let seen = || cell.with(|fd| fd.as_raw_fd());
    assert_eq!(seen(), None);
    let result = cell.during(fd.as_fd(), || {
        // One waker at a time: the second finds nothing, and does not disturb the first.
        let nested = cell.with(|_| seen());
        (seen(), nested)
    });
    assert_eq!(result, (Some(fd.as_raw_fd()), Some(None)));
    assert_eq!(seen(), None);
    assert_eq!(cell.during(other.as_fd(), seen), Some(other.as_raw_fd()));

    let panicked = std::panic::catch_unwind(|| cell.during(fd.as_fd(), || panic!("on purpose")));
    assert!(panicked.is_err());
    assert_eq!(seen(), None, "taken back although its owner panicked");
}

#[test]
fn a_waker_never_sees_a_descriptor_that_its_owner_has_closed() {
    watchdog(PATIENCE, || {
        let cell = Published::new();
        // What the owner has published. It leaves as soon as a waker is inside, and must be held up
        // until that one is out: else the waker sees another number here than the cell's.
        let open = AtomicU64::new(0);
        let (met, wrong, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let look = |fd: BorrowedFd<'_>| {
            let number = fd.as_raw_fd() as u64;
            met.fetch_add(1, SeqCst);
            thread::yield_now();
            wrong.fetch_add(u64::from((0..100).any(|_| open.load(SeqCst) != number)), SeqCst);
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    cell.with(look);
                    thread::yield_now();
                }
            });
            let (one, other) = sys::socketpair().unwrap();
            for fd in [&one, &other].into_iter().cycle().take(1_000) {
                open.store(fd.as_raw_fd() as u64, SeqCst);
                let before = met.load(SeqCst);
                cell.during(fd.as_fd(), || until("a waker", || met.load(SeqCst) > before));
                open.store(0, SeqCst);
            }
            done.store(true, SeqCst);
        });
        assert_eq!(wrong.load(SeqCst), 0);
    });
}

#[test]
fn clocks_run_and_know_their_resolution() {
    for clock in [
        Clock::Monotonic,
        Clock::MonotonicCoarse,
        Clock::Realtime,
        Clock::ProcessCpu,
        Clock::ThreadCpu,
    ] {
        let resolution = sys::clock_getres(clock).unwrap();
        assert!(
            resolution > Duration::ZERO && resolution <= Duration::from_millis(10),
            "{clock:?}"
        );
        let before = sys::clock_gettime(clock);
        until("the clock has moved", || sys::clock_gettime(clock) > before);
    }
    // Monotonic and coarse are one clock, real time is that of std.
    let (coarse, fine) =
        (sys::clock_gettime(Clock::MonotonicCoarse), sys::clock_gettime(Clock::Monotonic));
    assert!(coarse <= fine);
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    let (before, now) = (epoch.elapsed().unwrap(), sys::clock_gettime(Clock::Realtime));
    assert!(before <= now && now <= epoch.elapsed().unwrap());
}

#[test]
fn errors_without_a_name_show_their_number() {
    use std::io::Error;
    let unnamed = Error::from_raw_os_error(libc::EDOM);
    assert_eq!(sys::errno_name(&unnamed), None);
    assert_eq!(
        sys::describe(&unnamed),
        format!("numerical argument out of domain (errno {})", libc::EDOM)
    );
    assert_eq!(sys::describe(&Error::other("No such luck")), "no such luck");
}

#[test]
fn the_release_is_the_kernels_own() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(sys::uname_release(), release.trim_end());
}

#[test]
fn more_words_than_an_address_space_holds_are_refused() {
    // 64 bytes each: the first product wraps to 64. The second does so in words already.
    for count in [(1 << 58) + 1, usize::MAX] {
        let error = Shared::<[[AtomicU64; 8]]>::rows(count).unwrap_err();
        assert_eq!(sys::errno_name(&error), Some("ENOMEM"));
    }
}

#[test]
fn a_published_cell_has_one_owner_and_survives_a_panicking_waker() {
    use std::os::fd::AsFd;
    let cell = Published::new();
    let (one, _other) = sys::socketpair().unwrap();
    let unwinds =
        |f: &mut dyn FnMut()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    cell.during(one.as_fd(), || {
        assert!(unwinds(&mut || cell.during(one.as_fd(), || ())));
        assert!(unwinds(&mut || _ = cell.with::<()>(|_| panic!("a waker's"))));
        // Neither has taken the descriptor away or kept it busy.
        assert!(cell.with(|_| ()).is_some());
    });
    assert!(cell.with(|_| ()).is_none());
}

#[test]
fn a_pinned_thread_runs_on_its_core_only() {
    watchdog(PATIENCE, || {
        let cores = sys::sched_getaffinity().unwrap();
        let last = *cores.last().unwrap();
        // This thread only, which ends with the test.
        sys::sched_setaffinity(0, last).unwrap();
        assert_eq!(sys::sched_getaffinity().unwrap(), [last]);
        let nowhere = sys::sched_setaffinity(0, 100_000).unwrap_err();
        assert_eq!(sys::errno_name(&nowhere), Some("EINVAL"));
    });
}
