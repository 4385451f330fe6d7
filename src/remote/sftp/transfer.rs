//! put and get: many requests under way, bounded memory, and never half a file under the final name.
//!
//! What is written goes to a temporary file beside its place, is closed with a check, compared in size, and then renamed
//! over what was there. A place that is no regular file (a device) is written as it is; a FIFO fails on OpenSSH's server,
//! which seeks before each write.

use super::copying::{Ending, Source, receive, send};
use super::files::bytes;
use super::further::Others;
use super::pieces::WORTH;
use super::place::{Here, Place};
use super::resume::{changed, continue_here, continue_there, identity_here, identity_there};
use super::session::Sftp;
use super::tree::attributes_of;
use super::{Attributes, FileKind};
use crate::failure::Failure;
use crate::reactor::Deadline;
use crate::remote::Client;
use crate::remote::error::{Error, Reason, Step};
use crate::remote::stream::{AT_ONCE, Descriptor, Input, Sink, is_waited_for};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

const NONE: Attributes = Attributes { size: None, owner: None, permissions: None, times: None };

/// How often it is looked whether somebody reads a FIFO by now: the kernel tells nobody who has not opened it.
const LOOK: Duration = Duration::from_millis(20);

/// How a file is copied, and who hears of it.
#[derive(Default)]
pub struct Transfer<'a> {
    progress: Option<Box<dyn FnMut(Progress) + 'a>>,
    sync: bool,
    in_place: bool,
    mode: Option<u32>,
    preserve: bool,
    resume: bool,
    others: Option<Others>,
    /// What is known of the source.
    source: Option<fs::Metadata>,
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

    /// The permissions of the new file, whatever the umask, instead of those of the file that it replaces, or else of its source. A file that
    /// is written [in place](Self::in_place) is no new one, if it was there.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The new file gets its source's permissions, whatever the umask, and its times, in whole seconds.
    #[must_use]
    pub fn preserve(mut self, preserve: bool) -> Self {
        self.preserve = preserve;
        self
    }

    /// What a cut transfer has copied stays, hidden, and the next one of the same source to the same place goes on there. Not of
    /// streams, and not in place. What is taken for granted of a partial, and what not: `docs/remote.md`.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// So many further sessions share the work on a file of 8 MiB or more, each on a thread of its own and logged in by its own client, which
    /// `client` makes there: one session goes no further than one core. Each must meet the host key that the first one has met. A failure
    /// of any of them is the copy's. Not of streams, not in place, and not with [`resume`](Self::resume), whose partials have no holes:
    /// those take one session.
    #[must_use]
    pub fn parallel(
        mut self,
        further: usize,
        client: impl Fn() -> Result<Client, Error> + Send + Sync + 'static,
    ) -> Self {
        self.others = Others::new(further, client);
        self
    }

    /// Who shares the work on a file of this size.
    fn others(&self, size: Option<u64>) -> Option<Others> {
        let worth = !self.resume && size.is_some_and(|size| size >= WORTH);
        self.others.clone().filter(|_| worth)
    }

    /// Permissions asked for, the source's, and what is to be set in the end: of a file that was there only what is to be preserved.
    fn attributes(&self, new: bool) -> (Option<u32>, Option<u32>, Option<Attributes>) {
        let source = self.source.as_ref().map(attributes_of);
        let mode = source.and_then(|source| source.permissions);
        let asked = self.mode.or(mode.filter(|_| self.preserve));
        let times = source.and_then(|source| source.times);
        (asked, mode, self.set(asked, times, new))
    }

    /// What is to be set in the end: exactly the permissions that are asked for, from which the umask may have taken.
    fn set(
        &self,
        permissions: Option<u32>,
        times: Option<(u32, u32)>,
        new: bool,
    ) -> Option<Attributes> {
        let times = times.filter(|_| self.preserve);
        let permissions = permissions.filter(|_| self.preserve || new);
        let some = permissions.is_some() || times.is_some();
        some.then_some(Attributes { permissions, times, ..NONE })
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

/// Opens a source. Whoever has to be waited for, as a FIFO's writer, is not waited for here.
fn source(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    if fs::metadata(path).is_ok_and(|meta| is_waited_for(meta.file_type())) {
        options.custom_flags(AT_ONCE);
    }
    options.read(true).open(path)
}

/// Whether that is a FIFO that nobody reads yet.
fn is_unread(path: &Path, error: &Error) -> bool {
    error.reason() == Reason::Io(Some(libc::ENXIO))
        && fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

impl Sftp {
    /// Copies a file to the server, and returns its size in bytes. A FIFO, a terminal or another character device is read to its end, and
    /// waited for on the reactor.
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
        let mut file = source(from).map_err(local("open", from))?;
        let meta = file.metadata().map_err(local("fstat", from))?;
        if meta.is_dir() {
            let message = format!("{} is a directory", from.display());
            return Err(Error::new(Step::Sftp, Reason::Usage, message));
        }
        let (size, path) = (meta.is_file().then_some(meta.len()), bytes(&to));
        let place = Place::find(&self.line, path, how.in_place).await?;
        let identity = Some(identity_here(&meta)).filter(|_| how.resume && meta.is_file());
        let waited = is_waited_for(meta.file_type());
        how.source = Some(meta);
        if waited {
            return self.placed(place, &mut self.stream(file)?, size, how).await;
        }
        if let Some(others) = how.others(size).filter(|_| place.temporary.is_some()) {
            let (asked, mode, set) = how.attributes(true);
            let ending = Ending { sync: how.sync, set, ..Ending::default() };
            let (source, how_to) = ((file, from.as_os_str()), (asked, mode, ending));
            let mut tell = |done| how.tell(done, size);
            return self.put_pieces(&others, place.shared(), source, how_to, &mut tell).await;
        }
        let Some(identity) = identity.filter(|_| place.temporary.is_some()) else {
            return self.placed(place, &mut file, size, how).await;
        };
        let place = place.resumable(&identity);
        let (asked, mode, set) = how.attributes(true);
        let mut ending = Ending { sync: how.sync, regular: true, set, offset: 0 };
        let there = continue_there(&place, &file, asked, mode, &mut ending).await?;
        file.seek(SeekFrom::Start(ending.offset)).map_err(local("lseek", from))?;
        let mut tell = |done| how.tell(done, size);
        let sent = send(&self.line, there, place.written(), &mut file, ending, &mut tell).await?;
        let now = file.metadata().map_err(local("fstat", from))?;
        if identity_here(&now) != identity {
            return Err(changed(from.as_os_str().as_bytes()));
        }
        place.finish().await?;
        Ok(sent)
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
        how: Transfer<'_>,
    ) -> Result<u64, Error> {
        let place = Place::find(&self.line, bytes(&to), how.in_place).await?;
        self.placed(place, from, size, how).await
    }

    /// What is no regular file, to be waited for.
    fn stream(&self, file: fs::File) -> Result<Descriptor<fs::File>, Error> {
        let stream = Descriptor::new(self.line.reactor(), file);
        stream.map_err(|failure| Error::failure(Step::Sftp, &failure))
    }

    /// A stream to its place.
    async fn placed(
        &self,
        place: Place,
        from: &mut impl Input,
        size: Option<u64>,
        mut how: Transfer<'_>,
    ) -> Result<u64, Error> {
        let (asked, mode, set) = how.attributes(place.new);
        let mut ending = Ending { sync: how.sync, regular: place.regular, set, offset: 0 };
        let file = place.open(asked, mode, &mut ending).await?;
        let mut tell = |done| how.tell(done, size);
        let sent = send(&self.line, file, place.written(), from, ending, &mut tell).await?;
        place.finish().await?;
        Ok(sent)
    }

    /// Copies a file from the server, and returns its size in bytes. A FIFO, also one that nobody reads yet, a terminal or another
    /// character device is waited for on the reactor.
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
        let asked = how.mode.or(Some(mode).filter(|_| how.preserve));
        let identity = identity_there(&source.attributes)
            .filter(|_| source.attributes.kind() == FileKind::Regular);
        let partial = identity.filter(|_| how.resume);
        let to = to.as_ref();
        let mut here = loop {
            match Here::create(to, asked, mode, how.in_place, partial) {
                // As open(2) would, but that deadlines and signals are heard.
                Err(error) if is_unread(to, &error) => {
                    self.line.reactor().sleep(Deadline::after(LOOK)).await;
                }
                created => break created?,
            }
        };
        let mut offset = 0;
        if here.partial {
            let size = source.attributes.size.unwrap_or(0);
            offset = continue_here(&here.file, &source.file, size).await?;
            here.file.seek(SeekFrom::Start(offset)).map_err(local("lseek", to))?;
        }
        let (total, sync) = (source.size(), how.sync);
        let (times, others) = (source.attributes.times, how.others(total));
        let set = how.set(asked, times, here.new);
        let mut tell = |done| how.tell(done, total);
        let got = match (others, total, identity) {
            (Some(others), Some(size), Some(identity)) if here.is_hidden() => {
                let (source, to) = ((&source, from), (&here, size, identity));
                self.get_pieces(&others, source, to, &mut tell).await?
            }
            _ if here.waited => {
                let file = here.file.try_clone().map_err(local("fcntl", to))?;
                receive(&self.line, &source, &mut self.stream(file)?, offset, &mut tell).await?
            }
            _ => receive(&self.line, &source, &mut here.file, offset, &mut tell).await?,
        };
        if here.partial && identity_there(&source.file.stat().await?) != identity {
            return Err(changed(from));
        }
        here.finish(set, sync)?;
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
        let total = source.size();
        let got = receive(&self.line, &source, to, 0, &mut |done| how.tell(done, total)).await?;
        source.file.close().await?;
        Ok(got)
    }
}
