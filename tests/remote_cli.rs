//! `waitcopy remote`, verb by verb, against a real sshd.
#![cfg(feature = "remote")]

#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote_cli::{Remote, Said, names, on_a_server, said};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use support::{PATIENCE, pattern, watchdog};
use waitcopy::json::Value;
use waitcopy::lab::sshd::{Options, Sftp};
use waitcopy::sys;

#[test]
fn the_status_of_a_command_is_ours() {
    on_a_server(|remote| {
        assert_eq!(remote.exec(&[], "echo out; exit 0").well().out, b"out\n");
        assert_eq!(remote.exec(&[], "exit 7").failed(7, &[]).err, "");
        remote.exec(&[], "exit 255").failed(255, &[]);
        remote.exec(&[], "kill -KILL $$").failed(137, &["ended by SIGKILL"]);
        let both = remote.exec(&[], "echo out; echo err >&2");
        assert_eq!((both.out.as_slice(), both.err.as_str()), (&b"out\n"[..], "err\n"));
        // The words are joined by blanks and read by the shell there.
        let words = said(remote.verb("exec", &[]).args(["--", "printf", "%s-", "a b"])).well();
        assert_eq!(words.text(), "a-b-");
    });
}

#[test]
fn the_three_streams_are_ours_in_any_amount() {
    on_a_server(|remote| {
        let input = pattern(10 << 20, 1);
        let mut command = remote.verb("exec", &[]);
        command.args(["--", "tee /dev/stderr"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                stdin.write_all(&input).unwrap();
                drop(stdin);
            });
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success() && output.stdout == input && output.stderr == input);
        // Nothing is taken from our input where the command shall have none.
        let script = "printf 'one\\ntwo\\n' | { \"$@\" ; cat; }";
        let program = remote.verb("exec", &["--no-input"]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(program.get_program()).args(program.get_args());
        assert_eq!(said(shell.args(["--", "cat; echo end"])).well().text(), "end\none\ntwo\n");
    });
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    on_a_server(|remote| {
        for words in [&["exec", "yes"][..], &["cat", "/dev/zero"], &["get", "/dev/zero", "-"]] {
            let mut command = remote.verb(words[0], &[]);
            command.args(&words[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // As `| head -c 1`.
            let mut one = [0];
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut one).unwrap();
            drop(child.stdout.take());
            Said::of(child.wait_with_output().unwrap()).well();
        }
    });
}

#[test]
fn variables_and_a_terminal() {
    on_a_server(|remote| {
        let run = remote
            .exec(&["--env", "WAITCOPY_X=a b", "--env", "OTHER=1"], "echo \"$WAITCOPY_X,$OTHER\"");
        assert_eq!(run.failed(0, &["did not take the variable OTHER"]).text(), "a b,\n");
        assert_eq!(remote.exec(&["--pty"], "test -t 0 && test -t 1 && test -t 2").code, 0);
        assert_eq!(remote.exec(&[], "test -t 0").code, 1);
        remote.exec(&["--env", "X"], "true").failed(2, &["--env X: NAME=VALUE is expected"]);
    });
}

#[test]
fn json_has_it_all_and_no_byte_is_lost() {
    on_a_server(|remote| {
        let json = remote
            .exec(&["--json", "--phases"], "echo hi; printf '\\377' >&2; exit 3")
            .failed(3, &[])
            .json();
        let text = |path| json.get(path).cloned();
        assert_eq!(text("result.stdout"), Some("hi\n".into()));
        assert_eq!(text("result.stderr.base64"), Some("/w==".into()));
        assert_eq!(text("result.exit.status"), Some(Value::Count(3)));
        assert_eq!(text("user"), Some(remote.sshd.user().into()));
        for step in ["resolve_ns", "connect_ns", "handshake_ns", "auth_ns"] {
            assert!(json.count(&format!("phases.{step}")).unwrap() > 0, "{step}");
        }
        // The parts are the whole.
        for part in ["to_session", "session"] {
            let ns = |name| json.count(&format!("phases.{part}.{name}_ns")).unwrap();
            assert_eq!(
                ns("wall"),
                ns("wait") + ns("copy_in") + ns("copy_out") + ns("other"),
                "{part}"
            );
            assert!(ns("wait") > 0 && ns("copy_in") > 0, "{part}");
        }
        let json = remote
            .run("cat", &["--json"], &["/etc/passwd"])
            .failed(2, &["both the file and the JSON"]);
        assert!(json.out.is_empty());
        let json = remote.exec(&["--json"], "kill -9 $$").failed(137, &[]).json();
        assert_eq!(json.get("result.exit.signal"), Some(&"KILL".into()));
    });
}

#[test]
fn phases_show_where_the_time_went() {
    on_a_server(|remote| {
        // The wait is the sleep, whatever the machine does beside.
        let json = remote.exec(&["--phases", "--json"], "sleep 0.3").failed(0, &[]).json();
        assert!(json.count("phases.session.wait_ns").unwrap() >= 300_000_000, "{json:#}");
        let run = remote.exec(&["--phases"], "echo hi");
        assert_eq!(run.text(), "hi\n");
        for word in [
            "phases of exec on",
            "resolve",
            "connect",
            "handshake",
            "auth",
            "wait",
            "copy in",
            "socket:",
        ] {
            assert!(run.err.contains(word), "{word}: {}", run.err);
        }
    });
}

#[test]
fn files_go_there_and_back() {
    on_a_server(|remote| {
        let bytes = pattern(3_000_001, 2);
        let file = remote.here("file");
        fs::write(&file, &bytes).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let file = file.to_str().unwrap();
        remote.run("mkdir", &["--parents"], &["a/b", "a"]).well();
        remote.run("put", &[], &[file, "a/there"]).well();
        remote.run("put", &[], &[file, file, "a/b/"]).well();
        remote.run("put", &["--mode", "600", "--sync"], &[file, "a/b/sync"]).well();
        for (place, mode) in [("a/there", 0o640), ("a/b/file", 0o640), ("a/b/sync", 0o600)] {
            let place = remote.home(place);
            assert!(fs::read(&place).unwrap() == bytes, "{place:?}");
            assert_eq!(
                fs::metadata(&place).unwrap().permissions().mode() & 0o777,
                mode,
                "{place:?}"
            );
        }
        let back = remote.here("back");
        let back = back.to_str().unwrap();
        let json = remote.run("get", &["--json"], &["a/there", back]).well().json();
        assert!(fs::read(back).unwrap() == bytes);
        let Some(Value::List(files)) = json.get("result") else { panic!("{json}") };
        assert_eq!(files[0].count("bytes"), Some(3_000_001));
        // Standard input and output are files like others.
        assert!(remote.run("get", &[], &["a/there", "-"]).well().out == bytes);
        let mut put = remote.verb("put", &[]);
        put.args(["-", "a/from input"]).stdin(fs::File::open(file).unwrap());
        said(&mut put).well();
        assert!(remote.run("cat", &[], &["a/from input"]).well().out == bytes);
        // In place, a second name keeps leading to the file.
        fs::hard_link(remote.home("a/there"), remote.home("second")).unwrap();
        let mut put = remote.verb("put", &["--in-place"]);
        said(put.args(["-", "a/there"])).well();
        assert_eq!(fs::read(remote.home("second")).unwrap(), b"");
        assert_eq!(names(&remote.home("a")), ["b", "from input", "there"]);
    });
}

/// Whoever may not read a file may not read what replaces it.
#[test]
fn a_file_that_is_replaced_keeps_its_permissions() {
    // Without posix-rename the old one is removed first.
    for command in ["internal-sftp", "internal-sftp -P posix-rename"] {
        watchdog(PATIENCE, move || {
            let sftp = Sftp::Command(format!("{command} -u 077"));
            let Some(remote) = Remote::start(Options { sftp, ..Options::default() }) else {
                return;
            };
            let mode =
                |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            let open = |path: &std::path::Path, mode| {
                fs::write(path, "old").unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            };
            let (there, here) = (remote.here("there"), remote.here("here"));
            let [to, from] = [&there, &here].map(|path| path.to_str().unwrap());
            for kept in [0o600, 0o664] {
                fs::write(&here, "new").unwrap();
                fs::set_permissions(&here, fs::Permissions::from_mode(0o644)).unwrap();
                open(&there, kept);
                remote.run("put", &[], &[from, to]).well();
                assert_eq!((fs::read(&there).unwrap(), mode(&there)), (b"new".to_vec(), kept));
                open(&here, kept);
                fs::set_permissions(&there, fs::Permissions::from_mode(0o644)).unwrap();
                remote.run("get", &[], &[to, from]).well();
                assert_eq!((fs::read(&here).unwrap(), mode(&here)), (b"new".to_vec(), kept));
                remote.run("get", &["--mode", "640"], &[to, from]).well();
                assert_eq!(mode(&here), 0o640);
            }
            assert_eq!(names(&remote.here("")), ["here", "there"]);
        });
    }
}

#[test]
fn one_file_of_several_that_fails_holds_up_none() {
    on_a_server(|remote| {
        let (one, two) = (remote.here("one"), remote.here("two"));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        let none = remote.here("none");
        let [one, two, none] = [&one, &two, &none].map(|path| path.to_str().unwrap());
        remote
            .run("put", &[], &[one, none, two, "."])
            .failed(1, &["none: no such file", "1 of 3 files were not copied"]);
        assert_eq!(fs::read(remote.home("two")).unwrap(), b"2");
        remote.run("put", &[], &[one, two, "nowhere"]).failed(1, &["nowhere is not a directory"]);
        remote.run("put", &[], &[one, "nowhere/"]).failed(1, &["nowhere/ is not a directory"]);
        remote.run("put", &[], &["-", "."]).failed(2, &["'-' has no name"]);
        remote.run("put", &[], &[one]).failed(2, &["put HOST LOCAL... REMOTE"]);
        remote.run("put", &["--mode", "9"], &[one, "x"]).failed(2, &["three octal digits"]);
        remote.run("get", &[], &["none", one]).failed(1, &["open none: No such file"]);
        assert_eq!(fs::read(one).unwrap(), b"1", "a get that fails leaves what was there");
        remote.run("get", &[], &["one", "/nowhere/x"]).failed(1, &["/nowhere/", "ENOENT"]);
        remote.run("get", &[], &[".", one]).failed(1, &["is a directory"]);
    });
}

#[test]
fn names_are_listed_moved_and_removed() {
    on_a_server(|remote| {
        for name in ["b", ".hidden", "a\nb"] {
            fs::write(remote.home(name), name).unwrap();
        }
        fs::create_dir(remote.home("dir")).unwrap();
        std::os::unix::fs::symlink("b", remote.home("link")).unwrap();
        let plain = remote.run("ls", &[], &[]).well();
        assert_eq!(plain.text(), "a\nb\nb\ndir\nlink\n");
        let all = remote.run("ls", &["--all"], &[]).well();
        assert!(all.text().starts_with(".hidden\na\nb\n"), "{all:?}");
        let long = remote.run("ls", &["--long"], &["b", "dir"]).well();
        assert!(
            long.text().starts_with("b:\n-rw-r--r--") && long.text().contains("\n\ndir:\n"),
            "{long:?}"
        );
        let json = remote.run("ls", &["--json"], &["."]).well().json();
        let Some(Value::List(folders)) = json.get("result") else { panic!("{json}") };
        let Some(Value::List(entries)) = folders[0].get("entries") else { panic!("{json}") };
        let kinds: Vec<_> = entries.iter().map(|e| e.get("kind").unwrap().to_string()).collect();
        assert_eq!(kinds, ["\"file\"", "\"file\"", "\"directory\"", "\"symbolic link\""]);

        let stat = remote
            .run("stat", &["--no-follow"], &["link", "none"])
            .failed(1, &["lstat none: No such file"]);
        assert!(stat.text().starts_with("link -> b\n  symbolic link  lrwxrwxrwx"), "{stat:?}");
        assert!(remote.run("stat", &[], &["link"]).well().text().contains("1 bytes"));

        remote.run("mv", &["--no-clobber"], &["b", "a\nb"]).failed(1, &["rename b: Failure"]);
        remote.run("mv", &[], &["b", "a\nb"]).well();
        assert_eq!(fs::read(remote.home("a\nb")).unwrap(), b"b", "over what was there");
        remote.run("mv", &[], &["a\nb", "link", "dir"]).well();
        remote.run("mv", &[], &["x", "y", "z"]).failed(1, &["z is not a directory"]);
        assert_eq!(names(&remote.home("dir")), ["a\nb", "link"]);

        remote.run("rm", &[], &["dir"]).failed(1, &["it is a directory; --dir"]);
        remote.run("rm", &["--dir"], &["dir"]).failed(1, &["rmdir dir"]);
        remote.run("rm", &["--dir"], &["dir/link", "dir/a\nb", "dir", ".hidden"]).well();
        remote.run("rm", &[], &["none"]).failed(1, &["remove none: No such file"]);
        remote.run("rm", &["--force"], &["none"]).well();
        remote.run("mkdir", &["--mode", "700"], &["own"]).well();
        let mode = fs::metadata(remote.home("own")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        remote.run("mkdir", &[], &["own"]).failed(1, &["mkdir own: Failure"]);
        assert_eq!(remote.run("ls", &["--all"], &[]).well().text().lines().last(), Some("own"));
    });
}

#[test]
fn file_systems_are_as_the_kernel_says() {
    on_a_server(|remote| {
        let json = remote.run("df", &["--json"], &["/proc", "."]).well().json();
        let Some(Value::List(systems)) = json.get("result") else { panic!("{json}") };
        assert_eq!(systems[0].count("size"), Some(0));
        assert!(systems[1].count("size") > systems[1].count("used"), "{json}");
        let table =
            remote.run("df", &[], &["/proc", "/none"]).failed(1, &["statvfs /none: No such file"]);
        let rows: Vec<_> = table.text().lines().collect();
        assert!(
            rows[0].starts_with("Path ") && rows[1].ends_with(" -") && rows.len() == 2,
            "{rows:?}"
        );
    });
}

#[test]
fn what_cannot_work_says_why() {
    watchdog(PATIENCE, || {
        let Some(remote) = Remote::start(Options { sftp: Sftp::Absent, ..Options::default() })
        else {
            return;
        };
        remote.run("ls", &[], &[]).failed(255, &["the server has no sftp"]);
        remote.exec(&["--timeout", "300ms"], "sleep 60").failed(255, &["no end after 300ms"]);
        remote
            .exec(&["--idle-timeout", "300ms"], "sleep 60")
            .failed(255, &["the connection is silent"]);
        let error = remote.exec(&["--timeout", "300ms", "--json"], "sleep 60").json();
        assert_eq!(error.get("error.reason"), Some(&"timed out".into()));
        for (words, code, why) in [
            (&["exec"][..], 2, "which host?"),
            (&["exec", "host"], 2, "which command?"),
            (&["exec", "--", "-oProxyCommand=id", "true"], 2, "may begin with '-'"),
            (&["exec", "a;b", "true"], 2, "to a shell"),
            (&["put", "host", "x"], 2, "from where to where?"),
            (&["ls", "--host-key", "no", "host"], 2, "reject, accept-new or warn"),
            (&["exec", "host", "ls", "-l"], 2, "stand behind --"),
            (&["exec", "--config", "/none/x", "host", "true"], 78, "/none/x"),
            (&["exec", "--config", "none", "127.0.0.1:1", "true"], 255, "ECONNREFUSED"),
            (&["exec", "--config", "none", "none.invalid", "true"], 255, "resolve: none.invalid"),
            (&["fly", "host"], 2, "no verb 'fly'"),
        ] {
            let mut command = Command::new(support::WAITCOPY);
            support::assert_refused(command.arg("remote").args(words), code, "");
            said(&mut command).failed(code, &[why]);
        }
    });
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_so() {
    on_a_server(|remote| {
        let mut program = remote.verb("exec", &[]);
        program.args(["--", "echo begun; read -r line; echo \"$line\""]);
        // As nohup(1) starts it, and as a shell without job control what it puts into the background.
        let mut ignoring = Command::new("sh");
        ignoring.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]);
        ignoring.arg(program.get_program()).args(program.get_args());
        ignoring.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ignoring.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "begun");
        sys::kill(child.id(), sys::SIGHUP).unwrap();
        sys::kill(child.id(), sys::SIGINT).unwrap();
        child.stdin.take().unwrap().write_all(b"still here\n").unwrap();
        assert_eq!(lines.next().map(Result::unwrap).as_deref(), Some("still here"));
        assert!(child.wait().unwrap().success());
    });
}
