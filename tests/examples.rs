//! The programs of `docs/examples`, run and driven from outside; with them the ways of concurrency that fork.
//!
//! cargo builds them beside the tests (`cargo test`); for this file alone, `cargo build --examples` comes first.

#[path = "support/handlers.rs"]
mod handlers;
mod support;

use handlers::{LIMIT, pause};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, exchange, scratch, skip, until, watchdog};
use waitcopy::sys;

/// An example that runs; killed when dropped.
struct Example {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    errors: PathBuf,
}

impl Example {
    /// Starts it on a free port and waits for its readiness line.
    fn start(name: &str, args: &[&str]) -> Self {
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().and_then(Path::parent).unwrap().join("examples").join(name);
        assert!(program.exists(), "{program:?} is missing: cargo build --examples");
        let errors = scratch(&format!("{name}-{}", args.join("-")));
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0").args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&errors).unwrap());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit(' ').next().and_then(|text| text.parse().ok());
        let Some(address) = address.filter(|_| line.starts_with("listening on ")) else {
            let said = std::fs::read_to_string(&errors);
            let _ = (child.kill(), child.wait());
            panic!("no readiness line but {line:?}; {said:?}");
        };
        Self { child, stdout, address, errors }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn children(&self) -> Vec<u32> {
        let pid = self.child.id();
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        text.split_whitespace().map(|number| number.parse().unwrap()).collect()
    }

    /// Its exit code after a signal, and what it told on standard error.
    fn stop(mut self, signal: sys::Signal) -> (Option<i32>, String) {
        sys::kill(self.child.id(), signal).unwrap();
        // Its end, and that of all children that hold its output open.
        self.stdout.read_to_string(&mut String::new()).unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), std::fs::read_to_string(&self.errors).unwrap())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// A process' state as ps(1) shows it; `X` when it is gone.
fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('X')
}

/// Half-close, then the server's end.
fn leave(mut client: TcpStream) {
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn upper_tcp_by_every_way() {
    watchdog(PATIENCE, || {
        for way in ["one", "threads", "pool", "fork", "prefork", "reuseport"] {
            let server = Example::start("upper_tcp", &[way]);
            let clients = if way == "one" { 1 } else { 4 };
            for _ in 0..2 {
                let mut clients: Vec<_> = (0..clients).map(|_| server.connect()).collect();
                clients.iter_mut().for_each(|client| exchange(client, b"hello"));
                clients.iter_mut().for_each(|client| exchange(client, &b"again".repeat(1000)));
                clients.into_iter().for_each(leave);
            }
        }
    });
}

#[test]
fn children_end_with_a_parent_that_is_killed() {
    watchdog(PATIENCE, || {
        for (way, count) in [("fork", 1), ("prefork", 8), ("reuseport", 2)] {
            let server = Example::start("upper_tcp", &[way]);
            let mut client = server.connect();
            exchange(&mut client, b"hello");
            // The readiness line comes before the first fork.
            until("all are there", || server.children().len() == count);
            let children = server.children();
            // Reads to the end of the output, which is when the last child has ended.
            server.stop(sys::SIGKILL);
            until("all have ended", || children.iter().all(|&pid| matches!(state(pid), 'X' | 'Z')));
            let mut rest = Vec::new();
            // An orderly end, or a reset.
            let _ = client.read_to_end(&mut rest);
            assert_eq!(rest, b"", "{way}");
        }
    });
}

#[test]
fn a_killed_child_costs_its_client_and_nobody_else() {
    watchdog(PATIENCE, || {
        for way in ["fork", "prefork"] {
            let server = Example::start("upper_tcp", &[way]);
            let mut victim = server.connect();
            exchange(&mut victim, b"hello");
            let mut other = server.connect();
            exchange(&mut other, b"hello");
            // Under fork the first one is the victim's; under prefork any, whose client may be either.
            let child = server.children()[0];
            sys::kill(child, sys::SIGKILL).unwrap();
            until("waited for", || !server.children().contains(&child));
            if way == "fork" {
                assert_eq!(victim.read(&mut [0]).unwrap_or(0), 0);
                exchange(&mut other, b"unharmed");
            }
            until("as many as before", || way == "fork" || server.children().len() == 8);
            let mut next = server.connect();
            exchange(&mut next, b"served");
        }
    });
}

#[test]
fn fifty_children_that_leave_one_by_one_keep_their_parent_calm() {
    watchdog(PATIENCE, || {
        let server = Example::start("upper_tcp", &["fork"]);
        let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| exchange(client, b"hello"));
        assert_eq!(server.children().len(), 50);
        let cpu = || sys::process_cpu_time(server.child.id()).unwrap();
        let (before, start) = (cpu(), Instant::now());
        while !clients.is_empty() {
            // The first child first: all that were made after it may hold a copy of its descriptor.
            leave(clients.remove(0));
            until("waited for", || server.children().len() == clients.len());
            pause(Duration::from_millis(20));
        }
        let (used, wall) = (cpu() - before, start.elapsed());
        // A descriptor that stayed in the set by a child's copy would be ready for ever: one core whole.
        assert!(used < wall / 5, "{used:?} of {wall:?}");
    });
}

#[test]
fn upper_udp_answers_datagrams() {
    watchdog(PATIENCE, || {
        let server = Example::start("upper_udp", &[]);
        let clients = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for round in 0..100 {
            for (client, name) in clients.iter().zip(["left", "right"]) {
                client.set_read_timeout(Some(LIMIT)).unwrap();
                let message = format!("{name} {round}");
                client.send_to(message.as_bytes(), server.address).unwrap();
                let mut reply = [0; 100];
                let (n, from) = client.recv_from(&mut reply).unwrap();
                assert_eq!(
                    (&reply[..n], from),
                    (message.to_uppercase().as_bytes(), server.address)
                );
            }
        }
    });
}

/// A client of the calculator, line by line.
struct Calculating(BufReader<TcpStream>);

impl Calculating {
    fn connect(server: &Example) -> Self {
        let stream = server.connect();
        let greeting = format!("hello {}", stream.local_addr().unwrap());
        let mut client = Self(BufReader::new(stream));
        assert_eq!(client.line(), greeting);
        client
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        self.line()
    }
}

#[test]
fn line_protocol_greets_adds_and_says_goodbye() {
    watchdog(PATIENCE, || {
        let server = Example::start("line_protocol", &[]);
        let [mut first, mut second] =
            [Calculating::connect(&server), Calculating::connect(&server)];
        assert_eq!(first.ask("add 40"), "ok");
        assert_eq!(second.ask("add -7"), "ok");
        assert_eq!(first.ask("add 2"), "ok");
        assert_eq!((first.ask("sum"), second.ask("sum")), ("42".into(), "-7".into()));
        assert_eq!(first.ask("add forty"), "error: not a number, or too large");
        assert_eq!(first.ask(&format!("add {}", i64::MAX)), "error: not a number, or too large");
        assert_eq!(first.ask("multiply"), "error: add N, sum or quit");
        assert_eq!(first.ask("sum"), "42");
        assert_eq!(first.ask("quit"), "goodbye after 8 lines");
        assert_eq!(first.line(), "", "closed");
        second.0.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(second.line(), "goodbye after 2 lines");
        // No text is no line: its handler fails, is told, and still says goodbye.
        let mut third = Calculating::connect(&server);
        third.0.get_mut().write_all(b"\xff\xfe\n").unwrap();
        assert_eq!(third.line(), "goodbye after 0 lines");
        let (code, errors) = server.stop(sys::SIGTERM);
        assert_eq!(code, Some(0), "{errors}");
        assert!(errors.contains("its handler failed"), "{errors}");
    });
}

#[test]
fn line_protocol_drains_at_a_signal() {
    watchdog(PATIENCE, || {
        for signal in [sys::SIGINT, sys::SIGTERM] {
            let server = Example::start("line_protocol", &[]);
            let mut clients = [(); 5].map(|()| Calculating::connect(&server));
            clients.iter_mut().for_each(|client| assert_eq!(client.ask("add 1"), "ok"));
            let start = Instant::now();
            let (code, errors) = server.stop(signal);
            assert_eq!(code, Some(0), "{errors}");
            assert!(start.elapsed() < Duration::from_secs(5), "the drain has ten");
            for client in &mut clients {
                assert_eq!(client.line(), "goodbye after 1 lines");
                assert_eq!(client.line(), "");
            }
        }
    });
}

/// Sends a request as it stands; all that comes back.
fn raw(server: &Example, request: &[u8]) -> String {
    let mut client = server.connect();
    client.write_all(request).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

#[test]
fn http_fixed_understands_heads_and_bodies() {
    watchdog(PATIENCE, || {
        let server = Example::start("http_fixed", &[]);
        let twice =
            raw(&server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(twice.matches("HTTP/1.1 200 OK\r\n").count(), 2, "pipelined: {twice}");
        assert_eq!(twice.matches("\r\n\r\nwait and copy\n").count(), 2, "{twice}");
        let body =
            b"POST / HTTP/1.1\r\nContent-Length: 14\r\n\r\nGET / HTTP/9\r\nGET / HTTP/1.0\r\n\r\n";
        let answers = raw(&server, body);
        assert_eq!(answers.matches("200 OK").count(), 2, "a body is no head: {answers}");
        assert_eq!(answers.matches("Connection: close").count(), 1, "{answers}");
        let head = raw(&server, b"HEAD / HTTP/1.1\r\n\r\n");
        assert!(head.ends_with("Content-Length: 14\r\n\r\n"), "{head}");
        let closed =
            raw(&server, b"GET / HTTP/1.1\r\nConnection: a, Close\r\n\r\nGET / HTTP/1.1\r\n\r\n");
        assert_eq!(closed.matches("200 OK").count(), 1, "{closed}");
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(raw(&server, chunked).starts_with("HTTP/1.1 501 "));
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
        let malformed: [&[u8]; 5] = [
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: cut",
            long.as_bytes(),
            // The beginning of TLS: no text at all.
            b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03\xff\xfe\r\n\r\n",
        ];
        for request in malformed {
            let answer = raw(&server, request);
            let shown = String::from_utf8_lossy(&request[..request.len().min(60)]);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{shown:?}: {answer:?}");
        }
        assert_eq!(raw(&server, b""), "", "no request, no answer");
    });
}

/// A program's output; `None`, said aloud, where it is missing.
fn output(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(output),
        Err(error) => {
            skip(&format!("{program}: {error}"));
            None
        }
    }
}

#[test]
fn http_fixed_serves_curl() {
    watchdog(PATIENCE, || {
        let server = Example::start("http_fixed", &[]);
        let (one, two) =
            (format!("http://{}/one", server.address), format!("http://{}/two", server.address));
        let curl = |args: &[&str]| {
            let always = ["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"];
            output("curl", &[&always[..], args].concat()).map(|output| {
                let errors = String::from_utf8(output.stderr).unwrap();
                assert!(output.status.success(), "{args:?}: {errors}");
                (String::from_utf8(output.stdout).unwrap(), errors)
            })
        };
        let Some((bodies, told)) = curl(&["--verbose", &one, &two]) else { return };
        assert_eq!(bodies, "wait and copy\nwait and copy\n");
        assert!(told.contains("Re-using existing connection"), "{told}");
        let answer = |args: &[&str]| curl(args).unwrap().0;
        let head = answer(&["--head", &one]);
        assert!(
            head.starts_with("HTTP/1.1 200 OK") && head.contains("Content-Length: 14"),
            "{head}"
        );
        let file = scratch("body");
        std::fs::write(&file, vec![b'x'; 3 << 20]).unwrap();
        let body = format!("@{}", file.display());
        assert_eq!(answer(&["--data-binary", &body, &one, &two]), "wait and copy\n".repeat(2));
        assert_eq!(answer(&["--http1.0", &one]), "wait and copy\n");
        let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        let chunked = ["--header", "Transfer-Encoding: chunked", "--data", "x", &one];
        assert_eq!(answer(&[&status[..], &chunked].concat()), "501");
    });
}

#[test]
fn http_fixed_bears_wrk() {
    watchdog(PATIENCE, || {
        let server = Example::start("http_fixed", &[]);
        let url = format!("http://{}/", server.address);
        let Some(output) = output("wrk", &["-t1", "-c10", "-d1s", &url]) else { return };
        let told = String::from_utf8(output.stdout).unwrap();
        let requests = told.lines().find_map(|line| line.trim().split_once(" requests in "));
        let requests: u64 = requests.and_then(|(n, _)| n.parse().ok()).expect(&told);
        assert!(output.status.success() && requests > 100, "{told}");
        assert!(!told.contains("Non-2xx") && !told.contains("Socket errors"), "{told}");
    });
}
