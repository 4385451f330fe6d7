//! The remote against a real sshd: log in, run, copy.
#![cfg(feature = "remote")]

#[path = "support/remote.rs"]
mod remote;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote::client;
use std::fs;
use std::time::Duration;
use support::{scratch, watchdog};
use waitcopy::lab::sshd::{Accounts, KeyKind, Options, Sshd};
use waitcopy::remote::secret::Secret;
use waitcopy::remote::{Exit, Policy};

#[test]
fn the_notes_four_jobs() {
    watchdog(Duration::from_secs(60), || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options {
            accounts: Accounts::Password,
            ..Options::default()
        })) else {
            return;
        };
        let by_password = client(&sshd).password(Secret::from(String::from(sshd.password())));
        let ssh = by_password.connect().expect("login by password");
        println!("{:?}", ssh.about());
        let df = ssh.exec("df").expect("df");
        assert_eq!(df.exit, Exit::Status(0));
        println!("{}", String::from_utf8_lossy(&df.stdout));
        let folder = scratch("four-jobs");
        fs::create_dir_all(&folder).expect("folder");
        let (here, back) = (folder.join("here"), folder.join("back"));
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|i| (i * 7 % 251) as u8).collect();
        fs::write(&here, &bytes).expect("a file");
        assert_eq!(ssh.put(&here, "there").expect("put"), bytes.len() as u64);
        assert_eq!(ssh.get("there", &back).expect("get"), bytes.len() as u64);
        assert!(fs::read(&back).expect("back") == bytes);
        ssh.close().expect("close");

        let key = sshd.client_key(KeyKind::Rsa3072).expect("a key");
        let ssh = client(&sshd).identity(key).connect().expect("login by key");
        println!("{:?}", ssh.about());
        ssh.close().expect("close");
        let _ = Policy::Warn;
    });
}

#[test]
fn ten_mebibytes_each_way() {
    watchdog(Duration::from_secs(60), || {
        let Some(sshd) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let key = sshd.client_key(KeyKind::Ed25519).expect("a key");
        let ssh = client(&sshd).identity(key).connect().expect("login by key");
        let input = vec![7; 10 << 20];
        let out =
            ssh.run(async |ssh| ssh.exec("tee /dev/stderr").output_of(&input).await).expect("exec");
        assert!(out.stdout == input && out.stderr == input);
        assert_eq!(out.exit, Exit::Status(0));
        let out = ssh.exec("kill -9 $$").expect("exec");
        println!("{out:?}");
        ssh.close().expect("close");
    });
}
