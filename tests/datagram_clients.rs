//! `waitcopy client` on every transport, and the notes' UDP programs with ours, each against the other.

#[path = "support/datagrams.rs"]
mod datagrams;
mod support;

use datagrams::{Start, entry, own_path, python_works, served};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, WAITCOPY, assert_refused, watchdog};
use waitcopy::model::Who;
use waitcopy::net::Transport;
use waitcopy::sys::{self, Kind};

/// `waitcopy client --udp ADDR`, `waitcopy client --unix PATH`.
fn client(transport: Transport, place: &str) -> Command {
    let mut command = Command::new(WAITCOPY);
    command.arg("client");
    match transport {
        Transport::Tcp => command.arg(place),
        Transport::Udp => command.args(["--udp", place]),
        _ => command.args([&format!("--{}", transport.name()), place]),
    };
    command
}

/// Runs a program on this input. A thread writes it, so that neither end waits for the other.
fn converse(mut program: Command, input: &[u8]) -> Output {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = program.spawn().unwrap();
    let mut stdin = program.stdin.take().unwrap();
    thread::scope(|scope| {
        // One that ends early leaves input unread: that is seen by its status.
        scope.spawn(move || drop(stdin.write_all(input)));
        program.wait_with_output().unwrap()
    })
}

/// What a program prints for this input; its exit status is 0 and it complains of nothing.
fn printed(program: Command, input: &[u8]) -> String {
    let output = converse(program, input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.is_empty(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A client that is typed into line by line.
struct Typing {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Typing {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdin, stdout, stderr }
    }

    fn line(&mut self, text: &str) {
        self.stdin.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    }

    fn complains(&mut self, expected: &str) {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    }

    /// The end of its input; its status, and what else it says on standard output and standard error.
    fn end(mut self) -> (Option<i32>, String, String) {
        drop(self.stdin);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().code(), stdout, stderr)
    }
}

/// A UDP socket that says only what the test has it say, and where it is.
fn silent() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let place = socket.local_addr().unwrap().to_string();
    (socket, place)
}

/// Receives that message; who sent it.
fn hears(socket: &UdpSocket, expected: &str) -> std::net::SocketAddr {
    let mut buffer = [0; 2000];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(std::str::from_utf8(&buffer[..len]), Ok(expected));
    from
}

/// Blank lines, spaces around and none at the end: what the notes' `strip` and `if not msg` deal with.
const TYPED: &[u8] = b"hello\n\n  two words \t\n   \nlast";
const ANSWERED: &str = "HELLO\nTWO WORDS\nLAST\n";

for_each_model! {
    /// By the flag of each transport, and twice over: the next client is served like the first.
    fn our_client_is_answered(model: &str) {
        let few = if entry(model).who == Who::Prefork { &["--workers", "2"][..] } else { &[] };
        for kind in [Kind::Stream, Kind::Datagram] {
            for transport in served(model, kind) {
                let server = Start::new(model, transport).args(few).start();
                for _ in 0..2 {
                    assert_eq!(printed(client(transport, &server.place()), TYPED), ANSWERED);
                }
                // The largest line that a server takes as one datagram.
                let long = "long ".repeat(204) + "ends";
                assert_eq!(long.len(), 1024);
                let typed = format!("{long}\n");
                let answer = printed(client(transport, &server.place()), typed.as_bytes());
                assert_eq!(answer, typed.to_uppercase());
                assert_eq!(server.stop().clean().count("requests"), 7, "{transport:?}");
            }
        }
    }
}

/// No answer comes: it says so after its time, goes on with the next line, and fails at the end.
#[test]
fn a_lost_datagram_is_given_up() {
    watchdog(PATIENCE, || {
        let (socket, place) = silent();
        let mut command = client(Transport::Udp, &place);
        command.args(["--timeout", "300ms"]);
        let mut typing = Typing::start(command);
        typing.line("lost");
        hears(&socket, "lost");
        let start = Instant::now();
        typing
            .complains(&format!("waitcopy: udp {place}: no reply in time: lost, or not answered"));
        // It had begun to wait a little before its datagram was seen here.
        assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
        typing.line("answered");
        let from = hears(&socket, "answered");
        socket.send_to(b"an answer", from).unwrap();
        typing.says("an answer");
        let (status, stdout, stderr) = typing.end();
        assert_eq!((status, stdout.as_str()), (Some(1), ""));
        assert_eq!(stderr, "waitcopy: 1 of the datagrams got no reply\n");
    });
}

/// An empty answer is an answer.
#[test]
fn an_empty_answer_is_an_empty_line() {
    watchdog(PATIENCE, || {
        let (socket, place) = silent();
        let mut typing = Typing::start(client(Transport::Udp, &place));
        typing.line("anything");
        let from = hears(&socket, "anything");
        socket.send_to(b"", from).unwrap();
        typing.says("");
        assert_eq!(typing.end(), (Some(0), String::new(), String::new()));
    });
}

/// Types a line that is given up; where it came from.
fn given_up(typing: &mut Typing, socket: &UdpSocket, place: &str) -> std::net::SocketAddr {
    typing.line("first");
    let from = hears(socket, "first");
    typing.complains(&format!("waitcopy: udp {place}: no reply in time: lost, or not answered"));
    from
}

fn impatient(place: &str) -> Typing {
    let mut command = client(Transport::Udp, place);
    command.args(["--timeout", "200ms"]);
    Typing::start(command)
}

/// A reply that has come between two lines belongs to the line before.
#[test]
fn a_late_reply_is_not_the_next_ones() {
    watchdog(PATIENCE, || {
        let (socket, place) = silent();
        let mut typing = impatient(&place);
        let from = given_up(&mut typing, &socket, &place);
        for _ in 0..3 {
            socket.send_to(b"FIRST, LATE", from).unwrap();
        }
        typing.line("second");
        let from = hears(&socket, "second");
        socket.send_to(b"SECOND", from).unwrap();
        typing.says("SECOND");
        let (status, stdout, _) = typing.end();
        assert_eq!((status, stdout.as_str()), (Some(1), ""));
    });
}

/// Nor when it comes after the next line was sent, and before that line's own reply.
#[test]
fn a_very_late_reply_is_not_the_next_ones_either() {
    watchdog(PATIENCE, || {
        let (socket, place) = silent();
        let mut typing = impatient(&place);
        let before = given_up(&mut typing, &socket, &place);
        typing.line("second");
        let from = hears(&socket, "second");
        socket.send_to(b"FIRST, VERY LATE", before).unwrap();
        socket.send_to(b"SECOND", from).unwrap();
        typing.says("SECOND");
        typing.end();
    });
}

/// What somebody else sends to the client's port is no reply.
#[test]
fn a_strangers_datagram_is_no_reply() {
    watchdog(PATIENCE, || {
        let ((socket, place), (stranger, _)) = (silent(), silent());
        let mut typing = Typing::start(client(Transport::Udp, &place));
        typing.line("to the server");
        let from = hears(&socket, "to the server");
        stranger.send_to(b"forged", from).unwrap();
        socket.send_to(b"genuine", from).unwrap();
        typing.says("genuine");
        assert_eq!(typing.end().0, Some(0));
    });
}

#[test]
fn a_port_that_nobody_has_is_one_line() {
    watchdog(PATIENCE, || {
        // Bound and free again.
        let place = silent().1;
        let output = converse(client(Transport::Udp, &place), b"hello\nand more\n");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
        let said = format!("waitcopy: recv udp {place}: connection refused (ECONNREFUSED)");
        assert!(stderr.starts_with(&said) && stderr.lines().count() == 1, "{stderr}");
    });
}

#[test]
fn a_path_without_a_server_is_one_line() {
    watchdog(PATIENCE, || {
        for transport in [Transport::Unix, Transport::Unixgram] {
            let place = own_path("nobody");
            let name = transport.name();
            let said = format!("connect {name} {place}: no such file or directory (ENOENT)");
            assert_refused(&mut client(transport, &place), 1, &said);
            drop(UnixDatagram::bind(&place).unwrap());
            let errno = sys::describe(&std::io::Error::from_raw_os_error(libc::ECONNREFUSED));
            let said = match transport {
                Transport::Unixgram => format!("connect {name} {place}: {errno}"),
                // A dead datagram path is no stream's, dead or not: which errno is the kernel's affair.
                _ => format!("connect {name} {place}: "),
            };
            assert_refused(&mut client(transport, &place), 1, &said);
        }
    });
}

#[test]
fn a_stream_has_no_timeout_and_a_client_one_transport() {
    let mut command = client(Transport::Unix, "/nowhere");
    assert_refused(command.args(["--timeout", "1s"]), 2, "--timeout belongs to datagrams");
    let mut command = client(Transport::Unix, "/nowhere");
    assert_refused(command.arg("--udp"), 2, "--u");
    let mut command = client(Transport::Unix, "/nowhere");
    assert_refused(command.arg("127.0.0.1:1"), 2, "--unix has its path, and 127.0.0.1:1 is one");
}

/// One of the notes' programs.
fn notes(program: &str, port: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(format!("{}/tests/notes/{program}", env!("CARGO_MANIFEST_DIR")));
    command.arg(port);
    command
}

for_each_model! {
    /// The notes' client prints its prompt also into a pipe, also for the lines that it skips.
    fn the_notes_client_is_answered(model: &str) {
        if entry(model).serves(Transport::Udp).is_err() || !python_works() { return }
        let server = Start::new(model, Transport::Udp).start();
        let port = server.place().rsplit_once(':').unwrap().1.to_owned();
        let said = printed(notes("udp_client.py", &port), TYPED);
        assert_eq!(said, ">>:HELLO\n>>:>>:TWO WORDS\n>>:>>:LAST\n>>:");
        assert_eq!(server.stop().clean().count("requests"), 3);
    }
}

/// Python's servers: the notes' own, and its fork, which the notes name. They never end by themselves.
#[test]
fn pythons_servers_serve_our_client() {
    watchdog(PATIENCE, || {
        if !python_works() {
            return;
        }
        let mut forking = Command::new("python3");
        forking.args(["-c", FORKING]);
        for mut command in [notes("threading_udp_server.py", "0"), forking] {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            // Whatever it prints for a client must find a reader.
            thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
            let place = line.trim_end().strip_prefix("listening on udp ").unwrap_or_default();
            let output = converse(client(Transport::Udp, place), TYPED);
            child.kill().unwrap();
            child.wait().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(String::from_utf8_lossy(&output.stdout), ANSWERED, "{stderr}");
            assert_eq!(output.status.code(), Some(0), "{stderr}");
        }
    });
}

const FORKING: &str = "
import socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(self.request[0].upper(), self.client_address)
server = socketserver.ForkingUDPServer(('127.0.0.1', 0), Handler)
print('listening on udp %s:%d' % server.server_address, flush=True)
server.serve_forever()
";
