//! put and get: many requests under way, bounded memory, and never half a file under the final name.
//!
//! What is written goes to a temporary file beside its place, is closed with a check, compared in size, and then renamed
//! over what was there. A place that is no regular file (a device) is written as it is; a FIFO fails on OpenSSH's server,
//! which seeks before each write.

use super::files::{bytes, done, unfit};
use super::place::{Here, Place};
use super::session::{Line, Sftp, UnderWay, failed};
use super::{Attributes, File, FileKind, OpenFlags, Reply, Request, StatusCode};
use crate::failure::Failure;
use crate::remote::error::{Error, Reason, Step};
use crate::remote::stream::{Input, Sink};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

/// Bytes of a transfer under way at a time: requests for them when we read, bytes not yet acknowledged when we write. It is
/// as much as libssh2's window lets come.
pub(super) const UNDER_WAY: usize = 2 << 20;

/// How a file is copied, and who hears of it.
#[derive(Default)]
pub struct Transfer<'a> {
    progress: Option<Box<dyn FnMut(Progress) + 'a>>,
    sync: bool,
    in_place: bool,
    mode: Option<u32>,
    /// The permissions of the source.
    source: Option<u32>,
}

/// How far a transfer has come, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Acknowledged by the receiving side.
    pub done: u64,
    /// In all, where that is known.
    pub total: Option<u64>,
}

impl<'a> Transfer<'a> {
    /// As [`Sftp::put`] and [`Sftp::get`] do it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells of each piece that has arrived.
    #[must_use]
    pub fn progress(mut self, told: impl FnMut(Progress) + 'a) -> Self {
        self.progress = Some(Box::new(told));
        self
    }

    /// The bytes are on the receiving side's disk before the file gets its name (fsync(2); `fsync@openssh.com`).
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Writes into the file that is there instead of replacing it: it keeps its owner, links and permissions, no room is
    /// needed for a second one, and whoever looks meanwhile, or after a failure, sees half a file.
    #[must_use]
    pub fn in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// The permissions of the new file, instead of those of the file that it replaces, or else of its source.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    fn tell(&mut self, done: u64, total: Option<u64>) {
        if let Some(told) = &mut self.progress {
            told(Progress { done, total });
        }
    }
}

fn local(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::failure(Step::Sftp, &Failure::new(call, path, error))
}

impl Sftp {
    /// Copies a file to the server, and returns its size in bytes.
    ///
    /// # Errors
    /// The server's; a file here that cannot be read.
    pub async fn put(&self, from: impl AsRef<Path>, to: impl AsRef<OsStr>) -> Result<u64, Error> {
        self.put_with(from, to, Transfer::new()).await
    }

    /// The same, in another way.
    ///
    /// # Errors
    /// The server's; a file here that cannot be read.
    pub async fn put_with(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<OsStr>,
        mut how: Transfer<'_>,
    ) -> Result<u64, Error> {
        let from = from.as_ref();
        let mut file = fs::File::open(from).map_err(local("open", from))?;
        let meta = file.metadata().map_err(local("fstat", from))?;
        if meta.is_dir() {
            let message = format!("{} is a directory", from.display());
            return Err(Error::new(Step::Sftp, Reason::Usage, message));
        }
        how.source = Some(meta.mode() & 0o777);
        let size = meta.is_file().then_some(meta.len());
        self.put_from(&mut file, size, to, how).await
    }

    /// Copies a stream to a file on the server, to the stream's end, and returns how many bytes that were. `size` is for the
    /// progress only.
    ///
    /// # Errors
    /// The server's, and the stream's.
    pub async fn put_from(
        &self,
        from: &mut impl Input,
        size: Option<u64>,
        to: impl AsRef<OsStr>,
        mut how: Transfer<'_>,
    ) -> Result<u64, Error> {
        let line = &self.line;
        let place = Place::find(line, bytes(&to), how.in_place).await?;
        let file = place.open(how.mode, how.source).await?;
        let sent = send(line, &file, place.written(), from, size, &mut how).await?;
        if how.sync {
            file.sync().await?;
        }
        if place.regular {
            confirm(place.written(), file.stat().await?.size, sent)?;
        }
        file.close().await?;
        place.finish().await?;
        Ok(sent)
    }

    /// Copies a file from the server, and returns its size in bytes.
    ///
    /// # Errors
    /// The server's; a file here that cannot be written.
    pub async fn get(&self, from: impl AsRef<OsStr>, to: impl AsRef<Path>) -> Result<u64, Error> {
        self.get_with(from, to, Transfer::new()).await
    }

    /// The same, in another way.
    ///
    /// # Errors
    /// The server's; a file here that cannot be written.
    pub async fn get_with(
        &self,
        from: impl AsRef<OsStr>,
        to: impl AsRef<Path>,
        mut how: Transfer<'_>,
    ) -> Result<u64, Error> {
        let from = bytes(&from);
        let source = Source::open(&self.line, from).await?;
        // Set-user-ID and its like are not taken from a server.
        let mode = source.attributes.mode().map_or(0o666, |mode| mode & 0o777);
        let mut here = Here::create(to.as_ref(), how.mode, mode, how.in_place)?;
        let got = receive(&self.line, &source, &mut here.file, &mut how).await?;
        here.finish(how.sync)?;
        source.file.close().await?;
        Ok(got)
    }

    /// Copies a file from the server to a stream, and returns its size in bytes.
    ///
    /// # Errors
    /// The server's, and the stream's.
    pub async fn get_to(
        &self,
        from: impl AsRef<OsStr>,
        to: &mut impl Sink,
        mut how: Transfer<'_>,
    ) -> Result<u64, Error> {
        let source = Source::open(&self.line, bytes(&from)).await?;
        let got = receive(&self.line, &source, to, &mut how).await?;
        source.file.close().await?;
        Ok(got)
    }
}

/// From here to an open file there, to the end of the stream.
async fn send(
    line: &Line,
    file: &File,
    path: &[u8],
    from: &mut impl Input,
    size: Option<u64>,
    how: &mut Transfer<'_>,
) -> Result<u64, Error> {
    let Some(handle) = file.handle() else { return Err(unfit()) };
    let mut buffer = vec![0; line.write_size.get() as usize];
    let at_a_time = (UNDER_WAY / buffer.len()).max(1);
    let (mut offset, mut acknowledged) = (0, 0);
    let mut under_way = UnderWay::new(line);
    let mut more = true;
    while more || under_way.len() > 0 {
        if more && under_way.len() < at_a_time {
            let n = from.read(&mut buffer).await.map_err(|error| {
                let source =
                    format!("the source of {}", String::from_utf8_lossy(path).escape_debug());
                Error::failure(Step::Sftp, &Failure::new("read", source, error))
            })?;
            more = n > 0;
            if more {
                under_way.push(Request::Write { handle, offset, bytes: &buffer[..n] }, n as u64)?;
                offset += n as u64;
            }
            continue;
        }
        let Some(reply) = under_way.next().await else { break };
        let (reply, n) = reply?;
        done("write", path, reply)?;
        acknowledged += n;
        how.tell(acknowledged, size);
    }
    Ok(offset)
}

/// A file to read, and what it was when it was opened.
struct Source {
    file: File,
    path: Vec<u8>,
    attributes: Attributes,
}

impl Source {
    async fn open(line: &Rc<Line>, path: &[u8]) -> Result<Self, Error> {
        let open =
            Request::Open { path, flags: OpenFlags::READ, attributes: Attributes::default() };
        let handle = line.handle("open", path, open).await?;
        let file = File::new(Rc::clone(line), path, handle);
        let attributes = file.stat().await?;
        if attributes.kind() == FileKind::Directory {
            let message =
                format!("{} is a directory", String::from_utf8_lossy(path).escape_debug());
            return Err(Error::new(Step::Sftp, Reason::Usage, message));
        }
        Ok(Self { file, path: path.to_vec(), attributes })
    }

    /// The size it had, where that means something: /proc says 0 of files that are not empty.
    fn size(&self) -> Option<u64> {
        self.attributes.size.filter(|size| *size > 0 && self.attributes.kind() != FileKind::Other)
    }
}

/// From an open file there to here, in order. Requests double, so that a small file is not asked for 64 times.
async fn receive(
    line: &Line,
    source: &Source,
    to: &mut impl Sink,
    how: &mut Transfer<'_>,
) -> Result<u64, Error> {
    let Some(handle) = source.file.handle() else { return Err(unfit()) };
    let (chunk, size) = (line.read_size.get(), source.size());
    let most = (UNDER_WAY / chunk as usize).max(1);
    // From two on: a small file takes one request for its bytes and one to learn of its end.
    let (mut asked, mut got, mut at_a_time) = (0, 0, 2);
    let mut under_way = UnderWay::new(line);
    loop {
        // No further than the size that was told, and one request beyond it.
        while under_way.len() < at_a_time
            && (size.is_none_or(|size| asked <= size) || under_way.len() == 0)
        {
            let left = size.map_or(u64::MAX, |size| size.saturating_sub(asked));
            let len =
                if left == 0 { chunk } else { chunk.min(u32::try_from(left).unwrap_or(u32::MAX)) };
            under_way.push(Request::Read { handle, offset: asked, len }, (asked, len))?;
            asked += u64::from(len);
        }
        let Some(reply) = under_way.next().await else { return Err(unfit()) };
        match reply? {
            (Reply::Data(data), (offset, len)) => {
                let n = data.len() as u32;
                if n < len {
                    // Short: the rest before anything else.
                    let rest = (offset + u64::from(n), len - n);
                    under_way
                        .push_front(Request::Read { handle, offset: rest.0, len: rest.1 }, rest)?;
                }
                to.write(&data).await.map_err(|error| {
                    let path = String::from_utf8_lossy(&source.path);
                    let copy = format!("the copy of {}", path.escape_debug());
                    Error::failure(Step::Sftp, &Failure::new("write", copy, error))
                })?;
                got += u64::from(n);
                how.tell(got, source.size());
            }
            (Reply::Status(status), _) if status.code == StatusCode::Eof => break,
            (Reply::Status(status), _) => return Err(failed("read", &source.path, &status)),
            _ => return Err(unfit()),
        }
        at_a_time = (at_a_time * 2).min(most);
    }
    drop(under_way);
    // A file that has grown meanwhile is whole as well, if it was read to its new end.
    if let Some(size) = size.filter(|size| *size != got) {
        let now = source.file.stat().await?.size.unwrap_or(size);
        confirm(&source.path, Some(now), got)?;
    }
    Ok(got)
}

/// The receiving side must have what the sending side gave.
fn confirm(path: &[u8], size: Option<u64>, copied: u64) -> Result<(), Error> {
    match size {
        Some(size) if size != copied => {
            let path = String::from_utf8_lossy(path);
            let message =
                format!("{}: {copied} bytes were copied, and it has {size}", path.escape_debug());
            Err(Error::new(Step::Sftp, Reason::Protocol, message))
        }
        _ => Ok(()),
    }
}
