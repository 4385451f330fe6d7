//! Whole trees, there and back, on a real sshd: what is copied, what is left out, what fails, and by name.
#![cfg(feature = "remote")]

#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;
#[path = "support/trees.rs"]
mod trees;

use remote_cli::{names, on_a_server_with};
use sessions::{descriptors, forget_peak, memory_kib, on, peak_kib};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use support::{alone, pattern, scratch};
use trees::{assert_same, make};
use waitcopy::json::Value;
use waitcopy::lab::sshd::{Accounts, Options, Sftp, Sshd};
use waitcopy::remote::sftp::{Event, Tree};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server that renames over files and one that cannot, one that tells its limits and one that does not; keys that change all the
/// time.
#[test]
fn a_tree_is_the_same_there_and_back() {
    for (command, rekey) in [
        ("internal-sftp", None),
        ("internal-sftp -P posix-rename,limits", None),
        ("internal-sftp", Some("256K".to_owned())),
    ] {
        let (sftp, rekey_limit) = (Sftp::Command(command.into()), rekey);
        on_a_server_with(Options { sftp, rekey_limit, ..Options::default() }, |remote| {
            let (from, back) = (remote.here("from"), remote.here("back"));
            let (files, directories) = make(&from);
            let said = remote.run("put", &["-r"], &[text(&from), "there"]).well();
            let words = format!("there: {files} files, {directories} directories, ");
            assert!(said.text().contains(&words), "{said:?}");
            assert_same(&from, &remote.home("there"));
            // Again, over what is there; the tree becomes a directory in one that is there.
            remote.run("put", &["-r"], &[&format!("{}/.", text(&from)), "there"]).well();
            assert_same(&from, &remote.home("there"));
            remote.run("put", &["--recursive"], &[text(&from), "there/empty/"]).well();
            assert_same(&from, &remote.home("there/empty/from"));
            fs::remove_dir_all(remote.home("there/empty/from")).unwrap();

            let json = remote.run("get", &["-r", "--json"], &["there", text(&back)]).well().json();
            let Some(Value::List(trees)) = json.get("result") else { panic!("{json}") };
            assert_eq!(trees[0].count("files"), Some(files));
            assert_eq!(trees[0].count("directories"), Some(directories));
            assert_eq!(trees[0].count("failed"), Some(0));
            assert_same(&from, &back);
            remote.run("get", &["-r"], &["there/", &format!("{}/", text(&back))]).well();
            assert_same(&from, &back.join("there"));
            assert!(
                trees::leftovers(&remote.home("")).is_empty() && trees::leftovers(&back).is_empty()
            );
        });
    }
}

/// Whoever fails holds up none of the others, and is told by name.
#[test]
fn failures_are_told_by_name_and_the_rest_is_copied() {
    on_a_server_with(Options::default(), |remote| {
        let (from, back) = (remote.here("from"), remote.here("back"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        for name in ["1", "a/2", "a/b/3", "4"] {
            fs::write(from.join(name), name).unwrap();
        }
        let fifo = std::process::Command::new("mkfifo").arg(from.join("a/fifo")).status().unwrap();
        assert!(fifo.success());
        // In the way: directories where files shall go, and a file where a directory shall.
        for root in [&remote.home("there"), &back] {
            fs::create_dir_all(root.join("1")).unwrap();
            fs::create_dir_all(root.join("a")).unwrap();
            fs::write(root.join("a/b"), "a file").unwrap();
        }
        let into = format!("{}/.", text(&from));
        let run = remote.run("put", &["-r"], &[&into, "there"]).failed(
            1,
            &[
                "waitcopy: 1: sftp: there/1 is there, and is no file",
                "waitcopy: a/b: sftp: mkdir there/a/b: Failure",
                "waitcopy: a/fifo: neither file nor directory, left out",
                "2 were not copied",
            ],
        );
        assert!(
            run.text().contains("2 files, 2 directories")
                && run.text().ends_with("; 1 left out, 2 failed\n"),
            "{run:?}"
        );
        assert_eq!(names(&remote.home("there")), ["1", "4", "a"]);
        assert_eq!(names(&remote.home("there/a")), ["2", "b"]);
        assert_eq!(fs::read(remote.home("there/a/b")).unwrap(), b"a file");
        let run = remote.run("get", &["-r", "--json"], &[text(&from), text(&back.join("."))]);
        // The same way round: `from` goes into the directory that is there.
        assert_eq!(names(&back), ["1", "a", "from"], "{run:?}");
        let run = remote
            .run("get", &["-r", "--json"], &[&into, text(&back)])
            .failed(1, &["1: ", "a/b: "]);
        let json = run.json();
        let Some(Value::List(trees)) = json.get("result") else { panic!("{json}") };
        assert_eq!(
            (trees[0].count("files"), trees[0].count("failed")),
            (Some(2), Some(2)),
            "{json}"
        );
        let Some(Value::List(failures)) = trees[0].get("failures") else { panic!("{json}") };
        let mut paths: Vec<_> =
            failures.iter().map(|f| f.get("path").unwrap().to_string()).collect();
        paths.sort();
        assert_eq!(paths, ["\"1\"", "\"a/b\""]);
        assert_eq!(fs::read(back.join("a/b")).unwrap(), b"a file");
        for (words, why) in [
            (&["-r", "--mode", "600"][..], "--mode: not for trees"),
            (&["--links", "keep"], "--links: for trees"),
            (&["-r", "--links", "all"], "skip, keep or follow"),
        ] {
            remote.run("put", words, &[&into, "x"]).failed(2, &[why]);
        }
        remote.run("get", &["-r"], &["none", text(&back)]).failed(1, &["open none: No such file"]);
        // A file is one with -r, too.
        remote.run("put", &["-r"], &[text(&from.join("4")), "there/a"]).well();
        assert_eq!(fs::read(remote.home("there/a/4")).unwrap(), b"4");
    });
}

#[test]
fn links_are_skipped_kept_or_followed() {
    on_a_server_with(Options::default(), |remote| {
        let from = remote.here("from");
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/file"), "bytes").unwrap();
        fs::write(remote.here("outside"), "outside").unwrap();
        for (target, link) in [
            ("file", "sub/near"),
            ("../sub", "sub/up"),
            ("sub", "dir"),
            ("../outside", "out"),
            ("none", "dangling"),
            ("/etc/hostname", "absolute"),
        ] {
            symlink(target, from.join(link)).unwrap();
        }
        let skipped = remote.run("put", &["-r"], &[text(&from), "skip"]);
        assert!(
            skipped.code == 0 && skipped.err.matches("a symbolic link, left out").count() == 6,
            "{skipped:?}"
        );
        assert_eq!(names(&remote.home("skip")), ["sub"]);
        assert_eq!(names(&remote.home("skip/sub")), ["file"]);

        // To the server as they are: they are our own.
        let kept = remote.run("put", &["-r", "--links", "keep"], &[text(&from), "keep"]).well();
        assert!(kept.text().contains("; 6 links made"), "{kept:?}");
        for link in ["sub/near", "sub/up", "dir", "out", "dangling", "absolute"] {
            let (ours, theirs) = (from.join(link), remote.home("keep").join(link));
            assert_eq!(fs::read_link(theirs).unwrap(), fs::read_link(ours).unwrap());
        }
        // Again: a link that is there is replaced, and not followed.
        fs::write(remote.home("outside"), "theirs").unwrap();
        remote
            .run("put", &["-r", "--links", "keep"], &[&format!("{}/.", text(&from)), "keep"])
            .well();
        assert_eq!(fs::read(remote.home("outside")).unwrap(), b"theirs");

        // From the server only those that stay below.
        let back = remote.here("back");
        let kept = remote.run("get", &["-r", "--links", "keep"], &["keep", text(&back)]);
        let kept = kept.failed(
            1,
            &["out: ", "leads to '../outside', out of the tree", "absolute: ", "2 were not copied"],
        );
        assert!(kept.text().contains("4 links made, 2 failed"), "{kept:?}");
        assert_eq!(names(&back), ["dangling", "dir", "sub"]);
        assert_eq!(fs::read_link(back.join("sub/up")).unwrap(), Path::new("../sub"));
        // A file in the place of a link replaces the link.
        fs::remove_file(remote.home("keep/dangling")).unwrap();
        fs::write(remote.home("keep/dangling"), "now a file").unwrap();
        remote.run("get", &["-r"], &["keep/", text(&back)]);
        remote.run("get", &["-r"], &["keep/.", text(&back)]);
        assert_eq!(fs::read(back.join("dangling")).unwrap(), b"now a file");
        assert!(!back.join("none").exists());

        for (verb, words) in [
            ("put", [text(&from), "followed"]),
            ("get", [text(&from), text(&remote.here("followed"))]),
        ] {
            let run = remote.run(verb, &["-r", "--links", "follow"], &words);
            let run = run.failed(
                1,
                &["dangling: ", "leads back to a directory that it is in", "3 were not copied"],
            );
            let root =
                if verb == "put" { remote.home("followed") } else { remote.here("followed") };
            assert_eq!(names(&root), ["absolute", "dir", "out", "sub"], "{run:?}");
            assert_eq!(fs::read(root.join("out")).unwrap(), b"outside");
            assert_eq!(fs::read(root.join("dir/near")).unwrap(), b"bytes");
            assert!(fs::symlink_metadata(root.join("sub/near")).unwrap().is_file());
        }
    });
}

#[test]
fn preserve_keeps_permissions_and_times_of_files_and_directories() {
    on_a_server_with(
        Options { sftp: Sftp::Command("internal-sftp -u 077".into()), ..Options::default() },
        |remote| {
            let (from, back) = (remote.here("from"), remote.here("back"));
            make(&from);
            let old =
                std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            trees::walk(&from, &mut |path| {
                let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
                // No umask lets all of these through.
                fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o022)).unwrap();
                fs::File::open(path).unwrap().set_modified(old).unwrap();
            });
            let there = remote.home("there");
            remote.run("put", &["-rp"], &[text(&from), "there"]).well();
            remote.run("get", &["-r", "--preserve"], &["there", text(&back)]).well();
            for root in [&there, &back] {
                assert_same(&from, root);
                trees::walk(&from, &mut |path| {
                    let copy = root.join(path.strip_prefix(&from).unwrap());
                    let (ours, theirs) =
                        (fs::metadata(path).unwrap(), fs::metadata(&copy).unwrap());
                    assert_eq!(
                        (theirs.mode(), theirs.mtime()),
                        (ours.mode(), ours.mtime()),
                        "{copy:?}"
                    );
                });
            }
            // A file alone.
            remote.run("put", &["-p"], &[text(&from.join("one")), "alone"]).well();
            remote.run("get", &["-p"], &["alone", text(&remote.here("alone"))]).well();
            let ours = fs::metadata(from.join("one")).unwrap();
            for copy in [remote.home("alone"), remote.here("alone")] {
                let theirs = fs::metadata(&copy).unwrap();
                assert_eq!(
                    (theirs.mode(), theirs.mtime()),
                    (ours.mode(), ours.mtime()),
                    "{copy:?}"
                );
            }
        },
    );
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Root reads what the account there may not: each gets its permissions while the one that it is in still lets it.
#[test]
fn directories_within_each_other_that_nobody_may_enter() {
    let options = Options { accounts: Accounts::Password, ..Options::default() };
    on_a_server_with(options, |remote| {
        let from = remote.here("from");
        let folders = [from.join("a"), from.join("a/b"), from.join("a/b/c")];
        fs::create_dir_all(&folders[2]).unwrap();
        fs::write(folders[2].join("file"), "bytes").unwrap();
        for (folder, mode) in folders.iter().zip([0o070, 0o007, 0o000]) {
            fs::set_permissions(folder, PermissionsExt::from_mode(mode)).unwrap();
        }
        for (flags, name) in [("-r", "plain"), ("-rp", "preserved")] {
            remote.run("put", &[flags], &[text(&from), name]).well();
            let there = remote.home(name);
            for folder in ["a", "a/b", "a/b/c"] {
                assert_eq!(mode(&there.join(folder)), mode(&from.join(folder)), "{folder}");
            }
            assert_eq!(fs::read(there.join("a/b/c/file")).unwrap(), b"bytes");
        }
    });
}

/// What is left out when there are too many takes nothing from the directories that are there.
#[test]
fn a_directory_is_finished_when_there_are_too_many_entries() {
    on_a_server_with(Options::default(), |remote| {
        let from = remote.here("from");
        for name in ["shut/x", "shut/y"] {
            fs::create_dir_all(from.join(name)).unwrap();
        }
        fs::set_permissions(from.join("shut"), PermissionsExt::from_mode(0o500)).unwrap();
        let words = ["-r", "--max-entries", "2"];
        remote.run("put", &words, &[text(&from), "there"]).failed(1, &["more entries than are"]);
        assert_eq!(names(&remote.home("there")), ["shut"]);
        assert_eq!(mode(&remote.home("there/shut")), 0o500);
    });
}

/// Ten thousand files: in flight memory and descriptors are what they were after a fifth of them.
#[test]
fn ten_thousand_files_in_flat_memory() {
    const FILES: u64 = 10_000;
    alone("ten_thousand_files_in_flat_memory", || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let (from, back) = (scratch("10000"), scratch("10000-back"));
        for n in 0..FILES {
            let folder = from.join(format!("{:02}", n % 100));
            if n < 100 {
                fs::create_dir_all(&folder).unwrap();
            }
            fs::write(folder.join(n.to_string()), pattern(1024, n)).unwrap();
        }
        on(&sshd, async |_, session| {
            let sftp = session.sftp().await.unwrap();
            let there = sshd.home().join("there");
            for put in [true, false] {
                let (mut early, mut late) = ((0, 0), (0, 0));
                let how = Tree::new().told(|event| {
                    let now = || (descriptors(), memory_kib());
                    match event {
                        Event::Bytes(bytes) if bytes == FILES / 5 * 1024 => early = now(),
                        Event::Bytes(bytes) if bytes == FILES / 10 * 9 * 1024 => late = now(),
                        _ => {}
                    }
                });
                let done = match put {
                    true => sftp.put_tree(&from, &there, how).await,
                    false => sftp.get_tree(&there, &back, how).await,
                };
                let done = done.unwrap();
                assert_eq!(
                    (done.files, done.directories, done.failed),
                    (FILES, 101, 0),
                    "{done:?}"
                );
                assert_eq!(done.bytes, FILES * 1024);
                println!("{early:?} descriptors and KiB after a fifth, {late:?} after nine tenths");
                assert!(early.0 > 0 && late.0 < early.0 + 150, "{early:?}, {late:?}");
                assert!(late.1 < early.1 + 1024 && late.1 < 64 << 10, "{early:?}, {late:?}");
            }
            sftp.close().await.unwrap();
        });
        assert!(descriptors() < 20, "{}", descriptors());
        assert_same(&from, &back);
        fs::remove_dir_all(&from).unwrap();
        fs::remove_dir_all(&back).unwrap();
    });
}

/// Large files side by side share what may be under way.
#[test]
fn large_files_in_a_tree_share_the_memory() {
    alone("large_files_in_a_tree_share_the_memory", || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let (from, back) = (scratch("large"), scratch("large-back"));
        fs::create_dir_all(&from).unwrap();
        for n in 0..100 {
            fs::write(from.join(n.to_string()), pattern(1 << 20, n)).unwrap();
        }
        on(&sshd, async |_, session| {
            let sftp = session.sftp().await.unwrap();
            let there = sshd.home().join("there");
            let before = forget_peak();
            sftp.put_tree(&from, &there, Tree::new()).await.unwrap();
            sftp.get_tree(&there, &back, Tree::new()).await.unwrap();
            let grown = peak_kib() - before;
            println!("{grown} KiB more");
            assert!(grown < 24 << 10, "{grown} KiB");
            assert_same(&from, &back);
        });
        fs::remove_dir_all(&from).unwrap();
        fs::remove_dir_all(&back).unwrap();
    });
}
