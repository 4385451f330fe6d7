//! One file of a tree, from here to the server, on whichever session.

use super::here::failed;
use super::sharing::{Carried, Carry};
use super::{How, LARGE, attributes_of};
use crate::remote::error::Error;
use crate::remote::sftp::copying::{Ending, send};
use crate::remote::sftp::place::Place;
use crate::remote::sftp::resume::{changed, continue_there, identity_here, is_copy};
use crate::remote::sftp::session::Line;
use std::fs;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

/// A file that is open here, and its path there.
pub(super) struct PutFile {
    pub(super) how: How,
    pub(super) file: fs::File,
    pub(super) meta: fs::Metadata,
    pub(super) path: Vec<u8>,
    pub(super) name: Vec<u8>,
    /// Nothing was in its directory there.
    pub(super) fresh: bool,
}

impl Carry for PutFile {
    fn size(&self) -> u64 {
        self.meta.len()
    }

    async fn carry(self, line: &Rc<Line>, moved: &mut dyn FnMut(u64)) -> Result<Carried, Error> {
        let Self { how, mut file, meta, path, name, fresh } = self;
        let mode = meta.mode() & 0o777;
        let known = if fresh { None } else { line.there(&path).await? };
        let all = attributes_of(&meta);
        if let (true, Some(known), Some((_, modified))) = (how.resume, &known, all.times) {
            if is_copy(known, meta.len(), modified) {
                return Ok(Carried::Unchanged);
            }
        }
        let asked = Some(mode).filter(|_| how.preserve);
        let mut place = Place::below(line, path, known)?;
        let mut ending = Ending { sync: how.sync, regular: true, ..Ending::default() };
        ending.set = Some(all).filter(|_| how.preserve);
        let identity = Some(identity_here(&meta)).filter(|_| how.resume && meta.len() >= LARGE);
        let there = match &identity {
            Some(identity) => {
                place = place.resumable(identity);
                let there = continue_there(&place, &file, asked, Some(mode), &mut ending).await?;
                file.seek(SeekFrom::Start(ending.offset)).map_err(failed("lseek", &name))?;
                there
            }
            None => place.open(asked, Some(mode), &mut ending).await?,
        };
        let mut before = ending.offset;
        let mut tell = |now| moved(now - std::mem::replace(&mut before, now));
        send(line, there, place.written(), &mut file, ending, &mut tell).await?;
        if let Some(identity) = identity {
            let now = file.metadata().map_err(failed("fstat", &name))?;
            if identity_here(&now) != identity {
                return Err(changed(&name));
            }
        }
        place.finish().await?;
        Ok(Carried::Copied)
    }
}
