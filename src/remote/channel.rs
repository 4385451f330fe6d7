//! A channel of a session, as futures.

use super::error::{Error, Reason, Step};
use super::scratch::Scratch;
use super::target::HostPort;
use super::transport::{Transport, Way};
use super::wire::put_string;
use crate::sys::ssh::{self, ExitSignal};
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::task::Context;

/// The receive window: how much the server may send before we have read it. libssh2 keeps what came in between, so this is
/// also the bound of its memory.
pub(super) const WINDOW: u32 = 2 << 20;
/// The largest packet that we take (RFC 4253 section 6.1 asks for 32,768 at least).
const PACKET: u32 = 32_768;

/// Which of a channel's two incoming streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error (SSH_EXTENDED_DATA_STDERR).
    Error,
}

impl Stream {
    const fn number(self) -> i32 {
        match self {
            Self::Output => 0,
            Self::Error => 1,
        }
    }
}

/// How a remote command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(u32),
    /// By this signal, its name without `SIG`. From the server: escape it before printing.
    Signal(String),
    /// The server closed the channel and told of neither.
    Unknown,
}

impl Exit {
    /// Whether it ended with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        *self == Self::Status(0)
    }
}

/// An open channel. Dropping it closes it, as far as the reactor runs on.
pub struct Channel {
    channel: Option<ssh::Channel>,
    transport: Rc<Transport>,
}

impl Channel {
    /// Opens a session channel.
    pub(super) async fn open(transport: &Rc<Transport>) -> Result<Self, Error> {
        let open =
            |session: &ssh2::Session| ssh::channel_open(session, "session", WINDOW, PACKET, &[]);
        let mut opened = transport.exclusively(open).await?;
        if opened.as_ref().is_err_and(ssh::SshError::refused) && transport.has_closed() {
            // sshd counts a closed channel up to the end of the packets that came with its close. They have ended now.
            opened = transport.exclusively(open).await?;
        }
        let channel = opened.map_err(|error| {
            let refused = error.refused();
            let error = transport.failed(Step::Channel, "open", &error);
            if refused {
                error.hint("sshd's MaxSessions bounds the channels of one connection")
            } else {
                error
            }
        })?;
        Ok(Self { channel: Some(channel), transport: Rc::clone(transport) })
    }

    /// Opens a connection from the server to a host and port (`direct-tcpip`, RFC 4254 section 7.2). `from` is who asked for it: the
    /// server may write it down.
    ///
    /// libssh2 opens one channel of a session at a time, and the server answers once it is connected, or has given up: a destination that
    /// does not answer holds up whoever opens the next.
    pub(super) async fn direct(
        transport: &Rc<Transport>,
        (host, port): (&str, u16),
        from: Option<SocketAddr>,
    ) -> Result<Self, Error> {
        let origin =
            from.map_or(("127.0.0.1".to_owned(), 0), |from| (from.ip().to_string(), from.port()));
        let mut message = Vec::new();
        for (host, port) in [(host, port), (origin.0.as_str(), origin.1)] {
            put_string(&mut message, host.as_bytes());
            message.extend_from_slice(&u32::from(port).to_be_bytes());
        }
        let open = |session: &ssh2::Session| {
            ssh::channel_open(session, "direct-tcpip", WINDOW, PACKET, &message)
        };
        let opened = transport.exclusively(open).await?;
        let channel = opened.map_err(|error| {
            let refused = error.refused();
            let whom = HostPort(host, port).to_string();
            let error = transport.failed(Step::Forward, &whom, &error);
            if refused {
                error.hint("the server could not connect, or may not (AllowTcpForwarding, PermitOpen of sshd_config(5))")
            } else {
                error
            }
        })?;
        Ok(Self { channel: Some(channel), transport: Rc::clone(transport) })
    }

    /// A channel that the server has opened.
    pub(super) fn taken(channel: ssh::Channel, transport: &Rc<Transport>) -> Self {
        Self { channel: Some(channel), transport: Rc::clone(transport) }
    }

    /// A call on it, until it does not say `EAGAIN`.
    async fn drive<T>(
        &self,
        way: Way,
        step: Step,
        what: &str,
        call: impl Fn(&ssh::Channel) -> Result<T, ssh::SshError>,
    ) -> Result<T, Error> {
        let channel = self.channel.as_ref().ok_or_else(|| closed(step))?;
        self.transport.drive(way, step, what, |_| call(channel)).await
    }

    /// Starts what the channel is for.
    pub(super) async fn start(&self, request: &str, message: Option<&[u8]>) -> Result<(), Error> {
        self.drive(Way::Receive, Step::Channel, request, |channel| {
            channel.process_startup(request, message)
        })
        .await
    }

    /// Sets a variable of the remote environment. False: the server does not allow it.
    pub(super) async fn setenv(&self, name: &str, value: &[u8]) -> Result<bool, Error> {
        let set = |channel: &ssh::Channel| match channel.setenv(name, value) {
            Err(error) if error.refused() => Ok(false),
            done => done.map(|()| true),
        };
        self.drive(Way::Receive, Step::Channel, "env", set).await
    }

    /// Asks for a terminal.
    pub(super) async fn request_pty(
        &self,
        term: &str,
        (columns, rows): (u16, u16),
        modes: &[u8],
    ) -> Result<(), Error> {
        self.drive(Way::Receive, Step::Channel, "pty-req", |channel| {
            channel.request_pty(term, columns, rows, modes)
        })
        .await
    }

    /// Tells that the terminal has another size.
    pub(super) async fn resize(&self, (columns, rows): (u16, u16)) -> Result<(), Error> {
        self.drive(Way::Send, Step::Command, "window-change", |channel| {
            channel.request_pty_size(columns, rows)
        })
        .await
    }

    /// Takes what has come; 0 at the end of the stream.
    pub(super) async fn read(
        &self,
        step: Step,
        stream: Stream,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        let channel = self.channel.as_ref().ok_or_else(|| closed(step))?;
        self.transport
            .drive(Way::Receive, step, "read", |_| channel.read(stream.number(), buffer))
            .await
    }

    /// Takes what has come, as long as it is; nothing at the end of the stream. Who waits for it holds no room.
    pub(super) async fn read_piece(&self, step: Step, stream: Stream) -> Result<Vec<u8>, Error> {
        self.drive(Way::Receive, step, "read", |channel| {
            let mut room = Scratch::lent();
            channel.read(stream.number(), &mut room).map(|n| room[..n].to_vec())
        })
        .await
    }

    /// Whether a read would bring something at once: data, an end, or why there will be none. The socket is not asked.
    pub(super) fn has_arrived(&self) -> bool {
        self.transport.is_broken()
            || self.channel.as_ref().is_none_or(|channel| channel.holds_some() || channel.eof())
    }

    /// Gives some of `bytes` to the remote input, and returns how many.
    pub(super) async fn write(&self, step: Step, bytes: &[u8]) -> Result<usize, Error> {
        self.drive(Way::Send, step, "write", |channel| channel.write(bytes)).await
    }

    /// The same, of bytes that are looked up at each try: what was queued behind them meanwhile does no harm.
    pub(super) async fn write_from<B: Deref<Target = [u8]>>(
        &self,
        step: Step,
        bytes: impl Fn() -> B,
    ) -> Result<usize, Error> {
        self.drive(Way::Send, step, "write", |channel| channel.write(&bytes())).await
    }

    /// Whether a packet is sent in part: the operation that began it must not be dropped. Whoever hears so is woken once it is
    /// sent.
    pub(super) fn mid_packet(&self, cx: &Context<'_>) -> bool {
        self.transport.mid_packet(cx)
    }

    /// Ends the remote input.
    pub(super) async fn send_eof(&self, step: Step) -> Result<(), Error> {
        self.drive(Way::Send, step, "end of input", ssh::Channel::send_eof).await
    }

    /// Waits until the server has closed the channel, which tells of the exit; both streams are read to their ends.
    pub(super) async fn wait_closed(&self) -> Result<Exit, Error> {
        self.drive(Way::Receive, Step::Command, "end", ssh::Channel::wait_closed).await?;
        let channel = self.channel.as_ref().ok_or_else(|| closed(Step::Command))?;
        let signal = || channel.exit_signal().map(|ExitSignal { name }| Exit::Signal(name));
        Ok(channel.exit_status().map(Exit::Status).or_else(signal).unwrap_or(Exit::Unknown))
    }

    /// Closes it, and waits for the server's close.
    pub(super) async fn close(mut self) -> Result<(), Error> {
        let Some(channel) = self.channel.take() else { return Ok(()) };
        self.transport.close_now(channel).await
    }
}

/// Who has closed the channel reads no more and has no size: that is no failure, and what he still says is to be taken.
pub(super) fn unless_closed(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if error.reason() != Reason::Protocol => Err(error),
        _ => Ok(()),
    }
}

fn closed(step: Step) -> Error {
    Error::new(step, Reason::Disconnected, "the channel is closed")
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.take() {
            self.transport.close_later(channel);
        }
    }
}
