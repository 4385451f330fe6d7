//! Signals: sigaction(2), alarm(2), and the two ways of a handler to end.

use super::check;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

/// A signal's number.
pub type Signal = libc::c_int;
/// The terminal is gone.
pub const SIGHUP: Signal = libc::SIGHUP;
/// Interrupt from the keyboard.
pub const SIGINT: Signal = libc::SIGINT;
/// Please end.
pub const SIGTERM: Signal = libc::SIGTERM;
/// Cannot be caught.
pub const SIGKILL: Signal = libc::SIGKILL;
/// Stops a process until [`SIGCONT`]; cannot be caught.
pub const SIGSTOP: Signal = libc::SIGSTOP;
/// Lets a stopped process go on.
pub const SIGCONT: Signal = libc::SIGCONT;
/// For the user; here it only interrupts.
pub const SIGUSR1: Signal = libc::SIGUSR1;
/// For the user.
pub const SIGUSR2: Signal = libc::SIGUSR2;
/// Quit from the keyboard.
pub const SIGQUIT: Signal = libc::SIGQUIT;
/// Stop from the keyboard.
pub const SIGTSTP: Signal = libc::SIGTSTP;
/// The terminal has another size.
pub const SIGWINCH: Signal = libc::SIGWINCH;
/// abort(3).
pub const SIGABRT: Signal = libc::SIGABRT;
/// A bad address.
pub const SIGSEGV: Signal = libc::SIGSEGV;
/// A bad access.
pub const SIGBUS: Signal = libc::SIGBUS;
/// A bad instruction.
pub const SIGILL: Signal = libc::SIGILL;
/// Bad arithmetic.
pub const SIGFPE: Signal = libc::SIGFPE;

/// Kill at once, whatever is under way: what an instruction raises, and abort(3).
pub const KILLING_SIGNALS: [Signal; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGABRT,
];

/// Stop a process, and can be caught.
pub const STOPPING_SIGNALS: [Signal; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Those that do something else by themselves than end a process, or that no handler sees; Rust's start has SIGPIPE ignored.
const NOT_ENDING: [Signal; 7] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCONT,
    libc::SIGCHLD,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGPIPE,
];

/// All other signals that end a process by themselves (signal(7)), real-time ones too.
pub fn ending_signals() -> impl Iterator<Item = Signal> {
    // 32 and the next few are the C library's own.
    let all = (1..32).chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
    all.filter(|signal| {
        [&NOT_ENDING[..], &STOPPING_SIGNALS, &KILLING_SIGNALS].iter().all(|a| !a.contains(signal))
    })
}

/// The number of a signal that a remote command may end by (RFC 4254 section 6.10), by its name without `SIG`.
#[must_use]
pub fn signal_number(name: &str) -> Option<Signal> {
    Some(match name {
        "ABRT" => libc::SIGABRT,
        "ALRM" => libc::SIGALRM,
        "FPE" => libc::SIGFPE,
        "HUP" => libc::SIGHUP,
        "ILL" => libc::SIGILL,
        "INT" => libc::SIGINT,
        "KILL" => libc::SIGKILL,
        "PIPE" => libc::SIGPIPE,
        "QUIT" => libc::SIGQUIT,
        "SEGV" => libc::SIGSEGV,
        "TERM" => libc::SIGTERM,
        "USR1" => libc::SIGUSR1,
        "USR2" => libc::SIGUSR2,
        _ => return None,
    })
}

/// Highest signal number that Linux knows, plus one.
const SIGNALS: usize = 65;
/// The handlers as pointers to `fn(Signal)`; null: none.
static HANDLERS: [AtomicPtr<()>; SIGNALS] = [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS];

/// Has `handler` run at each `signal`. Interrupted calls return `EINTR` (no `SA_RESTART`).
///
/// The handler may make only async-signal-safe calls, which no type can check: this program's handlers are
/// in `cli/serve.rs`, `cli/load.rs`, `cli/remote/interrupt.rs` and `cli/remote/terminal.rs`. This module keeps `errno` around it.
///
/// # Errors
/// `EINVAL` for a signal that cannot be caught.
pub fn on_signal(signal: Signal, handler: fn(Signal)) -> io::Result<()> {
    let slot = usize::try_from(signal).ok().and_then(|n| HANDLERS.get(n));
    let slot = slot.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    slot.store(handler as *mut (), Ordering::SeqCst);
    disposition(signal, enter as extern "C" fn(Signal) as libc::sighandler_t)
}

fn disposition(signal: Signal, what: libc::sighandler_t) -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a sigaction of zeros is valid: SIG_DFL, empty mask, no flags.
    let action = unsafe { action.assume_init_mut() };
    // On the stack that Rust keeps for it: after an overflow there is no room on the other.
    action.sa_flags = libc::SA_ONSTACK;
    action.sa_sigaction = what;
    // SAFETY: the kernel only reads the action; a handler in it is `enter`, which has the type of a plain one.
    check(unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) }).map(drop)
}

/// What the kernel calls: the handler between saving and restoring `errno`, which
/// the interrupted code may be about to read.
extern "C" fn enter(signal: Signal) {
    // SAFETY: libc's errno of this thread, valid as long as the thread lives.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; an int that only this thread touches.
    let before = unsafe { *errno };
    let slot = HANDLERS.get(signal as usize);
    let handler = slot.map_or(ptr::null_mut(), |slot| slot.load(Ordering::SeqCst));
    if !handler.is_null() {
        // SAFETY: the only store, in `on_signal`, stores a `fn(Signal)`.
        let handler = unsafe { std::mem::transmute::<*mut (), fn(Signal)>(handler) };
        handler(signal);
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// SIGALRM once, after `delay` (microseconds, rounded up), on the timer of alarm(2) (setitimer(2), `ITIMER_REAL`).
///
/// alarm(2) counts whole seconds only. POSIX lists it as async-signal-safe and setitimer not; on Linux both are bare
/// system calls.
///
/// # Errors
/// `EINVAL` for a time that the kernel cannot hold.
pub fn setitimer(delay: Duration) -> io::Result<()> {
    let micros = delay.as_nanos().div_ceil(1_000).max(1);
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval {
            tv_sec: libc::time_t::try_from(micros / 1_000_000).unwrap_or(libc::time_t::MAX),
            tv_usec: (micros % 1_000_000) as libc::suseconds_t,
        },
    };
    // SAFETY: the kernel only reads the timer, during the call; the old one is not asked for.
    check(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) })
        .map(drop)
}

/// The signal that [`setitimer`] brings.
pub const SIGALRM: Signal = libc::SIGALRM;

/// The signals that a thread had blocked.
#[derive(Clone, Copy)]
pub struct Mask(libc::sigset_t);

impl Mask {
    /// The same with one signal let through.
    #[must_use]
    pub fn without(mut self, signal: Signal) -> Self {
        // SAFETY: sigdelset changes one bit of the set; a number that is no signal is refused.
        unsafe { libc::sigdelset(&raw mut self.0, signal) };
        self
    }
}

/// Signals that an instruction raises: blocked, they would kill the process without a word, past any handler for them.
const SYNCHRONOUS: [Signal; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// Blocks the signals that come from outside for the calling thread, and returns what was blocked before
/// (pthread_sigmask(3)).
///
/// # Errors
/// None for a full set.
pub fn block_signals() -> io::Result<Mask> {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigfillset writes one sigset_t to the pointer.
    check(unsafe { libc::sigfillset(all.as_mut_ptr()) })?;
    // SAFETY: written just now.
    let all = Mask(unsafe { all.assume_init() });
    mask(&SYNCHRONOUS.into_iter().fold(all, Mask::without).0)
}

/// Gives the calling thread back what [`block_signals`] took (pthread_sigmask(3)): signals that came meanwhile arrive now.
///
/// # Errors
/// None for a set of the kernel's own making.
pub fn restore_signals(before: &Mask) -> io::Result<()> {
    mask(&before.0).map(drop)
}

fn mask(set: &libc::sigset_t) -> io::Result<Mask> {
    pthread_sigmask(libc::SIG_SETMASK, set)
}

/// Blocks these beside those that are blocked already.
pub(super) fn mask_more(set: &libc::sigset_t) -> io::Result<Mask> {
    pthread_sigmask(libc::SIG_BLOCK, set)
}

fn pthread_sigmask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<Mask> {
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the kernel reads one sigset_t and writes one.
    let error = unsafe { libc::pthread_sigmask(how, set, before.as_mut_ptr()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: zeroed at first and written since.
    Ok(Mask(unsafe { before.assume_init() }))
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

/// Has a signal do nothing at all, not even interrupt (sigaction(2), `SIG_IGN`).
///
/// # Errors
/// `EINVAL` for a signal that cannot be ignored.
pub fn ignore_signal(signal: Signal) -> io::Result<()> {
    disposition(signal, libc::SIG_IGN)
}

/// Whether a signal does nothing at all, as nohup(1) has it for SIGHUP before it starts a program (sigaction(2), `SIG_IGN`).
///
/// # Errors
/// `EINVAL` for a number that is no signal, or is the C library's own.
pub fn is_ignored(signal: Signal) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel writes one sigaction to the pointer; null: nothing is changed.
    check(unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) })?;
    // SAFETY: zeroed at first, which is a valid sigaction, and written since.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
}

/// Has a signal do what it does by itself (sigaction(2), `SIG_DFL`). Async-signal-safe.
///
/// # Errors
/// `EINVAL` for a signal that cannot be caught.
pub fn default_signal(signal: Signal) -> io::Result<()> {
    disposition(signal, libc::SIG_DFL)
}

/// Ends the process now, without any clean-up, from wherever it is. Async-signal-safe.
pub fn exit_at_once(status: i32) -> ! {
    // SAFETY: _exit touches no memory of ours and does not return.
    unsafe { libc::_exit(status) }
}

/// Sends a signal to the calling thread (raise(3)).
///
/// # Errors
/// `EINVAL` for a number that is no signal.
pub fn raise(signal: Signal) -> io::Result<()> {
    // SAFETY: the call touches no memory of ours.
    check(unsafe { libc::raise(signal) }).map(drop)
}
