//! One large file by several sessions: the same bytes, a share for each, and nothing under the final name if one of them fails.
#![cfg(feature = "remote")]

#[path = "support/further.rs"]
mod further;
#[path = "support/ordinary.rs"]
mod ordinary;
#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;
#[path = "support/trees.rs"]
mod trees;

use further::Places;
use ordinary::by_an_ordinary_user;
use remote_cli::Remote;
use sessions::{on, with_sshd};
use std::fs;
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{PATIENCE, pattern, until, watchdog};
use trees::leftovers;
use waitcopy::lab::sshd::{Accounts, KeyKind, Options, Sshd};
use waitcopy::remote::sftp::{Progress, Transfer};
use waitcopy::remote::{Error, Reason, Session, Step};

const MIB: usize = 1 << 20;

/// One file's copy.
struct Copy<'a> {
    places: Places<'a>,
    preserve: bool,
}

impl<'a> Deref for Copy<'a> {
    type Target = Places<'a>;

    fn deref(&self) -> &Places<'a> {
        &self.places
    }
}

impl<'a> Copy<'a> {
    fn new(sshd: &'a Sshd, put: bool, size: usize) -> Self {
        let places = Places::new(sshd, put, "parallel");
        fs::write(&places.from, pattern(size, 7)).unwrap();
        Self { places, preserve: true }
    }

    /// Copies by the session that is there and so many others; `seen` hears of each piece.
    fn by(&self, further: usize, seen: impl Fn(&Session, u64)) -> Result<u64, Error> {
        let client = self.client();
        on(self.sshd, async |_, session| {
            let sftp = session.sftp().await.unwrap();
            let how = Transfer::new().parallel(further, client).preserve(self.preserve).sync(true);
            let how = how.progress(|Progress { done, .. }| seen(session, done));
            let done = match self.put {
                true => sftp.put_with(&self.from, &self.to, how).await,
                false => sftp.get_with(&self.from, &self.to, how).await,
            };
            // What was given up is tidied up before that.
            sftp.close().await.unwrap();
            done
        })
    }

    fn folder(&self) -> &Path {
        self.to.parent().unwrap()
    }

    /// Neither the file nor a part of it.
    fn nothing(&self) {
        assert_eq!(fs::read_dir(self.folder()).unwrap().count(), 0);
    }
}

#[test]
fn sessions_share_a_file() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let copy = Copy::new(&sshd, put, 96 * MIB + 12_345);
            fs::set_permissions(&copy.from, fs::Permissions::from_mode(0o640)).unwrap();
            let size = 96 * MIB as u64 + 12_345;
            let moved = std::cell::Cell::new((0, 0));
            let done = copy.by(2, |session, done| {
                assert!(!copy.to.exists() && leftovers(copy.folder()).len() == 1);
                moved.set((copy.own(session), done));
            });
            assert_eq!(done.unwrap(), size);
            let (first, done) = moved.get();
            // Each had a share.
            assert!(first > MIB as u64 && first < size - MIB as u64, "{first} of {size}");
            assert!(done <= size && done > size - 8 * MIB as u64, "{done} of {size}");
            assert!(fs::read(&copy.from).unwrap() == fs::read(&copy.to).unwrap());
            let (from, to) = (fs::metadata(&copy.from).unwrap(), fs::metadata(&copy.to).unwrap());
            assert_eq!((to.mode() & 0o777, to.mtime()), (0o640, from.mtime()));
            assert!(leftovers(copy.folder()).is_empty());
        }
    });
}

/// Each session opens the hidden file, also where its owner may not write the file that it is to be.
#[test]
fn sessions_share_what_is_read_only() {
    by_an_ordinary_user("sessions_share_what_is_read_only", || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        for (put, preserve, kept, mode) in [
            (true, true, None, 0o462),
            (true, false, None, 0o440),
            (true, false, Some(0o406), 0o406),
            (false, false, Some(0o406), 0o406),
            (false, true, None, 0o462),
        ] {
            let mut copy = Copy::new(&sshd, put, 16 * MIB);
            copy.preserve = preserve;
            fs::set_permissions(&copy.from, fs::Permissions::from_mode(0o462)).unwrap();
            if let Some(kept) = kept {
                fs::write(&copy.to, "old").unwrap();
                fs::set_permissions(&copy.to, fs::Permissions::from_mode(kept)).unwrap();
            }
            assert_eq!(copy.by(2, |_, _| {}).unwrap(), 16 * MIB as u64);
            assert_eq!(fs::metadata(&copy.to).unwrap().mode() & 0o777, mode);
            assert!(fs::read(&copy.from).unwrap() == fs::read(&copy.to).unwrap());
        }
    });
}

/// Of a small file no second login is worth its time: one that would be refused is not asked for.
#[test]
fn a_small_file_takes_one_session() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let mut copy = Copy::new(&sshd, put, 8 * MIB - 1);
            copy.places.key = sshd.stranger_key(KeyKind::Ed25519).unwrap();
            assert_eq!(copy.by(3, |_, _| {}).unwrap(), 8 * MIB as u64 - 1);
            assert!(fs::read(&copy.from).unwrap() == fs::read(&copy.to).unwrap());
        }
    });
}

#[test]
fn a_further_login_that_is_refused_ends_the_copy() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let mut copy = Copy::new(&sshd, put, 256 * MIB);
            copy.places.key = sshd.stranger_key(KeyKind::Ed25519).unwrap();
            let error = copy.by(1, |_, _| {}).unwrap_err();
            assert_eq!(error.step(), Step::Auth, "{error}");
            copy.nothing();
        }
    });
}

/// What is behind a name may be several machines, or somebody else: the others have to meet the one that the first has met.
#[test]
fn a_further_session_meets_the_same_host() {
    with_sshd(Options::default(), |sshd| {
        with_sshd(Options::default(), move |mut another| {
            another.replace_host_keys().unwrap();
            for put in [true, false] {
                let mut copy = Copy::new(&sshd, put, 64 * MIB);
                copy.places.key = another.client_key(KeyKind::Ed25519).unwrap();
                copy.places.further = Some(&another);
                let error = copy.by(1, |_, _| {}).unwrap_err();
                assert_eq!((error.step(), error.reason()), (Step::HostKey, Reason::HostKeyChanged));
                copy.nothing();
                assert!(!another.log().contains("Accepted"), "{}", another.log());
            }
        });
    });
}

#[test]
fn a_further_session_that_is_cut_ends_the_copy() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let copy = Copy::new(&sshd, put, 256 * MIB);
            let before = std::cell::RefCell::new(None);
            let cut = std::cell::Cell::new(false);
            let done = copy.by(1, |session, done| {
                let mut before = before.borrow_mut();
                let first = *before.get_or_insert_with(|| sshd.sessions()[0]);
                // The other one is in the middle of its share.
                if !cut.get() && done > copy.own(session) + MIB as u64 {
                    cut.set(true);
                    let others = sshd.sessions().into_iter().filter(|one| *one != first);
                    others.for_each(|other| other.kill());
                }
            });
            assert!(cut.get(), "the other session had no share");
            assert_eq!(done.unwrap_err().reason(), Reason::Disconnected);
            copy.nothing();
        }
    });
}

/// A source that grows or shrinks meanwhile is no file of which there is a copy.
#[test]
fn a_source_that_changes_ends_the_copy() {
    with_sshd(Options::default(), |sshd| {
        for (put, size) in [(true, 0), (true, 64 * MIB), (false, 0), (false, 64 * MIB)] {
            let copy = Copy::new(&sshd, put, 32 * MIB);
            let changed = std::cell::Cell::new(false);
            let done = copy.by(1, |_, _| {
                if !changed.replace(true) {
                    let file = fs::OpenOptions::new().write(true).open(&copy.from).unwrap();
                    file.set_len(size as u64).unwrap();
                }
            });
            let error = done.unwrap_err();
            assert!(error.message().contains("has changed meanwhile"), "{error}");
            copy.nothing();
        }
    });
}

#[test]
fn by_the_command() {
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options::default()) else { return };
        let bytes = pattern(20 * MIB + 1, 3);
        let (from, back) = (remote.here("from"), remote.here("back"));
        fs::write(&from, &bytes).unwrap();
        let [from, back] = [&from, &back].map(|path| path.to_str().unwrap());
        remote.run("put", &["--parallel", "3"], &[from, "to"]).well();
        assert!(fs::read(remote.home("to")).unwrap() == bytes);
        remote.run("get", &["--parallel", "2"], &["to", back]).well();
        assert!(fs::read(back).unwrap() == bytes);
        for (flags, words) in [
            (&["--parallel", "9"][..], "--parallel 9: 8 at most"),
            (&["--parallel", "0"], "1 or more"),
            (&["--parallel", "2", "--resume"], "--parallel and --resume: "),
            (&["--parallel", "2", "--in-place"], "--parallel and --in-place: "),
        ] {
            remote.run("put", flags, &[from, "other"]).failed(2, &[words]);
        }
        assert!(!remote.home("other").exists());
    });
}

/// Whatever the first session logs in by, the others do as well, and a person is asked once.
#[test]
fn what_a_person_has_answered_is_good_for_all_sessions() {
    watchdog(PATIENCE, || {
        let options = Options { accounts: Accounts::Password, ..Options::default() };
        let Some(remote) = Remote::start(options) else { return };
        let from = remote.here("from");
        let bytes = pattern(40 * MIB, 5);
        fs::write(&from, &bytes).unwrap();
        let accepted = |line: &&str| line.contains("Accepted ") && line.contains(" ssh2");
        let logins = || remote.sshd.log().lines().filter(accepted).count();
        // The program that asks tells of each question.
        let (script, asked) = (remote.here("askpass"), remote.here("asked"));
        let (password, passphrase) = (remote.sshd.password(), "a key's own");
        let text = format!(
            "#!/bin/sh\necho \"$1\" >>'{}'\ncase $1 in *passphrase*) echo \"{passphrase}\";; *assword*) echo '{password}';; *) exit 1;; esac\n",
            asked.display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let key = remote.here("locked");
        fs::copy(remote.sshd.client_key(KeyKind::Ed25519).unwrap(), &key).unwrap();
        let mut locks = Command::new("ssh-keygen");
        let locks = locks
            .stdout(Stdio::null())
            .args(["-q", "-p", "-P", "", "-N", passphrase, "-f"])
            .arg(&key);
        assert!(locks.status().unwrap().success());
        let key = key.to_str().unwrap();
        for (way, flags, questions) in [
            ("asked", &["--ask-password"][..], 1),
            ("given", &["--password-fd", "0"], 0),
            ("locked", &["--identity", key], 1),
        ] {
            let before = logins();
            fs::write(&asked, "").unwrap();
            let mut put = remote.bare("put");
            put.args(["--parallel", "3"]).args(flags).arg(remote.host()).arg(&from).arg(way);
            put.env("SSH_ASKPASS", &script).env("SSH_ASKPASS_REQUIRE", "force");
            put.stdin(Stdio::piped()).stdout(Stdio::null());
            let mut put = put.spawn().unwrap();
            writeln!(put.stdin.take().unwrap(), "{password}").unwrap();
            assert!(put.wait().unwrap().success(), "{way}: {}", remote.sshd.log());
            assert!(fs::read(remote.home(way)).unwrap() == bytes, "{way}");
            assert_eq!(fs::read_to_string(&asked).unwrap().lines().count(), questions, "{way}");
            assert_eq!(logins() - before, 3, "{way}");
        }
    });
}

#[test]
fn an_interrupted_command_leaves_nothing() {
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options::default()) else { return };
        fs::create_dir(remote.home("there")).unwrap();
        let (from, there) = (remote.here("from"), remote.home("there"));
        // Without blocks on the disk, and a while to copy.
        fs::File::create(&from).unwrap().set_len(1 << 30).unwrap();
        let mut put = remote.verb("put", &["--parallel", "3"]);
        let mut put = put.arg(&from).arg(there.join("to")).spawn().unwrap();
        let some = |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.len() > MIB as u64);
        until("a hidden file of some size", || leftovers(&there).first().is_some_and(some));
        let kill = Command::new("kill").arg("-INT").arg(put.id().to_string()).status().unwrap();
        assert!(kill.success());
        assert_eq!(put.wait().unwrap().code(), Some(130));
        until("the end of the hidden file", || fs::read_dir(&there).unwrap().count() == 0);
    });
}
