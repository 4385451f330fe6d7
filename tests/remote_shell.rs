//! `waitcopy remote shell` on a real terminal: tmux has its screen, we type and look.
#![cfg(feature = "remote")]

#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/screen.rs"]
mod screen;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote_cli::{Remote, said};
use screen::Screen;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use support::{PATIENCE, skip, until, watchdog};
use waitcopy::lab::sshd::{KeyFile, KeyKind, Options, Sshd};
use waitcopy::sys;

fn on_a_screen(test: impl FnOnce(&Screen) + Send + 'static) {
    watchdog(PATIENCE * 3, || {
        if Command::new("tmux").arg("-V").output().is_err() {
            return skip("tmux is missing");
        }
        let Some(remote) = Remote::start(Options::default()) else { return };
        test(&Screen::start(remote));
    });
}

#[test]
fn a_terminal_there_on_the_terminal_here() {
    on_a_screen(|screen| {
        let before = screen.modes("before");
        screen.enter(&["--env", "WAITCOPY_X=passed"]);
        screen.line("test -t 0 && echo \"i\"t is \"$(stty size)\" $TERM $WAITCOPY_X");
        screen.shows("it is 25 90 screen passed");
        // Its size follows ours.
        screen.do_tmux(&["resize-window", "-x", "101", "-y", "31"]);
        until("the size is known there", || {
            screen.line("echo \"siz\"e $(stty size)");
            screen.text().contains("size 31 101")
        });
        // Keys are the other side's: ^C ends what runs there, and ^Z stops it.
        screen.line("echo beg''un; sleep 600");
        screen.shows("begun");
        screen.keys("\u{3}");
        screen.there("interrupted");
        screen.line("echo beg''un-2; cat");
        screen.shows("begun-2");
        screen.keys("\u{4}");
        screen.there("end-of-file");
        // What is typed ahead is not lost, a tilde in a line is one, and so are two at its beginning.
        screen.line("echo a~''b");
        screen.shows("a~b");
        screen.line("~~/x || echo 'no''ne'");
        screen.shows("none");
        screen.line("exit 7");
        screen.shows("ended=7");
        assert_eq!(screen.modes("after"), before);
    });
}

/// Passes a connection on to a server, and nothing more of what comes from it once somebody is logged in there; then tells of what is
/// still sent to it.
fn pass_up_to_the_login(listener: &TcpListener, sshd: &Sshd, asked: &mpsc::Sender<()>) {
    let (near, _) = listener.accept().unwrap();
    let far = TcpStream::connect(sshd.addr()).unwrap();
    let stopped = AtomicBool::new(false);
    let (near, far, stopped) = (&near, &far, &stopped);
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut from, mut into) = (far, near);
            let mut piece = [0; 64 << 10];
            while let Ok(n @ 1..) = from.read(&mut piece) {
                // It writes so before it says so.
                let last = sshd.log().contains("Accepted publickey");
                stopped.store(last, Ordering::SeqCst);
                into.write_all(&piece[..n]).unwrap();
                if last {
                    return;
                }
            }
        });
        let (mut from, mut into) = (near, far);
        let mut piece = [0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            if stopped.load(Ordering::SeqCst) {
                let _ = asked.send(());
            }
            into.write_all(&piece[..n]).unwrap();
        }
    });
}

#[test]
fn until_the_one_there_has_begun_the_terminal_is_ours() {
    on_a_screen(|screen| {
        let before = screen.modes("before");
        let sshd = &screen.remote.sshd;
        let way = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = way.local_addr().unwrap();
        let known =
            sshd.known_hosts().replace(&sshd.addr().port().to_string(), &at.port().to_string());
        fs::write(&screen.remote.known, known).unwrap();
        let mut program = screen.remote.bare("shell");
        program.arg("--identity").arg(&screen.remote.key).arg(format!("{}@{at}", sshd.user()));
        let (asked, asks) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| pass_up_to_the_login(&way, sshd, &asked));
            let pid = screen.start_program(&program);
            // It is logged in, and asks for a channel, which nobody grants.
            asks.recv().unwrap();
            let modes = screen.modes_now();
            let ours = ["isig", "icanon", "echo"].iter();
            let ours = ours.filter(|&&mode| modes.split_whitespace().any(|word| word == mode));
            if ours.count() < 3 {
                sys::kill(pid, sys::SIGKILL).unwrap();
                panic!("{modes}");
            }
            screen.keys("\u{3}");
            screen.shows("ended=130");
            assert_eq!(screen.modes("after"), before);
        });
    });
}

#[test]
fn a_tilde_and_a_dot_leave_whatever_the_other_side_does() {
    on_a_screen(|screen| {
        let before = screen.modes("before");
        screen.enter(&[]);
        screen.keys("~?");
        screen.shows("leave, whatever the other side does");
        screen.keys("~.");
        screen.shows("ended=255");
        screen.shows("left 127.0.0.1 by ~.");
        assert_eq!(screen.modes("after"), before);
        // A server that hangs.
        screen.clear();
        screen.enter(&[]);
        let sessions = screen.remote.sshd.sessions();
        sessions.iter().for_each(|session| session.stop());
        screen.line("hello?");
        screen.keys("~.");
        screen.shows("ended=255");
        sessions.iter().for_each(|session| session.resume());
        assert_eq!(screen.modes("after"), before);
        // One that is gone ends it by itself.
        screen.clear();
        screen.enter(&[]);
        screen.remote.sshd.kill_sessions();
        screen.shows("ended=255");
        assert_eq!(screen.modes("after"), before);
        // Without escapes a tilde is a tilde.
        screen.clear();
        screen.enter(&["--no-escape"]);
        screen.line("~. || echo 'no such ''file'");
        screen.shows("no such file");
        screen.line("exit");
        screen.shows("ended=");
    });
}

#[test]
fn the_terminal_is_put_back_whichever_signal_ends_it() {
    on_a_screen(|screen| {
        let before = screen.modes("before");
        let all: Vec<_> = sys::ending_signals().collect();
        // Of the real-time ones the first and the last.
        let real_time = all.iter().copied().filter(|&signal| signal >= sys::sigrtmin());
        let real_time = [real_time.clone().min().unwrap(), real_time.max().unwrap()];
        let others = all.into_iter().filter(|&signal| signal < sys::sigrtmin());
        let signals: Vec<_> = others.chain(real_time).chain(sys::KILLING_SIGNALS).collect();
        // Those of 31 that no handler sees, or that end nothing, are the others.
        assert_eq!(signals.len(), 31 - 10 + 2);
        for signal in signals {
            screen.clear();
            let pid = screen.enter(&[]);
            sys::kill(pid, signal).unwrap();
            screen.shows(&format!("ended={}", 128 + signal));
            assert_eq!(screen.modes("after"), before, "signal {signal}");
        }
        // What is typed for a question is hidden up to the end and no longer.
        screen.clear();
        let sealed = KeyFile { passphrase: Some("open sesame"), ..KeyKind::Ed25519.into() };
        let mut program = screen.remote.bare("exec");
        program.arg("--identity").arg(screen.remote.sshd.client_key(sealed).unwrap());
        program.args([&screen.remote.host(), "true"]);
        let pid = screen.start_program(&program);
        screen.shows("Enter passphrase");
        until("it is hidden", || screen.modes_now().contains("-echo "));
        sys::kill(pid, sys::SIGQUIT).unwrap();
        screen.shows("ended=131");
        assert_eq!(screen.modes("after"), before);
        // The second one does not wait for the first.
        screen.clear();
        let pid = screen.enter(&[]);
        let sessions = screen.remote.sshd.sessions();
        sessions.iter().for_each(|session| session.stop());
        sys::kill(pid, sys::SIGTERM).unwrap();
        sys::kill(pid, sys::SIGTERM).unwrap();
        screen.shows("ended=143");
        sessions.iter().for_each(|session| session.resume());
        assert_eq!(screen.modes("after"), before);
    });
}

#[test]
fn it_stops_and_goes_on() {
    on_a_screen(|screen| {
        let before = screen.modes("before");
        let pid = screen.enter(&[]);
        for stop in 0..=sys::STOPPING_SIGNALS.len() {
            match stop {
                0 => screen.keys("\r~\u{1a}"),
                stop => sys::kill(pid, sys::STOPPING_SIGNALS[stop - 1]).unwrap(),
            }
            until("it is stopped", || support::state(pid) == 'T');
            assert_eq!(screen.modes("stopped"), before);
            screen.line("fg");
            screen.there(&format!("back-again-{stop}"));
        }
        screen.line("exit 3");
        until("it is gone", || ssh::gone(pid));
        assert_eq!(screen.modes("after"), before);
    });
}

#[test]
fn in_the_background_it_leaves_the_terminal_to_whose_it_is() {
    on_a_screen(|screen| {
        let before = screen.modes("before");
        // Stopped, and then told to end, as the shells' kill does it.
        for how in [sys::SIGTERM, sys::SIGABRT] {
            let pid = screen.enter(&[]);
            screen.keys("\r~\u{1a}");
            until("it is stopped", || support::state(pid) == 'T');
            screen.line("stty -ixon");
            let theirs = screen.modes("theirs");
            assert_ne!(theirs, before);
            sys::kill(pid, how).unwrap();
            sys::kill(pid, sys::SIGCONT).unwrap();
            until("it is gone", || ssh::gone(pid));
            assert_eq!(screen.modes("after"), theirs);
            screen.line("stty ixon");
            assert_eq!(screen.modes("again"), before);
            screen.clear();
        }
        // Going on in the background it does not take it, and in the foreground again it does.
        let pid = screen.enter(&[]);
        screen.keys("\r~\u{1a}");
        until("it is stopped", || support::state(pid) == 'T');
        screen.line("bg");
        assert_eq!(screen.modes("behind"), before);
        screen.line("fg");
        // A key that it would have read may stop it just as it is taken to the front. Shells ask for single keys themselves, and not for
        // their own signals.
        until("it is in front", || {
            let stopped = support::state(pid) == 'T';
            screen.line(if stopped { "fg" } else { "" });
            !stopped && screen.modes_now().contains("-isig")
        });
        screen.there("in-front");
        screen.line("exit 3");
        until("it is gone", || ssh::gone(pid));
        assert_eq!(screen.modes("after"), before);
    });
}

#[test]
fn a_command_with_a_terminal_has_ours() {
    on_a_screen(|screen| {
        let before = screen.modes("before");
        let program = screen.remote.verb("exec", &["--pty"]);
        let words: Vec<_> = std::iter::once(program.get_program())
            .chain(program.get_args())
            .map(|word| word.to_string_lossy())
            .collect();
        let script = screen.remote.here("enter");
        let text = "'stty size; read -r line; echo \"got $line\"; sleep 600'";
        fs::write(&script, format!("exec {} -- {text}\n", words.join(" "))).unwrap();
        screen.line(&format!("sh {}; echo 'end''ed='$?", script.display()));
        screen.shows("25 90");
        screen.line("a line");
        screen.shows("got a line");
        // The command there gets it, and its end is ours.
        screen.keys("\u{3}");
        screen.shows("ended=130");
        assert_eq!(screen.modes("after"), before);
    });
}

#[test]
fn without_a_terminal_there_is_none() {
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options::default()) else { return };
        said(&mut remote.verb("shell", &[])).failed(2, &["standard input is no terminal"]);
        said(remote.verb("shell", &[]).arg("ls")).failed(2, &["'ls' is one argument too many"]);
    });
}
