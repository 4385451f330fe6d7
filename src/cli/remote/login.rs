//! From the flags to a client: whom to connect to, by which credentials, with whose trust.

use super::answers::Answers;
use super::person::{Person, first_line};
use crate::cli::Exit;
use crate::cli::flags::Parsed;
use crate::remote::secret::Secret;
use crate::remote::target::Target;
use crate::remote::{Client, Error, Keepalive, Policy, Reason, Step};
use crate::sys;
use std::path::Path;

/// A client for a host as it was typed; a person's answers are kept, if they will be needed again.
pub(super) fn client(parsed: &Parsed, host: &str, answers: &Answers) -> Result<Client, Exit> {
    let (asked, given) = (parsed.has("ask-password"), parsed.value("password-fd"));
    if asked && given.is_some() {
        return Err(Exit::usage("--ask-password and --password-fd: one of them"));
    }
    if asked && Person::find().is_none() {
        return Err(Exit::usage(
            "--ask-password: there is no terminal to ask on; set SSH_ASKPASS, or use --password-fd",
        ));
    }
    let client = on_its_way(parsed, host, &|client| match Person::find() {
        Some(person) => {
            let heard = answers.heard(person, name(&client));
            client.ask(heard)
        }
        None => client,
    })?;
    match given {
        Some(number) => {
            let password = read_password(number)?;
            answers.give(&password);
            Ok(client.password(password))
        }
        None => Ok(client),
    }
}

/// One of several for the same host, who asks nobody: what the first one was answered is said again.
pub(super) fn further_client(
    parsed: &Parsed,
    host: &str,
    answers: &Answers,
) -> Result<Client, Error> {
    let client = on_its_way(parsed, host, &|client| {
        let repeated = answers.repeated(name(&client));
        client.ask(repeated)
    });
    let client = client.map_err(|exit| Error::new(Step::Settings, Reason::Usage, exit.message))?;
    Ok(match answers.given() {
        Some(password) => client.password(password),
        None => client,
    })
}

/// Who logs in where: a password is for no other port either.
fn name(client: &Client) -> String {
    let (host, port) = client.destination();
    format!("{}@{} port {port}, {host}", client.user(), client.host())
}

fn on_its_way(
    parsed: &Parsed,
    host: &str,
    asking: &dyn Fn(Client) -> Client,
) -> Result<Client, Exit> {
    host.parse::<Target>().map_err(Exit::usage)?;
    let file = parsed.value("config").map(Path::new);
    let refused = |error: Error| Exit::config(error.message());
    let mut client = Client::from_config_file(host, file).map_err(refused)?;
    if let Some(list) = parsed.value("jump") {
        client = client.jumps(list, file).map_err(|error| Exit::usage(error.message()))?;
    }
    // A jump host is logged in to as the host is, but a password is the host's alone.
    let client = by_flags(parsed, client)?;
    let mut wrong = None;
    let client = client.hops(&mut |hop| {
        let hop = asking(hop);
        by_flags(parsed, hop.clone()).unwrap_or_else(|exit| {
            wrong = Some(exit);
            hop
        })
    });
    wrong.map_or_else(|| Ok(by_password(parsed, asking(client))), Err)
}

/// What the flags say of every host on the way.
fn by_flags(parsed: &Parsed, mut client: Client) -> Result<Client, Exit> {
    for file in parsed.values("identity") {
        client = client.identity(file);
    }
    if let Some(file) = parsed.value("known-hosts") {
        client = client.known_hosts(file);
    }
    if let Some(policy) = parsed.value("host-key") {
        client = client.host_key(policy_of(policy)?);
    }
    let mut timeouts = client.get_timeouts();
    let time = |name| parsed.duration(name).map_err(Exit::usage);
    if let Some(interval) = time("keepalive")? {
        client = client.keepalive(Some(Keepalive { interval, ..Keepalive::default() }));
    }
    if parsed.has("compress") {
        client = client.compress(true);
    }
    if let Some(each) = time("connect-timeout")? {
        (timeouts.resolve, timeouts.connect, timeouts.handshake) = (each, each, each);
    }
    timeouts.idle = time("idle-timeout")?.or(timeouts.idle);
    Ok(client.timeouts(timeouts))
}

fn policy_of(name: &str) -> Result<Policy, Exit> {
    match name {
        "reject" => Ok(Policy::Reject),
        "accept-new" => Ok(Policy::AcceptNew),
        "warn" => Ok(Policy::Warn),
        other => {
            Err(Exit::usage(format!("--host-key {other}: reject, accept-new or warn is expected")))
        }
    }
}

/// Whoever names a password means it: no key is tried then, unless one was named as well.
fn by_password(parsed: &Parsed, client: Client) -> Client {
    if !parsed.has("ask-password") && !parsed.has("password-fd") {
        return client;
    }
    let with_key = ["publickey", "keyboard-interactive", "password"];
    client.methods(&with_key[usize::from(!parsed.has("identity"))..])
}

/// The first line of a descriptor that we were started with. What follows it stays there.
fn read_password(number: &str) -> Result<Secret, Exit> {
    let number: u32 = number.parse().map_err(|_| {
        Exit::usage(format!("--password-fd {number}: the number of a descriptor is expected"))
    })?;
    let failed = |error| Exit::usage(format!("--password-fd {number}: {}", sys::describe(&error)));
    let fd = sys::fcntl_dupfd(number).map_err(failed)?;
    let line = first_line(fd);
    line.ok_or_else(|| {
        Exit::usage(format!("--password-fd {number}: no line of at most 1024 bytes in it"))
    })
}
