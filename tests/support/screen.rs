//! A terminal to type on and to look at: tmux has it.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use crate::remote_cli::Remote;
use crate::support::until;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A shell of ours on a terminal of its own, up to its drop.
pub struct Screen {
    socket: PathBuf,
    pub remote: Remote,
}

impl Screen {
    pub fn start(remote: Remote) -> Self {
        let screen = Self { socket: remote.here("tmux"), remote };
        let rc = screen.remote.here("rc");
        fs::write(&rc, "PS1='here> '\n").unwrap();
        let mut start = screen.tmux(&["new-session", "-d", "-x", "90", "-y", "25"]);
        // Nothing of whoever runs the tests; with job control.
        start.arg(format!("env -i TERM=screen PATH=\"$PATH\" ENV={} sh -i", rc.display()));
        let output = start.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        screen.shows("here> ");
        screen
    }

    fn tmux(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        command.arg("-S").arg(&self.socket).args(["-f", "/dev/null"]).args(words);
        command
    }

    pub fn do_tmux(&self, words: &[&str]) -> String {
        let output = self.tmux(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types a text as it is.
    pub fn keys(&self, text: &str) {
        self.do_tmux(&["send-keys", "-l", "--", text]);
    }

    /// Types a line.
    pub fn line(&self, text: &str) {
        self.keys(text);
        self.do_tmux(&["send-keys", "Enter"]);
    }

    pub fn text(&self) -> String {
        self.do_tmux(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    /// Waits until a text is on the screen.
    pub fn shows(&self, text: &str) {
        let seen = std::cell::RefCell::new(String::new());
        let last = || seen.borrow().clone();
        let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(text, || {
                seen.replace(self.text());
                seen.borrow().contains(text)
            });
        }));
        assert!(shown.is_ok(), "'{text}' is not shown:\n{}", last());
    }

    /// Clears what has been shown.
    pub fn clear(&self) {
        self.do_tmux(&["send-keys", "-R"]);
        self.do_tmux(&["clear-history"]);
    }

    /// The terminal's modes, as our shell here sees them.
    pub fn modes(&self, name: &str) -> String {
        let file = self.remote.here(name);
        self.line(&format!("stty -a >{0}.new; mv {0}.new {0}", file.display()));
        until("modes", || file.exists());
        let modes = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        // Its size is no mode.
        modes
            .split_once(';')
            .unwrap()
            .1
            .split_once(';')
            .unwrap()
            .1
            .split_once(';')
            .unwrap()
            .1
            .to_owned()
    }

    /// Starts the shell there and waits until it answers; the process here.
    pub fn enter(&self, flags: &[&str]) -> u32 {
        let pid = self.start_program(&self.remote.verb("shell", flags));
        self.there("arrived");
        pid
    }

    /// Starts a program on the screen; the process.
    pub fn start_program(&self, program: &Command) -> u32 {
        let pid = self.remote.here("pid");
        let words: Vec<_> =
            std::iter::once(program.get_program()).chain(program.get_args()).collect();
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let script = self.remote.here("enter");
        let text = format!("echo $$ >{}\nexec {}\n", pid.display(), words.join(" "));
        fs::write(&script, text).unwrap();
        // In two pieces, so that what is typed is not what is waited for.
        self.line(&format!("sh {}; echo 'end''ed='$?", script.display()));
        until("it is started", || fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
        let number = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        fs::remove_file(&pid).unwrap();
        number
    }

    /// The terminal's modes, as they are while something runs on it.
    pub fn modes_now(&self) -> String {
        let terminal = self.do_tmux(&["display-message", "-p", "#{pane_tty}"]);
        let output = Command::new("stty").args(["-a", "-F", terminal.trim()]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Has the shell there say something.
    pub fn there(&self, word: &str) {
        let (one, two) = word.split_at(2);
        self.line(&format!("echo '{one}''{two}'"));
        self.shows(word);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).output();
    }
}
