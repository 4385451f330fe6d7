//! One channel joined to one stream here: bytes both ways, and the end of each way passed on.
//!
//! Each way holds one piece at most, as long as what has come, and none while nothing comes. What waits beyond that waits in the kernel, and in the channel's
//! window: who does not read holds up who sends, and nobody else.

use super::channel::{Channel, Stream, unless_closed};
use super::error::{Error, Reason, Step};
use super::scratch::Scratch;
use super::stream::{Input, Sink};
use super::transport::Transport;
use crate::failure::Failure;
use crate::reactor::{self, Handle, Interest, Source};
use crate::sys::{self, Shutdown};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Where bytes go that can be told that no more will come.
pub trait Outlet: Sink {
    /// No more will come.
    fn end(&mut self);

    /// Whether a failure to read the input means that nobody is left to write to either, as on a socket, where both are one connection.
    fn goes_with_input(&self) -> bool {
        false
    }
}

/// One of the two ways of a non-blocking socket here.
pub(super) struct Half(Rc<Source<OwnedFd>>);

/// Both ways of a socket.
pub(super) fn halves(reactor: &Handle, socket: OwnedFd) -> Result<(Half, Half), Failure> {
    let source = Rc::new(Source::new(reactor, socket)?);
    Ok((Half(Rc::clone(&source)), Half(source)))
}

impl Input for Half {
    async fn arrival(&mut self) {
        self.0.ready(Interest::Read).await;
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.until(Interest::Read, |fd| sys::recv(fd, buffer)).await
    }
}

impl Sink for Half {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            let n = self.0.until(Interest::Write, |fd| sys::send(fd, left)).await?;
            left = &left[n..];
        }
        Ok(())
    }
}

impl Outlet for Half {
    fn end(&mut self) {
        // ENOTCONN: it is gone, and the next read says so.
        let _ = sys::shutdown(self.0.get_ref().as_fd(), Shutdown::Write);
    }

    fn goes_with_input(&self) -> bool {
        true
    }
}

/// Bytes that a joined stream has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// To the server.
    pub there: u64,
    /// From the server.
    pub back: u64,
}

/// Waits until a channel has something to read, for who does not want to ask the socket.
pub(super) trait Arrivals {
    /// Ends when there is something, or the end.
    fn arrival(&self, channel: &Rc<Channel>) -> impl Future<Output = ()>;
}

/// The channel itself asks.
pub(super) struct Itself;

impl Arrivals for Itself {
    async fn arrival(&self, _: &Rc<Channel>) {}
}

/// Joins a channel to a stream here until both ways have ended, the server has closed the channel, nobody is left here, or `stop` has
/// ended; then closes the channel.
///
/// A failure here ends its own way alone: who cannot be read is told to the server as an end, and what comes for who takes no more is
/// thrown away. Of several failures the first one is returned.
///
/// A packet that is half sent is waited out: dropped there, it would end the session for all. A way that takes sends as well (it makes
/// room in the window), so both ways are polled until then, and begin nothing new.
pub(super) async fn join(
    channel: Channel,
    arrivals: &impl Arrivals,
    input: &mut impl Input,
    output: &mut impl Outlet,
    stop: impl Future<Output = ()>,
) -> (Carried, Result<(), Error>) {
    let joint = Joint::new(channel);
    {
        let one_stream = output.goes_with_input();
        let mut give = pin!(joint.give(input));
        let mut take = pin!(joint.take(arrivals, output));
        let mut stop = pin!(stop);
        let (mut given, mut taken) = (false, false);
        poll_fn(|cx| {
            if !joint.leaving.get() && stop.as_mut().poll(cx).is_ready() {
                joint.leaving.set(true);
            }
            given = given || joint.has_ended(give.as_mut().poll(cx));
            taken = taken || joint.has_ended(take.as_mut().poll(cx));
            let nobody = joint.deaf.get() || one_stream && joint.mute.get();
            if taken || given && (nobody || joint.far_ended.get()) {
                joint.leaving.set(true);
            }
            match joint.leaving.get() && !joint.channel.mid_packet(cx) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
    let Joint { channel, there, back, failure, .. } = joint;
    let closed = match Rc::try_unwrap(channel) {
        Ok(channel) => channel.close().await,
        // Somebody still looks at it: it is closed when he has done.
        Err(_) => Ok(()),
    };
    let ended = failure.into_inner().map_or(Ok(()), Err);
    (Carried { there: there.get(), back: back.get() }, ended.and(closed))
}

/// What the two ways of a joined channel know of each other.
struct Joint {
    channel: Rc<Channel>,
    there: Cell<u64>,
    back: Cell<u64>,
    /// The first one.
    failure: RefCell<Option<Error>>,
    /// The stream here cannot be read any more.
    mute: Cell<bool>,
    /// The stream here cannot be written any more.
    deaf: Cell<bool>,
    /// The server sends no more.
    far_ended: Cell<bool>,
    /// Nothing new is begun.
    leaving: Cell<bool>,
}

impl Joint {
    fn new(channel: Channel) -> Self {
        Self {
            channel: Rc::new(channel),
            there: Cell::new(0),
            back: Cell::new(0),
            failure: RefCell::default(),
            mute: Cell::new(false),
            deaf: Cell::new(false),
            far_ended: Cell::new(false),
            leaving: Cell::new(false),
        }
    }

    fn failed(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
    }

    /// Whether a way has ended. If it has failed, so has the channel.
    fn has_ended(&self, way: Poll<Result<(), Error>>) -> bool {
        match way {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                self.failed(error);
                self.leaving.set(true);
            }
        }
        true
    }

    /// From here to the server, to the end.
    async fn give(&self, input: &mut impl Input) -> Result<(), Error> {
        loop {
            input.arrival().await;
            let piece = self.read(input).await;
            if piece.is_empty() {
                return unless_closed(self.channel.send_eof(Step::Forward).await);
            }
            let mut left = &piece[..];
            while !left.is_empty() {
                if self.leaving.get() {
                    return Ok(());
                }
                match self.channel.write(Step::Forward, left).await {
                    Ok(n) => {
                        self.there.set(self.there.get() + n as u64);
                        left = &left[n..];
                    }
                    failed => return unless_closed(failed.map(drop)),
                }
            }
        }
    }

    /// What comes next from here, as long as it is; nothing at the end, which a failure is too.
    async fn read(&self, input: &mut impl Input) -> Vec<u8> {
        let mut room = Scratch::lent();
        match input.read(&mut room).await {
            Ok(n) => room[..n].to_vec(),
            Err(error) => {
                self.failed(here("read", &error));
                self.mute.set(true);
                Vec::new()
            }
        }
    }

    /// From the server to here, to the end of the stream and then to the channel's own.
    async fn take(&self, arrivals: &impl Arrivals, output: &mut impl Outlet) -> Result<(), Error> {
        while !self.leaving.get() {
            arrivals.arrival(&self.channel).await;
            let piece = self.channel.read_piece(Step::Forward, Stream::Output).await?;
            if piece.is_empty() {
                output.end();
                self.far_ended.set(true);
                return self.channel.wait_closed().await.map(drop);
            }
            if !self.deaf.get() {
                match output.write(&piece).await {
                    Ok(()) => self.back.set(self.back.get() + piece.len() as u64),
                    Err(error) => {
                        self.failed(here("write", &error));
                        self.deaf.set(true);
                    }
                }
            }
            // A stream that never pauses holds up no other.
            reactor::yield_now().await;
        }
        Ok(())
    }
}

fn here(call: &'static str, error: &io::Error) -> Error {
    let message = format!("{call} here: {}", sys::describe(error));
    Error::new(Step::Forward, Reason::Io(error.raw_os_error()), message)
}

/// A socket whose other end is a connection from the server to a host and port. It carries as long as the reactor runs.
pub(super) async fn socket_to(
    transport: &Rc<Transport>,
    to: (&str, u16),
) -> Result<OwnedFd, Error> {
    let channel = Channel::direct(transport, to, None).await?;
    let failed = |call| move |e| Error::failure(Step::Forward, &Failure::new(call, "", e));
    let (ours, theirs) = sys::socketpair().map_err(failed("socketpair"))?;
    for end in [&ours, &theirs] {
        sys::set_nonblocking(end, true).map_err(failed("fcntl"))?;
    }
    let reactor = transport.reactor();
    let (mut input, mut output) =
        halves(reactor, theirs).map_err(|f| Error::failure(Step::Forward, &f))?;
    reactor.spawn(async move {
        // Whoever reads the other end sees that it has ended; why, he asks the session.
        let _ = join(channel, &Itself, &mut input, &mut output, pending()).await;
    });
    Ok(ours)
}
