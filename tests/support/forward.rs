//! `waitcopy remote forward` as a child, and servers for it to reach.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use crate::remote_cli::Remote;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use waitcopy::sys;

/// A running forward, up to its drop.
pub struct Forward {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Forward {
    pub fn start(remote: &Remote, flags: &[&str]) -> Self {
        Self::of(remote.verb("forward", flags))
    }

    pub fn of(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next readiness line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "it ended: {line}{}", self.errors());
        line.trim_end().to_owned()
    }

    /// The address in it.
    pub fn addr(&mut self) -> SocketAddr {
        let line = self.line();
        let address = line.split(' ').find(|word| word.contains(':')).unwrap();
        let address = address.replace("localhost", "127.0.0.1");
        address.parse().unwrap_or_else(|_| panic!("{line}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn errors(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Waits for its end: exit status and what it has said.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }

    /// Ends it as a person does.
    pub fn stop(self) -> (Option<i32>, String) {
        sys::kill(self.pid(), sys::SIGTERM).unwrap();
        self.wait()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A forward from a port here to a server.
pub fn local(remote: &Remote, to: SocketAddr) -> (Forward, SocketAddr) {
    let mut forward = Forward::start(remote, &["-L", &format!("0:{}:{}", to.ip(), to.port())]);
    let at = forward.addr();
    (forward, at)
}

/// A server whose connections are each given to a function on a thread.
pub fn serving(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            let small = thread::Builder::new().stack_size(128 << 10);
            small.spawn(move || serve(client)).unwrap();
        }
    });
    address
}

/// Sends back what comes, to its end.
pub fn echo() -> SocketAddr {
    serving(|client| {
        let _ = std::io::copy(&mut &client, &mut &client);
    })
}

/// One exchange with an echo.
pub fn exchange(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut reply = vec![0; message.len()];
    stream.read_exact(&mut reply).unwrap();
    assert!(reply == message);
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
