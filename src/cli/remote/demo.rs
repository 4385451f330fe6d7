//! `remote demo`: the notes' four jobs on a private sshd, with both phases in sight: log in by password and run `df`, the same by
//! key, upload, download. In between ssh-copy-id, which the notes say is needed.

use super::copy_id;
use super::phases::Phases;
use super::{Done, Trouble};
use crate::cli::flags::Parsed;
use crate::cli::{Exit, print};
use crate::json::Value;
use crate::lab::sshd::{Accounts, KeyKind, Options, Sshd, StartError};
use crate::remote::config::IdentityAgent;
use crate::remote::secret::Secret;
use crate::remote::{Client, Policy, Session};
use crate::sys;
use std::fs;
use std::path::PathBuf;

/// Bytes of the file that goes there and back.
const BYTES: usize = 8 << 20;

/// What the jobs have in common.
struct Demo<'a> {
    sshd: &'a Sshd,
    parsed: &'a Parsed,
    known_hosts: PathBuf,
    jobs: Vec<Value>,
}

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    if !parsed.operands.is_empty() {
        return Err(Exit::usage("remote demo: it has a host of its own"));
    }
    // A server that lets in an account of its own, by password as well, takes root.
    let root = sys::getuid() == 0;
    let accounts = if root { Accounts::Password } else { Accounts::Own };
    let mut options = Options { accounts, ..Options::default() };
    if root {
        // Where ssh-copy-id puts keys: the account's home is the server's own.
        options.extra.push("AuthorizedKeysFile .ssh/authorized_keys".to_owned());
    }
    let sshd = Sshd::start(options).map_err(|error| match error {
        StartError::Unavailable(why) => Exit { code: 69, message: format!("remote demo: {why}") },
        StartError::Failed(why) => Exit::failed(why),
    })?;
    let known_hosts = sshd.folder().join("known_hosts_of_the_demo");
    let mut demo = Demo { sshd: &sshd, parsed, known_hosts, jobs: Vec::new() };
    demo.say(format_args!(
        "a private sshd on {}, user {}; all of it is removed at the end\n",
        sshd.addr(),
        sshd.user()
    ))?;
    let key = if root { demo.by_password()? } else { demo.with_key_only()? };
    demo.by_key(key)?;
    if parsed.has("json") {
        let jobs = Value::object([
            ("waitcopy", env!("CARGO_PKG_VERSION").into()),
            ("jobs", Value::List(demo.jobs)),
        ]);
        print(format_args!("{jobs:#}\n"))?;
    }
    Ok(())
}

impl Demo<'_> {
    fn say(&self, text: impl std::fmt::Display) -> Result<(), Exit> {
        if self.parsed.has("json") { Ok(()) } else { print(text) }
    }

    fn client(&self) -> Result<Client, Exit> {
        let target = format!("{}@{}", self.sshd.user(), self.sshd.addr());
        let client = Client::new(&target).map_err(Exit::failed)?;
        Ok(client
            .agent(IdentityAgent::Off)
            .known_hosts(&self.known_hosts)
            .host_key(Policy::AcceptNew))
    }

    /// By password: `df`, and the key that the next login needs.
    fn by_password(&mut self) -> Result<PathBuf, Exit> {
        let key = self.sshd.stranger_key(KeyKind::Rsa3072).map_err(Exit::failed)?;
        let client = self.client()?.methods(&["password"]);
        let client = client.password(Secret::from(self.sshd.password().to_owned()));
        self.job("df, by password", &client, async |ssh| df(ssh).await)?;
        let plan = copy_id::Plan::for_key(&key)?;
        self.job("copy-id", &client, async |ssh| Ok((String::new(), plan.run(ssh).await?)))?;
        Ok(key)
    }

    fn with_key_only(&mut self) -> Result<PathBuf, Exit> {
        self.say("df by password: left out, since only root can give this server an account of its own\n")?;
        self.sshd.client_key(KeyKind::Rsa3072).map_err(Exit::failed)
    }

    /// By key: `df`, upload, download.
    fn by_key(&mut self, key: PathBuf) -> Result<(), Exit> {
        let client = self.client()?.identity(key);
        self.job("df, by key", &client, async |ssh| df(ssh).await)?;
        let folder = self.sshd.folder();
        let (here, back) = (folder.join("demo.up"), folder.join("demo.down"));
        let mut bytes = vec![0; BYTES];
        bytes
            .chunks_mut(256)
            .try_for_each(sys::getrandom)
            .map_err(|e| Exit::failed(sys::describe(&e)))?;
        fs::write(&here, &bytes).map_err(|e| Exit::failed(sys::describe(&e)))?;
        self.job("upload", &client, async |ssh| {
            let n = ssh.sftp().await?.put(&here, "test.bin").await?;
            Ok((format!("{n} bytes\n"), Done::well(n)))
        })?;
        self.job("download", &client, async |ssh| {
            let n = ssh.sftp().await?.get("test.bin", &back).await?;
            Ok((format!("{n} bytes\n"), Done::well(n)))
        })?;
        if fs::read(&back).is_ok_and(|back| back == bytes) {
            self.say("the file that came back is the one that was sent\n")
        } else {
            Err(Exit::failed("the file that came back is another"))
        }
    }

    /// One job on a session of its own, with its phases.
    fn job(
        &mut self,
        name: &str,
        client: &Client,
        job: impl AsyncFnOnce(&Session) -> Result<(String, Done), Trouble>,
    ) -> Result<(), Exit> {
        let (phases, reactor) = Phases::watch()?;
        let ended: Result<(String, Done), Trouble> = reactor.run(async {
            let ssh = client.connect_on(&reactor).await?;
            phases.logged_in(ssh.about().steps);
            let done = job(&ssh).await?;
            phases.passed(ssh.traffic());
            ssh.close().await?;
            Ok(done)
        });
        let (text, done) = ended.map_err(|trouble| match trouble {
            Trouble::Remote(error) => super::exit_of(&error),
            Trouble::Here(exit) => exit,
        })?;
        self.say(format_args!("\n== {name}\n{text}{}", phases.table("the job", client.host())))?;
        self.jobs.push(Value::object([
            ("job", name.into()),
            ("result", done.result),
            ("phases", phases.to_json()),
        ]));
        Ok(())
    }
}

async fn df(ssh: &Session) -> Result<(String, Done), Trouble> {
    let output = ssh.exec("df").output().await?;
    if !output.exit.success() {
        // Some file systems of a container cannot be asked; the rest of the table is there all the same.
        super::warn(&format!("df there: {:?}", output.exit));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((text.clone(), Done::well(text)))
}
