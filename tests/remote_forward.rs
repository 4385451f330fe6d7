//! `waitcopy remote forward` through a real sshd.
#![cfg(feature = "remote")]

#[path = "support/forward.rs"]
mod forward;
#[path = "support/remote_cli.rs"]
mod remote_cli;
#[path = "support/ssh.rs"]
mod ssh;
mod support;

use forward::{Forward, descriptors, echo, exchange, local, serving};
use remote_cli::{Remote, said};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use support::{PATIENCE, pattern, skip, until, watchdog};
use waitcopy::lab::sshd::Options;

fn on_a_server(test: impl FnOnce(Remote) + Send + 'static) {
    watchdog(PATIENCE * 2, || {
        if let Some(remote) = Remote::start(Options::default()) {
            test(remote);
        }
    });
}

#[test]
fn bytes_go_both_ways_and_each_end_is_passed_on() {
    on_a_server(|remote| {
        let (forward, at) = local(&remote, echo());
        let bytes = pattern(8 << 20, 5);
        // Both at once: neither way may hold up the other.
        let stream = TcpStream::connect(at).unwrap();
        let (mut writer, sent) = (stream.try_clone().unwrap(), bytes.clone());
        let writing = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back).unwrap();
        writing.join().unwrap();
        assert!(back == bytes);
        // Asked to its end, and only then answered.
        let sums = serving(|mut client| {
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            client.write_all(&(all.len() as u64).to_be_bytes()).unwrap();
        });
        let (second, at) = local(&remote, sums);
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(u64::from_be_bytes(answer), 8 << 20);
        assert_eq!(stream.read(&mut answer).unwrap(), 0);
        // The server has said all it has to say, and goes on listening.
        let (heard, hears) = std::sync::mpsc::channel();
        let first = serving(move |mut client| {
            client.write_all(b"go on").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            heard.send(all).unwrap();
        });
        let (third, at) = local(&remote, first);
        let mut stream = TcpStream::connect(at).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"go on");
        stream.write_all(&bytes[..1 << 20]).unwrap();
        drop(stream);
        assert!(hears.recv().unwrap() == bytes[..1 << 20]);
        until("all is closed", || descriptors(forward.pid()) == descriptors(second.pid()));
        let (code, said) = forward.stop();
        assert_eq!(code, Some(143));
        assert!(
            said.contains("forwarded 1 connections: 8.0 MiB there, 8.0 MiB back; 0 refused"),
            "{said}"
        );
        drop(third);
    });
}

#[test]
fn from_a_port_there_to_a_place_here() {
    on_a_server(|remote| {
        let to = echo();
        let spec = format!("0:{}:{}", to.ip(), to.port());
        let mut forward = Forward::start(&remote, &["-R", &spec]);
        let line = forward.line();
        assert!(
            line.starts_with("listening there on tcp localhost:")
                && line.ends_with(&format!(" -> {to}")),
            "{line}"
        );
        let port: u16 = line.split([':', ' ']).nth(5).unwrap().parse().unwrap();
        let bytes = pattern(2 << 20, 9);
        let streams: Vec<_> = (0..20)
            .map(|_| {
                let bytes = bytes.clone();
                thread::spawn(move || {
                    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    for piece in bytes.chunks(100_000) {
                        exchange(&mut stream, piece);
                    }
                    stream.shutdown(Shutdown::Write).unwrap();
                    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
                })
            })
            .collect();
        streams.into_iter().for_each(|stream| stream.join().unwrap());
        // The same port again is refused, in words.
        let spec = format!("{port}:{}:{}", to.ip(), to.port());
        let run = said(&mut remote.verb("forward", &["-R", &spec]));
        run.failed(1, &["forward: listening there on port", "the port is taken, or not allowed"]);
        // A place here that refuses ends that connection alone.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut second =
            Forward::start(&remote, &["-R", &format!("0:127.0.0.1:{}", closed.port())]);
        let at = second.addr();
        assert_eq!(TcpStream::connect(at).unwrap().read(&mut [0]).unwrap(), 0);
        assert_eq!(TcpStream::connect(at).unwrap().read(&mut [0]).unwrap(), 0);
        let (_, said) = second.stop();
        assert!(said.matches("ECONNREFUSED").count() == 2 && said.contains("2 refused"), "{said}");
        forward.stop();
    });
}

/// A web server for one page, which says what was asked for.
fn web() -> SocketAddr {
    serving(|mut client| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
            head.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&head).lines().next().unwrap_or("").to_owned();
        let page = format!("{line}\n").repeat(20_000);
        let _ = write!(
            client,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        );
    })
}

#[test]
fn curl_through_a_port_and_through_socks() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("curl is missing");
    }
    on_a_server(|remote| {
        let web = web();
        let spec = format!("0:localhost:{}", web.port());
        let mut forward = Forward::start(&remote, &["-L", &spec, "-D", "0"]);
        let (port, proxy) = (forward.addr(), forward.addr());
        let curl = |words: &[&str]| {
            let output =
                Command::new("curl").args(["-sS", "-m", "20"]).args(words).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(text.lines().count(), 20_000);
            text
        };
        assert!(curl(&[&format!("http://{port}/one")]).starts_with("GET /one "));
        // The name is the server's to resolve, or the address is the client's; and then many at once.
        for way in ["--socks5-hostname", "--socks5"] {
            let url = format!("http://localhost:{}/two", web.port());
            assert!(curl(&[way, &proxy.to_string(), &url]).starts_with("GET /two "));
        }
        let urls: Vec<_> =
            (0..50).map(|n| format!("http://localhost:{}/{n}", web.port())).collect();
        let proxy_text = proxy.to_string();
        let mut words = vec!["-m", "30", "--parallel", "--socks5-hostname", &proxy_text];
        words.extend(urls.iter().map(String::as_str));
        let output = Command::new("curl").args(["-sS"]).args(&words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        // A place that refuses.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{closed}/");
        let output = Command::new("curl")
            .args(["-sS", "--socks5-hostname", &proxy_text, &url])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(97), "{output:?}");
        let (_, said) = forward.stop();
        assert!(
            said.contains(&format!("forward: {closed}")) && said.contains("53 connections"),
            "{said}"
        );
    });
}

#[test]
fn socks_clients_that_ask_for_something_else_are_answered() {
    on_a_server(|remote| {
        let to = echo();
        let mut forward = Forward::start(&remote, &["-D", "0"]);
        let proxy = forward.addr();
        let said = |bytes: &[u8]| {
            let mut stream = TcpStream::connect(proxy).unwrap();
            stream.write_all(bytes).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            answer
        };
        assert_eq!(said(b"GET / HTTP/1.1\r\n\r\n"), b"");
        assert_eq!(said(b"\x05\x01\x02"), b"\x05\xff");
        let refused = |code| [b"\x05\0\x05".as_slice(), &[code], b"\0\x01\0\0\0\0\0\0"].concat();
        assert_eq!(said(b"\x05\x01\0\x05\x02\0\x01\x7f\0\0\x01\0\x50"), refused(7));
        assert_eq!(said(b"\x05\x01\0\x05\x01\0\x09\x7f\0\0\x01\0\x50"), refused(8));
        // All at once, and a byte at a time.
        let port = to.port().to_be_bytes();
        let asks = [b"\x05\x01\0\x05\x01\0\x01\x7f\0\0\x01".as_slice(), &port].concat();
        for piece in [1, 100] {
            let mut stream = TcpStream::connect(proxy).unwrap();
            stream.set_nodelay(true).unwrap();
            let whole = [asks.as_slice(), b"hello"].concat();
            whole.chunks(piece).for_each(|piece| stream.write_all(piece).unwrap());
            let mut answer = [0; 17];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer.as_slice(), b"\x05\0\x05\0\0\x01\0\0\0\0\0\0hello");
        }
        let (_, said) = forward.stop();
        assert!(said.contains("it is no SOCKS 5") && said.contains("4 refused"), "{said}");
    });
}

#[test]
fn one_stream_on_standard_input_and_output() {
    on_a_server(|remote| {
        let to = echo();
        let run = |to: &str| {
            let mut command = remote.verb("forward", &["-W", to]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let bytes = pattern(3 << 20, 11);
        let mut child = run(&to.to_string());
        let (mut stdin, sent) = (child.stdin.take().unwrap(), bytes.clone());
        let writing = thread::spawn(move || stdin.write_all(&sent).unwrap());
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        assert!(output.stdout == bytes && output.status.success() && output.stderr.is_empty());
        // The other side's end is passed on, while ours goes on.
        let (heard, hears) = std::sync::mpsc::channel();
        let first = serving(move |mut client| {
            client.write_all(b"go on").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            heard.send(all).unwrap();
        });
        let mut child = run(&first.to_string());
        let mut said = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
        assert_eq!(said, b"go on");
        child.stdin.take().unwrap().write_all(b"all right").unwrap();
        assert_eq!(hears.recv().unwrap(), b"all right");
        assert!(child.wait().unwrap().success());
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        said_of(run(&closed.to_string())).failed(1, &["forward: 127.0.0.1:", "connect failed"]);
        // It serves as another's proxy command.
        let mut command = remote.verb("exec", &[]);
        let config = remote.here("config");
        let program = remote.verb("forward", &["-W", "%h:%p"]);
        let words: Vec<_> = std::iter::once(program.get_program())
            .chain(program.get_args())
            .map(|word| word.to_string_lossy())
            .collect();
        std::fs::write(&config, format!("Host *\n ProxyCommand {}\n", words.join(" "))).unwrap();
        command.arg("--config").arg(&config).args(["--", "echo $((6 * 7))"]);
        assert_eq!(remote_cli::said(&mut command).well().text(), "42\n");
    });
}

fn said_of(child: std::process::Child) -> remote_cli::Said {
    remote_cli::Said::of(child.wait_with_output().unwrap())
}

#[test]
fn usage() {
    on_a_server(|remote| {
        for (flags, code, words) in [
            (&[][..], 2, "remote forward: what?"),
            (&["-L", "80"], 2, "--local 80: [BIND:]PORT:HOST:PORT is expected"),
            (&["-D", "x"], 2, "--dynamic x: a port is a number"),
            (&["-W", "db"], 2, "--stdio db: HOST:PORT is expected"),
            (&["-W", "db:1", "-D", "0"], 2, "--stdio goes alone"),
            (&["-L", "example.org:0:db:1"], 2, "'example.org' is no address to listen on"),
        ] {
            said(&mut remote.verb("forward", flags)).failed(code, &[words]);
        }
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let run = said(&mut remote.verb("forward", &["-L", &format!("{port}:db:1")]));
        run.failed(1, &["bind tcp 127.0.0.1:", "EADDRINUSE"]);
    });
}
