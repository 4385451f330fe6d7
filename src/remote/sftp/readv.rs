//! Many pieces of one file at once.

use super::budget::Share;
use super::copying::room;
use super::files::unfit;
use super::session::failed;
use super::under_way::UnderWay;
use super::{File, Reply, Request, StatusCode};
use crate::remote::error::Error;

/// A part of a piece that is asked for: which piece, where in the file, how many bytes.
type Asked<'a> = (usize, u64, u32, Share<'a>);

impl File {
    /// Reads pieces of the file, each an offset and a length in bytes, and returns them in their order: as paramiko's `readv`. All
    /// are asked for before the first is waited for, as far as memory is meant to go (2 MiB under way). One that reaches beyond
    /// the end of the file is short.
    ///
    /// # Errors
    /// The server's.
    pub async fn read_vectored(&self, pieces: &[(u64, usize)]) -> Result<Vec<Vec<u8>>, Error> {
        let line = self.line();
        let chunk = line.read_size.get() as usize;
        let mut read: Vec<Vec<u8>> = pieces.iter().map(|_| Vec::new()).collect();
        let mut wanted = pieces.iter().enumerate().flat_map(|(piece, &(offset, len))| {
            let starts = (0..len).step_by(chunk);
            starts.map(move |at| (piece, offset + at as u64, chunk.min(len - at) as u32))
        });
        let mut next = wanted.next();
        let mut under_way: UnderWay<'_, Asked<'_>> = UnderWay::new(line);
        loop {
            if let Some((piece, offset, len)) = next {
                if let Some(share) = room(line, under_way.len() > 0, len).await {
                    let handle = self.open_handle()?;
                    under_way
                        .push(Request::Read { handle, offset, len }, (piece, offset, len, share))?;
                    next = wanted.next();
                    continue;
                }
            }
            let Some(reply) = under_way.next().await else { return Ok(read) };
            match reply? {
                (Reply::Data(data), (piece, offset, len, share)) => {
                    read[piece].extend_from_slice(&data);
                    let n = data.len() as u32;
                    if n < len {
                        let (handle, offset, len) =
                            (self.open_handle()?, offset + u64::from(n), len - n);
                        let rest = Request::Read { handle, offset, len };
                        under_way.push_front(rest, (piece, offset, len, share))?;
                    }
                }
                // The parts behind it say the same.
                (Reply::Status(status), _) if status.code == StatusCode::Eof => {}
                (Reply::Status(status), _) => return Err(failed("read", self.path(), &status)),
                _ => return Err(unfit()),
            }
        }
    }
}
