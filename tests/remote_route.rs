//! Through jump hosts and over proxy commands, to real servers.
#![cfg(feature = "remote")]

#[path = "support/remote.rs"]
mod remote;
#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use remote::{client, holds, refusal, who, with};
use remote_cli::{Remote, said};
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::{PATIENCE, pattern, until};
use waitcopy::lab::sshd::{KeyKind, Options, Sshd};
use waitcopy::reactor::Reactor;
use waitcopy::remote::{Client, Exit, Reason, Step, Timeouts};

/// A server behind another one: both, and a client that goes through the first.
fn with_gate(gate: Options, test: impl FnOnce(Sshd, Sshd, Client) + Send + 'static) {
    with(gate, |gate| {
        let Some(target) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let through = by_key(&target).through(by_key(&gate));
        test(gate, target, through);
    });
}

fn by_key(sshd: &Sshd) -> Client {
    client(sshd).identity(sshd.client_key(KeyKind::Ed25519).unwrap())
}

#[test]
fn a_host_behind_another_one() {
    with_gate(Options::default(), |gate, target, client| {
        let ssh = client.connect().unwrap();
        assert_eq!(who(&ssh), target.user());
        let about = ssh.about();
        assert_eq!(about.via, [format!("{}@127.0.0.1", gate.user())]);
        assert_eq!(about.peer, None);
        assert!(target.known_hosts().contains(&about.host_key.to_string()));
        assert_eq!((gate.sessions().len(), target.sessions().len()), (1, 1));
        // Many packets at once, both ways.
        let (here, there) = (target.folder().join("here"), target.home().join("there"));
        let bytes = pattern(8 << 20, 3);
        fs::write(&here, &bytes).unwrap();
        ssh.put(&here, &there).unwrap();
        assert!(fs::read(&there).unwrap() == bytes);
        ssh.get(&there, &here).unwrap();
        assert!(fs::read(&here).unwrap() == bytes);
        ssh.close().unwrap();
        until("both ends hear of the end", || {
            gate.sessions().is_empty() && target.sessions().is_empty()
        });
        // Said, and not just hung up.
        assert!(
            gate.await_log("disconnected by user", PATIENCE / 4) || gate.log().contains("done"),
            "{}",
            gate.log()
        );
    });
}

#[test]
fn a_chain_of_two() {
    with_gate(Options::default(), |first, second, through| {
        let Some(target) = ssh::or_skip(Sshd::start(Options::default())) else { return };
        let ssh = by_key(&target).through(through).connect().unwrap();
        assert_eq!(who(&ssh), target.user());
        assert_eq!(ssh.about().via.len(), 2);
        let all = [&first, &second, &target];
        assert!(all.iter().all(|sshd| sshd.sessions().len() == 1));
        // A session that is dropped ends them as well.
        drop(ssh);
        until("all hear of the end", || all.iter().all(|sshd| sshd.sessions().is_empty()));
    });
}

#[test]
fn each_host_is_checked_under_its_own_name() {
    with_gate(Options::default(), |gate, mut target, client| {
        let nobody = gate.folder().join("nobody");
        fs::write(&nobody, "").unwrap();
        // The gate is unknown: nothing is sent to it, and the target is never reached.
        let unknown = by_key(&target).through(by_key(&gate).known_hosts(&nobody));
        let error = refusal(&unknown);
        assert_eq!(error.reason(), Reason::HostKeyUnknown);
        holds(&error, &["jump host", &format!("[127.0.0.1]:{}", gate.addr().port())]);
        assert!(!gate.log().contains("Accepted publickey"), "{}", gate.log());
        // The gate cannot pass off another key as the target's.
        let known = target.known_hosts();
        target.replace_host_keys().unwrap();
        fs::write(target.folder().join("known_hosts_of_the_test"), known).unwrap();
        let error = refusal(&client);
        assert_eq!((error.step(), error.reason()), (Step::HostKey, Reason::HostKeyChanged));
        assert!(!error.to_string().contains("jump host"), "{error}");
        assert!(!target.log().contains("Accepted publickey"), "{}", target.log());
        until("the gate hears of the end", || gate.sessions().is_empty());
    });
}

#[test]
fn what_the_jump_host_refuses_is_said_with_its_name() {
    let closed = Options { extra: vec!["AllowTcpForwarding no".into()], ..Options::default() };
    with_gate(closed, |gate, target, client| {
        let error = refusal(&client);
        assert_eq!((error.step(), error.reason()), (Step::Connect, Reason::Refused));
        holds(&error, &["jump host", "prohibited", "AllowTcpForwarding"]);
        assert!(target.sessions().is_empty());
        let denied = by_key(&target).through(remote::client(&gate));
        let error = refusal(&denied);
        assert_eq!(error.reason(), Reason::Denied);
        holds(&error, &["jump host"]);
    });
}

#[test]
fn every_step_has_its_own_deadline() {
    with_gate(Options::default(), |gate, target, client| {
        let short = Duration::from_millis(400);
        let of = |of: &dyn Fn(&mut Timeouts)| {
            let mut timeouts = Timeouts::default();
            of(&mut timeouts);
            timeouts
        };
        // A gate that accepts and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target_at = silent.local_addr().unwrap();
        let mute = remote::client_of("nobody", target_at, Path::new("/dev/null"));
        let mute = mute.timeouts(of(&|t| t.handshake = short));
        let error = refusal(&by_key(&target).through(mute));
        assert_eq!((error.step(), error.reason()), (Step::Handshake, Reason::TimedOut(short)));
        holds(&error, &["jump host nobody@"]);
        // A target behind the gate that does.
        let mute = remote::client_of("nobody", target_at, Path::new("/dev/null"));
        let mute = mute.timeouts(of(&|t| t.handshake = short)).through(by_key(&gate));
        let error = refusal(&mute);
        assert_eq!((error.step(), error.reason()), (Step::Handshake, Reason::TimedOut(short)));
        assert!(!error.to_string().contains("jump host"), "{error}");
        // And all of it together.
        gate.sessions().iter().for_each(|session| session.stop());
        let all = client.timeouts(of(&|t| t.total = Some(short * 2)));
        let ssh = all.connect().expect("in time");
        gate.sessions().iter().for_each(|session| session.stop());
        let late = ssh.run(async |ssh| ssh.exec("true").timeout(short).output().await);
        assert_eq!(late.unwrap_err().reason(), Reason::TimedOut(short));
        drop(ssh);
        gate.sessions().iter().for_each(|session| session.resume());
    });
}

#[test]
fn a_jump_host_that_dies_ends_the_session_behind_it() {
    with_gate(Options::default(), |gate, _target, client| {
        let reactor = Reactor::new().unwrap();
        reactor.run(async {
            let ssh = client.connect_on(&reactor).await.unwrap();
            let (begun, mut out) = (gate.sessions(), Vec::new());
            let mut err = Vec::new();
            let sleep = ssh.exec("echo begun; sleep 600");
            // Once the command runs, the gate goes.
            let mut input = Kill(begun);
            let error = sleep.run(&mut input, &mut out, &mut err).await.unwrap_err();
            assert_eq!(error.reason(), Reason::Disconnected, "{error}");
        });
    });
}

/// Input that kills a server's sessions when it is asked for.
struct Kill(Vec<waitcopy::lab::sshd::Session>);

impl waitcopy::remote::Input for Kill {
    async fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        self.0.drain(..).for_each(waitcopy::lab::sshd::Session::kill);
        std::future::pending().await
    }
}

/// A configuration for a host behind a gate.
fn config(remote: &Remote, gate: &Sshd, way: &str) -> std::path::PathBuf {
    let file = remote.here("config");
    let of = |name: &str, sshd: &Sshd| {
        format!(
            "Host {name}\n HostName 127.0.0.1\n Port {}\n User {}\n",
            sshd.addr().port(),
            sshd.user()
        )
    };
    let known = remote.here("known_of_all");
    fs::write(&known, gate.known_hosts() + &remote.sshd.known_hosts()).unwrap();
    let text = format!(
        "{}{}Host box\n {way}\nHost *\n IdentityFile {}\n UserKnownHostsFile {}\n GlobalKnownHostsFile none\n StrictHostKeyChecking yes\n IdentityAgent none\n",
        of("gate", gate),
        of("box", &remote.sshd),
        remote.key.display(),
        known.display()
    );
    fs::write(&file, text).unwrap();
    file
}

/// `waitcopy remote exec` by a configuration.
fn exec(config: &Path, flags: &[&str], host: &str) -> std::process::Command {
    let mut command = std::process::Command::new(support::WAITCOPY);
    command.args(["remote", "exec", "--config"]).arg(config).args(flags);
    command.env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS");
    command.args([host, "--", "echo there"]).stdin(std::process::Stdio::null());
    command
}

#[test]
fn the_configuration_s_jump_host_and_the_flag_s() {
    with(Options::default(), |gate| {
        let Some(remote) = Remote::start(Options::default()) else { return };
        gate.client_key(KeyKind::Ed25519).unwrap();
        let file = config(&remote, &gate, "ProxyJump gate");
        let run = said(&mut exec(&file, &["--json"], "box")).well();
        let via = run.json().get("via").cloned();
        assert_eq!(
            via,
            Some(waitcopy::json::Value::List(vec![
                format!("{}@gate", gate.user()).as_str().into()
            ]))
        );
        assert_eq!(run.json().get("peer"), Some(&waitcopy::json::Value::Null));
        // The flag is stronger, and none is straight.
        let run = said(&mut exec(&file, &["--json", "--jump", "none"], "box")).well();
        assert_eq!(run.json().get("peer"), Some(&remote.sshd.addr().to_string().as_str().into()));
        let twice = said(&mut exec(&file, &["--json", "--jump", "gate,box"], "box")).well();
        assert!(
            twice.text().matches("@gate").count() == 1 && twice.text().matches("@box").count() == 1
        );
        // A host that is its own jump host.
        let file = config(&remote, &gate, "ProxyJump box");
        said(&mut exec(&file, &[], "box")).failed(78, &["circle"]);
        said(&mut exec(&file, &["--jump", "-oX"], "gate")).failed(2, &["may begin with '-'"]);
        // By flags alone: keys and known hosts are those of every host on the way.
        let known = remote.here("known_of_all");
        let mut command = remote.bare("exec");
        command.arg("--known-hosts").arg(&known).arg("--identity").arg(&remote.key);
        command.arg("--jump").arg(format!("{}@{}", gate.user(), gate.addr()));
        assert_eq!(said(command.arg(remote.host()).args(["--", "echo hi"])).well().text(), "hi\n");
    });
}

#[test]
fn over_a_command() {
    with(Options::default(), |gate| {
        let Some(remote) = Remote::start(Options::default()) else { return };
        gate.client_key(KeyKind::Ed25519).unwrap();
        let inner = remote.here("inner");
        let file = config(
            &remote,
            &gate,
            &format!("ProxyCommand ssh -F {} -W %h:%p gate", inner.display()),
        );
        fs::copy(&file, &inner).unwrap();
        assert_eq!(said(&mut exec(&file, &[], "box")).well().text(), "there\n");
        until("the command is gone", || gate.sessions().is_empty());
        // How it ended is said, and it is not started again.
        let log = remote.here("log");
        let fails = format!("ProxyCommand sh -c 'echo tried >>{}; exit 3'", log.display());
        let file = config(&remote, &gate, &fails);
        said(&mut exec(&file, &[], "box"))
            .failed(255, &["the proxy command ended: exit status: 3"]);
        assert_eq!(fs::read_to_string(&log).unwrap(), "tried\n");
        let file = config(&remote, &gate, "ProxyCommand nc %h %Z");
        said(&mut exec(&file, &[], "box")).failed(78, &["%h, %n, %p and %r are known"]);
        // No host becomes a word of the shell's, wherever it comes from.
        let text = fs::read_to_string(config(&remote, &gate, "ProxyCommand nc %h %p")).unwrap();
        let text = text.replacen("HostName 127.0.0.1", "HostName x;touch${IFS}/tmp/x", 2);
        fs::write(&file, text).unwrap();
        let run = said(&mut exec(&file, &[], "box"));
        assert!(run.code == 78, "{run:?}");
    });
}

#[test]
fn a_command_that_hangs_is_ended() {
    with(Options::default(), |sshd| {
        let mark = sshd.folder().join("pid");
        // It says nothing, and would go on for long.
        let command = format!("sh -c 'echo $$ >{}; exec sleep 600'", mark.display());
        let short = Duration::from_millis(300);
        let timeouts = Timeouts { handshake: short, ..Timeouts::default() };
        let client = by_key(&sshd).timeouts(timeouts).proxy_command(&command).unwrap();
        let error = refusal(&client);
        assert_eq!(error.reason(), Reason::TimedOut(short));
        let pid: u32 = fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
        until("it is gone", || ssh::gone(pid));
        assert!(sshd.sessions().is_empty());
        // A session over a command ends it as well.
        let (addr, mark) = (sshd.addr(), mark.display());
        let bash = format!(
            "bash -c 'echo $$ >{mark}; exec 3<>/dev/tcp/{}/%p; cat <&3 & exec cat >&3'",
            addr.ip()
        );
        let ssh = by_key(&sshd).proxy_command(&bash).unwrap().connect().unwrap();
        assert_eq!(ssh.exec("exit 4").unwrap().exit, Exit::Status(4));
        assert_eq!(ssh.about().via, ["a proxy command"]);
        ssh.close().unwrap();
        let pid: u32 =
            fs::read_to_string(sshd.folder().join("pid")).unwrap().trim().parse().unwrap();
        until("it is gone", || ssh::gone(pid));
    });
}
