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
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What opening and closing a file costs, as bytes of it.
const FILE: u64 = 64 << 10;
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
    /// Bytes under way: the first session's, then the others'.
    loads: Vec<Cell<u64>>,
    /// Files under way on the first session, and on any at most.
    own: Cell<usize>,
    most: usize,
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

/// Takes a load off again.
struct Load<'a> {
    load: &'a Cell<u64>,
    own: Option<&'a Cell<usize>>,
    bytes: u64,
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.load.set(self.load.get() - self.bytes);
        self.own.iter().for_each(|own| own.set(own.get() - 1));
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
            loads: vec![Cell::new(0); count + 1],
            own: Cell::new(0),
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
        let bytes = file.size().saturating_add(FILE);
        let at = self.least();
        let load = &self.loads[at];
        load.set(load.get() + bytes);
        let own = Some(&self.own).filter(|_| at == 0);
        own.iter().for_each(|own| own.set(own.get() + 1));
        let _load = Load { load, own, bytes };
        match at.checked_sub(1) {
            None => file.carry(line, &mut moved).await,
            Some(other) => self.desk(other, line)?.give(file, moved).await,
        }
    }

    /// Who has the least to do: the first session as long as further logins are not worth their time.
    fn least(&self) -> usize {
        let idle = self.desks.borrow().is_empty();
        if idle && self.own.get() < self.most && self.loads[0].get() < WORTH {
            return 0;
        }
        let loads = self.loads.iter().map(Cell::get).enumerate();
        loads.min_by_key(|&(at, load)| (load, at)).map_or(0, |(at, _)| at)
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
