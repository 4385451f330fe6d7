//! Transfers that are cut and go on: never half a file under a final name, and the same bytes in the end.
#![cfg(feature = "remote")]

#[path = "support/ordinary.rs"]
mod ordinary;
#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;
#[path = "support/trees.rs"]
mod trees;

use ordinary::by_an_ordinary_user;
use sessions::{on, with_sshd};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use support::{PATIENCE, long, pattern, scratch, watchdog};
use trees::{assert_same, leftovers};
use waitcopy::lab::sshd::{Options, Sshd};
use waitcopy::remote::sftp::{Event, Progress, Summary, Transfer, Tree};
use waitcopy::remote::{Error, Reason};

const MIB: u64 = 1 << 20;

/// One direction: where the source lies, and where the copy goes.
struct Way<'a> {
    sshd: &'a Sshd,
    put: bool,
    from: PathBuf,
    to: PathBuf,
}

impl<'a> Way<'a> {
    fn new(sshd: &'a Sshd, put: bool, name: &str) -> Self {
        let here = scratch(&format!("{name}-{put}"));
        let there = sshd.home().join(format!("{name}-{put}"));
        for folder in [&here, &there] {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(folder).unwrap();
        }
        let [from, to] = if put { [&here, &there] } else { [&there, &here] };
        Self { sshd, put, from: from.join("from"), to: to.join("to") }
    }

    /// Copies, and has the link cut once so many bytes are copied; how many went over it, and what came of it.
    fn copy(&self, cut: Option<u64>) -> (u64, Result<u64, Error>) {
        on(self.sshd, async |_, session| {
            let sftp = session.sftp().await.unwrap();
            let how = Transfer::new().resume(true).progress(|Progress { done, .. }| {
                if cut.is_some_and(|cut| done >= cut) {
                    self.sshd.kill_sessions();
                }
            });
            let done = match self.put {
                true => sftp.put_with(&self.from, &self.to, how).await,
                false => sftp.get_with(&self.from, &self.to, how).await,
            };
            let traffic = session.traffic();
            (if self.put { traffic.bytes_out } else { traffic.bytes_in }, done)
        })
    }

    fn tree(&self, cut: Option<u64>) -> Result<Summary, Error> {
        on(self.sshd, async |_, session| {
            let sftp = session.sftp().await.unwrap();
            let how = Tree::new().resume(true).told(|event| match event {
                Event::Bytes(done) if cut.is_some_and(|cut| done >= cut) => {
                    self.sshd.kill_sessions()
                }
                _ => {}
            });
            match self.put {
                true => sftp.put_tree(&self.from, &self.to, how).await,
                false => sftp.get_tree(&self.from, &self.to, how).await,
            }
        })
    }

    fn partials(&self) -> Vec<PathBuf> {
        leftovers(self.to.parent().unwrap())
    }

    fn same(&self) {
        assert!(fs::read(&self.from).unwrap() == fs::read(&self.to).unwrap(), "{:?}", self.to);
        assert_eq!(self.partials(), [] as [PathBuf; 0]);
    }
}

#[track_caller]
fn cut<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert_eq!(result.unwrap_err().reason(), Reason::Disconnected);
}

#[test]
fn a_cut_transfer_goes_on_where_it_was() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let way = Way::new(&sshd, put, "goes-on");
            fs::write(&way.from, pattern(30 * MIB as usize, 1)).unwrap();
            cut(way.copy(Some(20 * MIB)).1);
            assert!(!way.to.exists());
            let partial = fs::metadata(&way.partials()[0]).unwrap().len();
            assert!(partial >= 16 * MIB, "{partial}");
            let (passed, done) = way.copy(None);
            assert_eq!(done.unwrap(), 30 * MIB);
            // What was sure is not copied again, but for the pieces that are compared.
            assert!(passed < 20 * MIB, "{passed} of 30 MiB");
            way.same();
            // Nothing is there to go on with: from the beginning, over what is there.
            let (passed, done) = way.copy(None);
            assert_eq!(done.unwrap(), 30 * MIB);
            assert!(passed > 30 * MIB);
            way.same();
        }
    });
}

/// The pieces are asked for several at a time, not each when the one before it is here.
#[test]
fn a_partial_is_compared_in_few_round_trips() {
    with_sshd(Options::default(), |sshd| {
        let way = Way::new(&sshd, false, "compared");
        let bytes = pattern(8 * MIB as usize, 9);
        fs::write(&way.from, &bytes).unwrap();
        cut(way.copy(Some(4 * MIB)).1);
        // All of it but for what is copied again.
        fs::write(&way.partials()[0], &bytes).unwrap();
        let sends = on(&sshd, async |_, session| {
            let sftp = session.sftp().await.unwrap();
            let before = session.traffic().sends;
            let how = Transfer::new().resume(true);
            sftp.get_with(&way.from, &way.to, how).await.unwrap();
            session.traffic().sends - before
        });
        println!("{sends} sends");
        // There are 32 pieces.
        assert!(sends < 32, "{sends} sends");
        way.same();
    });
}

/// Another source has another partial; and one that differs from its source is begun anew.
#[test]
fn only_a_proven_partial_of_the_same_source_is_used() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let way = Way::new(&sshd, put, "proven");
            let old =
                std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            fs::write(&way.from, pattern(20 * MIB as usize, 2)).unwrap();
            fs::File::open(&way.from).unwrap().set_modified(old).unwrap();
            cut(way.copy(Some(10 * MIB)).1);
            fs::write(&way.from, pattern(20 * MIB as usize, 3)).unwrap();
            cut(way.copy(Some(10 * MIB)).1);
            assert_eq!(way.partials().len(), 2, "each source has its own");
            fs::remove_file(&way.partials()[0]).unwrap();
            way.copy(None).1.unwrap();
            fs::remove_file(way.partials().pop().unwrap_or_default()).unwrap_or_default();
            way.same();

            // Not what the source holds, at its beginning only.
            fs::remove_file(&way.to).unwrap();
            cut(way.copy(Some(10 * MIB)).1);
            let partial = fs::File::options().write(true).open(&way.partials()[0]).unwrap();
            partial.write_all_at(b"not this", 1000).unwrap();
            let (passed, done) = way.copy(None);
            assert_eq!(done.unwrap(), 20 * MIB);
            assert!(passed >= 20 * MIB, "{passed}");
            way.same();
            // What is no file is not written to.
            fs::remove_file(&way.to).unwrap();
            cut(way.copy(Some(10 * MIB)).1);
            let partial = way.partials().pop().unwrap();
            fs::remove_file(&partial).unwrap();
            let elsewhere = partial.with_file_name("elsewhere");
            std::os::unix::fs::symlink(&elsewhere, &partial).unwrap();
            assert_eq!(way.copy(None).1.unwrap_err().reason(), Reason::Usage);
            assert!(!elsewhere.exists() && !way.to.exists());
        }
    });
}

/// A partial's name can be foreseen: what somebody else has put there, and what another copy writes just now, is left alone.
#[test]
fn a_partial_here_is_ours_alone() {
    with_sshd(Options::default(), |sshd| {
        let way = Way::new(&sshd, false, "ours");
        fs::write(&way.from, pattern(8 * MIB as usize, 8)).unwrap();
        let foreign = |words: &str| {
            let error = way.copy(None).1.unwrap_err();
            assert_eq!(error.reason(), Reason::Usage, "{error}");
            assert!(error.message().contains(words), "{error}");
            assert!(!way.to.exists());
        };
        cut(way.copy(Some(4 * MIB)).1);
        let partial = way.partials().pop().unwrap();
        let held = fs::File::open(&partial).unwrap();
        waitcopy::sys::flock(&held).unwrap();
        foreign("is written by another copy");
        drop(held);
        let linked = partial.with_file_name("linked");
        fs::hard_link(&partial, &linked).unwrap();
        foreign("is no partial file of ours");
        fs::remove_file(&linked).unwrap();
        if ordinary::root() {
            std::os::unix::fs::chown(&partial, Some(60_500), None).unwrap();
            foreign("is no partial file of ours");
            std::os::unix::fs::chown(&partial, Some(0), None).unwrap();
        }
        let (passed, done) = way.copy(None);
        done.unwrap();
        assert!(passed < 8 * MIB, "it was gone on with: {passed}");
        way.same();
        fs::remove_file(&way.to).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(&partial).status().unwrap();
        assert!(fifo.success());
        foreign("is no partial file of ours");
        fs::remove_file(&partial).unwrap();
        fs::create_dir(&partial).unwrap();
        foreign("is no partial file of ours");
        fs::remove_dir(&partial).unwrap();
        way.copy(None).1.unwrap();
        way.same();
    });
}

/// Names that are the same as far as they fit into a partial's; the server tells nothing else that differs.
#[test]
fn each_long_name_has_a_partial_of_its_own() {
    with_sshd(Options::default(), |sshd| {
        for put in [true, false] {
            let tree = Way::new(&sshd, put, "long");
            fs::create_dir(&tree.from).unwrap();
            let old =
                std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            for n in 0..4 {
                let path = tree.from.join(format!("{}{n}", "x".repeat(254)));
                fs::write(&path, pattern(5 * MIB as usize, n)).unwrap();
                fs::File::open(&path).unwrap().set_modified(old).unwrap();
            }
            let done = tree.tree(None).unwrap();
            assert_eq!((done.files, done.failed), (4, 0), "{done:?}");
            assert_same(&tree.from, &tree.to);
        }
    });
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A source or a target that its owner may not write: the partial is written nevertheless, and has what it is to have in the end.
#[test]
fn what_is_read_only_is_gone_on_with() {
    by_an_ordinary_user("what_is_read_only_is_gone_on_with", || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        for put in [true, false] {
            let way = Way::new(&sshd, put, "read-only");
            fs::write(&way.from, pattern(12 * MIB as usize, 5)).unwrap();
            set_mode(&way.from, 0o466);
            cut(way.copy(Some(8 * MIB)).1);
            // Cut again at its very end, where it has that already.
            set_mode(&way.partials()[0], 0o444);
            cut(way.copy(Some(10 * MIB)).1);
            let (passed, done) = way.copy(None);
            done.unwrap();
            assert!(passed < 8 * MIB, "{passed} of 12 MiB");
            way.same();
            assert_eq!(mode(&way.to), 0o444, "the source's, less the umask");
            // What it replaces has its own, whatever the umask.
            set_mode(&way.to, 0o042);
            cut(way.copy(Some(8 * MIB)).1);
            way.copy(None).1.unwrap();
            assert_eq!(mode(&way.to), 0o042);
            set_mode(&way.to, 0o400);
            way.same();

            let tree = Way::new(&sshd, put, "read-only-tree");
            fs::create_dir(&tree.from).unwrap();
            let large = tree.from.join("large");
            fs::write(&large, pattern(12 * MIB as usize, 6)).unwrap();
            set_mode(&large, 0o422);
            cut(tree.tree(Some(8 * MIB)));
            let done = tree.tree(None).unwrap();
            assert_eq!((done.files, done.failed), (1, 0), "{done:?}");
            assert!(done.bytes < 8 * MIB, "{done:?}");
            assert_eq!(mode(&tree.to.join("large")), 0o422);
            assert_same(&tree.from, &tree.to);
        }
    });
}

/// A name is either not there or stands for the whole file.
fn whole_or_none(from: &Path, to: &Path) {
    trees::walk(from, &mut |path| {
        let copy = to.join(path.strip_prefix(from).unwrap());
        if path.is_file() && copy.exists() {
            assert!(fs::read(path).unwrap() == fs::read(&copy).unwrap(), "{copy:?}");
        }
    });
}

/// Cut at random, in either direction, a file and a tree, again and again until it is done.
#[test]
fn cut_at_random_it_is_the_same_in_the_end() {
    let (rounds, patience) = if long() { (200, 15 * PATIENCE) } else { (12, PATIENCE) };
    watchdog(patience, move || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let (mut cuts, mut random) = (0, pattern(4 * 10_000, 7).into_iter());
        let mut below = |limit: u64| {
            let bytes: [u8; 4] = std::array::from_fn(|_| random.next().unwrap());
            u64::from(u32::from_be_bytes(bytes)) % limit
        };
        for put in [true, false] {
            let file = Way::new(&sshd, put, "random");
            fs::write(&file.from, pattern(8 * MIB as usize + 3, 4)).unwrap();
            let tree = Way::new(&sshd, put, "random-tree");
            for n in 0..400_usize {
                let folder = tree.from.join(format!("{}", n % 20));
                fs::create_dir_all(&folder).unwrap();
                let len = if n < 2 { 5 << 20 } else { n * 50 };
                fs::write(folder.join(n.to_string()), pattern(len, n as u64)).unwrap();
            }
            let mut left: u32 = rounds / 2;
            while left > 0 {
                let _ = fs::remove_file(&file.to);
                for _ in 0..3 {
                    let (_, done) = file.copy(Some(below(8 * MIB)));
                    if done.is_ok() {
                        break;
                    }
                    cut(done);
                    assert!(!file.to.exists());
                    (cuts, left) = (cuts + 1, left.saturating_sub(1));
                }
                file.copy(None).1.unwrap();
                file.same();
                let _ = fs::remove_dir_all(&tree.to);
                for _ in 0..3 {
                    let done = tree.tree(Some(below(13 * MIB)));
                    whole_or_none(&tree.from, &tree.to);
                    if done.is_ok() {
                        break;
                    }
                    cut(done);
                    (cuts, left) = (cuts + 1, left.saturating_sub(1));
                }
                let done = tree.tree(None).unwrap();
                assert_eq!((done.files + done.unchanged, done.failed), (400, 0), "{done:?}");
                for part in leftovers(&tree.to) {
                    // Of small files, which have no partial that is used again: a server that is killed removes nothing.
                    assert!(tree.put, "{part:?}");
                    fs::remove_file(part).unwrap();
                }
                assert_same(&tree.from, &tree.to);
                let again = tree.tree(None).unwrap();
                assert_eq!((again.files, again.unchanged), (0, 400), "{again:?}");
            }
        }
        println!("cut {cuts} times");
        assert!(cuts >= rounds * 2 / 3);
    });
}
