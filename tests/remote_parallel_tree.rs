//! A tree by several sessions: the same tree, a share for each, and no hidden file left if one of them fails.
#![cfg(feature = "remote")]

#[path = "support/further.rs"]
mod further;
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
use remote_cli::Remote;
use sessions::{on, with_sshd};
use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{PATIENCE, pattern, until, watchdog};
use trees::{assert_same, leftovers};
use waitcopy::json::Value;
use waitcopy::lab::sshd::{KeyKind, Options, Sshd};
use waitcopy::remote::sftp::{Event, Links, Summary, Tree};
use waitcopy::remote::{Error, Reason, Session, Step};

const MIB: u64 = 1 << 20;

/// All that is odd in a tree, many small files, and some large ones. How many files and bytes.
fn make(root: &Path) -> (u64, u64) {
    let (mut files, _) = trees::make(root);
    for (folder, count, len) in [("many", 2000, 1024), ("few", 8, 6 << 20)] {
        fs::create_dir(root.join(folder)).unwrap();
        for n in 0..count {
            fs::write(root.join(folder).join(n.to_string()), pattern(len, n)).unwrap();
        }
        files += count;
    }
    let mut bytes = 0;
    trees::walk(root, &mut |path| {
        let meta = fs::symlink_metadata(path).unwrap();
        bytes += if meta.is_file() { meta.len() } else { 0 };
    });
    (files, bytes)
}

fn places(sshd: &Sshd, put: bool) -> Places<'_> {
    Places::new(sshd, put, "parallel-tree")
}

/// Copies by the session that is there and so many others; `seen` hears of each piece.
fn copied(of: &Places<'_>, further: usize, seen: impl Fn(&Session, u64)) -> Result<Summary, Error> {
    on(of.sshd, async |_, session| {
        let sftp = session.sftp().await.unwrap();
        // Where this session is, the others are not.
        let home = of.sshd.home();
        let above = home.parent().unwrap();
        sftp.chdir(above).await.unwrap();
        let there = |path: &Path| path.strip_prefix(above).unwrap().to_owned();
        let how = Tree::new().parallel(further, of.client()).preserve(true).links(Links::Keep);
        let how = how.told(|event| {
            if let Event::Bytes(bytes) = event {
                seen(session, bytes);
            }
        });
        let done = match of.put {
            true => sftp.put_tree(&of.from, there(&of.to), how).await,
            false => sftp.get_tree(there(&of.from), &of.to, how).await,
        };
        // What was given up is tidied up before that.
        sftp.close().await.unwrap();
        done
    })
}

#[test]
fn sessions_share_a_tree() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let copy = places(&sshd, put);
            let (files, bytes) = make(&copy.from);
            let moved = Cell::new((0, 0));
            let done = copied(&copy, 2, |session, done| {
                assert!(done >= moved.get().1, "it goes back from {:?} to {done}", moved.get());
                moved.set((copy.own(session), done));
            });
            let done = done.unwrap();
            assert_eq!((done.files, done.bytes, done.failed), (files, bytes, 0), "{done:?}");
            let (first, told) = moved.get();
            // Each had a share, and all of it was told.
            assert!(first > MIB && first < bytes - MIB, "{first} of {bytes}");
            assert_eq!(told, bytes);
            assert_same(&copy.from, &copy.to);
            assert!(leftovers(&copy.to).is_empty());
        }
    });
}

/// Of a small tree no second login is worth its time: one that would be refused is not asked for.
#[test]
fn a_small_tree_takes_one_session() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let mut copy = places(&sshd, put);
            fs::create_dir(&copy.from).unwrap();
            for n in 0..50 {
                fs::write(copy.from.join(n.to_string()), pattern(1000, n)).unwrap();
            }
            copy.key = sshd.stranger_key(KeyKind::Ed25519).unwrap();
            assert_eq!(copied(&copy, 3, |_, _| {}).unwrap().files, 50);
            assert_same(&copy.from, &copy.to);
        }
    });
}

/// What one of them cannot copy is a failure like another; the rest comes.
#[test]
fn a_file_that_fails_elsewhere_is_in_the_summary() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let copy = places(&sshd, put);
            let (files, _) = make(&copy.from);
            // Directories are in the way of all that is in `few`, which no session has for itself.
            for n in 0..8 {
                fs::create_dir_all(copy.to.join("few").join(n.to_string())).unwrap();
            }
            let done = copied(&copy, 2, |_, _| {}).unwrap();
            assert_eq!((done.files, done.failed), (files - 8, 8), "{:?}", done.failures);
            for failed in &done.failures {
                assert!(failed.error.to_string().contains("is no file"), "{}", failed.error);
            }
            assert!(leftovers(&copy.to).is_empty());
        }
    });
}

#[test]
fn a_further_login_that_is_refused_ends_the_copy() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let mut copy = places(&sshd, put);
            make(&copy.from);
            copy.key = sshd.stranger_key(KeyKind::Ed25519).unwrap();
            let error = copied(&copy, 1, |_, _| {}).unwrap_err();
            assert_eq!(error.step(), Step::Auth, "{error}");
            assert!(leftovers(&copy.to).is_empty());
        }
    });
}

#[test]
fn a_further_session_that_is_cut_ends_the_copy() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let copy = places(&sshd, put);
            make(&copy.from);
            // More than fits into the network's buffers.
            for n in 0..4 {
                fs::write(copy.from.join(format!("few/large{n}")), pattern(48 << 20, n)).unwrap();
            }
            let before = RefCell::new(None);
            let cut = Cell::new(false);
            let done = copied(&copy, 1, |session, done| {
                let mut before = before.borrow_mut();
                let first = *before.get_or_insert_with(|| sshd.sessions()[0]);
                // The other one is in the middle of its share.
                if !cut.get() && done > copy.own(session) + MIB {
                    cut.set(true);
                    let others = sshd.sessions().into_iter().filter(|one| *one != first);
                    others.for_each(|other| other.kill());
                }
            });
            assert!(cut.get(), "the other session had no share");
            assert_eq!(done.unwrap_err().reason(), Reason::Disconnected);
            assert!(put || leftovers(&copy.to).is_empty(), "hidden files here");
            // Whole files only: of the others, what the server could not be told of is hidden.
            trees::walk(&copy.to, &mut |path| {
                let name = path.strip_prefix(&copy.to).unwrap();
                if path.is_file() && !leftovers(&copy.to).contains(&path.to_owned()) {
                    assert!(fs::read(path).unwrap() == fs::read(copy.from.join(name)).unwrap());
                }
            });
        }
    });
}

#[test]
fn by_the_command() {
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options::default()) else { return };
        let (from, back) = (remote.here("from"), remote.here("back"));
        let (files, _) = make(&from);
        let [here, back_here] = [&from, &back].map(|path| path.to_str().unwrap());
        remote.run("put", &["-r", "--parallel", "3", "--resume"], &[here, "to"]).well();
        assert_same(&from, &remote.home("to"));
        // What is in it, once more.
        let flags = ["-r", "--parallel", "3", "--resume", "--json"];
        let again = remote.run("put", &flags, &[&format!("{here}/."), "to"]).well().json();
        let Some(Value::List(trees)) = again.get("result") else { panic!("{again:?}") };
        assert_eq!(trees[0].count("unchanged"), Some(files));
        remote.run("get", &["-r", "--parallel", "2"], &["to", back_here]).well();
        assert_same(&from, &back);
    });
}

#[test]
fn an_interrupted_command_leaves_no_hidden_file() {
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options::default()) else { return };
        let (from, there) = (remote.here("from"), remote.home("there"));
        make(&from);
        // Without blocks on the disk, and a while to copy.
        for n in 0..4 {
            let file = fs::File::create(from.join(format!("sparse{n}"))).unwrap();
            file.set_len(512 << 20).unwrap();
        }
        let mut put = remote.verb("put", &["-r", "--parallel", "3"]);
        let mut put = put.arg(&from).arg(&there).spawn().unwrap();
        let grown = |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.len() > MIB);
        until("several hidden files of some size", || {
            there.is_dir() && leftovers(&there).iter().filter(|path| grown(path)).count() >= 3
        });
        let kill = Command::new("kill").arg("-INT").arg(put.id().to_string()).status().unwrap();
        assert!(kill.success());
        assert_eq!(put.wait().unwrap().code(), Some(130));
        until("the end of the hidden files", || leftovers(&there).is_empty());
    });
}
