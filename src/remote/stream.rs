//! Where bytes come from and go to: what a command and a file transfer have in common.

use crate::failure::Failure;
use crate::reactor::{Handle, Interest, Source};
use crate::sys;
use std::fs::{File, FileType};
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;

/// What [`Vec<u8>`] collects at most.
const COLLECT: usize = 64 << 20;

/// Where bytes come from.
pub trait Input {
    /// Waits until there is something to read, or the end, where that can be told before: whoever waits here needs no buffer.
    fn arrival(&mut self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// Fills some of the buffer; 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>>;
}

/// Where bytes go.
pub trait Sink {
    /// Takes all of the bytes.
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>>;
}

/// Bytes at hand; an empty slice is no input.
impl Input for &[u8] {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(self, buffer)
    }
}

/// Collects at most 64 MiB.
impl Sink for Vec<u8> {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.len() + bytes.len() > COLLECT {
            return Err(io::Error::other("more than 64 MiB; give it somewhere to go"));
        }
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// A regular file: the disk is waited for in the call. For anything else use a [`Descriptor`].
impl Input for File {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match Read::read(self, buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

/// A regular file: the disk is waited for in the call. For anything else use a [`Descriptor`].
impl Sink for File {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
}

/// Whether opening, reading or writing such a thing may take for ever, and is to be waited for on a reactor: a FIFO, a socket, a terminal
/// or another character device.
pub(super) fn is_waited_for(kind: FileType) -> bool {
    kind.is_fifo() || kind.is_socket() || kind.is_char_device()
}

/// With these flags opening it takes no time (open(2)): no terminal becomes ours by it, either.
pub(super) const AT_ONCE: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// A descriptor that may have to be waited for: a terminal, a pipe, a socket. It need not be non-blocking, so it can be one
/// that other processes share: it is read only when it has something, and written in pieces that a pipe with any room takes.
pub struct Descriptor<F: AsFd + 'static>(Source<F>);

/// What a pipe that reports room takes without blocking (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;

impl<F: AsFd + 'static> Descriptor<F> {
    /// A descriptor on a reactor.
    ///
    /// # Errors
    /// `EEXIST` for a descriptor that is registered already; `ENOSPC`, `ENOMEM`.
    pub fn new(reactor: &Handle, fd: F) -> Result<Self, Failure> {
        Source::new(reactor, fd).map(Self)
    }
}

impl<F: AsFd + 'static> Input for Descriptor<F> {
    async fn arrival(&mut self) {
        self.0.ready(Interest::Read).await;
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.ready(Interest::Read).await;
        self.0.until(Interest::Read, |fd| sys::read(fd, buffer)).await
    }
}

impl<F: AsFd + 'static> Sink for Descriptor<F> {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            self.0.ready(Interest::Write).await;
            let piece = &left[..left.len().min(PIECE)];
            let n = self.0.until(Interest::Write, |fd| sys::write(fd, piece)).await?;
            left = &left[n..];
        }
        Ok(())
    }
}
