//! One channel joined to one stream here: bytes both ways, and the end of each way passed on.
//!
//! Each way holds one piece at most, and none while nothing comes. What waits beyond that waits in the kernel, and in the channel's
//! window: who does not read holds up who sends, and nobody else.

use super::channel::{Channel, Stream};
use super::error::{Error, Reason, Step};
use super::stream::{Input, Sink};
use super::transport::Transport;
use crate::failure::Failure;
use crate::reactor::{self, Handle, Interest, Source};
use crate::sys::{self, Shutdown};
use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// What one read brings at most: a packet's worth.
const PIECE: usize = 32 * 1024;

/// Where bytes go that can be told that no more will come.
pub trait Outlet: Sink {
    /// No more will come.
    fn end(&mut self);
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

/// Joins a channel to a stream here until both ways have ended, the server has closed the channel, one side has failed or `stop` has
/// ended; then closes the channel.
///
/// A packet that is half sent is waited out first: dropped there, it would end the session for all.
pub(super) async fn join(
    channel: Channel,
    arrivals: &impl Arrivals,
    input: &mut impl Input,
    output: &mut impl Outlet,
    stop: impl Future<Output = ()>,
) -> (Carried, Result<(), Error>) {
    let channel = Rc::new(channel);
    let (there, back) = (Cell::new(0), Cell::new(0));
    let ended = {
        let far_ended = Cell::new(false);
        let mut give = pin!(give(&channel, input, &there));
        let mut take = pin!(take(&channel, arrivals, output, &back, &far_ended));
        let mut stop = pin!(stop);
        let (mut given, mut over) = (false, None);
        poll_fn(|cx| {
            if over.is_none() && stop.as_mut().poll(cx).is_ready() {
                over = Some(Ok(()));
            }
            if !given {
                match give.as_mut().poll(cx) {
                    Poll::Ready(Err(error)) => (given, over) = (true, Some(Err(error))),
                    done => given = done.is_ready(),
                }
            }
            if over.is_none() {
                match take.as_mut().poll(cx) {
                    Poll::Ready(done) => over = Some(done),
                    Poll::Pending if given && far_ended.get() => over = Some(Ok(())),
                    Poll::Pending => {}
                }
            }
            match over.take_if(|_| !channel.mid_packet(cx)) {
                Some(ended) => Poll::Ready(ended),
                None => Poll::Pending,
            }
        })
        .await
    };
    let carried = Carried { there: there.get(), back: back.get() };
    let closed = match Rc::try_unwrap(channel) {
        Ok(channel) => channel.close().await,
        // Somebody still looks at it: it is closed when he has done.
        Err(_) => Ok(()),
    };
    (carried, ended.and(closed))
}

/// From here to the server, to the end.
async fn give(channel: &Channel, input: &mut impl Input, carried: &Cell<u64>) -> Result<(), Error> {
    loop {
        input.arrival().await;
        let mut piece = vec![0; PIECE];
        let n = input.read(&mut piece).await.map_err(|e| here("read", &e))?;
        if n == 0 {
            return until_closed(channel.send_eof(Step::Forward).await);
        }
        only(&mut piece, n);
        let mut left = &piece[..];
        while !left.is_empty() {
            match channel.write(Step::Forward, left).await {
                Ok(n) => {
                    carried.set(carried.get() + n as u64);
                    left = &left[n..];
                }
                failed => return until_closed(failed.map(drop)),
            }
        }
    }
}

/// Keeps what has come and gives the rest of the memory back: a thousand short messages that wait to be passed on at once are to cost
/// what they are long.
fn only(piece: &mut Vec<u8>, n: usize) {
    piece.truncate(n);
    piece.shrink_to_fit();
}

/// Who has closed the channel reads no more of it: what it still says is to be taken.
fn until_closed(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if error.reason() != Reason::Protocol => Err(error),
        _ => Ok(()),
    }
}

/// From the server to here, to the end of the stream and then to the channel's own.
async fn take(
    channel: &Rc<Channel>,
    arrivals: &impl Arrivals,
    output: &mut impl Outlet,
    carried: &Cell<u64>,
    ended: &Cell<bool>,
) -> Result<(), Error> {
    loop {
        arrivals.arrival(channel).await;
        let mut piece = vec![0; PIECE];
        let n = channel.read(Step::Forward, Stream::Output, &mut piece).await?;
        if n == 0 {
            break;
        }
        only(&mut piece, n);
        output.write(&piece).await.map_err(|e| here("write", &e))?;
        carried.set(carried.get() + n as u64);
        // A stream that never pauses holds up no other.
        reactor::yield_now().await;
    }
    output.end();
    ended.set(true);
    channel.wait_closed().await.map(drop)
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
