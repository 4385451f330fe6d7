//! The side of a copy that is here: FIFOs and other things that are waited for, pipes that close, permissions and the umask.
#![cfg(feature = "remote")]

#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote_cli::{Remote, Said, names, on_a_server_with, said};
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use support::pattern;
use waitcopy::lab::sshd::{Options, Sftp};
use waitcopy::sys;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// The same command behind a word of a shell, and killed where it does not end: 1009.
fn ending(before: &str, command: &Command) -> Command {
    let mut ending = Command::new("timeout");
    let script = format!("{before}; exec \"$@\"");
    ending.args(["-s", "KILL", "15", "bash", "-c", &script, "bash"]);
    ending.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    ending.env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS");
    ending
}

/// A verb with its names, killed where it does not end.
fn run(remote: &Remote, verb: &str, flags: &[&str], names: &[&str]) -> Said {
    said(&mut ending(":", remote.verb(verb, flags).args(names)))
}

fn fifo(remote: &Remote, name: &str) -> PathBuf {
    let path = remote.here(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// A directory that nobody else may enter stays so, also where it is the tree's own; one that was there already is left as it is.
#[test]
fn the_root_of_a_tree_has_its_sources_permissions() {
    on_a_server_with(Options::default(), |remote| {
        let there = remote.home("there");
        fs::create_dir(&there).unwrap();
        fs::write(there.join("file"), "1").unwrap();
        let get = |flags: &[&str], name: &str| {
            let (back, mut get) = (remote.here(name), remote.verb("get", &["-r"]));
            let from = if back.is_dir() { "there/." } else { "there" };
            said(&mut ending("umask 022", get.args(flags).args([from, text(&back)]))).well();
            assert_eq!(fs::read(back.join("file")).unwrap(), b"1");
            mode(&back)
        };
        for (there_mode, here_mode) in [(0o700, 0o700), (0o500, 0o500), (0o770, 0o750)] {
            fs::set_permissions(&there, Permissions::from_mode(there_mode)).unwrap();
            let name = format!("new-{there_mode:o}");
            assert_eq!(get(&[], &name), here_mode, "{there_mode:o}");
        }
        let old = remote.here("old");
        fs::create_dir(&old).unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o711)).unwrap();
        assert_eq!(get(&[], "old"), 0o711);
        assert_eq!(get(&["--preserve"], "old"), 0o770);
        assert_eq!(get(&["--preserve"], "new"), 0o770);
    });
}

/// Standard output may close, as `| head` does; any other place that does not take the file is a failure.
#[test]
fn a_reader_that_leaves_is_a_failure_unless_it_reads_standard_output() {
    on_a_server_with(Options::default(), |remote| {
        fs::write(remote.home("large"), pattern(4 << 20, 1)).unwrap();
        fs::write(remote.home("small"), "2").unwrap();
        let folder = remote.here("folder");
        fs::create_dir(&folder).unwrap();
        let leave = |path: &Path| {
            let path = path.to_owned();
            thread::spawn(move || File::open(path).unwrap().read_exact(&mut [0; 10]).unwrap())
        };
        let alone = fifo(&remote, "alone");
        let reader = leave(&alone);
        run(&remote, "get", &[], &["large", text(&alone)]).failed(1, &["large", "EPIPE"]);
        reader.join().unwrap();
        // One of several, and the others come.
        let reader = leave(&fifo(&remote, "folder/large"));
        run(&remote, "get", &[], &["large", "small", text(&folder)])
            .failed(1, &["EPIPE", "1 of 2 files were not copied"]);
        reader.join().unwrap();
        assert_eq!(fs::read(folder.join("small")).unwrap(), b"2");
        // What has failed before is not forgotten for it.
        for (names, code, words) in [
            (&["large", "small", "-"][..], 0, ""),
            (&["none", "large", "-"], 1, "1 of 2 files were not copied"),
        ] {
            let mut get = ending(":", remote.verb("get", &[]).args(names));
            let mut child = get.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
            let said = Said::of(child.wait_with_output().unwrap()).failed(code, &[words]);
            assert!(!said.err.contains("EPIPE"), "{said:?}");
        }
    });
}

/// Deadlines and signals are heard while a FIFO is waited for, at whichever end nobody is.
#[test]
fn a_fifo_holds_up_no_deadline_and_no_signal() {
    on_a_server_with(Options::default(), |remote| {
        fs::write(remote.home("file"), "1").unwrap();
        let path = fifo(&remote, "fifo");
        let limit = ["--timeout", "1s"];
        let late = ["no end after 1s"];
        run(&remote, "get", &limit, &["file", text(&path)]).failed(255, &late);
        run(&remote, "put", &limit, &[text(&path), "there"]).failed(255, &late);
        // A writer that says nothing.
        let mut put = remote.verb("put", &limit);
        let put = ending("exec 9<>\"$FIFO\"", put.args([text(&path), "there"]));
        said({ put }.env("FIFO", &path)).failed(255, &late);
        let mut put = remote.verb("put", &limit);
        put.args([text(&path), "there"]);
        let mut command = ending(":", &put).stderr(Stdio::piped()).spawn().unwrap();
        // It ends when both ends are open.
        let writer = File::options().write(true).open(&path).unwrap();
        let status = command.wait().unwrap();
        assert_eq!(status.code(), Some(255));
        drop(writer);
        let mut put = remote.verb("put", &[]);
        let mut child = put.args([text(&path), "there"]).spawn().unwrap();
        let mut writer = File::options().write(true).open(&path).unwrap();
        writer.write_all(b"begun").unwrap();
        sys::kill(child.id(), sys::SIGTERM).unwrap();
        let pid = child.id();
        let (done, ended) = std::sync::mpsc::channel();
        thread::spawn(move || done.send(child.wait().unwrap().code()));
        let code = ended.recv_timeout(std::time::Duration::from_secs(15));
        if code.is_err() {
            sys::kill(pid, sys::SIGKILL).unwrap();
        }
        assert_eq!(code, Ok(Some(143)));
        assert_eq!(names(&remote.home("")), ["file"]);
    });
}

/// All bytes pass, from a writer that comes late and to a reader that is slow; what is no regular file keeps its nature.
#[test]
fn what_is_waited_for_is_copied_whole() {
    on_a_server_with(Options::default(), |remote| {
        let bytes = pattern(3 << 20, 5);
        let path = fifo(&remote, "fifo");
        let (to, given) = (path.clone(), bytes.clone());
        let writer = thread::spawn(move || {
            let mut to = File::options().write(true).open(to).unwrap();
            given.chunks(100_001).for_each(|piece| to.write_all(piece).unwrap());
        });
        run(&remote, "put", &[], &[text(&path), "there"]).well();
        writer.join().unwrap();
        assert!(fs::read(remote.home("there")).unwrap() == bytes);
        let from = path.clone();
        let reader = thread::spawn(move || fs::read(from).unwrap());
        run(&remote, "get", &[], &["there", text(&path)]).well();
        assert!(reader.join().unwrap() == bytes);
        // A process that ends before it is read, and one that says nothing.
        for (words, said_there) in [("echo hi", &b"hi\n"[..]), (":", b"")] {
            let put = remote.verb("put", &[]);
            let script = format!("exec 9< <({words}); wait $!; set -- \"$@\" /dev/fd/9 said");
            said(&mut ending(&script, &put)).well();
            assert_eq!(fs::read(remote.home("said")).unwrap(), said_there);
        }
        run(&remote, "put", &[], &["/dev/null", "null"]).well();
        assert_eq!(fs::read(remote.home("null")).unwrap(), b"");
        run(&remote, "get", &["--mode", "600"], &["there", "/dev/null"]).well();
        assert_eq!(mode(Path::new("/dev/null")), 0o666);
    });
}

/// What is asked for is what the file gets, as install(1) has it.
#[test]
fn a_mode_that_is_asked_for_is_exact() {
    let sftp = Sftp::Command("internal-sftp -u 022".into());
    on_a_server_with(Options { sftp, ..Options::default() }, |remote| {
        let from = remote.here("from");
        fs::write(&from, "1").unwrap();
        fs::write(remote.home("from"), "1").unwrap();
        let from = text(&from);
        let copied = |verb: &str, flags: &[&str], from: &str, to: &Path, asked: &str| {
            let mut copy = remote.verb(verb, &["--mode", asked]);
            said(&mut ending("umask 022", copy.args(flags).args([from, text(to)]))).well();
            mode(to)
        };
        for asked in ["666", "600", "777", "444"] {
            let exact = u32::from_str_radix(asked, 8).unwrap();
            for flags in [&[][..], &["--in-place"], &["--resume"], &["--preserve"]] {
                let name = format!("{asked}{}", flags.concat());
                let (there, here) = (remote.home(&name), remote.here(&name));
                assert_eq!(copied("put", flags, from, &there, asked), exact, "put {name}");
                assert_eq!(copied("get", flags, "from", &here, asked), exact, "get {name}");
                // Over what is there; in place it is no new file.
                for path in [&there, &here] {
                    fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
                }
                let exact = if flags == ["--in-place"] { 0o640 } else { exact };
                assert_eq!(copied("put", flags, from, &there, asked), exact, "put {name}");
                assert_eq!(copied("get", flags, "from", &here, asked), exact, "get {name}");
            }
            let there = remote.home(&format!("{asked}-stream"));
            assert_eq!(copied("put", &[], "-", &there, asked), exact);
        }
    });
}
