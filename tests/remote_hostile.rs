//! SFTP servers that lie, dawdle and leave, reached through a real sshd: each gives right bytes or one clear error.
#![cfg(feature = "remote")]

#[path = "support/ordinary.rs"]
mod ordinary;
#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use ordinary::by_an_ordinary_user;
use sessions::{forget_peak, on, peak_kib};
use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;
use support::{PATIENCE, alone, scratch, skip, watchdog};
use waitcopy::lab::sshd::{self, Options, Sshd};
use waitcopy::remote::sftp::{Links, Name, Sftp, Summary, Transfer, Tree};
use waitcopy::remote::{Error, Reason, Session};

/// Of its one file, in bytes.
const SIZE: usize = 1_000_003;

fn the_bytes() -> Vec<u8> {
    (0..SIZE).map(|n| (n * 7 % 251) as u8).collect()
}

/// A real sshd with the fake behind it.
struct Hostile(Sshd);

impl Hostile {
    fn start() -> Option<Self> {
        // The program itself: what is found on the path may be a script that takes its time.
        let mut python = Command::new("python3");
        let python = python.args(["-c", "import sys; print(sys.executable)"]).output();
        let Some(python) = python.ok().filter(|output| output.status.success()) else {
            skip("python3 is missing: no hostile server");
            return None;
        };
        let python = String::from_utf8(python.stdout).unwrap();
        // By the account's shell, in whatever folder it begins.
        let command = format!("{} $HOME/script $HOME", python.trim_end());
        let sftp = sshd::Sftp::Command(command);
        let server = ssh::or_skip(Sshd::start(Options { sftp, ..Options::default() }))?;
        fs::write(server.home().join("script"), include_str!("peers/sftp_server.py")).unwrap();
        Some(Self(server))
    }

    /// From the next SFTP session on it does this.
    fn mode(&self, mode: &[u8]) {
        fs::write(self.0.home().join("mode"), mode).unwrap();
    }
}

fn hostile(test: impl AsyncFnOnce(&Hostile, &Session) + Send + 'static) {
    watchdog(PATIENCE, || {
        let Some(server) = Hostile::start() else { return };
        on(&server.0, async |_, session| test(&server, session).await);
    });
}

async fn get(sftp: &Sftp) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    sftp.get_to("file", &mut bytes, Transfer::new()).await.map(|_| bytes)
}

async fn list(sftp: &Sftp) -> Result<Vec<Name>, Error> {
    sftp.read_dir("folder").await
}

/// What is wrong is told in these words; the SFTP session is over, and the SSH session is not.
async fn broken<T>(
    server: &Hostile,
    session: &Session,
    mode: &str,
    words: &str,
    operation: impl AsyncFn(&Sftp) -> Result<T, Error>,
) {
    server.mode(mode.as_bytes());
    let sftp = session.sftp().await.unwrap_or_else(|error| panic!("{mode}: {error}"));
    let error = operation(&sftp).await.map(drop).expect_err(mode);
    assert_eq!(error.reason(), Reason::Protocol, "{mode}: {error}");
    assert!(error.message().contains(words), "{mode}: {error}");
    let again = sftp.stat("file").await.expect_err(mode);
    assert_eq!(again.message(), error.message(), "{mode}: it stays so");
    drop(sftp);
    let said = session.exec("echo alive").output().await.unwrap();
    assert_eq!(said.stdout, b"alive\n", "{mode}");
}

#[test]
fn lies_end_the_session_in_clear_words() {
    hostile(async |server, session| {
        let stat = async |sftp: &Sftp| sftp.stat("file").await;
        for (mode, words) in [
            ("giant", "packet of 4294967295 bytes, too long"),
            ("large", "packet of 263169 bytes, too long"),
            ("zero", "empty packet"),
            ("type", "type 77, no reply"),
            ("unknown", "answered request 99999, which nobody asked"),
            ("unfit", "does not fit its request"),
            ("success", "does not fit its request"),
        ] {
            broken(server, session, mode, words, stat).await;
        }
        broken(server, session, "handle", "handle of 257 bytes", get).await;
        broken(server, session, "string", "malformed packet of type 102", get).await;
        broken(server, session, "excess", "32769 bytes where 32768 were asked for", get).await;
        broken(server, session, "empty", "no bytes and no end of file", get).await;
        broken(server, session, "count", "malformed packet of type 104", list).await;
        broken(server, session, "long", "malformed packet of type 104", list).await;
        server.mode(b"flood");
        let flood = list(&session.sftp().await.unwrap()).await.unwrap_err();
        assert_eq!(flood.reason(), Reason::Protocol, "{flood}");
        assert!(flood.message().contains("more than 64 MiB of entries"), "{flood}");
        server.mode(b"dots");
        let sftp = session.sftp().await.unwrap();
        let mut entries = sftp.entries("folder").await.unwrap();
        let dots = entries.next().await.unwrap_err();
        assert_eq!(dots.reason(), Reason::Protocol, "{dots}");
        assert!(dots.message().contains("names itself again and again"), "{dots}");
        drop((entries, sftp));
        let real_path = async |sftp: &Sftp| sftp.real_path(".").await;
        broken(server, session, "names", "2 names where one is due", real_path).await;
        // The second answer meets the first, or comes after it was taken: both are told.
        let twice = async |sftp: &Sftp| {
            sftp.stat("file").await.map(drop).unwrap_err();
            sftp.stat("file").await.and(sftp.stat("file").await)
        };
        broken(server, session, "twice", "answered request 1", twice).await;
    });
}

#[test]
fn names_that_are_none_are_refused() {
    hostile(async |server, session| {
        for (name, shown) in [
            (&b"../x"[..], Some("../x")),
            (b"", Some("''")),
            (b"a/b", Some("a/b")),
            (b"/etc/passwd", Some("/etc/passwd")),
            (b"a\0b", Some("a\\x00b")),
            (b"\x1b[2J/", Some("\\x1b[2J/")),
            (b"..", None),
            (b".", None),
        ] {
            server.mode(&[b"list ", name].concat());
            let sftp = session.sftp().await.unwrap();
            let listed = list(&sftp).await;
            let Some(shown) = shown else {
                assert_eq!(listed.unwrap(), []);
                continue;
            };
            let error = listed.unwrap_err();
            assert_eq!(error.reason(), Reason::Protocol, "{error}");
            assert!(error.message().contains(shown), "{error}");
            assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
            // That was one answer: the session is whole.
            assert_eq!(sftp.stat("file").await.unwrap().size, Some(SIZE as u64));
            sftp.close().await.unwrap();
        }
        server.mode(b"list \xff\x1b[2J");
        let listed = list(&session.sftp().await.unwrap()).await.unwrap();
        assert_eq!(listed[0].name, b"\xff\x1b[2J", "a name, if no nice one");
        server.mode(b"none");
        assert_eq!(list(&session.sftp().await.unwrap()).await.unwrap(), [], "taken for the end");
    });
}

#[test]
fn oddities_bring_the_right_bytes() {
    hostile(async |server, session| {
        let expected = the_bytes();
        for mode in ["plain", "reverse", "short", "trickle"] {
            server.mode(mode.as_bytes());
            let sftp = session.sftp().await.unwrap();
            if mode == "trickle" {
                // A megabyte in single bytes is its own kind of slow.
                let stat = sftp.stat("file").await.unwrap();
                assert_eq!(stat.size, Some(SIZE as u64));
                assert_eq!(list(&sftp).await.unwrap()[0].name, b"plain");
            } else {
                assert!(get(&sftp).await.unwrap() == expected, "{mode}");
            }
            sftp.close().await.unwrap();
        }
        let batches = fs::read_to_string(server.0.home().join("reversed")).unwrap();
        assert!(batches.parse::<u32>().unwrap() > 2, "{batches} times several came at once");
        // An end before the size that was told: short, and said so.
        server.mode(b"end");
        let sftp = session.sftp().await.unwrap();
        let error = get(&sftp).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Protocol, "{error}");
        assert!(error.message().contains("bytes were copied, and it has 1000003"), "{error}");
        let to = scratch("hostile-end");
        sftp.get("file", &to).await.unwrap_err();
        assert!(!to.exists());
        for (mode, words) in [("bare", "no such file"), ("words", "\\u{1b}[2J\u{fffd}")] {
            server.mode(mode.as_bytes());
            let error = session.sftp().await.unwrap().stat("file").await.unwrap_err();
            assert!(matches!(error.reason(), Reason::Status(2 | 4)), "{error}");
            assert!(error.message().contains(words), "{error}");
        }
    });
}

#[test]
fn a_beginning_that_is_none() {
    hostile(async |server, session| {
        for (mode, reason, words) in [
            ("text", Reason::Protocol, "sends text instead of SFTP, beginning with 'Welc'"),
            ("first", Reason::Protocol, "first packet is of type 101"),
            ("version", Reason::Protocol, "speaks version 2 of SFTP, not 3"),
            ("leaves", Reason::Disconnected, "the server closed the channel"),
        ] {
            server.mode(mode.as_bytes());
            let error = session.sftp().await.map(drop).unwrap_err();
            assert_eq!(error.reason(), reason, "{mode}: {error}");
            assert!(error.message().contains(words), "{mode}: {error}");
        }
        server.mode(b"midpacket");
        let error = session.sftp().await.unwrap().stat("file").await.unwrap_err();
        assert_eq!(error.reason(), Reason::Disconnected, "{error}");
        assert!(session.exec("true").output().await.unwrap().exit.success());
    });
}

async fn silent<T>(future: impl Future<Output = Result<T, Error>>) {
    let error = future.await.map(drop).unwrap_err();
    assert_eq!(error.reason(), Reason::TimedOut(Duration::from_millis(300)), "{error}");
    assert!(error.message().contains("the connection is silent"), "{error}");
}

#[test]
fn a_server_that_never_answers_is_left_at_the_deadline() {
    hostile(async |server, session| {
        session.set_idle_timeout(Some(Duration::from_millis(300)));
        server.mode(b"nothing");
        silent(session.sftp()).await;
        server.mode(b"silent");
        let sftp = session.sftp().await.unwrap();
        silent(sftp.stat("file")).await;
        silent(get(&sftp)).await;
        silent(list(&sftp)).await;
        silent(sftp.put_from(&mut &b"x"[..], None, "file", Transfer::new())).await;
        silent(sftp.close()).await;
        session.set_idle_timeout(None);
        assert!(session.exec("true").output().await.unwrap().exit.success());
    });
}

/// Gets the tree of lies, in a folder of its own; what failed, by path.
async fn get_tree(
    server: &Hostile,
    session: &Session,
    fence: &std::path::Path,
    lies: &str,
    how: Tree<'_>,
) -> (Summary, Vec<String>) {
    server.mode(format!("tree {lies}").as_bytes());
    let sftp = session.sftp().await.unwrap();
    let summary = sftp.get_tree("tree", fence.join("here"), how).await.unwrap();
    sftp.close().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut failed: Vec<_> = summary.failures.iter().map(|f| text(&f.path)).collect();
    failed.sort();
    (summary, failed)
}

/// A folder to get into, between two that are nobody's business.
fn fenced(name: &str) -> std::path::PathBuf {
    let fence = scratch(name);
    let _ = fs::remove_dir_all(&fence);
    fs::create_dir_all(fence.join("here")).unwrap();
    fs::create_dir_all(fence.join("outside")).unwrap();
    fs::write(fence.join("outside/file"), "untouched").unwrap();
    fence
}

#[track_caller]
fn untouched(fence: &std::path::Path) {
    let names = |folder: &std::path::Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(fence), ["here", "outside"]);
    assert_eq!(names(&fence.join("outside")), ["file"]);
    assert_eq!(fs::read(fence.join("outside/file")).unwrap(), b"untouched");
}

#[test]
fn a_tree_of_lies_leads_nowhere() {
    hostile(async |server, session| {
        let fence = fenced("lies");
        let here = fence.join("here");
        // Names that lead elsewhere, as files and as directories; the good ones are copied.
        let lies = "{b'tree': [(b'../x', 0o100644, 5), (b'', 0o100644, 5), (b'a/b', 0o40755, 0), (b'/etc', 0o40755, 0), \
            (b'a\\0b', 0o100644, 5), (b'..', 0o40755, 0), (b'.', 0o40755, 0), (b'good', 0o106755, 5), (b'dir', 0o40755, 0)], \
            b'tree/dir': [(b'../../outside/file', 0o100644, 5), (b'fine', 0o100644, 3)]}";
        let (summary, failed) = get_tree(server, session, &fence, lies, Tree::new()).await;
        assert_eq!((summary.files, summary.directories, summary.failed), (2, 2, 6), "{summary:?}");
        assert_eq!(failed, ["", "../x", "/etc", "a\0b", "a/b", "dir/../../outside/file"]);
        assert!(summary.failures[0].error.message().contains("the server names an entry"));
        let mode = fs::metadata(here.join("good")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7000, 0, "set-user-ID is not taken");
        untouched(&fence);

        // Names, targets and words without measure: no file system has them, and what is said and kept of them is cut.
        let fence = fenced("lies");
        let lies = "{b'tree': [(b'x' * 255, 0o100644, 5), (b'y' * 256, 0o100644, 5), (b'z' * 256, 0o40755, 0), (b'w' * 100000, 0o100644, 5), \
            (b'fits', 0o120777, 0, b'a' * 4095), (b'long', 0o120777, 0, b'a' * 100000), (b'angry', 0o100644, 5)]}";
        let how = Tree::new().links(Links::Keep);
        let (summary, failed) = get_tree(server, session, &fence, lies, how).await;
        assert_eq!((summary.files, summary.links, summary.failed), (1, 1, 5), "{failed:?}");
        assert_eq!(fs::read(fence.join("here").join("x".repeat(255))).unwrap(), the_bytes()[..5]);
        for failure in &summary.failures {
            let (path, message) = (&failure.path, failure.error.message());
            assert!(
                path.len() <= 4096 && message.len() <= 8192,
                "{} {}",
                path.len(),
                message.len()
            );
            let (words, reason) = match path[0] {
                b'l' => ("a target of 100000 bytes, too long", Reason::Usage),
                b'a' => ("aaaaaa", Reason::Status(4)),
                _ => ("the server names an entry of ", Reason::Protocol),
            };
            assert!(message.contains(words) && failure.error.reason() == reason, "{message}");
        }

        // A link that leads out, and a directory of the same name: whichever is made first, nothing goes through the link.
        for links in [Links::Keep, Links::Skip, Links::Follow] {
            let fence = fenced("lies");
            let lies = "{b'tree': [(b'in', 0o120777, 0, b'dir'), (b'out', 0o120777, 0, b'../outside'), (b'abs', 0o120777, 0, b'/etc'), \
                (b'sly', 0o120777, 0, b'dir/../../outside'), (b'in', 0o40755, 0), (b'dir', 0o40755, 0)], \
                b'tree/in': [(b'file', 0o100644, 4)], b'tree/dir': [(b'file', 0o100644, 5)]}";
            let (summary, _) =
                get_tree(server, session, &fence, lies, Tree::new().links(links)).await;
            untouched(&fence);
            // Whichever of the two that are named `in` came first.
            let in_it = fs::symlink_metadata(fence.join("here/in")).unwrap();
            if links == Links::Keep && in_it.is_symlink() {
                assert_eq!(fs::read(fence.join("here/dir/file")).unwrap(), the_bytes()[..5]);
            } else {
                assert_eq!(fs::read(fence.join("here/in/file")).unwrap(), the_bytes()[..4]);
            }
            if links == Links::Keep {
                // The three that lead out, and the one that came second.
                assert_eq!(summary.failed, 4, "{summary:?}");
            }
        }

        // What was there before: links that lead out are no way in.
        let fence = fenced("lies");
        std::os::unix::fs::symlink("../outside", fence.join("here/dir")).unwrap();
        std::os::unix::fs::symlink("../outside/file", fence.join("here/file")).unwrap();
        let lies = "{b'tree': [(b'dir', 0o40755, 0), (b'file', 0o100644, 7)], b'tree/dir': [(b'file', 0o100644, 4)]}";
        let (summary, failed) = get_tree(server, session, &fence, lies, Tree::new()).await;
        assert_eq!((summary.files, failed), (1, vec!["dir".to_owned()]));
        assert!(summary.failures[0].error.message().contains("ELOOP"), "{summary:?}");
        assert_eq!(fs::read(fence.join("here/file")).unwrap(), the_bytes()[..7]);
        untouched(&fence);
    });
}

#[test]
fn a_tree_without_end_ends() {
    hostile(async |server, session| {
        let fence = fenced("without-end");
        let lies = "{b'tree': [(b'endless', 0o40755, 0)]}";
        let (summary, failed) = get_tree(server, session, &fence, lies, Tree::new()).await;
        assert_eq!((summary.files, summary.directories, summary.failed), (128, 129, 1));
        assert!(
            summary.failures[0].error.message().contains("more than 128 directories"),
            "{failed:?}"
        );
        let (summary, _) = get_tree(server, session, &fence, lies, Tree::new().depth(3)).await;
        assert_eq!((summary.files, summary.directories, summary.failed), (3, 4, 1));
        let lies = "{b'tree': [(b'flood', 0o40755, 0), (b'also', 0o40755, 0)]}";
        let (summary, failed) =
            get_tree(server, session, &fence, lies, Tree::new().entries(1000)).await;
        assert!(summary.files >= 90 && summary.files < 1000, "{summary:?}");
        assert_eq!(summary.failed, 1, "{failed:?}");
        assert!(
            summary.failures[0].error.message().contains("more entries than are allowed"),
            "{failed:?}"
        );
        // A directory names itself and the one above it, each once; what is more counts.
        let lies = "{b'tree': [(b'dots', 0o40755, 0), (b'file', 0o100644, 3)]}";
        let (summary, failed) =
            get_tree(server, session, &fence, lies, Tree::new().entries(1000)).await;
        assert_eq!((summary.files, summary.directories, summary.failed), (1, 2, 1), "{summary:?}");
        assert_eq!(failed, ["dots/."]);
        untouched(&fence);
    });
}

/// Directories get their permissions from the innermost one on, while those that they are in still let them; also when nothing
/// more is taken.
#[test]
fn directories_that_nobody_may_enter() {
    by_an_ordinary_user("directories_that_nobody_may_enter", || {
        let Some(server) = Hostile::start() else { return };
        on(&server.0, async |_, session| {
            let fence = fenced("shut");
            let mode = |name: &str| {
                fs::symlink_metadata(fence.join("here").join(name)).unwrap().permissions().mode()
                    & 0o777
            };
            let lies = "{b'tree': [(b'a', 0o40000, 0)], b'tree/a': [(b'b', 0o40500, 0)], \
                b'tree/a/b': [(b'c', 0o40001, 0)], b'tree/a/b/c': [(b'file', 0o100644, 9)]}";
            let (summary, _) = get_tree(&server, session, &fence, lies, Tree::new()).await;
            assert_eq!((summary.files, summary.failed), (1, 0), "{summary:?}");
            let mut path = fence.join("here");
            for (name, mode) in [("a", 0o000), ("b", 0o500), ("c", 0o001)] {
                path.push(name);
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
                fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
            }

            // The link is followed when the entries are used up: what it leads to is left out.
            let lies = "{b'tree': [(b'shut', 0o40500, 0)], b'tree/dir': [], \
                b'tree/shut': [(b'link', 0o120777, 0, b'tree/dir'), (b'more', 0o100644, 9)]}";
            let how = Tree::new().links(Links::Follow).entries(2);
            let (summary, failed) = get_tree(&server, session, &fence, lies, how).await;
            assert_eq!(
                (failed, mode("shut")),
                (vec!["shut/more".to_owned()], 0o500),
                "{summary:?}"
            );
        });
    });
}

/// No length that a server names is believed before it is checked.
#[test]
fn giant_lengths_take_no_memory() {
    alone("giant_lengths_take_no_memory", || {
        let Some(server) = Hostile::start() else { return };
        on(&server.0, async |_, session| {
            let _ = session.exec("true").output().await.unwrap();
            let before = forget_peak();
            for mode in ["giant", "large", "count", "long", "string"] {
                server.mode(mode.as_bytes());
                let sftp = session.sftp().await.unwrap();
                assert!(get(&sftp).await.is_err() || list(&sftp).await.is_err(), "{mode}");
            }
            let grown = peak_kib() - before;
            assert!(grown < 8 << 10, "{grown} KiB");
        });
    });
}
