//! One file of a tree, from the server to here, on whichever session.

use super::here::{New, failed, is_copy};
use super::sharing::{Carried, Carry};
use super::{How, LARGE};
use crate::remote::error::Error;
use crate::remote::sftp::copying::{Source, receive};
use crate::remote::sftp::resume::{changed, continue_here, identity_there};
use crate::remote::sftp::session::Line;
use crate::remote::sftp::{Attributes, FileKind};
use std::io::{Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

/// A file there, and its directory here.
pub(super) struct GetFile {
    pub(super) how: How,
    pub(super) path: Vec<u8>,
    pub(super) attributes: Attributes,
    pub(super) dir: Arc<OwnedFd>,
    pub(super) name: Vec<u8>,
    /// Nothing was in its directory here.
    pub(super) fresh: bool,
}

impl Carry for GetFile {
    fn size(&self) -> u64 {
        self.attributes.size.unwrap_or(0)
    }

    async fn carry(self, line: &Rc<Line>, moved: &mut dyn FnMut(u64)) -> Result<Carried, Error> {
        let Self { how, path, attributes, dir, name, fresh } = self;
        let known = attributes.kind() == FileKind::Regular;
        if how.resume && known && is_copy(&dir, &name, &attributes) {
            return Ok(Carried::Unchanged);
        }
        let large = attributes.size.is_some_and(|size| size >= LARGE);
        let source = match known && attributes.size.is_some() && !(how.resume && large) {
            true => Source::listed(line, &path, attributes).await?,
            // The server's listing does not say enough, or not surely enough.
            false => Source::open(line, &path).await?,
        };
        // Set-user-ID and its like are not taken from a server.
        let mode = source.attributes.mode().map_or(0o666, |mode| mode & 0o777);
        let identity = identity_there(&source.attributes).filter(|_| how.resume && large);
        let mut new = New::create(&dir, &name, fresh, mode, identity)?;
        let mut offset = 0;
        if new.partial {
            let size = source.attributes.size.unwrap_or(0);
            offset = continue_here(&new.file, &source.file, size).await?;
            new.file.seek(SeekFrom::Start(offset)).map_err(failed("lseek", &name))?;
        }
        let mut before = offset;
        let mut tell = |now| moved(now - std::mem::replace(&mut before, now));
        receive(line, &source, &mut new.file, offset, &mut tell).await?;
        if new.partial && identity_there(&source.file.stat().await?) != identity {
            return Err(changed(&name));
        }
        let set = Attributes {
            permissions: Some(mode),
            times: source.attributes.times,
            ..Attributes::default()
        };
        new.finish(Some(set).filter(|_| how.preserve), how.sync)?;
        Ok(Carried::Copied)
    }
}
