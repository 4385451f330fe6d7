//! The socket calls.

use super::clock::duration;
use super::{Shutdown, check, check_len};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// A new TCP socket of the address's family, blocking and close-on-exec (socket(2)).
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOBUFS`; `EAFNOSUPPORT` where the kernel has no IPv6.
pub fn socket(family_of: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if family_of.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: the call touches no memory of ours.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
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

/// Names the socket (bind(2)).
///
/// # Errors
/// `EADDRINUSE`, `EADDRNOTAVAIL`; `EACCES` below `net.ipv4.ip_unprivileged_port_start`.
pub fn bind(fd: impl AsFd, address: &SocketAddr) -> io::Result<()> {
    let (raw, len) = raw_address(address);
    // SAFETY: the kernel only reads `len` bytes of the address, during the call.
    check(unsafe { libc::bind(fd.as_fd().as_raw_fd(), (&raw const raw).cast(), len) }).map(drop)
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
pub fn accept4(fd: impl AsFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut raw = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes of address, and the length itself.
    let new = check(unsafe {
        libc::accept4(
            fd.as_fd().as_raw_fd(),
            raw.as_mut_ptr().cast(),
            &raw mut len,
            libc::SOCK_CLOEXEC,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    let new = unsafe { OwnedFd::from_raw_fd(new) };
    // SAFETY: zeroed at first, so it is initialised whatever the kernel wrote.
    Ok((new, address(unsafe { raw.assume_init_ref() })?))
}

/// Connects to a peer (connect(2)); a blocking socket waits for the handshake.
///
/// # Errors
/// `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`; `EINPROGRESS` on a non-blocking socket;
/// `EINTR`: the handshake goes on, wait for room to write instead of calling again.
pub fn connect(fd: impl AsFd, address: &SocketAddr) -> io::Result<()> {
    let (raw, len) = raw_address(address);
    // SAFETY: the kernel only reads `len` bytes of the address, during the call.
    check(unsafe { libc::connect(fd.as_fd().as_raw_fd(), (&raw const raw).cast(), len) }).map(drop)
}

/// The address that the socket is bound to (getsockname(2)): the port behind port 0.
///
/// # Errors
/// `EAFNOSUPPORT` for a socket that is not IP.
pub fn getsockname(fd: impl AsFd) -> io::Result<SocketAddr> {
    name_by(libc::getsockname, fd)
}

/// The address of the peer (getpeername(2)).
///
/// # Errors
/// `ENOTCONN`; `EAFNOSUPPORT` for a socket that is not IP.
pub fn getpeername(fd: impl AsFd) -> io::Result<SocketAddr> {
    name_by(libc::getpeername, fd)
}

/// getsockname and getpeername have one shape.
type NameCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn name_by(call: NameCall, fd: impl AsFd) -> io::Result<SocketAddr> {
    let mut raw = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes of address, and the length itself.
    check(unsafe { call(fd.as_fd().as_raw_fd(), raw.as_mut_ptr().cast(), &raw mut len) })?;
    // SAFETY: zeroed at first, so it is initialised whatever the kernel wrote.
    address(unsafe { raw.assume_init_ref() })
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
    // SAFETY: the kernel writes at most `buffer.len()` bytes from its start.
    check_len(unsafe {
        libc::recv(fd.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0)
    })
}

/// What [`recvmsg`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffer; 0 is the peer's end of file.
    pub bytes: usize,
    /// When the kernel had the (last of the) data, on `CLOCK_REALTIME` since 1970
    /// (`SCM_TIMESTAMPNS`); `None` where the socket gives none.
    pub stamp: Option<Duration>,
}

/// [`recv`] together with the kernel's receive stamp (recvmsg(2), cmsg(3)).
///
/// # Errors
/// As [`recv`].
pub fn recvmsg(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    // Room for one timespec with its header; u64 gives the alignment of a cmsghdr.
    let mut control = [0_u64; 8];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: a msghdr of zeros is valid: no name, no parts, no control.
    let message = unsafe { message.assume_init_mut() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the kernel writes at most `buffer.len()` bytes through the one iovec and at most
    // `msg_controllen` bytes of control, and updates the header's lengths.
    let bytes = check_len(unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), message, 0) })?;
    Ok(Received { bytes, stamp: stamp(message) })
}

/// Finds `SCM_TIMESTAMPNS` among the control messages that the kernel has written.
fn stamp(message: &libc::msghdr) -> Option<Duration> {
    // SAFETY: msg_control and msg_controllen are as recvmsg left them: a valid chain inside the buffer.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return headers inside the control buffer or null.
        let header = unsafe { &*next };
        if header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_TIMESTAMPNS {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the header lies in the buffer; its data follows it there.
            let data = unsafe { libc::CMSG_DATA(next) };
            // SAFETY: a message of this type carries one timespec (socket(7)), possibly unaligned.
            unsafe {
                ptr::copy_nonoverlapping(data, (&raw mut time).cast(), size_of::<libc::timespec>());
            }
            return Some(duration(time));
        }
        // SAFETY: as above; the macro checks the end of the buffer.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    None
}

/// Sends from the buffer (send(2), `sendto` in a trace) and returns how much the kernel took,
/// which may be less. A dead connection is an error, never a signal (`MSG_NOSIGNAL`).
///
/// # Errors
/// `EAGAIN` (no room, or `SO_SNDTIMEO` over), `EINTR`, `EPIPE`, `ECONNRESET`.
pub fn send(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel only reads `bytes.len()` bytes, during the call.
    check_len(unsafe {
        libc::send(fd.as_fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
    })
}

/// An address as the kernel wants it, and its length.
fn raw_address(address: &SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let len = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is made to hold any address, in size and alignment.
            unsafe { storage.as_mut_ptr().cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { storage.as_mut_ptr().cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    // SAFETY: zeroed at first and written since.
    (unsafe { storage.assume_init() }, len as libc::socklen_t)
}

/// The kernel's address as std's.
fn address(storage: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel has written a sockaddr_in.
            let raw = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the kernel has written a sockaddr_in6.
            let raw = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Ok(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id).into())
        }
        _ => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    }
}
