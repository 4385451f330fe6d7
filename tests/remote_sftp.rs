//! Files on real servers, the same script for each: OpenSSH's two SFTP servers, and one of them behind dropbear.
#![cfg(feature = "remote")]

#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use sessions::{Killed, on};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use support::{PATIENCE, pattern, scratch, skip, watchdog};
use waitcopy::lab::sshd::{self, Dropbear, Options, Sshd, StartError};
use waitcopy::reactor::Reactor;
use waitcopy::remote::sftp::{
    Attributes, Extension, FileKind, OpenFlags, Progress, Sftp, Transfer,
};
use waitcopy::remote::{Descriptor, Error, Input, Reason};

const SIZES: [usize; 6] = [0, 1, 32_767, 32_768, 32_769, (5 << 20) + 3];

/// Where a test works: on the server, and here.
struct Place {
    there: PathBuf,
    here: PathBuf,
}

impl Place {
    fn there(&self, name: &str) -> PathBuf {
        self.there.join(name)
    }

    fn here(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.here.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn served(
    start: impl FnOnce() -> Result<Sshd, StartError> + Send + 'static,
    test: impl AsyncFnOnce(&Reactor, &Sftp, &Place) + Send + 'static,
) {
    watchdog(PATIENCE, move || {
        let Some(sshd) = ssh::or_skip(start()) else { return };
        let here = scratch(&format!("sftp-{}", sshd.addr().port()));
        fs::create_dir_all(&here).unwrap();
        let place = Place { there: sshd.home(), here };
        on(&sshd, async |reactor, session| {
            let sftp = session.sftp().await.unwrap();
            test(reactor, &sftp, &place).await;
            sftp.close().await.unwrap();
        });
        assert!(!leftovers(&place.there) && !leftovers(&place.here));
        fs::remove_dir_all(&place.here).unwrap();
    });
}

/// Temporary files that nobody took away.
fn leftovers(folder: &Path) -> bool {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.into_iter().any(|name| name.as_bytes().ends_with(b".part"))
}

fn reason<T>(result: Result<T, Error>) -> Reason {
    result.map(drop).unwrap_err().reason()
}

async fn whole_script(reactor: &Reactor, sftp: &Sftp, place: &Place) {
    open_files(sftp, place).await;
    names(sftp, place).await;
    directories(sftp, place).await;
    copies(sftp, place).await;
    streams(reactor, sftp, place).await;
    places(sftp, place).await;
    changes(sftp, place).await;
    entries_and_pieces(sftp, place).await;
    // The last one: from then on paths are relative to elsewhere.
    working_directory(sftp, place).await;
}

#[test]
fn the_script_on_internal_sftp() {
    served(|| Sshd::start(Options::default()), whole_script);
}

#[test]
fn the_script_on_openssh_sftp_server() {
    let Some(server) = sshd::sftp_server() else { return skip("no sftp-server here") };
    let sftp = sshd::Sftp::Command(server.display().to_string());
    served(|| Sshd::start(Options { sftp, ..Options::default() }), whole_script);
}

#[test]
fn the_script_through_dropbear() {
    if sshd::sftp_server().is_none() {
        return skip("no sftp-server here");
    }
    served(|| Dropbear::start(&[]), whole_script);
}

async fn open_files(sftp: &Sftp, place: &Place) {
    let path = place.there("open");
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let mut file = sftp.open_file(&path, flags, Some(0o640)).await.unwrap();
    assert_eq!(reason(sftp.open_file(&path, flags, None).await), Reason::Status(4), "exclusive");
    let bytes = pattern(300_000, 4);
    file.write_all(&bytes).await.unwrap();
    assert_eq!(file.position(), 300_000);
    assert_eq!(file.seek(SeekFrom::End(-100_000)).await.unwrap(), 200_000);
    assert_eq!(file.seek(SeekFrom::Current(-1)).await.unwrap(), 199_999);
    assert_eq!(reason(file.seek(SeekFrom::Current(-200_000)).await), Reason::Usage);
    let (mut read, mut buffer) = (Vec::new(), vec![0; 70_000]);
    loop {
        match file.read(&mut buffer).await.unwrap() {
            0 => break,
            n => read.extend_from_slice(&buffer[..n]),
        }
    }
    assert!(read == bytes[199_999..]);
    assert_eq!(file.read_at(5, &mut buffer[..10]).await.unwrap(), 10);
    assert_eq!((&buffer[..10], file.position()), (&bytes[5..15], 300_000));
    file.seek(SeekFrom::Start(300_010)).await.unwrap();
    file.write_all(b"beyond").await.unwrap();
    file.sync().await.unwrap();
    let stat = file.stat().await.unwrap();
    assert_eq!((stat.size, stat.mode()), (Some(300_016), Some(0o640)));
    let mode = Attributes { permissions: Some(0o600), ..Attributes::default() };
    file.set_stat(mode).await.unwrap();
    file.close().await.unwrap();
    let there = fs::read(&path).unwrap();
    assert!(there[..300_000] == bytes && there[300_000..] == *b"\0\0\0\0\0\0\0\0\0\0beyond");
    let changed = Attributes { size: Some(10), times: Some((5, 6)), ..mode };
    sftp.set_stat(&path, changed).await.unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.len(), meta.mode() & 0o777, meta.mtime()), (10, 0o600, 6));
    let append = OpenFlags::WRITE | OpenFlags::APPEND;
    let mut file = sftp.open_file(&path, append, None).await.unwrap();
    file.write_all(b"end").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(sftp.stat(&path).await.unwrap().size, Some(13));
    assert_eq!(reason(sftp.open_file("/no/such", OpenFlags::READ, None).await), Reason::Status(2));
}

async fn names(sftp: &Sftp, place: &Place) {
    let (one, two) = (place.there("one"), place.there.join(OsStr::from_bytes(b"\xff\n two")));
    for (path, bytes) in [(&one, &b"1"[..]), (&two, b"22")] {
        // Its own: not every kernel lets an account link to another's.
        sftp.put_from(&mut &*bytes, None, path, Transfer::new()).await.unwrap();
    }
    assert_eq!(reason(sftp.rename(&one, &two).await), Reason::Status(4), "it is there");
    assert_eq!(fs::read(&two).unwrap(), b"22");
    sftp.posix_rename(&one, &two).await.unwrap();
    assert_eq!(fs::read(&two).unwrap(), b"1");
    sftp.rename(&two, &one).await.unwrap();
    assert_eq!(reason(sftp.stat(&two).await), Reason::Status(2));
    sftp.symlink("one", &two).await.unwrap();
    assert_eq!(sftp.read_link(&two).await.unwrap(), b"one");
    assert_eq!(sftp.lstat(&two).await.unwrap().kind(), FileKind::Symlink);
    assert_eq!(sftp.stat(&two).await.unwrap().kind(), FileKind::Regular);
    assert_eq!(sftp.real_path(".").await.unwrap(), place.there.as_os_str().as_bytes());
    let hard = place.there("hard");
    sftp.hard_link(&one, &hard).await.unwrap();
    assert_eq!(fs::metadata(&hard).unwrap().ino(), fs::metadata(&one).unwrap().ino());
    let system = sftp.statvfs(&one).await.unwrap();
    assert!(system.block_size > 0 && system.name_max == 255, "{system:?}");
    assert!(sftp.offers(Extension::PosixRename));
    for path in [&one, &two, &hard] {
        sftp.remove(path).await.unwrap();
    }
    assert_eq!(reason(sftp.remove(&one).await), Reason::Status(2));
    assert_eq!(reason(sftp.stat("a\0b").await), Reason::Usage);
}

async fn directories(sftp: &Sftp, place: &Place) {
    let folder = place.there("folder");
    sftp.mkdir(&folder, Some(0o750)).await.unwrap();
    assert_eq!(sftp.read_dir(&folder).await.unwrap(), []);
    let name = |n: usize| [b"\xfe", format!("{n:03}").as_bytes()].concat();
    for n in 0..300 {
        fs::write(folder.join(OsStr::from_bytes(&name(n))), vec![7; n]).unwrap();
    }
    let mut entries = sftp.read_dir(&folder).await.unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(entries.len(), 300);
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!((&entry.name, entry.attributes.size), (&name(n), Some(n as u64)));
    }
    assert_eq!(reason(sftp.rmdir(&folder).await), Reason::Status(4), "not empty");
    for entry in &entries {
        sftp.remove(folder.join(OsStr::from_bytes(&entry.name))).await.unwrap();
    }
    assert!(sftp.is_dir(&folder).await.unwrap());
    sftp.rmdir(&folder).await.unwrap();
    assert!(!sftp.is_dir(&folder).await.unwrap());
    assert_eq!(reason(sftp.read_dir(&folder).await), Reason::Status(2));
}

async fn changes(sftp: &Sftp, place: &Place) {
    let path = place.there("changed");
    sftp.put_from(&mut &b"0123456789"[..], None, &path, Transfer::new()).await.unwrap();
    sftp.chmod(&path, 0o604).await.unwrap();
    sftp.utime(&path, 1_000_000, 2_000_000).await.unwrap();
    sftp.truncate(&path, 4).await.unwrap();
    let of = fs::metadata(&path).unwrap();
    assert_eq!((of.mode() & 0o777, of.atime(), of.len()), (0o604, 1_000_000, 4));
    sftp.utime(&path, 1_000_000, 2_000_000).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mtime(), 2_000_000);
    sftp.truncate(&path, 6).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"0123\0\0");
    // To whom it belongs already: nobody but root may do more.
    sftp.chown(&path, of.uid(), of.gid()).await.unwrap();
    if of.uid() == 0 {
        sftp.chown(&path, 1, 2).await.unwrap();
        let now = fs::metadata(&path).unwrap();
        assert_eq!((now.uid(), now.gid()), (1, 2));
    }
    sftp.remove(&path).await.unwrap();
    assert_eq!(reason(sftp.chmod(&path, 0o600).await), Reason::Status(2));
}

async fn entries_and_pieces(sftp: &Sftp, place: &Place) {
    let folder = place.there("many");
    fs::create_dir(&folder).unwrap();
    for n in 0..1000 {
        fs::write(
            folder.join(OsStr::from_bytes(&[b"\xfd", format!("{n}").as_bytes()].concat())),
            "",
        )
        .unwrap();
    }
    let mut entries = sftp.entries(&folder).await.unwrap();
    let mut names = Vec::new();
    while let Some(name) = entries.next().await.unwrap() {
        names.push(name.name);
    }
    assert_eq!(entries.next().await.unwrap(), None, "it stays at its end");
    drop(entries);
    let mut all: Vec<_> =
        sftp.read_dir(&folder).await.unwrap().into_iter().map(|e| e.name).collect();
    names.sort();
    all.sort();
    assert_eq!((names.len(), names), (1000, all));
    // One that is given up in the middle takes nothing with it.
    let mut entries = sftp.entries(&folder).await.unwrap();
    entries.next().await.unwrap().unwrap();
    drop(entries);
    assert_eq!(reason(sftp.entries(place.there("none")).await), Reason::Status(2));
    fs::remove_dir_all(&folder).unwrap();

    let (path, bytes) = (place.there("pieces"), pattern(5_000_000, 6));
    sftp.put_from(&mut &bytes[..], None, &path, Transfer::new()).await.unwrap();
    let file = sftp.open_file(&path, OpenFlags::READ, None).await.unwrap();
    let pieces = [(4_999_990, 20), (0, 1), (100, 3_000_001), (5_000_000, 9), (7, 0), (100, 50)];
    let read = file.read_vectored(&pieces).await.unwrap();
    assert_eq!(read.len(), pieces.len());
    for (read, (offset, len)) in read.iter().zip(pieces) {
        let offset = offset as usize;
        assert!(*read == bytes[offset..(offset + len).min(bytes.len())], "{len} at {offset}");
    }
    file.close().await.unwrap();
    sftp.remove(&path).await.unwrap();
}

async fn working_directory(sftp: &Sftp, place: &Place) {
    assert_eq!(sftp.getcwd(), None);
    let folder = place.there("working");
    sftp.mkdir(&folder, None).await.unwrap();
    sftp.chdir("working").await.unwrap();
    assert_eq!(sftp.getcwd().unwrap(), folder.as_os_str().as_bytes());
    sftp.put_from(&mut &b"in it"[..], None, "file", Transfer::new()).await.unwrap();
    assert_eq!(fs::read(folder.join("file")).unwrap(), b"in it");
    sftp.symlink("file", "link").await.unwrap();
    assert_eq!(fs::read_link(folder.join("link")).unwrap(), Path::new("file"));
    sftp.hard_link("file", "hard").await.unwrap();
    sftp.rename("file", "../moved").await.unwrap();
    assert_eq!(fs::read(place.there("moved")).unwrap(), b"in it");
    let names = sftp.read_dir(".").await.unwrap();
    assert_eq!(names.len(), 2);
    assert_eq!(reason(sftp.chdir("hard").await), Reason::Usage);
    assert_eq!(reason(sftp.chdir("none/none").await), Reason::Status(2));
    assert_eq!(sftp.real_path(".").await.unwrap(), folder.as_os_str().as_bytes());
    // Absolute paths are what they are.
    sftp.remove(place.there("moved")).await.unwrap();
    for name in ["hard", "link"] {
        sftp.remove(name).await.unwrap();
    }
    sftp.chdir("..").await.unwrap();
    sftp.rmdir("working").await.unwrap();
}

/// The steps are as many as there were, and lead to the end.
fn led_to(told: &[Progress], size: usize, total: Option<u64>) {
    assert!(told.windows(2).all(|two| two[0].done < two[1].done), "{told:?}");
    assert!(told.iter().all(|progress| progress.total == total), "{told:?}");
    assert_eq!(told.last().map_or(0, |progress| progress.done), size as u64);
}

async fn copies(sftp: &Sftp, place: &Place) {
    for (size, mode) in SIZES.into_iter().zip([0o644, 0o600, 0o755, 0o640, 0o444, 0o700]) {
        let bytes = pattern(size, size as u64);
        let (here, there) = (place.here("from", &bytes, mode), place.there("copy"));
        let (mut put, mut got) = (Vec::new(), Vec::new());
        let how = Transfer::new().sync(true).progress(|progress| put.push(progress));
        assert_eq!(sftp.put_with(&here, &there, how).await.unwrap(), size as u64);
        assert!(fs::read(&there).unwrap() == bytes, "put {size}");
        assert_eq!(fs::metadata(&there).unwrap().mode() & 0o777, mode);
        led_to(&put, size, Some(size as u64));
        let back = place.here.join("back");
        let how = Transfer::new().sync(true).progress(|progress| got.push(progress));
        assert_eq!(sftp.get_with(&there, &back, how).await.unwrap(), size as u64);
        assert!(fs::read(&back).unwrap() == bytes, "get {size}");
        assert_eq!(fs::metadata(&back).unwrap().mode() & 0o777, mode);
        led_to(&got, size, Some(size as u64).filter(|size| *size > 0));
        // A file that is there keeps its permissions, and the next one has others.
        for done in [back, here, there] {
            fs::remove_file(done).unwrap();
        }
    }
    let here = place.here("from", b"mode", 0o644);
    let there = place.there("copy");
    sftp.put_with(&here, &there, Transfer::new().mode(0o604)).await.unwrap();
    assert_eq!(fs::metadata(&there).unwrap().mode() & 0o777, 0o604);
}

async fn streams(reactor: &Reactor, sftp: &Sftp, place: &Place) {
    let there = place.there("stream");
    let mut source = Command::new("sh");
    source.args(["-c", "head -c 3000000 /dev/zero; sleep 0.01; printf end"]);
    let mut source = Killed(source.stdout(Stdio::piped()).spawn().unwrap());
    let mut pipe = Descriptor::new(reactor, source.0.stdout.take().unwrap()).unwrap();
    let mut told = Vec::new();
    let how = Transfer::new().progress(|progress| told.push(progress));
    assert_eq!(sftp.put_from(&mut pipe, None, &there, how).await.unwrap(), 3_000_003);
    led_to(&told, 3_000_003, None);
    let mut sink = Killed(
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap(),
    );
    let mut pipe = Descriptor::new(reactor, sink.0.stdin.take().unwrap()).unwrap();
    assert_eq!(sftp.get_to(&there, &mut pipe, Transfer::new()).await.unwrap(), 3_000_003);
    drop(pipe);
    let sum = sessions::first_line(sink.0.stdout.take().unwrap());
    let expected = Command::new("sha256sum").stdin(fs::File::open(&there).unwrap()).output();
    assert_eq!(sum.as_bytes(), expected.unwrap().stdout.trim_ascii_end());
    let mut bytes = Vec::new();
    sftp.get_to(&there, &mut bytes, Transfer::new()).await.unwrap();
    assert!(bytes.ends_with(b"\0end") && bytes.len() == 3_000_003);
    // A stream that fails here leaves nothing there.
    let failed = sftp.put_from(&mut Failing, None, place.there("none"), Transfer::new()).await;
    assert_eq!(reason(failed), Reason::Io(Some(5)));
    assert!(!place.there("none").exists());
    // Size 0, and not empty.
    let mut version = Vec::new();
    sftp.get_to("/proc/version", &mut version, Transfer::new()).await.unwrap();
    assert_eq!(version, fs::read("/proc/version").unwrap());
}

/// Gives a little, and then EIO.
struct Failing;

impl Input for Failing {
    async fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(5))
    }
}

/// What is at the place already: a file with links, a symbolic link, a FIFO, a directory.
async fn places(sftp: &Sftp, place: &Place) {
    let (here, there) = (place.here("from", b"new", 0o644), place.there("place"));
    let old = |path: &Path| {
        fs::write(path, "the old one").unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
        fs::metadata(path).unwrap().ino()
    };
    let inode = old(&there);
    sftp.put_with(&here, &there, Transfer::new().in_place(true)).await.unwrap();
    let meta = fs::metadata(&there).unwrap();
    assert_eq!((meta.ino(), meta.mode() & 0o777), (inode, 0o666));
    assert_eq!(fs::read(&there).unwrap(), b"new");
    sftp.put(&here, &there).await.unwrap();
    assert_ne!(fs::metadata(&there).unwrap().ino(), inode, "a file of its own");
    let back = place.here.join("place");
    let inode = old(&back);
    sftp.get_with(&there, &back, Transfer::new().in_place(true)).await.unwrap();
    assert_eq!(
        (fs::metadata(&back).unwrap().ino(), fs::read(&back).unwrap()),
        (inode, b"new".into())
    );
    sftp.get(&there, &back).await.unwrap();
    assert_ne!(fs::metadata(&back).unwrap().ino(), inode, "a file of its own");
    let link = place.there("link");
    std::os::unix::fs::symlink("place", &link).unwrap();
    fs::write(&here, "through the link").unwrap();
    sftp.put(&here, &link).await.unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&there).unwrap(), b"through the link");
    devices(sftp, place, &here).await;
    for there in [place.there.clone(), PathBuf::from("/")] {
        assert_eq!(reason(sftp.put(&here, &there).await), Reason::Usage);
        let get = sftp.get(&there, &back).await.unwrap_err();
        assert!(get.reason() == Reason::Usage && get.message().contains("is a directory"));
        assert_eq!(reason(sftp.get(place.there("place"), &place.here).await), Reason::Usage);
    }
    assert_eq!(reason(sftp.put("/no/such", &there).await), Reason::Io(Some(2)));
    assert_eq!(reason(sftp.get(place.there("none"), &back).await), Reason::Status(2));
    assert_eq!(reason(sftp.put(&here, "/no/such/folder").await), Reason::Status(2));
}

/// What is no regular file is written as it is, and never replaced.
async fn devices(sftp: &Sftp, place: &Place, here: &Path) {
    let (null, fifo) = (place.there("null"), place.there("fifo"));
    let made = |words: &[&str], path: &Path| {
        let status = Command::new(words[0]).arg(path).args(&words[1..]).status();
        assert!(status.unwrap().success(), "{words:?}");
        fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    };
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        made(&["mknod", "c", "1", "3"], &null);
        sftp.put(here, &null).await.unwrap();
        assert!(fs::metadata(&null).unwrap().file_type().is_char_device());
        assert_eq!(sftp.get(&null, place.here.join("null")).await.unwrap(), 0);
    }
    made(&["mkfifo"], &fifo);
    let reader = thread::spawn({
        let fifo = fifo.clone();
        move || fs::read(fifo).unwrap()
    });
    // OpenSSH's server seeks before it writes, which no FIFO can.
    assert_eq!(reason(sftp.put(here, &fifo).await), Reason::Status(4));
    // By then the server has closed it.
    sftp.stat(&fifo).await.unwrap();
    assert_eq!(reader.join().unwrap(), b"");
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
}
