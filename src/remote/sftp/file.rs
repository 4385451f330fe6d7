//! An open file: read, write, seek.

use super::budget::UNDER_WAY;
use super::files::{done, unfit};
use super::session::{Line, failed};
use super::under_way::UnderWay;
use super::{Attributes, Handle, Reply, Request, StatusCode};
use crate::remote::error::{Error, Reason, Step};
use std::io::SeekFrom;
use std::rc::Rc;

/// An open file on the server, or a directory. Dropping it closes it, and nobody hears whether that went well: for a file that
/// was written [`close`](Self::close) it.
pub struct File {
    line: Rc<Line>,
    path: Vec<u8>,
    handle: Option<Handle>,
    /// Where the next read or write begins, in bytes.
    offset: u64,
}

impl File {
    pub(super) fn new(line: Rc<Line>, path: &[u8], handle: Handle) -> Self {
        Self { line, path: path.to_vec(), handle: Some(handle), offset: 0 }
    }

    pub(super) fn handle(&self) -> Option<&Handle> {
        self.handle.as_ref()
    }

    /// Its close is asked for by somebody else.
    pub(super) fn is_closed(&mut self) {
        self.handle = None;
    }

    pub(super) fn line(&self) -> &Rc<Line> {
        &self.line
    }

    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    pub(super) fn open_handle(&self) -> Result<&Handle, Error> {
        self.handle
            .as_ref()
            .ok_or_else(|| Error::new(Step::Sftp, Reason::Usage, "the file is closed"))
    }

    /// Reads at most a request's worth of bytes (the server's limit, 255 KiB at most; 32 KiB where it tells none) from where the
    /// file stands; 0 at its end.
    ///
    /// # Errors
    /// The server's.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let n = self.read_at(self.offset, buffer).await?;
        self.offset += n as u64;
        Ok(n)
    }

    /// The same from any place, without moving.
    ///
    /// # Errors
    /// The server's.
    pub async fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let len = u32::try_from(buffer.len()).unwrap_or(u32::MAX).min(self.line.read_size.get());
        if len == 0 {
            return Ok(0);
        }
        let handle = self.open_handle()?;
        match self.line.call(Request::Read { handle, offset, len }).await? {
            Reply::Data(data) => {
                // No longer than asked for: a longer one has ended the session.
                buffer[..data.len()].copy_from_slice(&data);
                Ok(data.len())
            }
            Reply::Status(status) if status.code == StatusCode::Eof => Ok(0),
            Reply::Status(status) => Err(failed("read", &self.path, &status)),
            _ => Err(unfit()),
        }
    }

    /// Writes all bytes from where the file stands, in as many requests as it takes, several of them under way at a time.
    ///
    /// # Errors
    /// The server's; some of the bytes may be written then.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let size = self.line.write_size.get() as usize;
        let line = Rc::clone(&self.line);
        let mut under_way = UnderWay::new(&line);
        for bytes in bytes.chunks(size) {
            let handle = self.open_handle()?;
            under_way.push(Request::Write { handle, offset: self.offset, bytes }, ())?;
            self.offset += bytes.len() as u64;
            if under_way.len() * size >= UNDER_WAY {
                self.written(&mut under_way).await?;
            }
        }
        while under_way.len() > 0 {
            self.written(&mut under_way).await?;
        }
        Ok(())
    }

    async fn written(&self, under_way: &mut UnderWay<'_, ()>) -> Result<(), Error> {
        match under_way.next().await {
            Some(reply) => done("write", &self.path, reply?.0),
            None => Ok(()),
        }
    }

    /// Moves to another place, and returns it. Beyond the end is allowed: a write there leaves a hole.
    ///
    /// # Errors
    /// The server's, for a place counted from the end; [`Reason::Usage`] for one before the start.
    pub async fn seek(&mut self, to: SeekFrom) -> Result<u64, Error> {
        let (base, by) = match to {
            SeekFrom::Start(offset) => (offset, 0),
            SeekFrom::Current(by) => (self.offset, by),
            SeekFrom::End(by) => (self.stat().await?.size.unwrap_or(0), by),
        };
        let before =
            || Error::new(Step::Sftp, Reason::Usage, "seek to before the start of the file");
        self.offset = base.checked_add_signed(by).ok_or_else(before)?;
        Ok(self.offset)
    }

    /// Where the next read or write begins, in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.offset
    }

    /// What the server knows of it.
    ///
    /// # Errors
    /// The server's.
    pub async fn stat(&self) -> Result<Attributes, Error> {
        self.line.fstat(&self.path, self.open_handle()?).await
    }

    /// Sets the attributes that are there.
    ///
    /// # Errors
    /// The server's.
    pub async fn set_stat(&self, attributes: Attributes) -> Result<(), Error> {
        let handle = self.open_handle()?;
        done(
            "fsetstat",
            &self.path,
            self.line.call(Request::Fsetstat { handle, attributes }).await?,
        )
    }

    /// Has the server bring what was written to its disk (`fsync@openssh.com`).
    ///
    /// # Errors
    /// The server's; [`Reason::Usage`] where it does not offer this.
    pub async fn sync(&self) -> Result<(), Error> {
        let handle = self.open_handle()?;
        done("fsync", &self.path, self.line.call(Request::Fsync(handle)).await?)
    }

    /// Closes it. A full disk may be told only now.
    ///
    /// # Errors
    /// The server's; the file is closed nevertheless.
    pub async fn close(mut self) -> Result<(), Error> {
        let Some(handle) = self.handle.take() else { return Ok(()) };
        done("close", &self.path, self.line.call(Request::Close(&handle)).await?)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            self.line.close_handle(handle);
        }
    }
}
