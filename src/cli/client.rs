//! `waitcopy client`: the notes' client.

use super::serve::endpoints;
use super::{Exit, Parsed};
use crate::client::connect;
use crate::client::line::{Link, Trouble, converse};
use crate::net::Endpoint;
use crate::sys::{self, Kind};
use std::io::{self, IsTerminal};
use std::time::Duration;

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    let address = parsed.texts().map_err(Exit::usage)?.first().copied();
    let endpoints = endpoints(parsed, address)?;
    let timeout = parsed.duration("timeout").map_err(Exit::usage)?;
    let transport = endpoints[0].transport();
    if timeout.is_some() && transport.kind() == Kind::Stream {
        return Err(Exit::usage("--timeout belongs to datagrams: a stream loses nothing"));
    }
    let socket = connect(&endpoints)?;
    let server = sys::getpeername(&socket).ok().and_then(|name| Endpoint::of(transport, name));
    let server = server.unwrap_or(endpoints[0]);
    let link = match transport.kind() {
        Kind::Stream => Link::Stream(socket),
        Kind::Datagram => Link::Datagram(socket, timeout.unwrap_or(Duration::from_secs(2))),
    };
    let (input, output) = (io::stdin(), io::stdout());
    let prompt = input.is_terminal() && output.is_terminal();
    let lost = converse(link, server, &mut input.lock(), &mut output.lock(), prompt);
    match lost {
        Ok(0) => Ok(()),
        Ok(lost) => Err(Exit::failed(format!("{lost} of the datagrams got no reply"))),
        Err(Trouble::Server(failure)) => Err(Exit::from(failure)),
        Err(Trouble::Gone(0, _)) => Err(Exit::failed(format!("{server} closed the connection"))),
        Err(Trouble::Gone(got, of)) => Err(Exit::failed(format!(
            "{server} closed the connection after {got} of {of} bytes of the reply"
        ))),
        Err(Trouble::Terminal(error)) => Err(Exit::from(error)),
    }
}
