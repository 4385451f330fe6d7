//! `waitcopy remote VERB`: a connection, one job on it, goodbye.
//!
//! Each verb has a plan, checked before anything is sent, and a job on a session. What they have in common is here: the
//! connection, how it is broken off, and how its end is told.

mod answers;
mod copy;
mod copy_id;
mod demo;
mod each;
mod exec;
mod files;
mod forward;
mod interrupt;
mod login;
mod parallel;
mod person;
mod phases;
mod progress;
mod shell;
mod show;
mod terminal;
mod tree;

use super::flags::{Command, Parsed};
use super::{Exit, print};
use crate::json::Value;
use crate::reactor::{Deadline, Handle, Reactor};
use crate::remote::{About, Client, Error, Reason, Session, Step};
use answers::Answers;
use interrupt::Interrupt;
use phases::Phases;
use show::Shown;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// How long the goodbye, or the removal of a temporary file there, may take: a server that is gone answers neither.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long a goodbye may take once something has failed: a channel is not closed there before its command ends.
const MOMENT: Duration = Duration::from_millis(100);
/// How often it is looked whether all is tidied up.
const LOOK: Duration = Duration::from_millis(5);

pub(super) fn run(command: &Command, parsed: &Parsed) -> Result<(), Exit> {
    let verb = command.verb_name();
    if verb == "demo" {
        return demo::run(parsed);
    }
    let host = parsed
        .operands
        .first()
        .ok_or_else(|| Exit::usage(format!("remote {verb}: which host?")))?;
    let host = host.to_str().ok_or_else(|| Exit::usage("the host is not UTF-8"))?;
    let answered = |parsed, answers: &Answers| {
        Connection::new(verb, parsed, login::client(parsed, host, answers)?)
    };
    let job = |parsed| answered(parsed, &Answers::default());
    match verb {
        "exec" => {
            let plan = exec::Plan::of(parsed)?;
            job(parsed)?.run(async |ssh| plan.run(ssh).await)
        }
        "put" | "get" => {
            let plan = copy::Plan::of(verb, parsed)?;
            answered(parsed, &plan.answers())?.run(async |ssh| plan.run(ssh).await)
        }
        "shell" => {
            let plan = shell::Plan::of(parsed)?;
            job(parsed)?.run(async |ssh| plan.run(ssh).await)
        }
        "forward" => {
            let plan = forward::Plan::of(parsed)?;
            job(parsed)?.run(async |ssh| plan.run(ssh).await)
        }
        "copy-id" => {
            let plan = copy_id::Plan::of(parsed)?;
            job(parsed)?.run(async |ssh| plan.run(ssh).await)
        }
        _ => {
            let plan = files::Plan::of(verb, parsed)?;
            job(parsed)?.run(async |ssh| plan.run(ssh).await)
        }
    }
}

/// Why a verb ends early.
enum Trouble {
    Remote(Error),
    Here(Exit),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Remote(error)
    }
}

impl From<Exit> for Trouble {
    fn from(exit: Exit) -> Self {
        Self::Here(exit)
    }
}

/// What a verb has come to.
struct Done {
    /// Its part of the JSON.
    result: Value,
    status: u8,
    /// Why the status is not 0, where nothing has said so yet.
    message: String,
}

impl Done {
    fn well(result: impl Into<Value>) -> Self {
        Self { result: result.into(), status: 0, message: String::new() }
    }
}

/// A host, and how this verb connects to it.
struct Connection<'a> {
    verb: &'a str,
    parsed: &'a Parsed,
    client: Client,
    phases: Option<Phases>,
    reactor: Reactor,
    total: Option<Duration>,
}

impl<'a> Connection<'a> {
    fn new(verb: &'a str, parsed: &'a Parsed, client: Client) -> Result<Self, Exit> {
        let total = parsed.duration("timeout").map_err(Exit::usage)?;
        let (phases, reactor) = if parsed.has("phases") {
            let (phases, reactor) = Phases::watch()?;
            (Some(phases), reactor)
        } else {
            (None, Reactor::new()?)
        };
        Ok(Self { verb, parsed, client, phases, reactor, total })
    }

    fn whom(&self) -> String {
        format!("{}@{}", self.client.user(), self.client.host())
    }

    /// Connects, does the job, and tells how it went.
    fn run(self, job: impl AsyncFnOnce(&Session) -> Result<Done, Trouble>) -> Result<(), Exit> {
        let interrupt = Interrupt::new(&self.reactor)?;
        let about = RefCell::new(None);
        let ended = self.reactor.run(async {
            let working = self.work(&about, job);
            let working = self.reactor.within(Deadline::after_or_never(self.total), working);
            let ended = match first(working, interrupt.comes()).await {
                First::Left(Ok(ended)) => ended,
                First::Left(Err(_)) => Err(self.late()),
                First::Right(()) => Err(Exit::failed("").into()),
            };
            // Also where it was a person's answer: there was none, and the login that then failed is no news.
            let broken_off = |signal| Exit { code: 128 + signal as u8, message: String::new() };
            let ended = ended
                .map_err(|why| interrupt::came().map_or(why, |signal| broken_off(signal).into()));
            if let Err(why) = &ended {
                let patience = self.patience(about.borrow().is_some(), why);
                tidied(&self.reactor, patience).await;
            }
            ended
        });
        self.tell(about.into_inner().as_ref(), ended)
    }

    async fn work(
        &self,
        about: &RefCell<Option<About>>,
        job: impl AsyncFnOnce(&Session) -> Result<Done, Trouble>,
    ) -> Result<Done, Trouble> {
        let ssh = self.client.connect_on(&self.reactor).await?;
        if let Some(phases) = &self.phases {
            phases.logged_in(ssh.about().steps);
        }
        for notice in &ssh.about().notices {
            warn(notice);
        }
        *about.borrow_mut() = Some(ssh.about().clone());
        let done = job(&ssh).await;
        if let Some(phases) = &self.phases {
            phases.passed(ssh.traffic());
        }
        if done.is_ok() {
            // The job is done, whatever becomes of the goodbye.
            let _ = self.reactor.within(Deadline::after(GOODBYE), ssh.close()).await;
        }
        done
    }

    /// How long it is worth waiting for what was given up. Only a host that these verbs write a temporary file on, and that is not silent
    /// itself, has more to do than to say goodbye.
    fn patience(&self, logged_in: bool, why: &Trouble) -> Duration {
        let silent = matches!(why, Trouble::Remote(error)
            if error.step() == Step::Sftp && matches!(error.reason(), Reason::TimedOut(_)));
        let removes = matches!(self.verb, "put" | "copy-id");
        if logged_in && removes && !silent { GOODBYE } else { MOMENT }
    }

    fn late(&self) -> Trouble {
        let total = self.total.unwrap_or_default();
        Error::new(
            Step::Command,
            Reason::TimedOut(total),
            format!("{}: no end after {total:?}", self.whom()),
        )
        .into()
    }

    /// The result, the phases, the exit status.
    fn tell(&self, about: Option<&About>, ended: Result<Done, Trouble>) -> Result<(), Exit> {
        if let Some(phases) =
            self.phases.as_ref().filter(|_| about.is_some() && !self.parsed.has("json"))
        {
            // Beside the result, not in it. If standard error is gone, nobody reads it.
            let _ = io::stderr().write_all(phases.table(self.verb, &self.whom()).as_bytes());
        }
        if self.parsed.has("json") {
            print(format_args!("{:#}\n", self.json(about, &ended)))?;
        }
        match ended {
            Ok(Done { status: 0, .. }) => Ok(()),
            Ok(Done { status, message, .. }) => Err(Exit { code: status, message }),
            Err(Trouble::Here(exit)) => Err(exit),
            Err(Trouble::Remote(error)) => Err(exit_of(&error)),
        }
    }

    fn json(&self, about: Option<&About>, ended: &Result<Done, Trouble>) -> Value {
        let mut members = vec![
            ("waitcopy", env!("CARGO_PKG_VERSION").into()),
            ("verb", self.verb.into()),
            ("host", self.client.host().into()),
            ("user", self.client.user().into()),
        ];
        if let Some(about) = about {
            members.extend([
                ("peer", about.peer.map(|peer| peer.to_string()).into()),
                ("via", Value::List(about.via.iter().map(|host| host.as_str().into()).collect())),
                ("server", about.server.as_str().into()),
                (
                    "host_key",
                    format!("{} {}", about.host_key.algorithm(), about.host_key.fingerprint())
                        .into(),
                ),
                ("login", about.login.as_str().into()),
            ]);
        }
        match ended {
            Ok(done) => members.push(("result", done.result.clone())),
            Err(Trouble::Remote(error)) => members.push(("error", error_json(error))),
            Err(Trouble::Here(exit)) => {
                members.push(("error", Value::object([("message", exit.message.as_str().into())])))
            }
        }
        if let Some(phases) = self.phases.as_ref().filter(|_| about.is_some()) {
            members.push(("phases", phases.to_json()));
        }
        Value::object(members)
    }
}

fn error_json(error: &Error) -> Value {
    Value::object([
        ("step", error.step().name().into()),
        ("reason", error.reason().name().into()),
        ("message", error.message().into()),
        ("remedy", error.remedy().map(str::to_owned).into()),
    ])
}

/// A failure as an end of the program: 255 is the connection's, 1 a file's.
fn exit_of(error: &Error) -> Exit {
    let code = match (error.step(), error.reason()) {
        // Of a command only our own streams can say so: nobody listens, so there is nothing to say.
        (Step::Command, _) if is_closed_pipe(error) => {
            return Exit { code: 0, message: String::new() };
        }
        (Step::Sftp, Reason::Status(_) | Reason::Io(_) | Reason::Usage | Reason::Protocol) => 1,
        (Step::Forward, Reason::Refused | Reason::Io(_)) => 1,
        (_, Reason::Usage) => 2,
        _ => 255,
    };
    Exit { code, message: Shown(&error.to_string()).to_string() }
}

/// A line on standard error that is no failure of the whole.
fn warn(text: &str) {
    // If standard error is gone, nobody reads it.
    let _ = writeln!(io::stderr(), "waitcopy: {}", Shown(text));
}

/// Which of two futures came first.
enum First<A, B> {
    Left(A),
    Right(B),
}

/// The first of two, the left one where both are there; the other is dropped.
async fn first<A, B>(left: impl Future<Output = A>, right: impl Future<Output = B>) -> First<A, B> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|cx| match left.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(First::Left(done)),
        Poll::Pending => right.as_mut().poll(cx).map(First::Right),
    })
    .await
}

/// Waits until what was given up has tidied up, so long at most: the removal of a temporary file is still to be sent, a channel to be
/// closed.
async fn tidied(reactor: &Handle, at_most: Duration) {
    let limit = Deadline::after(at_most);
    while reactor.spawned() > 0 && !limit.passed() {
        reactor.sleep(Deadline::after(LOOK)).await;
    }
}

/// Whether nobody reads what is written here any more.
fn is_closed_pipe(error: &Error) -> bool {
    let Reason::Io(Some(errno)) = error.reason() else { return false };
    io::Error::from_raw_os_error(errno).kind() == io::ErrorKind::BrokenPipe
}
