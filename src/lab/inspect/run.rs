//! Starts a model under strace and has the scripted client talk to it.

use super::count::Summary;
use super::script::Script;
use crate::lab::child::{Server, nameless};
use crate::lab::trace::Trace;
use crate::model::{Model, Who};
use crate::net::{Endpoint, Transport};
use crate::sys;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::process::Command;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The model.
    pub model: &'static Model,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What its clients do.
    pub script: Script,
}

/// What a run has left.
#[derive(Debug)]
pub struct Traced {
    /// strace's own text.
    pub text: Vec<u8>,
    /// The same, read.
    pub trace: Trace,
    /// What the server has counted.
    pub server: Option<Summary>,
}

impl Plan {
    /// `waitcopy serve MODEL`, behind `wrapper`, with as many workers as the clients need and one more, which shows what
    /// the others do meanwhile.
    pub(in crate::lab) fn command(&self, wrapper: &[&str]) -> Result<Command, String> {
        let program =
            std::env::current_exe().map_err(|e| format!("own path: {}", sys::describe(&e)))?;
        let mut command = match wrapper.split_first() {
            Some((name, rest)) => {
                let mut command = Command::new(name);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(["serve", self.model.name]);
        let words = self.endpoint.to_string();
        let address = words.split_once(' ').map_or(words.as_str(), |(_, address)| address);
        match self.endpoint.transport() {
            Transport::Tcp => command.args(["--listen", address]),
            Transport::Udp => command.args(["--udp", "--listen", address]),
            Transport::Unix => command.args(["--unix", address]),
            Transport::Unixgram => command.args(["--unixgram", address]),
        };
        match self.model.who {
            Who::Pool | Who::Prefork => {
                command.args(["--workers", &(self.script.clients + 1).to_string()]);
            }
            Who::Reuseport => {
                command.args(["--workers", "2"]);
            }
            Who::One | Who::Threads | Who::Fork => {}
        }
        Ok(command)
    }
}

/// Runs the plan under strace.
///
/// # Errors
/// A sentence: the server does not start or end, a client is not answered, the trace cannot be read.
pub fn run(plan: &Plan) -> Result<Traced, String> {
    let mut file =
        nameless("strace").map_err(|e| format!("temporary file: {}", sys::describe(&e)))?;
    // -D: the server itself is our child and strace its grandchild, so that signals and the exit status are the server's.
    let out = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let command = plan.command(&["strace", "-D", "-f", "-o", &out])?;
    let server = Server::launch(command, plan.model.name, false)?;
    plan.script.talk(server.endpoint())?;
    // Both hold its standard error: at the end of that file strace has written its last line.
    let left = server.leave()?;
    let mut text = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut text))
        .map_err(|e| format!("trace: {}", sys::describe(&e)))?;
    // Buffers are shown as they were, which need not be UTF-8.
    let trace = Trace::parse(&String::from_utf8_lossy(&text)).map_err(|e| e.to_string())?;
    Ok(Traced { text, trace, server: Summary::read(&left.summary) })
}
