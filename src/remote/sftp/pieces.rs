//! One large file by several sessions.
//!
//! The file is not divided beforehand: each session takes the next request's worth from one counter when it has room for it, so
//! that a slow one holds up nobody. All of them write into the one hidden file; the session that was there first made it, and
//! gives it its name once every piece is acknowledged and the source is what it was. The first failure ends the copy: no more
//! pieces are given out.

use super::budget::Share;
use super::copying::{Ending, Source, confirm, room, send};
use super::files::{done, unfit};
use super::further::Others;
use super::place::{Here, Place};
use super::resume::{Identity, changed, identity_here, identity_there};
use super::session::{Line, Sftp, failed};
use super::under_way::UnderWay;
use super::{File, OpenFlags, Reply, Request, StatusCode};
use crate::failure::Failure;
use crate::remote::error::{Error, Step};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Bytes of a file from which on further logins are worth their time.
pub(super) const WORTH: u64 = 8 << 20;

/// What is left of a file, for whoever has room.
struct Pieces {
    size: u64,
    next: AtomicU64,
    /// Bytes that the receiving side has.
    acknowledged: AtomicU64,
    over: AtomicBool,
}

impl Pieces {
    fn new(size: u64) -> Arc<Self> {
        let (next, acknowledged, over) = <(AtomicU64, AtomicU64, AtomicBool)>::default();
        Arc::new(Self { size, next, acknowledged, over })
    }

    /// The next piece, of so many bytes at most: its offset and length.
    fn take(&self, most: u32) -> Option<(u64, u32)> {
        let offset = self.next.fetch_add(most.into(), SeqCst);
        let left = self.size.checked_sub(offset).filter(|left| *left > 0)?;
        Some((offset, most.min(u32::try_from(left).unwrap_or(u32::MAX))))
    }

    fn more(&self) -> bool {
        self.next.load(SeqCst) < self.size
    }

    fn arrived(&self, bytes: u64) {
        self.acknowledged.fetch_add(bytes, SeqCst);
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(SeqCst)
    }

    /// The copy is given up.
    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }
}

/// Ends the others' work with the copy, however that ends.
struct Over(Arc<Pieces>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over.store(true, SeqCst);
    }
}

fn local(call: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Error {
    let path = String::from_utf8_lossy(path).escape_debug().to_string();
    move |error| match error.kind() {
        io::ErrorKind::UnexpectedEof => changed(path.as_bytes()),
        _ => Error::failure(Step::Sftp, &Failure::new(call, path, error)),
    }
}

/// The next piece, and its share of what may be under way. `None`: what is under way comes first, or none is left.
async fn piece<'a>(
    line: &'a Line,
    pieces: &Pieces,
    busy: bool,
    most: u32,
) -> Option<(u64, u32, Share<'a>)> {
    // Of nothing no share is waited for.
    if !pieces.more() {
        return None;
    }
    let share = room(line, busy, most).await?;
    let (offset, len) = pieces.take(most)?;
    Some((offset, len, share.shrunk(len as usize)))
}

/// Sends pieces as long as there are some.
async fn send_pieces(
    there: &File,
    ours: &fs::File,
    from: &[u8],
    pieces: &Pieces,
    tell: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let line = there.line();
    let handle = there.handle().ok_or_else(unfit)?;
    let mut under_way = UnderWay::new(line);
    while !pieces.is_over() {
        let most = line.write_size.get();
        if let Some((offset, len, share)) = piece(line, pieces, under_way.len() > 0, most).await {
            let mut buffer = line.buffer();
            let bytes = &mut buffer[..len as usize];
            ours.read_exact_at(bytes, offset).map_err(local("pread", from))?;
            under_way.push(Request::Write { handle, offset, bytes }, (len, share))?;
            line.give_back(buffer);
            continue;
        }
        let Some(reply) = under_way.next().await else { break };
        let (reply, (len, _share)) = reply?;
        done("write", there.path(), reply)?;
        pieces.arrived(len.into());
        tell(pieces.acknowledged());
    }
    Ok(())
}

/// Asks for pieces as long as there are some, and puts each where it belongs.
async fn receive_pieces(
    there: &File,
    ours: &fs::File,
    pieces: &Pieces,
    tell: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let line = there.line();
    let handle = there.handle().ok_or_else(unfit)?;
    let mut under_way = UnderWay::new(line);
    while !pieces.is_over() {
        let most = line.read_size.get();
        if let Some((offset, len, share)) = piece(line, pieces, under_way.len() > 0, most).await {
            under_way.push(Request::Read { handle, offset, len }, (offset, len, share))?;
            continue;
        }
        let Some(reply) = under_way.next().await else { break };
        match reply? {
            (Reply::Data(data), (offset, len, share)) => {
                let n = data.len() as u32;
                ours.write_all_at(&data, offset).map_err(local("pwrite", there.path()))?;
                if n < len {
                    // Short: the rest before anything else.
                    let (offset, len) = (offset + u64::from(n), len - n);
                    let read = Request::Read { handle, offset, len };
                    under_way.push_front(read, (offset, len, share))?;
                }
                pieces.arrived(n.into());
                tell(pieces.acknowledged());
            }
            (Reply::Status(status), _) if status.code == StatusCode::Eof => {
                return Err(changed(there.path()));
            }
            (Reply::Status(status), _) => return Err(failed("read", there.path(), &status)),
            _ => return Err(unfit()),
        }
    }
    Ok(())
}

impl Sftp {
    /// A file of so many bytes to its place, which is a hidden and a shared one.
    pub(super) async fn put_pieces(
        &self,
        others: &Others,
        place: Place,
        (file, from): (fs::File, &OsStr),
        (asked, mode, mut ending): (Option<u32>, Option<u32>, Ending),
        tell: &mut dyn FnMut(u64),
    ) -> Result<u64, Error> {
        let from = from.as_bytes().to_vec();
        let meta = file.metadata().map_err(local("fstat", &from))?;
        let (identity, size) = (identity_here(&meta), meta.len());
        let there = place.open(asked, mode, &mut ending).await?;
        // The others begin in the login's directory, whatever this session's is.
        let path = self.line.realpath(place.written()).await?;
        let (pieces, file) = (Pieces::new(size), Arc::new(file));
        let over = Over(Arc::clone(&pieces));
        let work = {
            let (pieces, file, from) = (Arc::clone(&pieces), Arc::clone(&file), from.clone());
            async move |sftp: &Sftp| {
                let there =
                    sftp.open_file(OsStr::from_bytes(&path), OpenFlags::WRITE, None).await?;
                send_pieces(&there, &file, &from, &pieces, &mut |_| {}).await?;
                there.close().await
            }
        };
        let ended = others.all(&self.line, work)?;
        ended.beside(send_pieces(&there, &file, &from, &pieces, tell)).await?;
        confirm(&from, Some(size), pieces.acknowledged())?;
        drop(over);
        // No more bytes, and the same end as any other file's.
        (ending.offset, ending.regular) = (size, true);
        let mut none: &[u8] = &[];
        let sent = send(&self.line, there, place.written(), &mut none, ending, &mut |_| {}).await?;
        let now = file.metadata().map_err(local("fstat", &from))?;
        if identity_here(&now) != identity {
            return Err(changed(&from));
        }
        place.finish().await?;
        Ok(sent)
    }

    /// A file of so many bytes to its hidden place here.
    pub(super) async fn get_pieces(
        &self,
        others: &Others,
        (source, from): (&Source, &[u8]),
        (here, size, identity): (&Here, u64, Identity),
        tell: &mut dyn FnMut(u64),
    ) -> Result<u64, Error> {
        let path = self.line.realpath(from).await?;
        let file = here.file.try_clone().map_err(local("fcntl", from))?;
        let (pieces, file) = (Pieces::new(size), Arc::new(file));
        let _over = Over(Arc::clone(&pieces));
        let work = {
            let (pieces, file) = (Arc::clone(&pieces), Arc::clone(&file));
            async move |sftp: &Sftp| {
                let source = Source::open(&sftp.line, &path).await?;
                // Somebody may have put another one there meanwhile.
                if identity_there(&source.attributes) != Some(identity) {
                    return Err(changed(&path));
                }
                receive_pieces(&source.file, &file, &pieces, &mut |_| {}).await?;
                source.file.close().await
            }
        };
        let ended = others.all(&self.line, work)?;
        ended.beside(receive_pieces(&source.file, &file, &pieces, tell)).await?;
        confirm(from, Some(size), pieces.acknowledged())?;
        if identity_there(&source.file.stat().await?) != Some(identity) {
            return Err(changed(from));
        }
        Ok(size)
    }
}
