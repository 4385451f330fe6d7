//! The socket calls.

use super::{Address, Shutdown, check, check_len};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// What travels over a socket: the second argument of socket(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of a connection (`SOCK_STREAM`).
    Stream,
    /// Packets, each with its sender (`SOCK_DGRAM`).
    Datagram,
}

/// A new socket of the address's family, blocking and close-on-exec (socket(2)).
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOBUFS`; `EAFNOSUPPORT` where the kernel has no IPv6.
pub fn socket(family_of: impl Into<Address>, kind: Kind) -> io::Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => libc::SOCK_STREAM,
        Kind::Datagram => libc::SOCK_DGRAM,
    };
    let family = family_of.into().family();
    // SAFETY: the call touches no memory of ours.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Two connected Unix stream sockets, blocking and close-on-exec (socketpair(2)).
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two ints to the pointer, the size of `pair`.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    let one = unsafe { OwnedFd::from_raw_fd(pair[0]) };
    // SAFETY: as above.
    let other = unsafe { OwnedFd::from_raw_fd(pair[1]) };
    Ok((one, other))
}

/// Names the socket (bind(2)); a Unix path comes into being by it.
///
/// # Errors
/// `EADDRINUSE`, `EADDRNOTAVAIL`; `EACCES` below `net.ipv4.ip_unprivileged_port_start` or in a directory.
pub fn bind(fd: impl AsFd, address: impl Into<Address>) -> io::Result<()> {
    let address = address.into();
    let (raw, len) = address.raw();
    // SAFETY: the kernel only reads `len` bytes of the address, during the call.
    check(unsafe { libc::bind(fd.as_fd().as_raw_fd(), raw, len) }).map(drop)
}

/// Makes the socket accept connections and hold up to `backlog` of them, capped at
/// `net.core.somaxconn` (listen(2)).
///
/// # Errors
/// `EADDRINUSE` where another socket listens on the port.
pub fn listen(fd: impl AsFd, backlog: u32) -> io::Result<()> {
    let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
    // SAFETY: the call touches no memory of ours.
    check(unsafe { libc::listen(fd.as_fd().as_raw_fd(), backlog) }).map(drop)
}

/// Takes the next connection from the backlog (accept4(2)); the new socket is blocking (`O_NONBLOCK`
/// is not inherited on Linux) and close-on-exec.
///
/// # Errors
/// Six classes: see [`accept_failure`](super::accept_failure).
pub fn accept4(fd: impl AsFd) -> io::Result<(OwnedFd, Address)> {
    let fd = fd.as_fd().as_raw_fd();
    let (new, peer) = Address::written(|raw, len| {
        // SAFETY: the kernel writes at most `len` bytes of address, and the length itself.
        check(unsafe { libc::accept4(fd, raw, len, libc::SOCK_CLOEXEC) })
    })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok((unsafe { OwnedFd::from_raw_fd(new) }, peer))
}

/// Connects to a peer (connect(2)); a blocking socket waits for the handshake.
///
/// # Errors
/// `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`; `EINPROGRESS` on a non-blocking socket;
/// `EINTR`: the handshake goes on, wait for room to write instead of calling again.
pub fn connect(fd: impl AsFd, address: impl Into<Address>) -> io::Result<()> {
    let address = address.into();
    let (raw, len) = address.raw();
    // SAFETY: the kernel only reads `len` bytes of the address, during the call.
    check(unsafe { libc::connect(fd.as_fd().as_raw_fd(), raw, len) }).map(drop)
}

/// The address that the socket is bound to (getsockname(2)): the port behind port 0.
///
/// # Errors
/// `ENOTSOCK`.
pub fn getsockname(fd: impl AsFd) -> io::Result<Address> {
    name_by(libc::getsockname, fd)
}

/// The address of the peer (getpeername(2)).
///
/// # Errors
/// `ENOTCONN`.
pub fn getpeername(fd: impl AsFd) -> io::Result<Address> {
    name_by(libc::getpeername, fd)
}

/// getsockname and getpeername have one shape.
type NameCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn name_by(call: NameCall, fd: impl AsFd) -> io::Result<Address> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes of address, and the length itself.
    Address::written(|raw, len| check(unsafe { call(fd, raw, len) })).map(|(_, name)| name)
}

/// Ends one or both directions of a connection for every holder of the socket (shutdown(2)).
/// Async-signal-safe. On a listener it wakes a blocked accept with `EINVAL`.
///
/// # Errors
/// `ENOTCONN` when the connection is gone already.
pub fn shutdown(fd: impl AsFd, how: Shutdown) -> io::Result<()> {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: the call touches no memory of ours.
    check(unsafe { libc::shutdown(fd.as_fd().as_raw_fd(), how) }).map(drop)
}

/// Receives up to the buffer's length (recv(2), `recvfrom` in a trace). 0 is the peer's end of file.
///
/// # Errors
/// `EAGAIN` (nothing there, or `SO_RCVTIMEO` over), `EINTR`, `ECONNRESET`, `ETIMEDOUT`.
pub fn recv(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    recv_flags(fd, buffer, 0)
}

/// [`recv`] that does not wait on a blocking socket either (`MSG_DONTWAIT`).
///
/// # Errors
/// As [`recv`]; `EAGAIN` when nothing is there.
pub fn recv_now(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    recv_flags(fd, buffer, libc::MSG_DONTWAIT)
}

/// [`recv`] that leaves the data where it is (`MSG_PEEK`). With an empty buffer of a datagram socket it looks and copies nothing.
///
/// # Errors
/// As [`recv`].
pub fn recv_peek(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    recv_flags(fd, buffer, libc::MSG_PEEK)
}

/// [`recv`] of a TCP connection that takes as many bytes and throws them away: everything but the copy (`MSG_TRUNC`, tcp(7)).
/// Nothing is written to the buffer.
///
/// # Errors
/// As [`recv`].
pub fn recv_discarding(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    recv_flags(fd, buffer, libc::MSG_TRUNC)
}

fn recv_flags(fd: impl AsFd, buffer: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes from its start.
    check_len(unsafe {
        libc::recv(fd.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags)
    })
}

/// Sends from the buffer (send(2), `sendto` in a trace) and returns how much the kernel took,
/// which may be less. A dead connection is an error, never a signal (`MSG_NOSIGNAL`).
///
/// # Errors
/// `EAGAIN` (no room, or `SO_SNDTIMEO` over), `EINTR`, `EPIPE`, `ECONNRESET`.
pub fn send(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    send_flags(fd, bytes, libc::MSG_NOSIGNAL)
}

/// [`send`] that does not wait on a blocking socket either (`MSG_DONTWAIT`).
///
/// # Errors
/// As [`send`]; `EAGAIN` when there is no room.
pub fn send_now(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    send_flags(fd, bytes, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
}

fn send_flags(fd: impl AsFd, bytes: &[u8], flags: libc::c_int) -> io::Result<usize> {
    // SAFETY: the kernel only reads `bytes.len()` bytes, during the call.
    check_len(unsafe {
        libc::send(fd.as_fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags)
    })
}
