//! Bytes between here and an open file there: many requests under way, bounded memory.

use super::budget::{Share, UNDER_WAY};
use super::files::{done, unfit};
use super::session::{Line, failed};
use super::under_way::UnderWay;
use super::{Attributes, File, FileKind, Handle, OpenFlags, Reply, Request, StatusCode};
use crate::failure::Failure;
use crate::remote::error::{Error, Reason, Step};
use crate::remote::stream::{Input, Sink};
use std::rc::Rc;

/// Bytes asked for where the end is expected: there are none, unless the file has grown.
const PROBE: u32 = 1024;

/// What is to be done with a file that is written, besides its bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Ending {
    /// Where the bytes begin that are sent.
    pub(super) offset: u64,
    /// To be set when all bytes are there.
    pub(super) set: Option<Attributes>,
    /// On the disk before it is closed.
    pub(super) sync: bool,
    /// Its size means something, and is confirmed.
    pub(super) regular: bool,
}

/// What an answer under way is for.
enum Told {
    Written(u64),
    Set,
    Synced,
    Size,
    Closed,
}

/// From here to an open file there, to the end of the stream, and closes it; how many bytes it then has. Its end is asked for
/// together with the last bytes: a small file costs one wait, whatever is to be done with it.
pub(super) async fn send(
    line: &Line,
    mut file: File,
    path: &[u8],
    from: &mut impl Input,
    ending: Ending,
    tell: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    let Some(handle) = file.handle().cloned() else { return Err(unfit()) };
    let (mut offset, mut acknowledged) = (ending.offset, ending.offset);
    let mut under_way = UnderWay::new(line);
    let mut more = true;
    while more || under_way.len() > 0 {
        let room = match more {
            true => room(line, under_way.len() > 0, line.write_size.get()).await,
            false => None,
        };
        if let Some(share) = room {
            let mut buffer = line.buffer();
            let read = from.read(&mut buffer).await;
            let n = read.map_err(|error| {
                let shown = String::from_utf8_lossy(path);
                let source = format!("the source of {}", shown.escape_debug());
                Error::failure(Step::Sftp, &Failure::new("read", source, error))
            })?;
            more = n > 0;
            if more {
                let request = Request::Write { handle: &handle, offset, bytes: &buffer[..n] };
                under_way.push(request, (Told::Written(n as u64), Some(share.shrunk(n))))?;
                offset += n as u64;
            } else {
                end(&mut under_way, &handle, ending)?;
                file.is_closed();
            }
            line.give_back(buffer);
            continue;
        }
        let Some(reply) = under_way.next().await else { break };
        let (reply, (told, _share)) = reply?;
        match (told, reply) {
            (Told::Written(n), reply) => {
                done("write", path, reply)?;
                acknowledged += n;
                tell(acknowledged);
            }
            (Told::Set, reply) => done("fsetstat", path, reply)?,
            (Told::Synced, reply) => done("fsync", path, reply)?,
            (Told::Size, Reply::Attributes(now)) => confirm(path, now.size, offset)?,
            (Told::Size, Reply::Status(status)) => return Err(failed("fstat", path, &status)),
            (Told::Size, _) => return Err(unfit()),
            (Told::Closed, reply) => done("close", path, reply)?,
        }
    }
    Ok(offset)
}

/// All that is to be done once the bytes are there, in this order: a server does as if it took one request after the other.
fn end<'a>(
    under_way: &mut UnderWay<'_, (Told, Option<Share<'a>>)>,
    handle: &Handle,
    ending: Ending,
) -> Result<(), Error> {
    if let Some(attributes) = ending.set {
        under_way.push(Request::Fsetstat { handle, attributes }, (Told::Set, None))?;
    }
    if ending.sync {
        under_way.push(Request::Fsync(handle), (Told::Synced, None))?;
    }
    if ending.regular {
        under_way.push(Request::Fstat(handle), (Told::Size, None))?;
    }
    under_way.push(Request::Close(handle), (Told::Closed, None))
}

/// A part of what may be under way. `None`: take what comes first. Whoever has nothing under way waits for one.
pub(super) async fn room(line: &Line, busy: bool, bytes: u32) -> Option<Share<'_>> {
    let bytes = bytes as usize;
    match line.budget.try_take(bytes) {
        None if !busy => Some(line.budget.take(bytes).await),
        share => share,
    }
}

/// A file to read, and what it was when it was opened or listed.
pub(super) struct Source {
    pub(super) file: File,
    path: Vec<u8>,
    pub(super) attributes: Attributes,
}

impl Source {
    /// Opens a file, and asks what it is.
    pub(super) async fn open(line: &Rc<Line>, path: &[u8]) -> Result<Self, Error> {
        let mut source = Self::listed(line, path, Attributes::default()).await?;
        source.attributes = source.file.stat().await?;
        if source.attributes.kind() == FileKind::Directory {
            let message =
                format!("{} is a directory", String::from_utf8_lossy(path).escape_debug());
            return Err(Error::new(Step::Sftp, Reason::Usage, message));
        }
        Ok(source)
    }

    /// Opens a file of which a listing has said what it is.
    pub(super) async fn listed(
        line: &Rc<Line>,
        path: &[u8],
        attributes: Attributes,
    ) -> Result<Self, Error> {
        let none = Attributes::default();
        let open = Request::Open { path, flags: OpenFlags::READ, attributes: none };
        let handle = line.handle("open", path, open).await?;
        Ok(Self { file: File::new(Rc::clone(line), path, handle), path: path.to_vec(), attributes })
    }

    /// The size it had, where that means something: /proc says 0 of files that are not empty.
    pub(super) fn size(&self) -> Option<u64> {
        self.attributes.size.filter(|size| *size > 0 && self.attributes.kind() != FileKind::Other)
    }

    /// What the next request asks for, where `asked` is how far the others go.
    fn wanted(&self, asked: u64, chunk: u32) -> u32 {
        match self.attributes.size.map(|size| size.saturating_sub(asked)) {
            Some(0) => PROBE.min(chunk),
            Some(left) if self.size().is_some() => {
                chunk.min(u32::try_from(left).unwrap_or(u32::MAX))
            }
            _ => chunk,
        }
    }
}

/// From an open file there to here, in order, from an offset on; how many bytes it then has. Requests double, so that a small
/// file is not asked for 64 times.
pub(super) async fn receive(
    line: &Line,
    source: &Source,
    to: &mut impl Sink,
    offset: u64,
    tell: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    let Some(handle) = source.file.handle() else { return Err(unfit()) };
    let (chunk, size) = (line.read_size.get(), source.size());
    let most = (UNDER_WAY / chunk as usize).max(1);
    // From two on: a small file takes one request for its bytes and one to learn of its end.
    let (mut asked, mut got, mut at_a_time) = (offset, offset, 2);
    let mut under_way = UnderWay::new(line);
    loop {
        // No further than the size that was told, and one request beyond it.
        while under_way.len() < at_a_time
            && (size.is_none_or(|size| asked <= size) || under_way.len() == 0)
        {
            // Beyond what the size says there may be more nevertheless: then it is read in whole requests.
            let len = if got > source.attributes.size.unwrap_or(0) {
                chunk
            } else {
                source.wanted(asked, chunk)
            };
            let Some(share) = room(line, under_way.len() > 0, len).await else { break };
            under_way.push(Request::Read { handle, offset: asked, len }, (asked, len, share))?;
            asked += u64::from(len);
        }
        let Some(reply) = under_way.next().await else { return Err(unfit()) };
        match reply? {
            (Reply::Data(data), (offset, len, share)) => {
                let n = data.len() as u32;
                let rest = (offset + u64::from(n), len - n);
                let share = if n < len {
                    // Short: the rest before anything else.
                    let read = Request::Read { handle, offset: rest.0, len: rest.1 };
                    under_way.push_front(read, (rest.0, rest.1, share))?;
                    None
                } else {
                    Some(share)
                };
                to.write(&data).await.map_err(|error| {
                    let path = String::from_utf8_lossy(&source.path);
                    let copy = format!("the copy of {}", path.escape_debug());
                    Error::failure(Step::Sftp, &Failure::new("write", copy, error))
                })?;
                drop((data, share));
                got += u64::from(n);
                tell(got);
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
pub(super) fn confirm(path: &[u8], size: Option<u64>, copied: u64) -> Result<(), Error> {
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
