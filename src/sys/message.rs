//! Receives and sends that carry more than bytes: the peer's address, the kernel's stamp.

use super::clock::duration;
use super::{Address, check_len};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// What [`recvmsg`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffer; 0 is the peer's end of file.
    pub bytes: usize,
    /// When the kernel had the (last of the) data, on `CLOCK_REALTIME` since 1970
    /// (`SCM_TIMESTAMPNS`); `None` where the socket gives none.
    pub stamp: Option<Duration>,
}

/// A datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its length in bytes, also where the buffer was shorter (`MSG_TRUNC`, recv(2)).
    pub len: usize,
    /// The buffer was shorter, and the rest is lost.
    pub truncated: bool,
    /// Who sent it.
    pub from: Address,
    /// As in [`Received`].
    pub stamp: Option<Duration>,
}

/// Receives a datagram and its sender (recvfrom(2)).
///
/// # Errors
/// `EAGAIN` (nothing there, or `SO_RCVTIMEO` over), `EINTR`, `ECONNREFUSED` and other errors of an earlier send
/// where the socket asks for them.
pub fn recvfrom(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Packet> {
    let fd = fd.as_fd().as_raw_fd();
    let (start, room) = (buffer.as_mut_ptr().cast(), buffer.len());
    let (len, from) = Address::written(|raw, len| {
        // SAFETY: the kernel writes at most `room` bytes to the buffer, whatever length MSG_TRUNC has it
        // return, at most `len` bytes of address, and the address's length itself.
        check_len(unsafe { libc::recvfrom(fd, start, room, libc::MSG_TRUNC, raw, len) })
    })?;
    Ok(Packet { len, truncated: len > room, from, stamp: None })
}

/// [`recvfrom`] together with the kernel's receive stamp (recvmsg(2)).
///
/// # Errors
/// As [`recvfrom`].
pub fn recvmsg_from(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Packet> {
    let size = buffer.len();
    let ((len, stamp), from) = Address::written(|raw, len| {
        // SAFETY: room for an address lies there, for as long as the call takes.
        let room = unsafe { *len };
        // SAFETY: as above.
        let (bytes, stamp, used) = unsafe { message(fd, buffer, (raw, room), libc::MSG_TRUNC) }?;
        // SAFETY: as above.
        unsafe { *len = used };
        Ok((bytes, stamp))
    })?;
    let truncated = len > size;
    Ok(Packet { len, truncated, from, stamp })
}

/// recv(2) together with the kernel's receive stamp (recvmsg(2), cmsg(3)). Descriptors that a peer passes over a Unix
/// socket are closed.
///
/// # Errors
/// As recv(2).
pub fn recvmsg(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    // SAFETY: no name is asked for.
    let (bytes, stamp, _) = unsafe { message(fd, buffer, (ptr::null_mut(), 0), 0) }?;
    Ok(Received { bytes, stamp })
}

/// The call itself: its length, the stamp, and how long the name was.
///
/// # Safety
/// `name` is null, or `room` bytes may be written there.
unsafe fn message(
    fd: impl AsFd,
    buffer: &mut [u8],
    (name, room): (*mut libc::sockaddr, libc::socklen_t),
    flags: libc::c_int,
) -> io::Result<(usize, Option<Duration>, libc::socklen_t)> {
    // Room for one timespec with its header; u64 gives the alignment of a cmsghdr.
    let mut control = [0_u64; 8];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: a msghdr of zeros is valid: no name, no parts, no control.
    let message = unsafe { message.assume_init_mut() };
    message.msg_name = name.cast();
    message.msg_namelen = room;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = flags | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the kernel writes at most `buffer.len()` bytes through the one iovec, at most `msg_namelen` bytes
    // of name and `msg_controllen` bytes of control, and updates the header's lengths.
    let bytes = check_len(unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), message, flags) })?;
    Ok((bytes, control_messages(message), message.msg_namelen))
}

/// Finds `SCM_TIMESTAMPNS` among the control messages that the kernel has written, and closes the descriptors of
/// an `SCM_RIGHTS`: nobody asked for them, and whoever sent them could fill our table.
fn control_messages(message: &libc::msghdr) -> Option<Duration> {
    let mut stamp = None;
    // SAFETY: msg_control and msg_controllen are as recvmsg left them: a valid chain inside the buffer.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return headers inside the control buffer or null.
        let header = unsafe { &*next };
        // SAFETY: the header lies in the buffer; its data follows it there.
        let data = unsafe { libc::CMSG_DATA(next) };
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                let len = size_of::<libc::timespec>();
                // SAFETY: a message of this type carries one timespec (socket(7)), possibly unaligned.
                unsafe { ptr::copy_nonoverlapping(data, (&raw mut time).cast(), len) };
                stamp = Some(duration(time));
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                let len = header.cmsg_len as usize - (data as usize - next as usize);
                // SAFETY: a message of this type carries ints up to its length (unix(7)).
                let numbers = unsafe { std::slice::from_raw_parts(data, len) };
                for number in numbers.chunks_exact(size_of::<libc::c_int>()) {
                    let fd = libc::c_int::from_ne_bytes(number.try_into().unwrap_or_default());
                    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
                    drop(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
            _ => {}
        }
        // SAFETY: as above; the macro checks the end of the buffer.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    stamp
}

/// Sends a datagram (sendto(2)). Never a signal (`MSG_NOSIGNAL`), and never a wait (`MSG_DONTWAIT`): the receiver of a Unix
/// datagram may be one who does not read.
///
/// # Errors
/// `EAGAIN` (no room, here or there), `EINTR`, `EMSGSIZE`; `ECONNREFUSED`, `EPERM`, `ENETUNREACH`, ... where it cannot get there.
pub fn sendto(fd: impl AsFd, bytes: &[u8], to: &Address) -> io::Result<usize> {
    let (raw, len) = to.raw();
    let (start, count) = (bytes.as_ptr().cast(), bytes.len());
    let fd = fd.as_fd().as_raw_fd();
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the kernel only reads `count` bytes and `len` bytes of address, during the call.
    check_len(unsafe { libc::sendto(fd, start, count, flags, raw, len) })
}

/// What [`sendto`] would say to an address that is none.
#[must_use]
pub fn no_destination() -> io::Error {
    io::Error::from_raw_os_error(libc::EDESTADDRREQ)
}
