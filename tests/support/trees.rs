//! Trees of files to be copied, and whether two are the same.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use crate::support::pattern;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A tree with all that is odd in one: empty files and directories, depth, large files, names of any bytes, directories in which
/// nothing can be made. How many files and directories, the root included.
pub fn make(root: &Path) -> (u64, u64) {
    let deep = (0..20).map(|n| format!("d{n}")).collect::<Vec<_>>().join("/");
    let odd = OsStr::from_bytes(b"\xff \x1b[2J\n");
    for folder in
        [Path::new("empty"), Path::new(&deep), Path::new("a/b"), Path::new(odd), Path::new("shut")]
    {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let mut files = 0;
    let mut file = |path: &Path, len: usize| {
        files += 1;
        fs::write(root.join(path), pattern(len, files)).unwrap();
    };
    file(Path::new("one"), 1);
    file(Path::new("nothing"), 0);
    file(Path::new("a/large"), (3 << 20) + 5);
    file(Path::new("a/b/request"), 255 * 1024);
    file(&Path::new(&deep).join("bottom"), 32_769);
    file(&Path::new(odd).join(odd), 1000);
    file(Path::new("shut/in"), 5);
    file(Path::new("-rf"), 7);
    for n in 0..300 {
        file(&Path::new("a").join(format!("{n}")), n * 7);
    }
    fs::set_permissions(root.join("one"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(root.join("shut"), fs::Permissions::from_mode(0o500)).unwrap();
    (files, 1 + 1 + 20 + 2 + 1 + 1)
}

/// Each file and directory, the innermost first.
pub fn walk(root: &Path, each: &mut dyn FnMut(&Path)) {
    for path in entries(root) {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => walk(&path, each),
            Ok(_) => each(&path),
            // Of a copy under way: it has got its name, or is gone.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("{path:?}: {error}"),
        }
    }
    each(root);
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The same names, bytes and permissions, but for what the umask takes.
#[track_caller]
pub fn assert_same(one: &Path, other: &Path) {
    let names = |folder| -> Vec<_> {
        entries(folder).iter().map(|path| path.file_name().unwrap().to_owned()).collect()
    };
    assert_eq!(names(one), names(other), "{one:?} and {other:?}");
    for name in names(one) {
        let (one, other) = (one.join(&name), other.join(&name));
        let (a, b) = (fs::symlink_metadata(&one).unwrap(), fs::symlink_metadata(&other).unwrap());
        assert_eq!(a.file_type(), b.file_type(), "{other:?}");
        let [a, b] = [a, b].map(|meta| meta.permissions().mode() & 0o777);
        assert!(a == b || a & !0o077 == b || a & !0o022 == b, "{other:?}: {a:o}, and then {b:o}");
        if one.is_dir() {
            assert_same(&one, &other);
        } else {
            assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap(), "{other:?}");
        }
    }
}

/// Temporary files that nobody took away, anywhere below.
pub fn leftovers(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(root, &mut |path| {
        if path.as_os_str().as_bytes().ends_with(b".part") {
            found.push(path.to_owned());
        }
    });
    found
}
