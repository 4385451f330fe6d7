//! From a port there to a place that we reach.

use super::{Forwards, Listen, Place, Shared};
use crate::reactor::Deadline;
use crate::remote::channel::Channel;
use crate::remote::connect::{connect, resolve};
use crate::remote::error::{Error, Reason, Step};
use crate::remote::transport::{Transport, Way};
use crate::remote::tunnel::halves;
use crate::sys::ssh::{self, Listener};
use std::ffi::CString;
use std::rc::Rc;
use std::time::Duration;

/// Connections that may wait there until we take them: more are refused. We take them as soon as we hear of them.
const QUEUE: u16 = 1024;
/// How long the name and the connection here may take, each.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to tell the server that it need not listen any more.
const ENDING: Duration = Duration::from_secs(5);

impl Forwards {
    /// Has the server listen; each connection to it goes on to `to`, as we resolve and reach it. The port there.
    ///
    /// sshd listens on loopback alone, whatever is asked for, unless its `GatewayPorts` says otherwise.
    ///
    /// # Errors
    /// The server refuses; a connection that is gone.
    pub async fn remote(&self, listen: &Listen, to: Place) -> Result<u16, Error> {
        let shared = Rc::clone(&self.shared);
        let host = match listen.bind.as_deref() {
            None => "localhost",
            Some("*") => "",
            Some(host) => host,
        };
        let host = CString::new(host)
            .map_err(|_| Error::new(Step::Forward, Reason::Usage, "a name with a NUL in it"))?;
        let listener = {
            let _turn = shared.opening.turn().await;
            let ask =
                |session: &ssh2::Session| ssh::forward_listen(session, &host, listen.port, QUEUE);
            shared.transport.exclusively(ask).await?
        };
        let listener = listener.map_err(|error| {
            let what = format!("listening there on port {}", listen.port);
            let refused = error.refused();
            let error = shared.transport.failed(Step::Forward, &what, &error);
            if refused {
                error.hint("the port is taken, or not allowed (AllowTcpForwarding, PermitListen of sshd_config(5))")
            } else {
                error
            }
        })?;
        let port = listener.port();
        self.shared.transport.reactor().spawn(async move {
            let listener =
                Listening { listener: Some(listener), transport: Rc::clone(&shared.transport) };
            shared.until_stop(accept(&shared, &listener, &to)).await;
        });
        Ok(port)
    }
}

/// Takes everybody who comes, until the session is gone.
async fn accept(shared: &Rc<Shared>, listening: &Listening, to: &Place) {
    let Some(listener) = &listening.listener else { return };
    loop {
        let taken =
            shared.transport.drive(Way::Receive, Step::Forward, "accept", |_| listener.accept());
        match taken.await {
            Ok(channel) => {
                let channel = Channel::taken(channel, &shared.transport);
                let (shared, to) = (Rc::clone(shared), to.clone());
                shared
                    .transport
                    .reactor()
                    .clone()
                    .spawn(async move { bring(&shared, channel, &to).await });
            }
            Err(error) => return shared.note(&error),
        }
    }
}

/// Connects here, and joins the two.
async fn bring(shared: &Shared, channel: Channel, to: &Place) {
    let reactor = shared.transport.reactor();
    let connected = async {
        let addresses = resolve(reactor, &to.host, to.port, PATIENCE).await?;
        let (socket, _) = connect(reactor, &addresses, PATIENCE).await?;
        halves(reactor, socket).map_err(|failure| Error::failure(Step::Forward, &failure))
    };
    match shared.until_stop(connected).await {
        Some(Ok((mut input, mut output))) => shared.carry(channel, &mut input, &mut output).await,
        // The channel is closed as it goes: whoever has connected there sees that.
        Some(Err(error)) => shared.refuse(&error),
        None => {}
    }
}

/// A port there; it is given up when this goes, as far as the reactor runs on.
struct Listening {
    listener: Option<Listener>,
    transport: Rc<Transport>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        if self.transport.is_broken() {
            return;
        }
        let transport = Rc::clone(&self.transport);
        let reactor = transport.reactor().clone();
        reactor.clone().spawn(async move {
            let mut listener = Some(listener);
            let cancel = |_: &ssh2::Session| {
                let Some(taken) = listener.take() else { return Ok(()) };
                taken.cancel().map_err(|(back, error)| {
                    listener = Some(back);
                    error
                })
            };
            let cancelled = transport.drive(Way::Send, Step::Forward, "cancel", cancel);
            // What cannot be told in time the server finds out.
            let _ = reactor.within(Deadline::after(ENDING), cancelled).await;
        });
    }
}
