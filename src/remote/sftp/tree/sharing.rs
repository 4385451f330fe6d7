//! The files of a tree, shared by several sessions.
//!
//! The first session walks the tree, makes its directories, and copies files. Once it has its hands full the others log in, and a
//! file goes to whoever has the least under way; where it belongs and what is left of it stays with the first session, which
//! waits for it as for its own.

use super::crowd::Crowd;
use crate::remote::error::Error;
use crate::remote::sftp::further::{Ended, Others};
use crate::remote::sftp::pieces::WORTH;
use crate::remote::sftp::session::{Line, Sftp};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What opening and closing a file costs, as bytes of it.
const FILE: u64 = 64 << 10;
/// A file counts for no more, so that sums of them hold.
const LARGEST: u64 = 1 << 40;
/// Bytes of a file after which the first session hears of them.
const HEARD: u64 = 1 << 20;

/// How one file is copied, on whichever line.
pub(super) trait Carry: Send + Sized + 'static {
    /// Its size, as far as it is known.
    fn size(&self) -> u64;

    /// Copies it; `moved` hears of its bytes.
    fn carry(
        self,
        line: &Rc<Line>,
        moved: &mut dyn FnMut(u64),
    ) -> impl Future<Output = Result<Carried, Error>>;
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    Copied,
    /// It was there already.
    Unchanged,
}

/// A file on its way to another thread: the future is made there.
type Task = Box<dyn FnOnce(Rc<Line>, Arc<Slot>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Who copies how much at this moment.
pub(super) struct Sharing {
    others: Option<Others>,
    ended: Rc<Ended>,
    desks: RefCell<Vec<Arc<Desk>>>,
    /// What is under way: on the first session, then on the others.
    loads: Vec<Load>,
    /// Files under way on each at most.
    most: usize,
}

/// What is under way on one session.
#[derive(Clone, Default)]
struct Load {
    files: Cell<usize>,
    bytes: Cell<u64>,
}

/// The files of one further session.
#[derive(Default)]
struct Desk(Mutex<Files>);

#[derive(Default)]
struct Files {
    tasks: VecDeque<(Task, Arc<Slot>)>,
    waker: Option<Waker>,
    over: bool,
}

/// Where a file's news are left.
#[derive(Default)]
struct Slot(Mutex<News>);

#[derive(Default)]
struct News {
    moved: u64,
    result: Option<Result<Carried, Error>>,
    waker: Option<Waker>,
}

/// A file's part of a load, taken off again at its drop.
struct Share<'a> {
    load: &'a Load,
    bytes: u64,
}

impl<'a> Share<'a> {
    fn of(load: &'a Load, bytes: u64) -> Self {
        load.files.set(load.files.get() + 1);
        load.bytes.set(load.bytes.get() + bytes);
        Self { load, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.load.files.set(self.load.files.get() - 1);
        self.load.bytes.set(self.load.bytes.get() - self.bytes);
    }
}

impl Sharing {
    /// Nobody else has begun yet; `most` files at a time on each.
    pub(super) fn new(others: Option<Others>, most: usize) -> Self {
        let count = others.as_ref().map_or(0, |others| others.count);
        Self {
            others,
            ended: Rc::default(),
            desks: RefCell::default(),
            loads: vec![Load::default(); count + 1],
            most,
        }
    }

    /// The walk, and whatever the others do for it, to the end of both or to the first failure.
    pub(super) async fn beside(
        &self,
        walk: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let _over = Over(self);
        let walk = async {
            walk.await?;
            self.over();
            Ok(())
        };
        self.ended.beside(walk).await
    }

    /// Has the session copy a file that has the least to do. `moved` hears of its bytes.
    pub(super) async fn carry(
        &self,
        line: &Rc<Line>,
        file: impl Carry,
        mut moved: impl FnMut(u64),
    ) -> Result<Carried, Error> {
        let at = self.least();
        // A size is the server's word.
        let _share = Share::of(&self.loads[at], file.size().min(LARGEST) + FILE);
        let Some(other) = at.checked_sub(1) else { return file.carry(line, &mut moved).await };
        match self.desk(other, line) {
            Ok(desk) => desk.give(file, moved).await,
            Err(error) => {
                // The copy's failure, and not this file's.
                self.ended.fail(error);
                pending().await
            }
        }
    }

    /// Who has the least to do: the first session as long as further logins are not worth their time.
    fn least(&self) -> usize {
        let idle = self.desks.borrow().is_empty();
        let room = |load: &Load| load.files.get() < self.most;
        if idle && room(&self.loads[0]) && self.loads[0].bytes.get() < WORTH {
            return 0;
        }
        let loads = self.loads.iter().enumerate().filter(|(_, load)| room(load));
        loads.min_by_key(|&(at, load)| (load.bytes.get(), at)).map_or(0, |(at, _)| at)
    }

    /// Whether the first session does all.
    pub(super) fn alone(&self) -> bool {
        self.others.is_none()
    }

    /// A further session, which is begun for its first file.
    fn desk(&self, at: usize, line: &Line) -> Result<Arc<Desk>, Error> {
        let mut desks = self.desks.borrow_mut();
        while desks.len() <= at {
            let desk = Arc::<Desk>::default();
            if let Some(others) = &self.others {
                let theirs = Arc::clone(&desk);
                let work = async move |sftp: &Sftp| theirs.work(sftp).await;
                others.one(&self.ended, line, work)?;
            }
            desks.push(desk);
        }
        Ok(Arc::clone(&desks[at]))
    }

    fn over(&self) {
        self.desks.borrow().iter().for_each(|desk| desk.end());
    }
}

/// Ends the others' work with the copy, however that ends.
struct Over<'a>(&'a Sharing);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over();
    }
}

impl Desk {
    /// A panic elsewhere leaves it whole: each change to it is one call.
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a file copied, and waits for it.
    async fn give(&self, file: impl Carry, mut moved: impl FnMut(u64)) -> Result<Carried, Error> {
        let task: Task = Box::new(move |line, slot| {
            Box::pin(async move {
                let result = file.carry(&line, &mut |bytes| slot.moved(bytes)).await;
                // The end of the connection is the copy's, and not this file's alone.
                if result.is_ok() || !line.has_ended() {
                    slot.end(result);
                }
            })
        });
        let slot = Arc::<Slot>::default();
        self.push(task, Arc::clone(&slot));
        poll_fn(|cx| {
            let mut news = slot.lock();
            let (bytes, result) = (std::mem::take(&mut news.moved), news.result.take());
            news.waker = Some(cx.waker().clone());
            drop(news);
            if bytes > 0 {
                moved(bytes);
            }
            result.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn push(&self, task: Task, slot: Arc<Slot>) {
        let mut files = self.lock();
        files.tasks.push_back((task, slot));
        let waker = files.waker.take();
        drop(files);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Copies what is given, side by side, until no more will be. What is given up then tidies up after itself.
    async fn work(&self, sftp: &Sftp) -> Result<(), Error> {
        let mut crowd = Crowd::new();
        while let Some(task) = poll_fn(|cx| self.next(&mut crowd, cx)).await {
            if let Some((task, slot)) = task {
                crowd.push(task(Rc::clone(&sftp.line), slot));
            }
            sftp.line.check()?;
        }
        Ok(())
    }

    /// The next file, or none where one has ended; `None`: it is all over.
    #[expect(clippy::type_complexity, reason = "three cases, told apart where it is called")]
    fn next(
        &self,
        crowd: &mut Crowd<'_>,
        cx: &Context<'_>,
    ) -> Poll<Option<Option<(Task, Arc<Slot>)>>> {
        let mut files = self.lock();
        if files.over {
            return Poll::Ready(None);
        }
        if let Some(task) = files.tasks.pop_front() {
            return Poll::Ready(Some(Some(task)));
        }
        files.waker = Some(cx.waker().clone());
        drop(files);
        crowd.poll_one(cx).map(|()| Some(None))
    }

    fn end(&self) {
        let mut files = self.lock();
        files.over = true;
        files.tasks.clear();
        let waker = files.waker.take();
        drop(files);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Slot {
    /// As in [`Desk::lock`].
    fn lock(&self) -> MutexGuard<'_, News> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, bytes: u64) {
        let mut news = self.lock();
        news.moved += bytes;
        let waker = if news.moved >= HEARD { news.waker.take() } else { None };
        drop(news);
        waker.into_iter().for_each(Waker::wake);
    }

    fn end(&self, result: Result<Carried, Error>) {
        let mut news = self.lock();
        news.result = Some(result);
        let waker = news.waker.take();
        drop(news);
        waker.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, Share, Sharing, WORTH};
    use crate::remote::sftp::further::Others;

    fn three(most: usize) -> Sharing {
        let others = Others::new(2, || unreachable!("nobody logs in here"));
        let sharing = Sharing::new(others, most);
        // As if both had begun.
        sharing.desks.borrow_mut().extend([Default::default(), Default::default()]);
        sharing
    }

    #[test]
    fn the_first_session_is_filled_before_another_begins() {
        let sharing = Sharing::new(Others::new(2, || unreachable!("nobody logs in here")), 4);
        let mut files: Vec<_> = (0..3).map(|_| Share::of(&sharing.loads[0], 1)).collect();
        assert_eq!(sharing.least(), 0);
        files.push(Share::of(&sharing.loads[0], 1));
        assert_eq!(sharing.least(), 1);
        drop(files);
        let _file = Share::of(&sharing.loads[0], WORTH);
        assert_eq!(sharing.least(), 1);
    }

    /// However little the files of a session are, it has no more of them than it may have open.
    #[test]
    fn the_least_bytes_get_the_next_file_where_there_is_room() {
        let sharing = three(2);
        let _large = [0, 2].map(|at| Share::of(&sharing.loads[at], LARGEST));
        let small = [(); 2].map(|()| {
            assert_eq!(sharing.least(), 1);
            Share::of(&sharing.loads[1], 1)
        });
        assert_eq!(sharing.least(), 0);
        drop(small);
        assert_eq!(sharing.least(), 1);
    }
}
