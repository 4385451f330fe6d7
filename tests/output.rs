//! The files that a command leaves: never onto what it reads, and whole or not at all.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{
    PATIENCE, WAITCOPY, assert_refused, children, scratch, strace_works, until, watchdog,
};

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

/// A folder with nothing in it.
fn folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_is_written_onto_what_is_read() {
    watchdog(PATIENCE, || {
        let folder = folder("onto");
        for (command, recorded, flag) in
            [("compare", "pages/recorded.json", "--html"), ("draw", "figures/epoll.json", "--svg")]
        {
            let whole = fs::read(format!("{RECORDED}/{recorded}")).unwrap();
            let name = |name: &str| folder.join(format!("{command}-{name}"));
            let [file, link, hard] = ["file", "link", "hard"].map(name);
            fs::write(&file, &whole).unwrap();
            symlink(&file, &link).unwrap();
            fs::hard_link(&file, &hard).unwrap();
            for from in [&file, &link] {
                for to in [&file, &link, &hard] {
                    let mut refused = Command::new(WAITCOPY);
                    refused.arg(command).arg("--from").arg(from).arg(flag).arg(to);
                    let said = format!("{flag} {} is the file that --from reads", to.display());
                    assert_refused(&mut refused, 2, &said);
                    assert!(fs::read(&file).unwrap() == whole, "{refused:?}");
                }
            }
        }
        // What is no file holds nothing that could be lost: this one is no comparison.
        let mut command = Command::new(WAITCOPY);
        command.args(["compare", "--from", "/dev/null", "--html", "/dev/null"]);
        assert_refused(&mut command, 1, "/dev/null: JSON: ");
    });
}

/// Runs that take long, and the flag of what they leave.
const LONG: [(&str, &str); 3] = [
    ("compare epoll --duration 30s --connections 1 --idle none", "--html"),
    ("draw fork --delay 10s", "--svg"),
    ("inspect epoll --messages 10000000", "--raw"),
];

#[test]
fn what_is_broken_off_leaves_nothing_and_keeps_what_was_there() {
    watchdog(PATIENCE, || {
        for (words, flag) in LONG {
            if flag == "--raw" && !strace_works() {
                continue;
            }
            for kept in [false, true] {
                let folder = folder("broken-off");
                let file = folder.join("file");
                if kept {
                    fs::write(&file, "what was there").unwrap();
                }
                let mut command = Command::new(WAITCOPY);
                command.args(words.split(' ')).arg(flag).arg(&file);
                let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
                let mut child = quiet.spawn().unwrap();
                let process = child.id();
                // By then it has looked whether it can write.
                until("it has a server", || !children(process).is_empty());
                waitcopy::sys::kill(process, waitcopy::sys::SIGTERM).unwrap();
                assert!(!child.wait().unwrap().success(), "{words}");
                let expected: &[&str] = if kept { &["file"] } else { &[] };
                assert_eq!(names(&folder), expected, "{words}");
                if kept {
                    assert_eq!(fs::read_to_string(&file).unwrap(), "what was there", "{words}");
                }
            }
        }
    });
}

fn drawn(to: &Path) -> std::process::Output {
    let mut command = Command::new(WAITCOPY);
    command.args(["draw", "--from"]).arg(format!("{RECORDED}/figures/epoll.json"));
    let output = command.arg("--svg").arg(to).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    output
}

#[test]
fn what_is_written_takes_the_place_of_what_was_there() {
    watchdog(PATIENCE, || {
        let expected = fs::read_to_string(format!("{RECORDED}/figures/epoll.svg")).unwrap();
        let folder = folder("place");
        let [file, link, new, dangling] =
            ["file", "link", "new", "dangling"].map(|name| folder.join(name));
        fs::write(&file, "longer ".repeat(100_000)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        // As a person links: from beside it.
        symlink("file", &link).unwrap();
        symlink("new", &dangling).unwrap();
        for (to, lands) in [(&link, &file), (&file, &file), (&dangling, &new)] {
            drawn(to);
            assert!(fs::read_to_string(lands).unwrap() == expected, "{}", to.display());
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink() && dangling.is_symlink() && !file.is_symlink());
        assert_eq!(names(&folder), ["dangling", "file", "link", "new"]);
        // A pipe has no place that could be taken.
        let piped = drawn(Path::new("/dev/stdout"));
        assert!(piped.stdout == expected.as_bytes());
        // A reader takes the first close for the end.
        let pipe = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read(pipe).unwrap())
        };
        drawn(&pipe);
        assert!(reader.join().unwrap() == expected.as_bytes());
    });
}
