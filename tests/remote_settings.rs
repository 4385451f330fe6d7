//! The remote's settings against the installed OpenSSH: keys that ssh-keygen makes, what `ssh -G` says, a live agent.
#![cfg(feature = "remote")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{PATIENCE, scratch, skip, watchdog};
use waitcopy::remote::agent::{self, Answer, Framing, Identity, Signature};
use waitcopy::remote::config::StrictHostKeyChecking;
use waitcopy::remote::config::{AddressFamily, IdentityAgent, Local, Settings};
use waitcopy::remote::key_file::{Algorithm, Format, KeyFile, public_half};
use waitcopy::remote::secret::Secret;
use waitcopy::remote::target::Target;

/// A new key of ssh-keygen's; `None`, and said so, where there is none.
fn keygen(name: &str, args: &[&str], passphrase: &str) -> Option<PathBuf> {
    let path = scratch(name);
    let _ = fs::remove_file(&path);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-C", "bob's key", "-N", passphrase, "-f"]).arg(&path).args(args);
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Some(path),
        Ok(output) => panic!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            skip(&format!("ssh-keygen: {error}"));
            None
        }
    }
}

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The public key that ssh-keygen has written beside it.
fn public(path: &Path) -> Vec<u8> {
    let line = fs::read_to_string(path.with_extension("pub")).unwrap();
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in line.split(' ').nth(1).unwrap().trim_end_matches('=').bytes() {
        let at = LETTERS.iter().position(|&known| known == letter).unwrap();
        (bits, held) = (bits << 6 | at as u32, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The sentence that a file is refused with.
fn refused(path: &Path) -> String {
    KeyFile::read(path).expect_err("a refusal").to_string()
}

const KINDS: [(&str, &[&str], Algorithm, Format); 5] = [
    ("ed25519", &["-t", "ed25519"], Algorithm::Ed25519, Format::OpenSsh),
    ("p256", &["-t", "ecdsa", "-b", "256"], Algorithm::EcdsaNistp256, Format::Sec1),
    ("p384", &["-t", "ecdsa", "-b", "384"], Algorithm::EcdsaNistp384, Format::Sec1),
    ("p521", &["-t", "ecdsa", "-b", "521"], Algorithm::EcdsaNistp521, Format::Sec1),
    ("rsa", &["-t", "rsa", "-b", "2048"], Algorithm::Rsa, Format::Pkcs1),
];

#[test]
fn keys_of_openssh_of_all_kinds() {
    for (name, args, algorithm, _) in KINDS {
        for passphrase in ["", "hunter2"] {
            let Some(path) = keygen(&format!("o-{name}"), args, passphrase) else { return };
            let key = KeyFile::read(&path).unwrap();
            assert_eq!(key.format(), Format::OpenSsh);
            assert_eq!(key.encrypted(), !passphrase.is_empty());
            assert_eq!(key.algorithm(), Some(algorithm));
            assert_eq!(key.comment(), Some("bob's key"));
            assert!(key.public().unwrap() == public(&path), "{name}");
            assert!(key.text().expose() == fs::read(&path).unwrap(), "{name}");

            // Without the public half beside it, only the comment of an encrypted one is out of sight.
            let alone = KeyFile::from_memory(Secret::from(fs::read(&path).unwrap())).unwrap();
            assert!(alone.public() == key.public() && alone.algorithm() == key.algorithm());
            assert_eq!(alone.comment().is_some(), passphrase.is_empty());
            let shown = format!("{alone:?}");
            assert!(shown.len() < 90 && shown.starts_with("KeyFile { format: OpenSsh"), "{shown}");
        }
    }
}

#[test]
fn keys_in_pem_and_pkcs8_of_all_kinds() {
    // ssh-keygen has no PEM for ed25519 and writes OpenSSH's format.
    for (name, args, algorithm, pem) in KINDS.into_iter().skip(1) {
        for (written, passphrase) in
            [("PEM", ""), ("PEM", "hunter2"), ("PKCS8", ""), ("PKCS8", "hunter2")]
        {
            let args = [args, &["-m", written]].concat();
            let Some(path) = keygen(&format!("p-{name}"), &args, passphrase) else { return };
            let key = KeyFile::read(&path).unwrap();
            assert_eq!(key.format(), if written == "PEM" { pem } else { Format::Pkcs8 });
            assert_eq!(key.encrypted(), !passphrase.is_empty(), "{name} {written}");
            assert_eq!(key.algorithm(), Some(algorithm), "{name} {written}");
            assert!(key.public().unwrap() == public(&path), "{name} {written}");
            assert_eq!(key.comment(), Some("bob's key"));

            // Without the public half: what the file itself shows.
            fs::remove_file(path.with_extension("pub")).unwrap();
            let alone = KeyFile::read(&path).unwrap();
            assert_eq!((alone.public(), alone.comment()), (None, None));
            let plain = passphrase.is_empty() || (written, name) == ("PEM", "rsa");
            assert_eq!(alone.algorithm(), plain.then_some(algorithm), "{name} {written}");
        }
    }
}

#[test]
fn files_that_are_refused() {
    // A named pipe could hold it for ever.
    watchdog(PATIENCE, || {
        let Some(path) = keygen("refused", &["-t", "ed25519"], "") else { return };
        for open in [0o644, 0o640, 0o604, 0o610, 0o601] {
            mode(&path, open);
            let shown = path.display();
            let said = format!(
                "permissions 0{open:o} for '{shown}' are too open; run: chmod 600 '{shown}'"
            );
            assert_eq!(refused(&path), said);
        }
        mode(&path, 0o400);
        KeyFile::read(&path).unwrap();

        let public = path.with_extension("pub");
        mode(&public, 0o600);
        assert!(refused(&public).contains("this is a public key"));
        let blob = KeyFile::read(&path).unwrap().public().map(<[u8]>::to_vec);
        assert!(blob.is_some() && public_half(&path) == blob && public_half(&public) == blob);
        assert_eq!(public_half(&scratch("none")), None);
        assert!(refused(&scratch("none")).contains("no such file or directory (ENOENT)"));
        assert!(refused(&std::env::temp_dir()).contains("not a regular file"));
        let pipe = scratch("pipe");
        let made = Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status();
        if made.is_ok_and(|status| status.success()) {
            assert!(refused(&pipe).contains("not a regular file"));
        }
        let text = fs::read(&path).unwrap();
        let long = [text, vec![b'\n'; 1 << 20]].concat();
        let file = scratch("long");
        fs::write(&file, &long).unwrap();
        mode(&file, 0o600);
        assert!(refused(&file).contains("longer than 1 MiB"));
        let error = KeyFile::from_memory(Secret::from(long)).unwrap_err();
        assert!(error.to_string().contains("longer than 1 MiB"), "{error}");
    });
}

#[test]
fn another_keys_public_half_is_not_believed() {
    let Some(one) = keygen("one", &["-t", "ed25519"], "hunter2") else { return };
    let Some(other) = keygen("other", &["-t", "ed25519"], "") else { return };
    let own = public(&one);
    fs::copy(other.with_extension("pub"), one.with_extension("pub")).unwrap();
    let key = KeyFile::read(&one).unwrap();
    assert!(key.public() == Some(&own[..]) && key.comment().is_none());
    // RSA in PEM, and an ed25519 beside it.
    let Some(rsa) = keygen("rsa", &["-t", "rsa", "-b", "2048", "-m", "PEM"], "") else { return };
    fs::copy(other.with_extension("pub"), rsa.with_extension("pub")).unwrap();
    let key = KeyFile::read(&rsa).unwrap();
    assert_eq!((key.algorithm(), key.public()), (Some(Algorithm::Rsa), None));
}

/// An agent of this test alone; ended when the test is done.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    /// `None`, and said so, where there is no ssh-agent.
    fn start() -> Option<Self> {
        let socket = scratch("agent.sock");
        let _ = fs::remove_file(&socket);
        // -D: in the foreground, so that it is our child. Its first line says that the socket is there.
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                skip(&format!("ssh-agent: {error}"));
                return None;
            }
        };
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("SSH_AUTH_SOCK"), "{line}");
        Some(Self { process, socket })
    }

    fn add(&self, key: &Path) {
        let mut command = Command::new("ssh-add");
        command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Sends a request and reads one answer, in pieces of seven bytes.
    fn ask(stream: &mut UnixStream, request: &[u8]) -> Answer {
        stream.write_all(request).unwrap();
        let (mut framing, mut piece) = (Framing::new(), [0; 7]);
        loop {
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "the agent hung up");
            framing.feed(&piece[..count]);
            if let Some(message) = framing.message().unwrap() {
                return Answer::parse(&message).unwrap();
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_live_agent_lists_and_signs() {
    watchdog(PATIENCE, || {
        let Some(agent) = Agent::start() else { return };
        let mut stream = UnixStream::connect(&agent.socket).unwrap();
        let listed = Agent::ask(&mut stream, &agent::request_identities());
        assert_eq!(listed, Answer::Identities(Vec::new()));

        let kinds = [
            ("ed25519", 0, "ssh-ed25519"),
            ("p384", 0, "ecdsa-sha2-nistp384"),
            ("rsa", agent::RSA_SHA2_256, "rsa-sha2-256"),
            ("rsa", agent::RSA_SHA2_512, "rsa-sha2-512"),
        ];
        let mut blobs = Vec::new();
        for name in ["ed25519", "p384", "rsa"] {
            let (_, args, ..) = KINDS.into_iter().find(|kind| kind.0 == name).unwrap();
            let Some(path) = keygen(&format!("a-{name}"), args, "") else { return };
            agent.add(&path);
            blobs.push((name, KeyFile::read(&path).unwrap().public().unwrap().to_vec()));
        }
        let listed = Agent::ask(&mut stream, &agent::request_identities());
        let identity =
            |blob: &Vec<u8>| Identity { blob: blob.clone(), comment: "bob's key".into() };
        assert_eq!(listed, Answer::Identities(blobs.iter().map(|(_, b)| identity(b)).collect()));

        for (name, flags, wanted) in kinds {
            let blob = &blobs.iter().find(|(known, _)| *known == name).unwrap().1;
            let request = agent::sign_request(blob, b"a session's hash", flags).unwrap();
            let answer = Agent::ask(&mut stream, &request);
            let Answer::Signature(Signature { algorithm, bytes, trailer }) = answer else {
                panic!("{answer:?}")
            };
            assert_eq!(algorithm, wanted);
            let right = match name {
                "ed25519" => bytes.len() == 64,
                "rsa" => bytes.len() == 256,
                _ => (96..=108).contains(&bytes.len()),
            };
            assert!(right && trailer.is_empty(), "{wanted}: {} bytes", bytes.len());
        }
        let request = agent::sign_request(b"no key of its", b"x", 0).unwrap();
        assert_eq!(Agent::ask(&mut stream, &request), Answer::Failure);
    });
}

/// A configuration with the words that matter, and one with a fault.
const CONFIG: &str = r#"
Host web
  HostName www.example.org
  User deploy
  Port 2200
  IdentityFile ~/.ssh/%r-%n-%%
  IdentityFile "/keys/with space/%h"
  IdentityFile none
  IdentityAgent ~/agent-%h.sock
  UserKnownHostsFile ~/.ssh/kh "%d/x y"
  GlobalKnownHostsFile /etc/g
  StrictHostKeyChecking accept-new
  HostKeyAlias alias.example
  ConnectTimeout 7
  ProxyJump eve@jump:2022
  TCPKeepAlive no
  ServerAliveInterval 15
  ServerAliveCountMax 5
  AddressFamily inet6
  BindAddress 192.0.2.1
  PreferredAuthentications publickey,password
  Compression yes
  BatchMode yes
  HostKeyAlgorithms ssh-ed25519
  IdentitiesOnly yes
  HashKnownHosts yes
  PasswordAuthentication no
  PubkeyAuthentication unbound
Host other
  ProxyCommand nc -X 5 %h %p
  UserKnownHostsFile none
  IdentityAgent none
"#;

#[test]
fn the_installed_ssh_is_asked() {
    let file = scratch("config");
    fs::write(&file, CONFIG).unwrap();
    let local = Local::current().unwrap();
    let home = &local.home;
    let query = |text: &str| {
        let target: Target = text.parse().unwrap();
        Settings::query(&target, Some(&file), &local)
    };
    let Some(web) = query("web").unwrap() else { return skip("no ssh") };
    let expected = Settings {
        host_name: "www.example.org".into(),
        user: "deploy".into(),
        port: 2200,
        identity_files: vec![
            home.join(".ssh/deploy-web-%"),
            "/keys/with space/www.example.org".into(),
        ],
        identities_only: true,
        identity_agent: IdentityAgent::Socket(home.join("agent-www.example.org.sock")),
        user_known_hosts: vec![home.join(".ssh/kh"), home.join("x y")],
        global_known_hosts: vec!["/etc/g".into()],
        strict_host_key_checking: StrictHostKeyChecking::AcceptNew,
        host_key_alias: Some("alias.example".into()),
        hash_known_hosts: true,
        connect_timeout: Some(Duration::from_secs(7)),
        proxy_jump: Some("eve@jump:2022".into()),
        proxy_command: None,
        preferred_authentications: vec!["publickey".into(), "password".into()],
        batch_mode: true,
        compression: true,
        tcp_keep_alive: false,
        server_alive_interval: Some(Duration::from_secs(15)),
        server_alive_count_max: 5,
        host_key_algorithms: vec!["ssh-ed25519".into()],
        pubkey_authentication: true,
        password_authentication: false,
        kbd_interactive_authentication: true,
        address_family: AddressFamily::Inet6,
        bind_address: Some("192.0.2.1".into()),
    };
    assert_eq!(web, expected);

    // What the target names goes before the file.
    let named = query("bob@x@web:22").unwrap().unwrap();
    assert_eq!((named.user.as_str(), named.port), ("bob@x", 22));
    let other = query("other").unwrap().unwrap();
    assert_eq!(other.proxy_command.as_deref(), Some("nc -X 5 %h %p"));
    assert_eq!((other.identity_agent, other.user_known_hosts), (IdentityAgent::Off, vec![]));

    // Where the file says nothing, ssh says what our defaults say.
    let target = "bob@[::1]:2222".parse().unwrap();
    let mut plain = Settings::query(&target, Some(&file), &local).unwrap().unwrap();
    assert!(plain.host_key_algorithms.contains(&String::from("ssh-ed25519")));
    plain.host_key_algorithms.clear();
    assert_eq!(plain, Settings::defaults(&target, &local));

    fs::write(&file, "Host *\n  Prot 22\n").unwrap();
    let error = query("web").unwrap_err().to_string();
    assert!(error.starts_with("ssh -G: ") && error.contains("line 2"), "{error}");
}
