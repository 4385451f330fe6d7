//! setsockopt(2), getsockopt(2).

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Sets one option to a value of the type that the kernel expects for it.
fn setsockopt<T>(
    fd: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the kernel only reads `size_of::<T>()` bytes of the value, during the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// An int option of the socket level.
fn set_int(fd: impl AsFd, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    setsockopt(fd, libc::SOL_SOCKET, name, &value)
}

fn timeval(time: Duration) -> libc::timeval {
    // All zeros means "for ever" to the kernel: the shortest time-out is 1 us.
    let micros = time.as_nanos().div_ceil(1_000).max(1);
    libc::timeval {
        tv_sec: libc::time_t::try_from(micros / 1_000_000).unwrap_or(libc::time_t::MAX),
        tv_usec: (micros % 1_000_000) as libc::suseconds_t,
    }
}

/// `SO_REUSEADDR`: bind although connections of an earlier server are in TIME_WAIT (socket(7)).
///
/// # Errors
/// `ENOTSOCK`.
pub fn set_reuse_address(fd: impl AsFd) -> io::Result<()> {
    set_int(fd, libc::SO_REUSEADDR, 1)
}

/// `SO_REUSEPORT`: several sockets of this user may have the same address, and the kernel spreads connections or
/// datagrams over them (socket(7)). All of them must ask for it.
///
/// # Errors
/// `ENOPROTOOPT`.
pub fn set_reuse_port(fd: impl AsFd) -> io::Result<()> {
    set_int(fd, libc::SO_REUSEPORT, 1)
}

/// `IPV6_V6ONLY` off: a socket on `[::]` takes IPv4 clients as well, whatever `net.ipv6.bindv6only` says (ipv6(7)).
///
/// # Errors
/// `ENOPROTOOPT` on a socket that is not IPv6.
pub fn set_dual_stack(fd: impl AsFd) -> io::Result<()> {
    let off: libc::c_int = 0;
    setsockopt(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &off)
}

/// `IP_BIND_ADDRESS_NO_PORT`: bind(2) to an address and port 0 takes no port yet; connect(2) does, where the pair of both ends must be
/// unique and not the port alone (ip(7)).
///
/// # Errors
/// `ENOPROTOOPT` on a socket that is not IP.
pub fn set_bind_address_no_port(fd: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    setsockopt(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &on)
}

/// `SO_TIMESTAMPNS`: each [`recvmsg`](super::recvmsg) brings the kernel's receive stamp. Accepted sockets inherit it.
///
/// # Errors
/// `ENOPROTOOPT` where the kernel does not know it.
pub fn set_timestamps(fd: impl AsFd) -> io::Result<()> {
    set_int(fd, libc::SO_TIMESTAMPNS, 1)
}

/// `TCP_NODELAY`: send each answer at once (tcp(7)). Accepted sockets inherit it, so one
/// call on the listener is enough.
///
/// # Errors
/// `EOPNOTSUPP` on a socket that is not TCP.
pub fn set_nodelay(fd: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &on)
}

/// `TCP_QUICKACK`: acknowledge what has come, and what comes next, at once (tcp(7)). The kernel goes back to its own ways by itself.
///
/// # Errors
/// `EOPNOTSUPP` on a socket that is not TCP.
pub fn set_quickack(fd: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, &on)
}

/// `SO_KEEPALIVE`: after `idle` without a word from the peer its kernel is asked whether it is still there, and again every
/// `interval`; after `probes` questions without an answer the connection has failed with `ETIMEDOUT` (tcp(7), `TCP_KEEPIDLE`,
/// `TCP_KEEPINTVL`, `TCP_KEEPCNT`). Whole seconds, rounded up; the kernel takes up to 32,767 s and 127 probes.
///
/// # Errors
/// `EINVAL` for more; `EOPNOTSUPP` on a socket that is not TCP.
#[cfg(feature = "remote")]
pub fn set_keepalive(
    fd: impl AsFd,
    idle: Duration,
    interval: Duration,
    probes: u8,
) -> io::Result<()> {
    let seconds = |time: Duration| {
        libc::c_int::try_from(time.as_millis().div_ceil(1000).max(1)).unwrap_or(libc::c_int::MAX)
    };
    for (name, value) in [
        (libc::TCP_KEEPIDLE, seconds(idle)),
        (libc::TCP_KEEPINTVL, seconds(interval)),
        (libc::TCP_KEEPCNT, libc::c_int::from(probes)),
    ] {
        setsockopt(&fd, libc::IPPROTO_TCP, name, &value)?;
    }
    set_int(fd, libc::SO_KEEPALIVE, 1)
}

/// `TCP_USER_TIMEOUT`: what was sent may stay without an acknowledgement for so long, then the connection has failed with `ETIMEDOUT`
/// (tcp(7)). Milliseconds, rounded up; the kernel takes 2^31 - 1 of them (24.8 days), and a longer time is that.
///
/// # Errors
/// `EOPNOTSUPP` on a socket that is not TCP.
#[cfg(feature = "remote")]
pub fn set_user_timeout(fd: impl AsFd, time: Duration) -> io::Result<()> {
    let millis = time.as_nanos().div_ceil(1_000_000).max(1);
    let millis = libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX);
    setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, &millis)
}

/// `SO_LINGER`: close waits so many seconds for unsent data; with 0 it sends a reset and forgets them.
///
/// # Errors
/// `ENOTSOCK`.
pub fn set_linger(fd: impl AsFd, seconds: u16) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: libc::c_int::from(seconds) };
    setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// `SO_RCVBUF` in bytes; the kernel doubles it for its own book-keeping (socket(7)).
///
/// # Errors
/// `ENOTSOCK`.
pub fn set_receive_buffer(fd: impl AsFd, bytes: usize) -> io::Result<()> {
    set_int(fd, libc::SO_RCVBUF, libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX))
}

/// `SO_SNDBUF`, as [`set_receive_buffer`].
///
/// # Errors
/// `ENOTSOCK`.
pub fn set_send_buffer(fd: impl AsFd, bytes: usize) -> io::Result<()> {
    set_int(fd, libc::SO_SNDBUF, libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX))
}

/// `SO_RCVTIMEO`: a blocking receive gives up with `EAGAIN` after this time (accept too).
///
/// # Errors
/// `ENOTSOCK`.
pub fn set_receive_timeout(fd: impl AsFd, time: Duration) -> io::Result<()> {
    setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeval(time))
}

/// `SO_SNDTIMEO`: a blocking send that cannot move a byte gives up with `EAGAIN` after this time.
///
/// # Errors
/// `ENOTSOCK`.
pub fn set_send_timeout(fd: impl AsFd, time: Duration) -> io::Result<()> {
    setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &timeval(time))
}

/// The pending error of a socket, and forgets it (`SO_ERROR`): how a non-blocking connect ended.
///
/// # Errors
/// The pending error itself; `ENOTSOCK`.
pub fn take_error(fd: impl AsFd) -> io::Result<()> {
    let mut error: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of `error`, and the length itself.
    check(unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut len,
        )
    })?;
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// What [`socket_memory`] tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketMemory {
    /// Bytes of kernel memory that received data takes, its book-keeping included.
    pub received: u32,
    /// Datagrams dropped because the receive queue was full: the counter that `SO_RXQ_OVFL` attaches to
    /// datagrams. Wraps at 2^32.
    pub dropped: u32,
}

/// `SO_MEMINFO` (Linux 4.12): what a socket holds and has dropped.
///
/// # Errors
/// `ENOPROTOOPT` where the kernel does not know it.
pub fn socket_memory(fd: impl AsFd) -> io::Result<SocketMemory> {
    // linux/sock_diag.h: SK_MEMINFO_RMEM_ALLOC is 0, SK_MEMINFO_DROPS is 8, there are 9.
    let mut words = [0_u32; 9];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of `words`, and the length itself.
    check(unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut len,
        )
    })?;
    Ok(SocketMemory { received: words[0], dropped: words[8] })
}

/// asm-generic/socket.h; the libc crate has no name for it.
const SO_MEMINFO: libc::c_int = 55;
