//! Further sessions of one copy: a session is bound by one core, here and there, so each of the others has a thread, a reactor and
//! a login of its own.

use super::session::{Line, Sftp};
use crate::failure::Failure;
use crate::reactor::{Deadline, Reactor, elsewhere};
use crate::remote::Client;
use crate::remote::error::{Error, Step};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long the goodbye of a further session may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How the further sessions of a copy log in: called on their threads, once for each.
#[derive(Clone)]
pub(super) struct Others {
    pub(super) count: usize,
    pub(super) client: Arc<dyn Fn() -> Result<Client, Error> + Send + Sync>,
}

/// What has become of the further sessions.
#[derive(Default)]
pub(super) struct Ended {
    running: Cell<usize>,
    failure: RefCell<Option<Error>>,
    waker: RefCell<Option<Waker>>,
}

impl Others {
    /// `None`: there are none.
    pub(super) fn new(
        count: usize,
        client: impl Fn() -> Result<Client, Error> + Send + Sync + 'static,
    ) -> Option<Self> {
        let client = Arc::new(client);
        Some(Self { count, client }).filter(|others| others.count > 0)
    }

    /// Starts all of them, for the same work.
    pub(super) fn all<Work>(&self, line: &Line, work: Work) -> Result<Rc<Ended>, Error>
    where
        Work: AsyncFn(&Sftp) -> Result<(), Error> + Clone + Send + 'static,
    {
        let ended = Rc::new(Ended::default());
        for _ in 0..self.count {
            self.one(&ended, line, work.clone())?;
        }
        Ok(ended)
    }

    /// Starts one. Its end is waited for on the reactor even if the copy is given up: whoever tidies up waits for that.
    pub(super) fn one<Work>(&self, ended: &Rc<Ended>, line: &Line, work: Work) -> Result<(), Error>
    where
        Work: AsyncFn(&Sftp) -> Result<(), Error> + Send + 'static,
    {
        let (client, key) = (Arc::clone(&self.client), line.host_key());
        let call = elsewhere(move || session(&*client, &key, work)).map_err(no_thread)?;
        let ended = Rc::clone(ended);
        ended.running.set(ended.running.get() + 1);
        line.reactor().spawn(async move {
            let done = call.await.unwrap_or_else(|error| Err(no_thread(error)));
            ended.running.set(ended.running.get() - 1);
            match done {
                Err(error) => ended.fail(error),
                Ok(()) => ended.waker.take().into_iter().for_each(Waker::wake),
            }
        });
        Ok(())
    }
}

impl Ended {
    /// The copy's failure, unless it has one already.
    pub(super) fn fail(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
        self.waker.take().into_iter().for_each(Waker::wake);
    }

    /// Our own work and that of the others, to the end of all or to the first failure.
    pub(super) async fn beside(
        &self,
        own: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let mut own = pin!(own);
        let mut working = true;
        poll_fn(|cx| {
            self.waker.replace(Some(cx.waker().clone()));
            if let Some(error) = self.failure.take() {
                return Poll::Ready(Err(error));
            }
            if working {
                match own.as_mut().poll(cx) {
                    Poll::Ready(Ok(())) => working = false,
                    other => return other,
                }
            }
            if self.running.get() == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }
}

/// A further session, from its login to its goodbye, on a thread that is its own.
fn session(
    client: &dyn Fn() -> Result<Client, Error>,
    key: &[u8],
    work: impl AsyncFn(&Sftp) -> Result<(), Error>,
) -> Result<(), Error> {
    let client = client()?;
    let reactor = Reactor::new().map_err(|f| Error::failure(Step::Settings, &f))?;
    reactor.run(async {
        let ssh = client.proving(key).connect_on(&reactor).await?;
        let sftp = ssh.sftp().await?;
        work(&sftp).await?;
        // Its work is done, whatever becomes of the goodbye; what was given up is taken away before it.
        let goodbye = async {
            sftp.close().await?;
            ssh.close().await
        };
        let _ = reactor.within(Deadline::after(GOODBYE), goodbye).await;
        Ok(())
    })
}

fn no_thread(error: io::Error) -> Error {
    Error::failure(Step::Sftp, &Failure::new("thread", "a further session", error))
}
