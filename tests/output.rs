//! The files that a command leaves: never onto what it reads.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use support::{PATIENCE, WAITCOPY, assert_refused, scratch, watchdog};

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

/// A folder with nothing in it.
fn folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    folder
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
