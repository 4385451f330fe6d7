//! Commands and shells: input, output and error output pumped together, so that no amount of any of them holds up the others.

use super::channel::{Channel, Exit, Stream, unless_closed};
use super::error::{Error, Reason, Step};
use super::session::Session;
use super::stream::{Input, Sink};
use super::window::Window;
use crate::reactor::{self, Deadline};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// What one read of a stream brings at most.
const PIECE: usize = 32 * 1024;
/// A command that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// The variables that the server did not accept (`AcceptEnv` of sshd_config(5)).
    pub refused: Vec<String>,
}

/// How a command ended, where its output went elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// The variables that the server did not accept (`AcceptEnv` of sshd_config(5)).
    pub refused: Vec<String>,
}

/// A command to run: [`Session::exec`]; the user's shell: [`Session::shell`].
#[must_use = "a command runs when its output is asked for"]
pub struct Exec<'a> {
    session: &'a Session,
    /// `None`: the user's shell itself.
    command: Option<Vec<u8>>,
    environment: Vec<(String, Vec<u8>)>,
    terminal: Option<(String, (u16, u16))>,
    modes: Vec<u8>,
    window: Option<Window>,
    granted: Option<Box<dyn FnOnce() + 'a>>,
    total: Option<Duration>,
    idle: Option<Duration>,
}

impl<'a> Exec<'a> {
    pub(super) fn new(session: &'a Session, command: Option<Vec<u8>>) -> Self {
        Self {
            session,
            command,
            environment: Vec::new(),
            terminal: None,
            modes: Vec::new(),
            window: None,
            granted: None,
            total: None,
            idle: None,
        }
    }

    /// Sets a variable there, if the server allows it; refusals are reported at the end.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives it a terminal of that many columns and rows. Its error output then comes with the output.
    pub fn pty(mut self, term: impl Into<String>, columns: u16, rows: u16) -> Self {
        self.terminal = Some((term.into(), (columns, rows)));
        self
    }

    /// Gives that terminal these modes, written as RFC 4254 section 8 has it; else it has the server's own.
    pub fn modes(mut self, modes: Vec<u8>) -> Self {
        self.modes = modes;
        self
    }

    /// Tells it of each new size of a terminal here.
    pub fn window(mut self, window: &Window) -> Self {
        self.window = Some(window.clone());
        self
    }

    /// Calls this once the server has begun it, before anything is read here or written.
    pub fn on_start(mut self, told: impl FnOnce() + 'a) -> Self {
        self.granted = Some(Box::new(told));
        self
    }

    /// How long it may take in all.
    pub fn timeout(mut self, total: Duration) -> Self {
        self.total = Some(total);
        self
    }

    /// How long the connection may be silent meanwhile.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Runs it without input and collects what it says, at most 64 MiB of each stream.
    ///
    /// # Errors
    /// The server refuses; a deadline; a connection that is gone.
    pub async fn output(self) -> Result<Output, Error> {
        self.output_of(&[]).await
    }

    /// Runs it with this input and collects what it says, at most 64 MiB of each stream.
    ///
    /// # Errors
    /// The server refuses; a deadline; a connection that is gone.
    pub async fn output_of(self, mut input: &[u8]) -> Result<Output, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let Ended { exit, refused } = self.run(&mut input, &mut stdout, &mut stderr).await?;
        Ok(Output { exit, stdout, stderr, refused })
    }

    /// Runs it, its three streams joined to these.
    ///
    /// # Errors
    /// The server refuses; a deadline; a connection that is gone; a stream here that fails.
    pub async fn run(
        mut self,
        input: &mut impl Input,
        stdout: &mut impl Sink,
        stderr: &mut impl Sink,
    ) -> Result<Ended, Error> {
        let transport = &self.session.transport;
        let total = self.total.unwrap_or(Duration::MAX);
        let granted = self.granted.take();
        let running = self.pumped(granted, input, stdout, stderr);
        let running = transport.attended_for(self.idle, Step::Command, "the command", running);
        let ended = transport.reactor().within(Deadline::after(total), running).await;
        ended.unwrap_or_else(|_| Err(Error::timed_out(Step::Command, "the command", total)))
    }

    async fn pumped(
        &self,
        granted: Option<Box<dyn FnOnce() + 'a>>,
        input: &mut impl Input,
        stdout: &mut impl Sink,
        stderr: &mut impl Sink,
    ) -> Result<Ended, Error> {
        let (channel, refused) = self.started().await?;
        if let Some(granted) = granted {
            granted();
        }
        let exit = {
            let mut give = pin!(give(&channel, input));
            let mut taken = pin!(taken(&channel, stdout, stderr));
            let mut sized = pin!(sized(&channel, self.window.as_ref()));
            let (mut given, mut exit) = (false, None);
            poll_fn(|cx| {
                if let Poll::Ready(error) = sized.as_mut().poll(cx) {
                    return Poll::Ready(Err(error));
                }
                if !given {
                    match give.as_mut().poll(cx) {
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        done => given = done.is_ready(),
                    }
                }
                if exit.is_none() {
                    match taken.as_mut().poll(cx) {
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Ready(Ok(how)) => exit = Some(how),
                        Poll::Pending => {}
                    }
                }
                // Nobody reads the rest of the input; only a packet that is half on its way must go out.
                let quiet = given && self.window.is_none();
                match exit.take_if(|_| quiet || !channel.mid_packet(cx)) {
                    Some(exit) => Poll::Ready(Ok(exit)),
                    None => Poll::Pending,
                }
            })
            .await?
        };
        channel.close().await?;
        Ok(Ended { exit, refused })
    }

    async fn started(&self) -> Result<(Channel, Vec<String>), Error> {
        let channel = Channel::open(&self.session.transport).await?;
        if let Some((term, size)) = &self.terminal {
            channel.request_pty(term, *size, &self.modes).await?;
        }
        let mut refused = Vec::new();
        for (name, value) in &self.environment {
            if !channel.setenv(name, value).await? {
                refused.push(name.clone());
            }
        }
        match &self.command {
            Some(command) => channel.start("exec", Some(command)).await?,
            None => channel.start("shell", None).await?,
        }
        Ok((channel, refused))
    }
}

/// Passes the sizes of a window on, up to a failure.
async fn sized(channel: &Channel, window: Option<&Window>) -> Error {
    let Some(window) = window else { return std::future::pending().await };
    loop {
        if let Err(error) = unless_closed(channel.resize(window.changed().await).await) {
            return error;
        }
    }
}

/// From here to the command's input, to its end.
async fn give(channel: &Channel, input: &mut impl Input) -> Result<(), Error> {
    let mut buffer = vec![0; PIECE];
    loop {
        let n = input.read(&mut buffer).await.map_err(|e| local("standard input", &e))?;
        if n == 0 {
            return unless_closed(channel.send_eof(Step::Command).await);
        }
        let mut left = &buffer[..n];
        while !left.is_empty() {
            match channel.write(Step::Command, left).await {
                Ok(n) => left = &left[n..],
                failed => return unless_closed(failed.map(drop)),
            }
        }
    }
}

/// From both of the command's streams to here, to their ends, and then to the command's own: it may close them, and go on
/// reading its input.
async fn taken(
    channel: &Channel,
    stdout: &mut impl Sink,
    stderr: &mut impl Sink,
) -> Result<Exit, Error> {
    let mut output = pin!(take(channel, Stream::Output, stdout));
    let mut error = pin!(take(channel, Stream::Error, stderr));
    let mut left = [true, true];
    poll_fn(|cx| {
        for (stream, left) in left.iter_mut().enumerate().filter(|(_, left)| **left) {
            let polled =
                if stream == 0 { output.as_mut().poll(cx) } else { error.as_mut().poll(cx) };
            match polled {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                done => *left = done.is_pending(),
            }
        }
        if left == [false, false] { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    channel.wait_closed().await
}

/// From one of the command's streams to here, to its end.
async fn take(channel: &Channel, stream: Stream, sink: &mut impl Sink) -> Result<(), Error> {
    let mut buffer = vec![0; PIECE];
    loop {
        let n = channel.read(Step::Command, stream, &mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        sink.write(&buffer[..n]).await.map_err(|e| {
            local(if stream == Stream::Output { "standard output" } else { "standard error" }, &e)
        })?;
        // A command that says more than we can decrypt holds up no deadline and no other session.
        reactor::yield_now().await;
    }
}

fn local(what: &str, error: &io::Error) -> Error {
    let message = format!("{what} here: {}", crate::sys::describe(error));
    Error::new(Step::Command, Reason::Io(error.raw_os_error()), message)
}
