//! The notes' programs (`tests/notes/*.py`) and ours, each against the other; and `waitcopy client` alone.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use support::{PATIENCE, WAITCOPY, assert_refused, serve, skip, watchdog};

/// One of the notes' programs, unless there is no Python here.
fn notes(program: &str, port: u16) -> Option<Command> {
    let mut command = Command::new("python3");
    if !command.arg("--version").output().is_ok_and(|output| output.status.success()) {
        skip("python3 is missing: the notes' programs are not run");
        return None;
    }
    let mut command = Command::new("python3");
    command.arg(format!("{}/tests/notes/{program}", env!("CARGO_MANIFEST_DIR")));
    command.arg(port.to_string());
    Some(command)
}

fn client(address: impl ToString) -> Command {
    let mut command = Command::new(WAITCOPY);
    command.args(["client", &address.to_string()]);
    command
}

/// Runs a client on this input. A thread writes it, so that neither end waits for the other.
fn converse(mut client: Command, input: &[u8]) -> Output {
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut stdin = client.stdin.take().unwrap();
    thread::scope(|scope| {
        // A client that ends early leaves input unread: that is seen by its status.
        scope.spawn(move || drop(stdin.write_all(input)));
        client.wait_with_output().unwrap()
    })
}

/// What a client prints for this input; its exit status is 0 and it complains of nothing.
fn printed(client: Command, input: &[u8]) -> String {
    let output = converse(client, input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.is_empty(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// One of the notes' servers, which never end by themselves; killed when dropped.
struct NotesServer {
    child: Child,
    address: String,
}

impl NotesServer {
    fn start(program: &str) -> Option<Self> {
        let mut command = notes(program, 0)?;
        // Their tracebacks and prints are the notes' affair.
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        // Whatever it prints for a client must find a reader.
        thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let address = line.trim_end().strip_prefix("listening on tcp ").unwrap_or_default();
        Some(Self { child, address: address.to_owned() })
    }
}

impl Drop for NotesServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Blank lines, spaces around and none at the end: what the notes' `strip` and `if not msg` deal with.
const TYPED: &[u8] = b"hello\n\n  two words \t\n   \nlast";

for_each_model! {
    /// The notes' client prints its prompt also into a pipe.
    fn the_notes_client_is_answered(model: &str) {
        let server = serve(model).start();
        let Some(client) = notes("client.py", server.address.port()) else { return };
        // A prompt for each line that it asks for, also for those it skips.
        let printed = printed(client, TYPED);
        assert_eq!(printed, ">>:HELLO\n>>:>>:TWO WORDS\n>>:>>:LAST\n>>:");
        assert_eq!(server.stop().clean().count("requests"), 3);
    }
}

for_each_model! {
    /// Ours prints none into a pipe, and reads the whole reply to a line of more than one buffer.
    fn our_client_is_answered(model: &str) {
        let server = serve(model).start();
        assert_eq!(printed(client(server.address), TYPED), "HELLO\nTWO WORDS\nLAST\n");
        let long = "long ".repeat(1000);
        let replies = printed(client(server.address), format!("{long}x\nnext\n").as_bytes());
        assert_eq!(replies, format!("{}X\nNEXT\n", long.to_uppercase()));
        server.stop().clean();
    }
}

/// Our client against one of the notes' servers, also with a line of more than their 1,024 bytes.
fn is_understood(program: &'static str) {
    watchdog(PATIENCE, move || {
        let Some(server) = NotesServer::start(program) else { return };
        let long = "x".repeat(3000);
        let typed = [TYPED, b"\n", long.as_bytes(), b"\nend\n"].concat();
        let replies = printed(client(&server.address), &typed);
        assert_eq!(replies, format!("HELLO\nTWO WORDS\nLAST\n{}\nEND\n", long.to_uppercase()));
    });
}

#[test]
fn the_notes_blocking_server_serves_our_client() {
    is_understood("blocking_server.py");
}

#[test]
fn the_notes_nonblocking_server_serves_our_client() {
    is_understood("nonblocking_server.py");
}

#[test]
fn the_notes_select_server_serves_our_client() {
    is_understood("select_server.py");
}

#[test]
fn the_notes_threading_server_serves_our_client() {
    is_understood("threading_tcp_server.py");
}

#[test]
fn our_client_takes_a_host_name() {
    watchdog(PATIENCE, || {
        let server = serve("epoll").start();
        let address = format!("localhost:{}", server.address.port());
        assert_eq!(printed(client(address), b"by name\n"), "BY NAME\n");
    });
}

#[test]
fn a_server_that_does_not_listen_is_one_line() {
    watchdog(PATIENCE, || {
        // Bound and free again: nobody listens there.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let said = format!("connect tcp {address}: connection refused (ECONNREFUSED)");
        assert_refused(&mut client(address), 1, &said);
    });
}

/// In the middle of a reply: after the first line, and after 2 of 4 bytes of the second.
#[test]
fn a_server_that_goes_away_is_one_line() {
    watchdog(PATIENCE, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gone = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut message = [0; 4];
            peer.read_exact(&mut message).unwrap();
            peer.write_all(b"HERE").unwrap();
            peer.read_exact(&mut message).unwrap();
            peer.write_all(b"GO").unwrap();
        });
        let output = converse(client(address), b"here\ngone\nnever\n");
        gone.join().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(output.stdout, b"HERE\n");
        let said = format!("waitcopy: tcp {address} closed the connection after 2 of 4 bytes");
        assert!(stderr.starts_with(&said) && stderr.lines().count() == 1, "{stderr}");
    });
}
