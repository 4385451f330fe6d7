//! Going on where a transfer was cut: whose partial it is, and how far it can be trusted.
//!
//! A partial's name holds a digest of its source's identity: of a source that has changed there is none. Everything but its last
//! bytes was acknowledged: no more than the budget of a channel is ever under way, so that a server that writes in any order
//! leaves no hole before that. What is before is compared with the source piece by piece, in places of which nobody knows
//! beforehand; a partial that differs anywhere is begun anew.

use super::budget::UNDER_WAY;
use super::copying::Ending;
use super::place::Place;
use super::session::CHUNK_MAX;
use super::{Attributes, File, FileKind};
use crate::failure::Failure;
use crate::remote::error::{Error, Reason, Step};
use crate::sys;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// Bytes at the end of a partial that are copied again.
const UNSURE: u64 = UNDER_WAY as u64 + CHUNK_MAX as u64;
/// Bytes of one piece that is compared, and how many pieces: the first, the last, and others at random.
const PIECE: u64 = 32 * 1024;
const PIECES: u64 = 32;
/// How many of them are asked for, and held, at once: of a tree many files may be compared side by side.
const AT_ONCE: usize = 8;

/// Who a source is: another one has another digest.
pub(super) type Identity = [u8; 8];

fn identity(of: &[u64]) -> Identity {
    let bytes: Vec<u8> = of.iter().flat_map(|number| number.to_be_bytes()).collect();
    let digest = sys::sha256(&bytes);
    std::array::from_fn(|at| digest[at])
}

/// A file here: its device, inode, size, and times of modification and change.
pub(super) fn identity_here(meta: &fs::Metadata) -> Identity {
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    let [a, b, c, d] = times.map(|time| time as u64);
    identity(&[meta.dev(), meta.ino(), meta.len(), a, b, c, d])
}

/// A file there: its size and time of modification. `None`: the server tells neither.
pub(super) fn identity_there(of: &Attributes) -> Option<Identity> {
    let (_, modified) = of.times?;
    Some(identity(&[of.size?, modified.into()]))
}

fn local(call: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::failure(Step::Sftp, &Failure::new(call, "the partial", error))
}

/// The source is not what it was when its copy was begun.
pub(super) fn changed(path: &[u8]) -> Error {
    let path = String::from_utf8_lossy(path);
    let message = format!("{} has changed meanwhile: copy it anew", path.escape_debug());
    Error::new(Step::Sftp, Reason::Protocol, message)
}

/// Opens the partial on the server, which may not be there; its ending says from which byte of `ours` on it is to be written.
pub(super) async fn continue_there(
    place: &Place,
    ours: &fs::File,
    asked: Option<u32>,
    source: Option<u32>,
    ending: &mut Ending,
) -> Result<File, Error> {
    // Its name can be foreseen: what somebody else has put there is not written to.
    if !place.is_ours().await? {
        let message = format!(
            "{} is no partial file",
            String::from_utf8_lossy(place.written()).escape_debug()
        );
        return Err(Error::new(Step::Sftp, Reason::Usage, message));
    }
    let theirs = place.open(asked, source, ending).await?;
    let there = theirs.stat().await?.size.unwrap_or(0);
    let len = ours.metadata().map_err(local("fstat"))?.len();
    let sure = there.min(len).saturating_sub(UNSURE);
    let sure = if same(&theirs, ours, sure).await? { sure } else { 0 };
    if there > sure {
        theirs.set_stat(Attributes { size: Some(sure), ..Attributes::default() }).await?;
    }
    ending.offset = sure;
    Ok(theirs)
}

/// The same of a partial here; it is cut to what is sure.
pub(super) async fn continue_here(ours: &fs::File, theirs: &File, size: u64) -> Result<u64, Error> {
    let here = ours.metadata().map_err(local("fstat"))?.len();
    let sure = here.min(size).saturating_sub(UNSURE);
    let sure = if same(theirs, ours, sure).await? { sure } else { 0 };
    ours.set_len(sure).map_err(local("ftruncate"))?;
    Ok(sure)
}

/// Whether the first `len` bytes of both are the same, as far as pieces of them tell.
async fn same(theirs: &File, ours: &fs::File, len: u64) -> Result<bool, Error> {
    if len == 0 {
        return Ok(true);
    }
    let pieces = pieces(len)?;
    let mut own = vec![0; PIECE as usize];
    for pieces in pieces.chunks(AT_ONCE) {
        for (read, &(offset, len)) in theirs.read_vectored(pieces).await?.iter().zip(pieces) {
            let own = &mut own[..len];
            match ours.read_exact_at(own, offset) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(local("pread")(error)),
            }
            if read != own {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Which pieces of `len` bytes are compared: their offsets and lengths.
fn pieces(len: u64) -> Result<Vec<(u64, usize)>, Error> {
    let mut random = [0; 8 * PIECES as usize];
    sys::getrandom(&mut random)
        .map_err(|error| Error::failure(Step::Sftp, &Failure::new("getrandom", "", error)))?;
    let last = len.saturating_sub(PIECE);
    let whole = len <= PIECE * PIECES;
    let pieces = (0..PIECES).zip(random.chunks_exact(8)).map(|(at, random)| {
        let random = u64::from_be_bytes(std::array::from_fn(|n| random[n]));
        let offset = match at {
            _ if whole => at * PIECE,
            0 => 0,
            1 => last,
            _ => random % (last + 1),
        };
        (offset, usize::try_from(len.saturating_sub(offset).min(PIECE)).unwrap_or(0))
    });
    Ok(pieces.collect())
}

/// Whether what is there, as listed, is a copy of a source of this size and time.
pub(super) fn is_copy(there: &Attributes, size: u64, modified: u32) -> bool {
    let modified_there = there.times.map(|(_, modified)| modified);
    there.kind() == FileKind::Regular
        && there.size == Some(size)
        && modified_there == Some(modified)
}
