//! The kernel's own word: recorded traces, real servers with tracefs, and nothing left behind.

mod support;
#[path = "support/tracefs.rs"]
mod tracefs;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{PATIENCE, WAITCOPY, assert_refused, exchange, serve, skip, until, watchdog};
use tracefs::{INSTANCES, instances, root, with_tracefs};
use waitcopy::lab::kernel::{self, Kernel, KernelIo, Malformed, lines};
use waitcopy::model;
use waitcopy::phase::{Call, Waits};
use waitcopy::sys::{self, Clock};

fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name);
    fs::read_to_string(path).unwrap()
}

fn now() -> u64 {
    sys::clock_gettime(Clock::Monotonic).as_nanos() as u64
}

fn adds_up(io: &KernelIo) {
    assert_eq!(io.before + io.asleep + io.runnable + io.copied + io.after, io.whole(), "{io:?}");
    assert!(io.wait() <= io.whole() && io.asleep <= io.wait(), "{io:?}");
}

#[test]
fn a_recorded_receive_is_divided_to_the_microsecond() {
    let ios = kernel::read(&recorded("kernel-blocking.txt")).unwrap();
    ios.iter().for_each(adds_up);
    let receives: Vec<_> = ios.iter().filter(|io| io.call == Call::Recvmsg).collect();
    assert_eq!(receives.iter().map(|io| io.result).collect::<Vec<_>>(), [5, 1024, 976, -104]);
    // 162925 enter, 162936 asleep, 212204 woken, 212240 running, 212262 copy, 212273 copied, 212278 exit.
    let first = receives[0];
    let parts = [first.before, first.asleep, first.runnable, first.copied, first.after];
    assert_eq!(parts, [33_000, 49_268_000, 36_000, 11_000, 5_000]);
    assert_eq!(
        (first.wait(), first.bytes, first.fd, first.measured),
        (49_279_000, 5, Some(9), true)
    );
    // The rest of a long message: it was there, so nobody slept.
    let third = receives[2];
    assert_eq!((third.wait(), third.asleep, third.bytes, third.woken), (0, 0, 976, None));
    // A reset copies nothing.
    assert_eq!((receives[3].bytes, receives[3].measured), (0, false));
    // The accept began before the recording: its end alone is no call.
    assert!(ios.iter().all(|io| io.call != Call::Accept4 || io.result != 9));
}

#[test]
fn a_wake_up_from_the_idle_task_ends_with_the_call() {
    // Not each switch away from the idle task is in the kernel's text.
    let ios = kernel::read(&recorded("kernel-epoll.txt")).unwrap();
    ios.iter().for_each(adds_up);
    let waits: Vec<_> =
        ios.iter().filter(|io| io.call == Call::EpollWait && io.result == 1).collect();
    let first = waits[0];
    assert_eq!((first.before, first.asleep, first.runnable), (3_000, 50_118_000, 23_000));
    let copies: Vec<_> =
        ios.iter().filter(|io| io.call == Call::Recvfrom && io.bytes > 0).collect();
    assert_eq!(copies.iter().map(|io| io.bytes).collect::<Vec<_>>(), [5, 1024, 976]);
    assert!(copies.iter().all(|io| io.asleep == 0 && io.measured));
    // Each thread's calls are its own.
    let ios = kernel::read(&recorded("kernel-threads.txt")).unwrap();
    ios.iter().for_each(adds_up);
    let flows = |call| ios.iter().filter(move |io| io.call == call).map(|io| io.flow);
    assert!(flows(Call::EpollWait).all(|flow| flow == 31984));
    assert!(flows(Call::Recvmsg).all(|flow| flow == 32030) && flows(Call::Recvmsg).count() == 4);
}

#[test]
fn what_is_missing_or_no_event_is_an_error() {
    let text = recorded("kernel-epoll.txt");
    let counted = text.lines().find(|line| line.contains("entries-in-buffer")).unwrap();
    let (counts, _) = counted.split_once("   #P").unwrap();
    let less = text.replace(counts, "# entries-in-buffer/entries-written: 40/52");
    assert_eq!(lines(&less), Err(Malformed::Lost(12)));
    assert_eq!(lines("CPU:1 [LOST 7 EVENTS]\n"), Err(Malformed::Lost(7)));
    assert_eq!(lines("# x\nhello\n"), Err(Malformed::Line(2, "hello".to_owned())));
    // A name may look like anything.
    let odd = " my [1] a-b-77 [000] ..... 1.000002: sys_recvfrom(fd: 0xc, ubuf: 0x1)\n\
               \x20my [1] a-b-77 [000] d..2. 1.000003: sched_switch: prev_comm=my prev_pid=1 prev_pid=77 prev_prio=120 prev_state=S ==> next_comm=x next_pid=2 next_pid=9 next_prio=120\n\
               \x20x-9 [000] d..2. 1.000010: sched_wakeup: comm=my pid=8 pid=77 prio=120 target_cpu=000\n\
               \x20my [1] a-b-77 [000] ..... 1.000012: sys_recvfrom -> 0xfffffffffffffff5\n";
    let ios = kernel::read(odd).unwrap();
    let [io] = &ios[..] else { panic!("{ios:?}") };
    assert_eq!(
        (io.flow, io.fd, io.result, io.asleep, io.runnable, io.before),
        (77, Some(12), -11, 7_000, 2_000, 1_000)
    );
}

for_each_model! {
    /// The client knows when it sends and when it has its answer: between the two somebody was woken who had slept since before.
    fn the_kernel_agrees_with_the_clock_of_the_client(model: &str) {
        let (name, entry) = (model.to_owned(), model::find(model).unwrap());
        let test = format!("the_kernel_agrees_with_the_clock_of_the_client::{}", model.replace('-', "_"));
        with_tracefs(&test, move || {
            let server = serve(&name).args(&["--buffer", "32768"]).start();
            let mut client = server.connect();
            exchange(&mut client, b"taken in");
            let kernel = Kernel::start(server.server_pid()).unwrap();
            // Its next wait may have begun before the recording; the one after this not.
            exchange(&mut client, b"begin");
            // Not to synchronise: this is the lateness that is measured.
            std::thread::sleep(Duration::from_millis(50));
            let message = vec![b'm'; 32768];
            let sent = now();
            exchange(&mut client, &message);
            let answered = now();
            let ios = kernel.stop().unwrap();
            ios.iter().for_each(adds_up);
            let within = |io: &&KernelIo| io.exit >= sent && io.exit <= answered + 1_000;
            let receives = ios.iter().filter(within).filter(|io| io.received() > 0);
            let (bytes, copied) = receives.clone().fold((0, 0), |(b, c), io| (b + io.bytes, c + io.copied));
            assert_eq!(bytes, 32768);
            assert!(copied > 0, "32 KiB take longer than a microsecond");
            assert!(receives.clone().all(|io| io.copied < io.whole() && io.measured));
            if entry.waits == Waits::Polling {
                let slept = ios.iter().filter(within).filter(|io| io.woken.is_some());
                assert_eq!(slept.count(), 0, "it never sleeps");
                return;
            }
            let slept = ios.iter().filter(within).find(|io| io.asleep > 0 && io.call != Call::Sendto).unwrap();
            let wake = slept.woken.unwrap();
            // The kernel's text tells whole microseconds.
            assert!(slept.enter < sent && sent <= wake + 1_000 && wake <= answered, "{slept:?} {sent} {answered}");
            assert!(slept.asleep >= 25_000_000, "{slept:?}");
            // A ring's call waits and copies as well: each of a readiness model does one of both.
            let in_call = matches!(slept.call, Call::Recvfrom | Call::IoUringEnter);
            let one_call = matches!(entry.waits, Waits::InCall | Waits::Completion);
            assert_eq!(in_call, one_call, "{slept:?}");
            drop(server);
        });
    }
}

#[test]
fn data_that_is_there_is_not_slept_for() {
    with_tracefs("data_that_is_there_is_not_slept_for", || {
        let server = serve("blocking").args(&["--buffer", "100"]).start();
        let mut client = server.connect();
        exchange(&mut client, b"taken in");
        let kernel = Kernel::start(server.server_pid()).unwrap();
        exchange(&mut client, b"begin");
        client.write_all(&[b'x'; 1000]).unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
        let ios = kernel.stop().unwrap();
        let receives: Vec<_> =
            ios.iter().filter(|io| io.call == Call::Recvfrom && io.result == 100).collect();
        assert_eq!(receives.len(), 10);
        for io in &receives[1..] {
            assert_eq!((io.asleep, io.wait(), io.bytes), (0, 0, 100), "{io:?}");
        }
    });
}

#[test]
fn an_instance_ends_with_its_recording_and_with_a_panic() {
    with_tracefs("an_instance_ends_with_its_recording_and_with_a_panic", || {
        // Other tests of this process may record at the same time.
        let server = serve("epoll").start();
        let count = || instances(std::process::id()).len();
        let before: Vec<_> = instances(std::process::id());
        let kernel = Kernel::start(server.server_pid()).unwrap();
        let own: Vec<_> = instances(std::process::id())
            .into_iter()
            .filter(|path| !before.contains(path))
            .collect();
        assert!(!own.is_empty() && count() > 0);
        kernel.stop().unwrap();
        let pid = server.server_pid();
        let panicked = std::thread::spawn(move || {
            let _kernel = Kernel::start(pid).unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(Kernel::start(u32::MAX).is_err());
        until("all instances of this process are gone", || count() == 0);
    });
}

/// `waitcopy inspect --kernel` that records for a minute.
fn recording() -> (std::process::Child, u32) {
    let mut inspect = Command::new(WAITCOPY);
    inspect.args(["inspect", "epoll", "--kernel", "--messages", "600", "--late", "100ms"]);
    let child = inspect.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    until("it records", || !instances(pid).is_empty());
    (child, pid)
}

#[test]
fn signals_leave_no_instance_behind() {
    with_tracefs("signals_leave_no_instance_behind", || {
        for signal in [sys::SIGINT, sys::SIGTERM, sys::SIGHUP, sys::SIGKILL] {
            let (mut child, pid) = recording();
            sys::kill(pid, signal).unwrap();
            assert!(!child.wait().unwrap().success());
            until("its instance is gone", || instances(pid).is_empty());
        }
    });
}

#[test]
fn the_next_start_removes_what_the_dead_have_left() {
    with_tracefs("the_next_start_removes_what_the_dead_have_left", || {
        let mut dead = Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let stale = Path::new(INSTANCES).join(format!("waitcopy-{}-0", dead.id()));
        let foreign = Path::new(INSTANCES).join(format!("wc-test-{}", dead.id()));
        fs::create_dir(&stale).unwrap();
        fs::create_dir(&foreign).unwrap();
        let server = serve("poll").start();
        let kernel = Kernel::start(server.server_pid()).unwrap();
        let (gone, kept) = (!stale.exists(), foreign.exists());
        drop(kernel);
        fs::remove_dir(&foreign).unwrap();
        assert!(gone && kept);
    });
}

/// The commands that have the kernel watch, in short.
const WATCHING: [&[&str]; 3] = [
    &["inspect", "epoll", "--kernel"],
    &["draw", "epoll", "--kernel"],
    &["compare", "epoll", "--kernel", "--connections", "1", "--idle", "none"],
];

#[test]
fn without_rights_or_tracefs_it_is_not_available() {
    watchdog(PATIENCE, || {
        if !root() {
            for words in WATCHING {
                assert_refused(Command::new(WAITCOPY).args(words), 69, "--kernel: ");
            }
            return;
        }
        let stranger = || {
            let mut stranger = Command::new("setpriv");
            stranger.args(["--reuid=65534", "--clear-groups", WAITCOPY]);
            stranger
        };
        if stranger().arg("--version").output().unwrap().status.success() {
            for words in WATCHING {
                assert_refused(stranger().args(words), 69, "--kernel: ");
            }
        } else {
            skip("no program is in reach of an unprivileged user here");
        }
        let script = "mount -t tmpfs none /sys/kernel/tracing && { umount /sys/kernel/debug/tracing 2>/dev/null; umount /sys/kernel/debug 2>/dev/null; true; } \
                      && exec \"$@\"";
        for words in WATCHING {
            let mut hidden = Command::new("unshare");
            hidden.args(["--mount", "sh", "-c", script, "sh", WAITCOPY]).args(words);
            let output = hidden.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            if said.contains("unshare: ") || said.contains("mount: ") {
                return skip(&said);
            }
            assert_eq!(output.status.code(), Some(69), "{said}");
            assert_eq!(
                said,
                "waitcopy: --kernel: tracefs is not mounted; as root: mount -t tracefs nodev /sys/kernel/tracing\n"
            );
        }
    });
}
