//! Reading and appending to files.

use crate::keys::{Directory, ECDSA, ED25519, RSA, key, line, other_ed25519, text};
use crate::support::{PATIENCE, alone, until, watchdog};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use waitcopy::remote::host_key::HostKey;
use waitcopy::remote::known_hosts::{KnownHosts, Verdict, add};
use waitcopy::sys;

#[test]
fn files_are_read_in_order_and_a_missing_one_is_empty() {
    let home = Directory::new("order");
    let files = [
        home.file("first", &line("h", RSA)),
        home.path("missing"),
        home.file("last", &format!("{}\n{}", line("h", ED25519), line("h", RSA))),
    ];
    let hosts = KnownHosts::load(&files).unwrap();
    assert_eq!(hosts.algorithms("h", 22), ["ssh-rsa", "ssh-ed25519"]);
    let place = |name: &str, line: usize| format!("{}:{line}", home.path(name).display());
    let known = |key| match hosts.check("h", 22, &key) {
        Verdict::Known(place) => place.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(known(key(RSA)), place("first", 1));
    assert_eq!(known(key(ED25519)), place("last", 1));
    let usual = KnownHosts::usual_files(Path::new("/home/me"));
    assert_eq!(usual[0], Path::new("/home/me/.ssh/known_hosts"));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
    let home = Directory::new("unreadable");
    let error = KnownHosts::load(&[home.path("")]).unwrap_err().to_string();
    assert!(error.contains(&home.path("").display().to_string()), "{error}");
    assert!(error.ends_with("(EISDIR)"), "{error}");
    let below_a_file = home.file("file", "").join("known_hosts");
    let error = KnownHosts::load(&[&below_a_file]).unwrap_err().to_string();
    assert_eq!(error, format!("open {}: not a directory (ENOTDIR)", below_a_file.display()));
    // Without an end, it is not read to the end.
    let endless = KnownHosts::load(&["/dev/zero"]).unwrap_err().to_string();
    assert_eq!(endless, "read /dev/zero: file too large");
    assert!(KnownHosts::load(&["/dev/null"]).is_ok());
}

#[test]
fn add_makes_directory_and_file_for_the_owner_alone() {
    let home = Directory::new("modes");
    let file = home.path(".ssh/known_hosts");
    assert_eq!(add(&file, "Example.com", 22, &key(ED25519), false).unwrap(), Verdict::Unknown);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&home.path(".ssh")), mode(&file)), (0o700, 0o600));
    assert_eq!(text(&file), format!("{}\n", line("example.com", ED25519)));
    assert_eq!(add(&file, "example.com", 2222, &key(RSA), false).unwrap(), Verdict::Unknown);
    assert!(text(&file).ends_with(&format!("\n{}\n", line("[example.com]:2222", RSA))));
    // What is there keeps its mode.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let _ = add(&file, "more", 22, &key(RSA), false).unwrap();
    assert_eq!(mode(&file), 0o644);
    let deep = home.path("none/.ssh/known_hosts");
    let error = add(&deep, "h", 22, &key(RSA), false).unwrap_err().to_string();
    let parent = home.path("none/.ssh");
    assert!(error.starts_with(&format!("mkdir {}: ", parent.display())), "{error}");
}

#[test]
fn add_completes_a_last_line_without_a_newline() {
    let home = Directory::new("newline");
    let file = home.file("kh", &format!("{}\n# the end", line("a", RSA)));
    let _ = add(&file, "b", 22, &key(ED25519), false).unwrap();
    let expected = [&line("a", RSA), "# the end", &line("b", ED25519), ""].join("\n");
    assert_eq!(text(&file), expected);
}

#[test]
fn add_writes_nothing_twice_and_nothing_beside_a_changed_or_revoked_key() {
    let home = Directory::new("twice");
    for hashed in [false, true] {
        let start = format!("@revoked {}\n", line("*", RSA));
        let file = home.file("kh", &start);
        assert_eq!(add(&file, "h", 22, &key(ED25519), hashed).unwrap(), Verdict::Unknown);
        let before = text(&file);
        let again = |host, key: &HostKey| add(&file, host, 22, key, !hashed).unwrap();
        assert!(matches!(again("H", &key(ED25519)), Verdict::Known(p) if p.line == 2));
        assert!(matches!(again("h", &other_ed25519()), Verdict::Changed(_)));
        assert!(matches!(again("h", &key(RSA)), Verdict::Revoked(_)));
        assert!(matches!(again("h", &key(ECDSA)), Verdict::OtherAlgorithms(_)));
        assert_eq!(text(&file), before);
    }
}

#[test]
fn add_hashes_with_a_new_salt_each_time() {
    let home = Directory::new("hashed");
    let file = home.path("kh");
    let _ = add(&file, "Example.com", 2222, &key(ED25519), true).unwrap();
    let _ = add(&file, "Example.com", 2223, &key(RSA), true).unwrap();
    let (text, hosts) = (text(&file), KnownHosts::load(&[&file]).unwrap());
    let salts: Vec<_> = text.lines().filter_map(|line| line.split('|').nth(2)).collect();
    assert!(salts.len() == 2 && salts[0] != salts[1], "{text}");
    assert!(!text.to_lowercase().contains("example"), "{text}");
    assert_eq!(hosts.algorithms("example.com", 2222), ["ssh-ed25519"]);
    assert_eq!(hosts.algorithms("example.com", 2223), ["ssh-rsa"]);
    assert_eq!(hosts.algorithms("example.com", 22), Vec::<String>::new());
}

#[test]
fn add_refuses_a_host_that_would_be_more_than_its_name() {
    let home = Directory::new("names");
    let file = home.path(".ssh/known_hosts");
    let long = "x".repeat(256);
    for host in [
        "",
        " ",
        "a b",
        "a\tb",
        "a\nb",
        "a\rb",
        "a\0b",
        "a\u{7f}",
        "a\u{85}b",
        "a\u{2028}b",
        "*",
        "a?",
        "!a",
        "a,b",
        "#a",
        "@revoked",
        "|1|a",
        "[a]:22",
        "a'",
        "a\"",
        "a\\",
        "a\u{200b}",
        &long,
    ] {
        for hashed in [false, true] {
            let error = add(&file, host, 22, &key(RSA), hashed).unwrap_err().to_string();
            assert!(error.starts_with("add \"") && error.ends_with("cannot stand in known_hosts"));
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
    assert!(!home.path(".ssh").exists(), "nothing is touched");
    for host in ["fe80::1%eth0", "a_b-c.d", "bücher.example", "日本", &long[1..]] {
        assert_eq!(add(&file, host, 22, &key(RSA), false).unwrap(), Verdict::Unknown);
        let hosts = KnownHosts::load(&[&file]).unwrap();
        assert!(matches!(hosts.check(host, 22, &key(RSA)), Verdict::Known(_)), "{host}");
    }
}

const CHILDREN: usize = 4;
const THREADS: usize = 3;
const NAMES: usize = 25;

/// Adds names of its own, and the same ones as all others at the same time: nobody starts before standard input ends.
fn add_from_threads(file: &Path) {
    let together = Barrier::new(THREADS);
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let all = |thread| {
        for n in 0..NAMES {
            together.wait();
            let _ = add(file, &format!("all-{n}"), 22, &key(RSA), n % 2 == 0).unwrap();
            let own = format!("p{}-t{thread}-n{n}", std::process::id());
            let _ = add(file, &own, 22, &key(ED25519), false).unwrap();
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|t| drop(scope.spawn(move || all(t)))));
}

/// Several processes and threads: the lock belongs to an open file, whoever opened it.
#[test]
fn adding_at_once_loses_nothing() {
    const FILE: &str = "WAITCOPY_KNOWN_HOSTS";
    const NAME: &str = "files::adding_at_once_loses_nothing";
    alone(NAME, || {
        if let Some(file) = std::env::var_os(FILE) {
            return add_from_threads(Path::new(&file));
        }
        let home = Directory::new("at-once");
        let file = home.file("kh", "# no newline");
        let program = std::env::current_exe().unwrap();
        let child = || {
            let mut command = Command::new(&program);
            command.args(["--exact", NAME]).env(FILE, &file);
            command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        };
        let mut children: Vec<_> = (0..CHILDREN).map(|_| child()).collect();
        children.iter_mut().for_each(|child| drop(child.stdin.take()));
        children.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
        let hosts = KnownHosts::load(&[&file]).unwrap();
        assert!(hosts.ignored().is_empty(), "{:?}", hosts.ignored());
        let own = text(&file).lines().filter(|line| line.starts_with('p')).count();
        assert_eq!(own, CHILDREN * THREADS * NAMES);
        for n in 0..NAMES {
            assert_eq!(hosts.matching(&format!("all-{n}"), 22).count(), 1, "all-{n}");
        }
        assert_eq!(text(&file).lines().count(), 1 + own + NAMES);
    });
}

/// Whether a thread of this process waits in flock(2): `1: -> FLOCK  ADVISORY  WRITE 4711 00:1f:9 0 EOF`, proc(5).
fn waiting() -> bool {
    let (locks, own) = (text(Path::new("/proc/locks")), std::process::id().to_string());
    locks.lines().any(|lock| {
        let mut words = lock.split_whitespace().skip(1);
        words.next() == Some("->") && words.next() == Some("FLOCK") && words.nth(2) == Some(&own)
    })
}

/// `ssh-keygen -R` renames a new file over the old one while we wait for the old one's lock.
#[test]
fn add_follows_a_file_that_was_replaced() {
    watchdog(PATIENCE, || {
        let home = Directory::new("replaced");
        let file = home.file("kh", &format!("{}\n", line("a", RSA)));
        let held = fs::OpenOptions::new().append(true).open(&file).unwrap();
        sys::flock(&held).unwrap();
        let adding = {
            let file = file.clone();
            thread::spawn(move || add(&file, "b", 22, &key(RSA), false).unwrap())
        };
        until("somebody waits for the lock", waiting);
        fs::rename(home.file("new", &format!("{}\n", line("c", RSA))), &file).unwrap();
        drop(held);
        assert_eq!(adding.join().unwrap(), Verdict::Unknown);
        assert_eq!(text(&file), format!("{}\n{}\n", line("c", RSA), line("b", RSA)));
    });
}
