//! The notes' three programs with paramiko: a command by password, a command by key, a file to the server and one from it.
//!
//!     cargo run --example remote_jobs -- password KNOWN_HOSTS root@HOST:PORT [COMMAND]
//!     cargo run --example remote_jobs -- key KNOWN_HOSTS root@HOST:PORT /tmp/id_rsa [COMMAND]
//!     cargo run --example remote_jobs -- files KNOWN_HOSTS root@HOST:PORT /tmp/id_rsa /etc/test.rsa remove_path local_path
//!
//! The password is the first line of standard input. A host that the file KNOWN_HOSTS does not know is added to it.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use waitcopy::remote::blocking::Session;
use waitcopy::remote::secret::Secret;
use waitcopy::remote::{Client, Policy};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["password", known, target, ref command @ ..] => {
            let ssh = client(known, target)?.password(password()?).connect()?;
            run(&ssh, command)?;
            ssh.close()?;
        }
        ["key", known, target, key, ref command @ ..] => {
            let ssh = client(known, target)?.identity(key).connect()?;
            run(&ssh, command)?;
            ssh.close()?;
        }
        ["files", known, target, put_from, put_to, get_from, get_to] => {
            let ssh = client(known, target)?.password(password()?).connect()?;
            ssh.put(put_from, put_to)?;
            ssh.get(get_from, get_to)?;
            ssh.close()?;
        }
        _ => {
            return Err(
                "which of password, key, files? The first lines of this program say how.".into()
            );
        }
    }
    Ok(())
}

/// Unknown hosts are accepted and remembered, a key that has changed is refused.
fn client(known_hosts: &str, target: &str) -> Result<Client, waitcopy::remote::Error> {
    Ok(Client::new(target)?.known_hosts(known_hosts).host_key(Policy::AcceptNew))
}

fn run(ssh: &Session, command: &[&str]) -> Result<(), Box<dyn Error>> {
    let output = ssh.exec(*command.first().unwrap_or(&"df"))?;
    std::io::stdout().write_all(&output.stdout)?;
    Ok(())
}

/// The first line of standard input, in memory that is wiped. Read byte by byte: a buffer on the way would keep a copy.
fn password() -> Result<Secret, Box<dyn Error>> {
    let mut input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let (mut password, mut byte) = (Secret::with_capacity(1024), [0]);
    while input.read(&mut byte)? == 1 && byte[0] != b'\n' {
        password.push(byte[0])?;
    }
    Ok(password)
}
