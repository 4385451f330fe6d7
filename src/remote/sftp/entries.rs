//! The entries of a directory one by one, the next ones already asked for.

use super::files::{DOTS, checked, unfit};
use super::session::{Line, Sftp, failed};
use super::{File, Name, Reply, Request, StatusCode, Ticket};
use crate::remote::error::{Error, Reason, Step};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::vec::IntoIter;

/// Requests for names under way at a time, of some hundred names each.
const AHEAD: usize = 4;

/// A directory that is being listed: [`Sftp::entries`]. Memory is that of a few hundred names, whatever the directory holds.
pub struct Entries {
    line: Rc<Line>,
    dir: File,
    path: Vec<u8>,
    asked: VecDeque<Ticket>,
    names: IntoIter<Name>,
    /// So often it has named itself or the one above it.
    dots: u64,
    end: bool,
}

impl Sftp {
    /// The entries of a directory, one by one: [`read_dir`](Self::read_dir) without its bound. The next ones are asked for before
    /// they are needed.
    ///
    /// # Errors
    /// The server's.
    pub async fn entries(&self, path: impl AsRef<OsStr>) -> Result<Entries, Error> {
        let path = path.as_ref().as_bytes().to_vec();
        let line = Rc::clone(&self.line);
        let handle = line.handle("opendir", &path, Request::Opendir(&path)).await?;
        let dir = File::new(Rc::clone(&line), &path, handle);
        let (asked, names) = (VecDeque::new(), Vec::new().into_iter());
        Ok(Entries { line, dir, path, asked, names, dots: 0, end: false })
    }
}

impl Entries {
    /// The next one, in the server's order, without `.` and `..`; `None` at the end.
    ///
    /// # Errors
    /// The server's; [`Reason::Protocol`] for a name that is none, and for a third `.` or `..`: the next one may be one.
    pub async fn next(&mut self) -> Result<Option<Name>, Error> {
        loop {
            if let Some(name) = self.names.next() {
                match checked(&self.path, name)? {
                    Some(name) => return Ok(Some(name)),
                    None => self.dots += 1,
                }
                if self.dots > DOTS {
                    return Err(endless(&self.path));
                }
                continue;
            }
            while !self.end && self.asked.len() < AHEAD {
                let Some(handle) = self.dir.handle() else { return Err(unfit()) };
                self.asked.push_back(self.line.send(Request::Readdir(handle))?);
            }
            let Some(ticket) = self.asked.front().copied() else { return Ok(None) };
            let reply = self.line.reply(ticket).await;
            self.asked.pop_front();
            match reply? {
                Reply::Names(names) => self.names = names.into_iter(),
                Reply::Status(status) => {
                    // What was asked beyond the end says the same.
                    self.end = true;
                    if status.code != StatusCode::Eof {
                        return Err(failed("readdir", &self.path, &status));
                    }
                }
                _ => return Err(unfit()),
            }
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.asked.drain(..).for_each(|ticket| self.line.abandon(ticket));
    }
}

fn endless(path: &[u8]) -> Error {
    let path = String::from_utf8_lossy(path);
    let message = format!("readdir {}: it names itself again and again", path.escape_debug());
    Error::new(Step::Sftp, Reason::Protocol, message)
}
