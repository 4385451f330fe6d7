//! Whole copies: exact while keys change, bounded in memory, whole for whoever looks; files that change, disks that are full.
#![cfg(feature = "remote")]

#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use sessions::{forget_peak, on, peak_kib};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use support::{PATIENCE, alone, pattern, scratch, skip, watchdog};
use waitcopy::lab::sshd::{Options, Sshd};
use waitcopy::remote::sftp::{Progress, Sftp, Transfer};
use waitcopy::remote::{Error, Input, Reason, Session, Sink};
use waitcopy::sys::ssh::chachapoly_packets as ssh_packets;

const MIB: usize = 1 << 20;

/// A test on a private sshd, with a folder there and one here.
fn copied(options: Options, test: impl AsyncFnOnce(&Session, &Path, &Path) + Send + 'static) {
    watchdog(PATIENCE, move || {
        let Some(sshd) = ssh::or_skip(Sshd::start(options)) else { return };
        let here = scratch(&format!("copies-{}", sshd.addr().port()));
        fs::create_dir_all(&here).unwrap();
        on(&sshd, async |_, session| test(session, &sshd.home(), &here).await);
        assert!(leftovers(&sshd.home()).is_empty() && leftovers(&here).is_empty());
        fs::remove_dir_all(&here).unwrap();
    });
}

/// Temporary files that nobody took away.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().ends_with(".part")).collect()
}

/// New keys after each quarter of a mebibyte, in the middle of what is under way.
#[test]
fn keys_change_eighty_times_during_each_copy() {
    let options = Options { rekey_limit: Some("256K".into()), ..Options::default() };
    copied(options, async |session, there, here| {
        let sftp = session.sftp().await.unwrap();
        let bytes = pattern(20 * MIB, 8);
        fs::write(here.join("from"), &bytes).unwrap();
        sftp.put(here.join("from"), there.join("to")).await.unwrap();
        assert!(fs::read(there.join("to")).unwrap() == bytes);
        sftp.get(there.join("to"), here.join("back")).await.unwrap();
        assert!(fs::read(here.join("back")).unwrap() == bytes);
        let said = session.exec("tee /dev/stderr").output_of(&bytes).await.unwrap();
        assert!(said.stdout == bytes && said.stderr == bytes);
        sftp.close().await.unwrap();
    });
}

/// The cipher that libssh2 likes best is OpenSSL's, whichever of two the linker found first.
#[test]
fn chacha20_poly1305_is_openssls() {
    copied(Options::default(), async |session, _, _| {
        let before = ssh_packets();
        let ciphers = session.about().methods.iter().filter(|m| m.starts_with("chacha20-poly1305"));
        assert_eq!(ciphers.count(), 2, "{:?}", session.about().methods);
        session.exec("true").output().await.unwrap();
        assert!(ssh_packets() >= before + 4, "{}", ssh_packets());
    });
}

/// Of what a server has the cheapest is taken, and whatever it has is taken.
#[test]
fn ciphers_are_asked_for_by_what_they_cost() {
    for (offered, taken) in [
        ("aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes128-ctr", "aes128-ctr"),
        ("aes256-gcm@openssh.com", "aes256-gcm@openssh.com"),
        ("aes128-cbc", "aes128-cbc"),
    ] {
        let options = Options { ciphers: Some(offered.into()), ..Options::default() };
        copied(options, async move |session, there, here| {
            let methods = &session.about().methods;
            assert_eq!(methods.iter().filter(|method| *method == taken).count(), 2, "{methods:?}");
            let bytes = pattern(MIB, 3);
            fs::write(here.join("from"), &bytes).unwrap();
            let sftp = session.sftp().await.unwrap();
            sftp.put(here.join("from"), there.join("to")).await.unwrap();
            sftp.get(there.join("to"), here.join("back")).await.unwrap();
            assert!(fs::read(here.join("back")).unwrap() == bytes);
            sftp.close().await.unwrap();
        });
    }
}

/// Gets a file of 8 MiB, and does something to it once the first bytes are here.
async fn get(sftp: &Sftp, from: &Path, to: &Path, so: impl FnOnce()) -> Result<u64, Error> {
    let mut so = Some(so);
    let how = Transfer::new().progress(|_: Progress| {
        if let Some(so) = so.take() {
            so();
        }
    });
    sftp.get_with(from, to, how).await
}

#[test]
fn a_file_that_changes_meanwhile() {
    copied(Options::default(), async |session, there, here| {
        let sftp = session.sftp().await.unwrap();
        let (from, to) = (there.join("from"), here.join("to"));
        let bytes = pattern(16 * MIB, 9);
        let grown = [&bytes[..], b"and more"].concat();
        fs::write(&from, &bytes).unwrap();
        let longer = || {
            let mut file = fs::File::options().append(true).open(&from).unwrap();
            file.write_all(b"and more").unwrap();
        };
        assert_eq!(get(&sftp, &from, &to, longer).await.unwrap(), grown.len() as u64);
        assert!(fs::read(&to).unwrap() == grown, "to its new end");
        fs::remove_file(&to).unwrap();
        let shorter = || fs::File::options().write(true).open(&from).unwrap().set_len(9).unwrap();
        let error = get(&sftp, &from, &to, shorter).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Protocol, "{error}");
        assert!(error.message().contains("bytes were copied, and it has 9"), "{error}");
        assert!(!to.exists());
        // Removed while it is open: it is there to its end.
        fs::write(&from, &bytes).unwrap();
        let unlinked = || fs::remove_file(&from).unwrap();
        get(&sftp, &from, &to, unlinked).await.unwrap();
        assert!(fs::read(&to).unwrap() == bytes);
        // Our side of the same: a source that shrinks is sent as it is, to its end.
        let source = || fs::File::options().write(true).open(&to).unwrap().set_len(9).unwrap();
        let mut source = Some(source);
        let how = Transfer::new().progress(|_| {
            if let Some(source) = source.take() {
                source();
            }
        });
        let put = sftp.put_with(&to, &from, how).await.unwrap();
        assert_eq!(put, fs::metadata(&from).unwrap().len());
        sftp.close().await.unwrap();
    });
}

/// A file system of one mebibyte, in the server's own mount namespace: it goes with the server.
#[test]
fn a_full_disk_is_told_and_leaves_no_half_file() {
    copied(Options::default(), async |session, there, here| {
        let full = there.join("full");
        fs::create_dir(&full).unwrap();
        let mount = format!("mount -t tmpfs -o size=1m tmpfs {}", full.display());
        let mounted = session.exec(mount).output().await.unwrap();
        if !mounted.exit.success() {
            return skip(&format!("no tmpfs: {}", String::from_utf8_lossy(&mounted.stderr)));
        }
        let sftp = session.sftp().await.unwrap();
        let from = here.join("from");
        fs::write(&from, pattern(4 * MIB, 10)).unwrap();
        let names = async || {
            let mut names: Vec<_> =
                sftp.read_dir(&full).await.unwrap().into_iter().map(|name| name.name).collect();
            names.sort();
            names
        };
        let mut old = &b"the old one"[..];
        sftp.put_from(&mut old, None, full.join("old"), Transfer::new()).await.unwrap();
        for (name, left) in [("new", vec![b"old".to_vec()]), ("old", vec![b"old".to_vec()])] {
            let error = sftp.put(&from, full.join(name)).await.unwrap_err();
            assert_eq!(error.reason(), Reason::Status(4), "{error}");
            assert!(error.message().starts_with("write ") && error.message().contains(name));
            assert_eq!(names().await, left, "{name}");
        }
        let mut bytes = Vec::new();
        sftp.get_to(full.join("old"), &mut bytes, Transfer::new()).await.unwrap();
        assert_eq!(bytes, b"the old one");
        // In place the caller has asked for the half.
        let in_place = Transfer::new().in_place(true);
        let error = sftp.put_with(&from, full.join("old"), in_place).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Status(4), "{error}");
        assert!(sftp.stat(full.join("old")).await.unwrap().size.unwrap() < 4 << 20);
        // There is room again: nothing of a failed copy is left to fill it.
        sftp.remove(full.join("old")).await.unwrap();
        let bytes = vec![1; 900 << 10];
        sftp.put_from(&mut &*bytes, None, full.join("fits"), Transfer::new()).await.unwrap();
        // The same here.
        fs::write(there.join("some"), &bytes).unwrap();
        let error = sftp.get(there.join("some"), "/dev/full").await.unwrap_err();
        assert_eq!(error.reason(), Reason::Io(Some(28)), "{error}");
        assert!(error.message().contains("no space left on device"), "{error}");
        sftp.close().await.unwrap();
    });
}

/// Who looks at a file that is replaced again and again sees the old one or the new one, and each whole.
#[test]
fn a_reader_sees_the_old_or_the_new_and_nothing_between() {
    copied(Options::default(), async |session, there, here| {
        let sftp = session.sftp().await.unwrap();
        let sources = [b'a', b'b'].map(|letter| {
            let path = here.join(format!("from {letter}"));
            fs::write(&path, vec![letter; MIB]).unwrap();
            path
        });
        let (there, back) = (there.join("polled"), here.join("polled"));
        fs::copy(&sources[0], &there).unwrap();
        fs::copy(&sources[0], &back).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::new([const { AtomicUsize::new(0) }; 4]);
        let readers = [(0, &there), (2, &back)].map(|(first, path)| {
            let (path, done, seen) = (path.clone(), Arc::clone(&done), Arc::clone(&seen));
            thread::spawn(move || {
                while !done.load(SeqCst) {
                    let bytes = fs::read(&path).expect("there is always one");
                    let letter = bytes.first().copied().unwrap_or(0);
                    let whole = bytes.len() == MIB && bytes.iter().all(|byte| *byte == letter);
                    assert!(whole, "{} bytes of {letter}", bytes.len());
                    seen[first + usize::from(letter - b'a')].fetch_add(1, SeqCst);
                }
            })
        });
        let often = |seen: &[AtomicUsize; 4]| seen.iter().all(|n| n.load(SeqCst) >= 5);
        while !often(&seen) && readers.iter().all(|reader| !reader.is_finished()) {
            for source in &sources {
                sftp.put(source, &there).await.unwrap();
                sftp.get(&there, &back).await.unwrap();
            }
        }
        done.store(true, SeqCst);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        sftp.close().await.unwrap();
    });
}

/// So many bytes out of nothing.
struct Generator(usize);

impl Input for Generator {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(self.0);
        buffer[..n].fill(7);
        self.0 -= n;
        Ok(n)
    }
}

/// So many bytes into nothing.
struct Counter(usize);

impl Sink for Counter {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(bytes.iter().all(|byte| *byte == 7));
        self.0 += bytes.len();
        Ok(())
    }
}

#[test]
fn what_is_copied_is_not_kept_in_memory() {
    const LEN: usize = 256 * MIB;
    alone("what_is_copied_is_not_kept_in_memory", || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        on(&sshd, async |_, session| {
            let sftp = session.sftp().await.unwrap();
            let before = forget_peak();
            let there = sshd.home().join("large");
            let mut source = Generator(LEN);
            let put = sftp.put_from(&mut source, Some(LEN as u64), &there, Transfer::new()).await;
            assert_eq!(put.unwrap(), LEN as u64);
            let after_put = peak_kib() - before;
            let mut sink = Counter(0);
            sftp.get_to(&there, &mut sink, Transfer::new()).await.unwrap();
            assert_eq!(sink.0, LEN);
            let after_get = peak_kib() - before;
            println!("{after_put} KiB for the put, {after_get} KiB with the get");
            assert!(after_get < 64 << 10, "{after_put} KiB for the put, {after_get} with the get");
        });
    });
}
