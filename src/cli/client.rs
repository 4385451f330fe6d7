//! `waitcopy client`: the notes' client.

use super::{Exit, Parsed};
use crate::client::connect;
use crate::client::line::{Trouble, converse};
use crate::net::{DEFAULT_ADDRESS, Endpoint};
use crate::sys;
use std::io::{self, IsTerminal};

pub(super) fn run(parsed: &Parsed) -> Result<(), Exit> {
    let address = parsed.operands.first().map_or(DEFAULT_ADDRESS, String::as_str);
    let endpoints = Endpoint::resolve_tcp(address)?;
    let socket = connect(&endpoints)?;
    let server = sys::getpeername(&socket).map_or(endpoints[0], Endpoint::Tcp);
    let (input, output) = (io::stdin(), io::stdout());
    let prompt = input.is_terminal() && output.is_terminal();
    converse(&socket, server, &mut input.lock(), &mut output.lock(), prompt).map_err(|trouble| {
        match trouble {
            Trouble::Server(failure) => Exit::from(failure),
            Trouble::Gone(0, _) => Exit::failed(format!("{server} closed the connection")),
            Trouble::Gone(got, of) => Exit::failed(format!(
                "{server} closed the connection after {got} of {of} bytes of the reply"
            )),
            Trouble::Terminal(error) => Exit::from(error),
        }
    })
}
