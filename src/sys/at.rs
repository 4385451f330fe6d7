//! Calls below a directory's descriptor: openat2(2) and its kin, and getdents64(2).
//!
//! A path is bytes, relative to the directory. A NUL in it is `EINVAL`.

use super::{check, check_len};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// How [`openat2`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A directory, to list it and to reach what is in it.
    Directory,
    /// A file, for reading. One that would have to be waited for (a FIFO) is opened without waiting.
    Read,
    /// A new file with these permissions, less the umask, for writing: `EEXIST` where there is one.
    Create(u32),
    /// The same for reading too, and one that is there is taken as it is, whatever it is: a FIFO is not waited for.
    Continue(u32),
}

/// Opens what is below `dir` and reached without a symbolic link (openat2(2): `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS`):
/// whoever chose the path cannot lead out of `dir`, whatever lies there.
///
/// # Errors
/// `ELOOP`: a symbolic link; `EXDEV`: it leads out; `ENOENT`, `EEXIST`, `ENOTDIR`, `EACCES`, ...; `ENOSYS` before Linux 5.6.
pub fn openat2(dir: impl AsFd, path: &[u8], open: Open) -> io::Result<OwnedFd> {
    let (flags, mode) = match open {
        Open::Directory => (libc::O_RDONLY | libc::O_DIRECTORY, 0),
        Open::Read => (libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0),
        Open::Create(mode) => (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, mode),
        Open::Continue(mode) => {
            (libc::O_RDWR | libc::O_CREAT | libc::O_NONBLOCK | libc::O_NOCTTY, mode)
        }
    };
    // SAFETY: the structure is made of integers, for which all zeros is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = mode.into();
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    let path = CString::new(path)?;
    let (path, size) = (path.as_ptr(), size_of::<libc::open_how>());
    let dir = dir.as_fd().as_raw_fd();
    // SAFETY: the kernel reads the path to its NUL and `size` bytes of the structure, during the call.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, dir, path, &raw const how, size) };
    // Descriptors are no longer than RawFd.
    let fd = check(fd as RawFd)?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same with one name, for calls that take it as it is.
fn at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    call: impl FnOnce(RawFd, *const libc::c_char) -> i32,
) -> io::Result<()> {
    let name = CString::new(name)?;
    check(call(dir.as_raw_fd(), name.as_ptr())).map(drop)
}

/// Makes a directory, less the umask (mkdirat(2)).
///
/// # Errors
/// `EEXIST`, `ENOENT`, `EACCES`, `ENOSPC`, ...
pub fn mkdirat(dir: impl AsFd, name: &[u8], mode: u32) -> io::Result<()> {
    // SAFETY: the kernel reads the name to its NUL, during the call.
    at(dir.as_fd(), name, |dir, name| unsafe { libc::mkdirat(dir, name, mode) })
}

/// Removes a file (unlinkat(2)).
///
/// # Errors
/// `ENOENT`, `EISDIR`, `EACCES`, ...
pub fn unlinkat(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads the name to its NUL, during the call.
    at(dir.as_fd(), name, |dir, name| unsafe { libc::unlinkat(dir, name, 0) })
}

/// Gives a file another name in the same directory, over what has it (renameat(2)).
///
/// # Errors
/// `EISDIR`, `ENOENT`, `EACCES`, ...
pub fn renameat(dir: impl AsFd, from: &[u8], to: &[u8]) -> io::Result<()> {
    let to = CString::new(to)?;
    at(dir.as_fd(), from, |dir, from| {
        // SAFETY: the kernel reads both names to their NULs, during the call.
        unsafe { libc::renameat(dir, from, dir, to.as_ptr()) }
    })
}

/// Makes a symbolic link that leads to `target` (symlinkat(2)).
///
/// # Errors
/// `EEXIST`, `ENOENT`, `EACCES`, ...
pub fn symlinkat(target: &[u8], dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    let target = CString::new(target)?;
    at(dir.as_fd(), name, |dir, name| {
        // SAFETY: the kernel reads both texts to their NULs, during the call.
        unsafe { libc::symlinkat(target.as_ptr(), dir, name) }
    })
}

/// Where a symbolic link leads (readlinkat(2)), 4 KiB at most, which no path is longer than.
///
/// # Errors
/// `EINVAL`: it is none; `ENOENT`, ...
pub fn readlinkat(dir: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    let name = CString::new(name)?;
    let mut target = vec![0; libc::PATH_MAX as usize];
    let (start, len) = (target.as_mut_ptr().cast(), target.len());
    // SAFETY: the kernel reads the name to its NUL and writes at most `len` bytes to the pointer.
    let n =
        check_len(unsafe { libc::readlinkat(dir.as_fd().as_raw_fd(), name.as_ptr(), start, len) })?;
    target.truncate(n);
    Ok(target)
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Kind and permissions, `st_mode`.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Device and inode.
    pub id: (u64, u64),
    /// Last access and last modification, in seconds since 1970.
    pub times: (i64, i64),
}

/// What is known of a name (fstatat(2)), of a symbolic link itself unless `follow`.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`, ...
pub fn fstatat(dir: impl AsFd, name: &[u8], follow: bool) -> io::Result<Stat> {
    // SAFETY: the structure is made of integers, for which all zeros is a value.
    let mut stat: libc::stat64 = unsafe { std::mem::zeroed() };
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    at(dir.as_fd(), name, |dir, name| {
        // SAFETY: the kernel reads the name to its NUL and writes one structure, during the call.
        unsafe { libc::fstatat64(dir, name, &raw mut stat, flags) }
    })?;
    Ok(Stat {
        mode: stat.st_mode,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        id: (stat.st_dev, stat.st_ino),
        times: (stat.st_atime, stat.st_mtime),
    })
}

/// What a directory says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its kind, as in the upper bits of `st_mode`; `None`: the file system does not tell.
    pub kind: Option<u32>,
}

/// The next entries of a directory, `.` and `..` among them (getdents64(2)); none: the end.
///
/// # Errors
/// `ENOTDIR`, `ENOENT` for one that was removed.
pub fn getdents64(dir: impl AsFd, buffer: &mut [u8]) -> io::Result<Vec<Entry>> {
    let (start, len) = (buffer.as_mut_ptr(), buffer.len());
    let dir = dir.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes to the pointer.
    let n = unsafe { libc::syscall(libc::SYS_getdents64, dir, start, len) };
    let n = check_len(n as libc::ssize_t)?;
    let mut entries = Vec::new();
    let mut rest = &buffer[..n];
    // struct linux_dirent64: inode and offset of 8 bytes each, length of the record in 2, kind in 1, the name to its NUL.
    while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, a, b, kind, name @ ..] = rest {
        let len = usize::from(u16::from_ne_bytes([*a, *b]));
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let kind = Some(u32::from(*kind) << 12).filter(|kind| *kind != 0);
        entries.push(Entry { name, kind });
        rest = rest.get(len.max(1)..).unwrap_or_default();
    }
    Ok(entries)
}
