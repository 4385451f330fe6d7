//! The SFTP client's state machine at work: tickets, abandoned requests, output, texts; and OpenSSH's own server.
#![cfg(feature = "remote")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use support::{PATIENCE, pattern, scratch, skip, watchdog};
use waitcopy::remote::sftp::{
    Attributes, Extension, FileKind, Handle, OpenFlags, Protocol, Reply, Request, Status,
    StatusCode, Ticket,
};

const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;

fn packet(kind: u8, number: u32, fields: &[u8]) -> Vec<u8> {
    let len = u32::try_from(5 + fields.len()).unwrap();
    [&len.to_be_bytes(), &[kind][..], &number.to_be_bytes(), fields].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn session() -> Protocol {
    let mut protocol = Protocol::new();
    protocol.feed(&packet(2, 3, b"")).unwrap();
    protocol.sent(usize::MAX);
    protocol
}

fn handle() -> Handle {
    Handle::new(b"\0\0\0\x01").unwrap()
}

fn read(handle: &Handle, len: u32) -> Request<'_> {
    Request::Read { handle, offset: 0, len }
}

fn status_of(fields: &[u8]) -> Status {
    let mut protocol = session();
    let ticket = protocol.send(Request::Rmdir(b"x")).unwrap();
    protocol.feed(&packet(STATUS, 1, fields)).unwrap();
    let Some(Reply::Status(status)) = protocol.take(ticket) else { panic!() };
    status
}

#[test]
fn a_status_has_the_servers_words_or_ours() {
    let said =
        |text: &[u8]| status_of(&[&[0, 0, 0, 4], &string(text)[..], &string(b"de")].concat());
    assert_eq!(said(b"Disk quota exceeded").to_string(), "Disk quota exceeded");
    assert_eq!(said(b"").to_string(), "failure");
    assert_eq!(said("\u{1b}[2J\u{9b}é\n".as_bytes()).to_string(), "\\u{1b}[2J\\u{9b}é\\n");
    assert_eq!(said(b"\xffx").text, "\u{fffd}x");
    assert_eq!(said(&[b'x'; 5000]).text, "x".repeat(1024));
    assert_eq!(said(&[0xff; 5000]).text, "\u{fffd}".repeat(341), "1 KiB of UTF-8");
    // No text and no language: servers of older drafts.
    assert_eq!(status_of(&[0, 0, 0, 3]).to_string(), "permission denied");
    assert_eq!(status_of(&[0, 0, 1, 0]).code, StatusCode::Other(256));
    let known = [
        StatusCode::Ok,
        StatusCode::Eof,
        StatusCode::NoSuchFile,
        StatusCode::PermissionDenied,
        StatusCode::Failure,
        StatusCode::BadMessage,
        StatusCode::NoConnection,
        StatusCode::ConnectionLost,
        StatusCode::OpUnsupported,
    ];
    for (number, code) in (0..).zip(known) {
        assert_eq!(status_of(&[0, 0, 0, number]).code, code);
        assert!(!code.to_string().is_empty());
    }
    assert_eq!(StatusCode::from(9).to_string(), "error 9");
}

/// As OpenSSH's client, which reads a packet's fields and drops the rest.
#[test]
fn bytes_after_the_last_field_are_ignored() {
    let (mut protocol, handle) = (session(), handle());
    let tickets = [
        protocol.send(read(&handle, 3)).unwrap(),
        protocol.send(Request::Opendir(b"/")).unwrap(),
        protocol.send(Request::Rmdir(b"x")).unwrap(),
    ];
    // Version 6 has an end-of-file flag there.
    protocol.feed(&packet(DATA, 1, &[&string(b"abc")[..], &[1]].concat())).unwrap();
    protocol.feed(&packet(HANDLE, 2, &[&string(b"h")[..], &[0; 9]].concat())).unwrap();
    let status = [&[0; 4], &string(b"")[..], &string(b""), b"more"].concat();
    protocol.feed(&packet(STATUS, 3, &status)).unwrap();
    let replies = tickets.map(|ticket| protocol.take(ticket).unwrap());
    let [Reply::Data(bytes), Reply::Handle(opened), Reply::Status(removed)] = replies else {
        panic!()
    };
    assert_eq!((&*bytes, opened.bytes()), (&b"abc"[..], &b"h"[..]));
    assert_eq!(removed.code, StatusCode::Ok);
}

#[test]
fn the_handles_of_abandoned_requests_are_told_back() {
    let mut protocol = session();
    let opendir = |protocol: &mut Protocol| protocol.send(Request::Opendir(b"/")).unwrap();
    let before = opendir(&mut protocol);
    let after = opendir(&mut protocol);
    let failed = opendir(&mut protocol);
    let stat = protocol.send(Request::Stat(b"/")).unwrap();
    [before, failed, stat].iter().for_each(|ticket| protocol.abandon(*ticket));
    assert_eq!(protocol.in_flight(), 4);
    protocol.feed(&packet(HANDLE, 2, &string(b"second"))).unwrap();
    protocol.abandon(after);
    protocol.feed(&packet(HANDLE, 1, &string(b"first"))).unwrap();
    protocol.feed(&packet(STATUS, 3, &[0, 0, 0, 3])).unwrap();
    protocol.feed(&packet(105, 4, &[0; 4])).unwrap();
    let orphans = [protocol.orphan(), protocol.orphan(), protocol.orphan()];
    let handle = |bytes| Some(Handle::new(bytes).unwrap());
    assert_eq!(orphans, [handle(b"second"), handle(b"first"), None]);
    assert!([before, after, failed, stat].iter().all(|ticket| protocol.take(*ticket).is_none()));
    protocol.abandon(after);
    assert_eq!((protocol.in_flight(), protocol.broken()), (0, None));
}

/// Sent byte by byte, with a request coming in between: what is moved to the front is no more than what was sent.
#[test]
fn output_goes_in_pieces_of_any_size() {
    let (mut protocol, handle) = (session(), handle());
    let bytes = pattern(64 * 1024, 5);
    let mut expected = Vec::new();
    let mut write = |protocol: &mut Protocol, offset| {
        protocol.send(Request::Write { handle: &handle, offset, bytes: &bytes }).unwrap();
        let fields = [&string(b"\0\0\0\x01"), &offset.to_be_bytes()[..], &string(&bytes)];
        let id = u32::try_from(protocol.in_flight()).unwrap();
        expected.extend(packet(6, id, &fields.concat()));
    };
    (0..4).for_each(|n| write(&mut protocol, n));
    let (mut sent, mut moved) = (Vec::new(), 0);
    while let Some(byte) = protocol.output().first() {
        sent.push(*byte);
        let next = protocol.output().as_ptr().wrapping_add(1);
        protocol.sent(1);
        moved += if protocol.output().as_ptr() == next { 0 } else { protocol.output().len() };
        if sent.len() == 100_000 {
            write(&mut protocol, u64::MAX);
        }
    }
    assert!(sent == expected);
    assert!(moved <= sent.len(), "{moved}");
    protocol.sent(1);
    assert_eq!(protocol.output(), b"");
}

/// A channel that is never quite drained: the buffer stays as long as what waits in it, about.
#[test]
fn output_that_never_ends_does_not_grow() {
    let (mut protocol, handle) = (session(), handle());
    let bytes = pattern(1000, 5);
    let info = allocation_counter::measure(|| {
        for id in 1..=2000_u32 {
            let write = Request::Write { handle: &handle, offset: 0, bytes: &bytes };
            let ticket = protocol.send(write).unwrap();
            protocol.sent(protocol.output().len() - 100);
            protocol.feed(&packet(STATUS, id, &[0; 12])).unwrap();
            assert!(protocol.take(ticket).is_some());
        }
    });
    assert!(info.bytes_max < 16 * 1024, "{info:?}");
}

#[test]
fn a_packets_buffer_is_used_again() {
    let mut protocol = session();
    let mut remove = |id| {
        let ticket = protocol.send(Request::Remove(b"x")).unwrap();
        protocol.sent(usize::MAX);
        let answer = packet(STATUS, id, &[0; 12]);
        allocation_counter::measure(|| {
            protocol.feed(&answer).unwrap();
            assert!(protocol.take(ticket).is_some());
        })
    };
    remove(1);
    let info = remove(2);
    assert_eq!(info.count_total, 0, "{info:?}");
}

/// A server that sends one byte of a file and much behind it takes no memory by that.
#[test]
fn a_data_reply_holds_no_more_than_its_bytes() {
    let (mut protocol, handle) = (session(), handle());
    let ticket = protocol.send(read(&handle, 9)).unwrap();
    let answer = packet(DATA, 1, &[&string(b"a")[..], &[0; 200_000]].concat());
    let info = allocation_counter::measure(|| protocol.feed(&answer).unwrap());
    assert!(info.bytes_current < 2048, "{info:?}");
    assert!(matches!(protocol.take(ticket), Some(Reply::Data(byte)) if *byte == *b"a"));
}

/// Received bytes are copied into the buffer that the reply holds, and nowhere else.
#[test]
fn a_data_reply_takes_one_buffer_and_no_second_copy() {
    const LEN: usize = 32 * 1024;
    let (mut protocol, handle) = (session(), handle());
    let answer = |id| packet(DATA, id, &string(&pattern(LEN, u64::from(id))));
    for id in 1..=10 {
        let ticket = protocol.send(read(&handle, LEN as u32)).unwrap();
        protocol.sent(usize::MAX);
        let bytes = answer(id);
        let mut taken = None;
        let info = allocation_counter::measure(|| {
            bytes.chunks(1000).for_each(|piece| protocol.feed(piece).unwrap());
            taken = protocol.take(ticket);
        });
        let Some(Reply::Data(read)) = taken else { panic!() };
        assert!(*read == pattern(LEN, u64::from(id)));
        // The packet without its length field. The first reply also makes the table of replies.
        let most = if id == 1 { LEN as u64 + 2048 } else { LEN as u64 + 9 };
        assert!(info.bytes_total <= most, "{id}: {info:?}");
    }
}

/// OpenSSH's server as a child: what it means by the protocol counts.
struct OpenSsh {
    protocol: Protocol,
    requests: ChildStdin,
    replies: ChildStdout,
    child: Child,
}

impl OpenSsh {
    fn start() -> Option<Self> {
        let places = ["/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec"];
        let mut servers = places.iter().map(|place| format!("{place}/sftp-server"));
        let program = servers.find(|server| fs::exists(server).unwrap_or(false))?;
        let mut command = Command::new(program);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (requests, replies) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut server = Self { protocol: Protocol::new(), requests, replies, child };
        while server.protocol.version().is_none() {
            server.exchange();
        }
        Some(server)
    }

    /// Sends all, then waits for more to come.
    fn exchange(&mut self) {
        self.requests.write_all(self.protocol.output()).unwrap();
        self.protocol.sent(usize::MAX);
        let mut piece = [0; 5000];
        let got = self.replies.read(&mut piece).unwrap();
        assert!(got > 0, "the server has left");
        self.protocol.feed(&piece[..got]).unwrap();
    }

    fn reply(&mut self, ticket: Ticket) -> Reply {
        loop {
            match self.protocol.take(ticket) {
                Some(reply) => return reply,
                None => self.exchange(),
            }
        }
    }

    fn ask(&mut self, request: Request<'_>) -> Reply {
        let ticket = self.protocol.send(request).unwrap();
        self.reply(ticket)
    }

    fn succeed(&mut self, request: Request<'_>) {
        let reply = self.ask(request);
        let Reply::Status(Status { code: StatusCode::Ok, .. }) = reply else {
            panic!("{request:?}: {reply:?}")
        };
    }

    fn open(&mut self, path: &[u8], flags: OpenFlags) -> Handle {
        let attributes = Attributes { permissions: Some(0o600), ..Attributes::default() };
        let reply = self.ask(Request::Open { path, flags, attributes });
        let Reply::Handle(handle) = reply else { panic!("{reply:?}") };
        handle
    }

    fn attributes(&mut self, request: Request<'_>) -> Attributes {
        let reply = self.ask(request);
        let Reply::Attributes(attributes) = reply else { panic!("{request:?}: {reply:?}") };
        attributes
    }

    fn names(&mut self, request: Request<'_>) -> Vec<Vec<u8>> {
        let reply = self.ask(request);
        let Reply::Names(names) = reply else { panic!("{request:?}: {reply:?}") };
        names.into_iter().map(|name| name.name).collect()
    }
}

/// A path of bytes that are no UTF-8, below the test's own directory.
fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/\xff", name].concat()
}

#[test]
fn openssh_understands_each_request() {
    watchdog(PATIENCE, || {
        let Some(mut server) = OpenSsh::start() else { return skip("no sftp-server here") };
        let root = scratch("sftp-session");
        let root = root.as_os_str().as_bytes();
        let (file, link, other) = (below(root, b"f"), below(root, b"l"), below(root, b"o"));
        let none = Attributes::default();
        server.succeed(Request::Mkdir { path: root, attributes: none });
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let open = server.open(&file, flags);
        through_a_handle(&mut server, &open);
        server.succeed(Request::Symlink { link: &link, target: &file });
        assert_eq!(server.names(Request::Readlink(&link)), std::slice::from_ref(&file));
        assert_eq!(server.attributes(Request::Lstat(&link)).kind(), FileKind::Symlink);
        assert_eq!(server.attributes(Request::Stat(&link)).kind(), FileKind::Regular);
        let times = Attributes { times: Some((5, 6)), ..none };
        if server.protocol.offers(Extension::Lsetstat) {
            server.succeed(Request::Lsetstat { path: &link, attributes: times });
            assert_eq!(server.attributes(Request::Lstat(&link)).times, Some((5, 6)));
        }
        server.succeed(Request::Setstat { path: &file, attributes: times });
        assert_eq!(server.attributes(Request::Stat(&file)).times, Some((5, 6)));
        server.succeed(Request::Hardlink { file: &file, link: &other });
        server.succeed(Request::Remove(&file));
        server.succeed(Request::Rename { from: &other, to: &file });
        server.succeed(Request::PosixRename { from: &file, to: &link });
        assert_eq!(server.names(Request::Realpath(&link)), std::slice::from_ref(&link));
        let directory = {
            let reply = server.ask(Request::Opendir(root));
            let Reply::Handle(directory) = reply else { panic!("{reply:?}") };
            directory
        };
        let mut names = server.names(Request::Readdir(&directory));
        names.sort();
        assert_eq!(names, [&b"."[..], b"..", b"\xffl"]);
        let end = server.ask(Request::Readdir(&directory));
        assert!(matches!(end, Reply::Status(Status { code: StatusCode::Eof, .. })), "{end:?}");
        server.succeed(Request::Close(&directory));
        server.succeed(Request::Remove(&link));
        let Reply::Statvfs(system) = server.ask(Request::Statvfs(root)) else { panic!() };
        assert_eq!(system.name_max, 255);
        server.succeed(Request::Rmdir(root));
        drop(server.requests);
        assert!(server.child.wait().unwrap().success());
    });
}

fn through_a_handle(server: &mut OpenSsh, open: &Handle) {
    let bytes = pattern(64 * 1024, 3);
    for (offset, bytes) in (0..).step_by(30_000).zip(bytes.chunks(30_000)) {
        server.succeed(Request::Write { handle: open, offset, bytes });
    }
    server.succeed(Request::Fsync(open));
    let attributes = Attributes { permissions: Some(0o640), ..Attributes::default() };
    server.succeed(Request::Fsetstat { handle: open, attributes });
    let found = server.attributes(Request::Fstat(open));
    assert_eq!((found.size, found.mode()), (Some(65_536), Some(0o640)));
    // All in flight at once, taken from the last to the first.
    let read = |offset| Request::Read { handle: open, offset, len: 16_384 };
    let tickets: Vec<_> =
        (0..=4).map(|n| server.protocol.send(read(n * 16_384)).unwrap()).collect();
    let mut replies: Vec<_> = tickets.iter().rev().map(|ticket| server.reply(*ticket)).collect();
    let end = replies.remove(0);
    assert!(matches!(end, Reply::Status(Status { code: StatusCode::Eof, .. })), "{end:?}");
    for (reply, piece) in replies.iter().rev().zip(bytes.chunks(16_384)) {
        let Reply::Data(got) = reply else { panic!("{reply:?}") };
        assert!(**got == *piece);
    }
    let Reply::Statvfs(system) = server.ask(Request::Fstatvfs(open)) else { panic!() };
    assert!(system.blocks >= system.blocks_free && system.block_size > 0);
    if server.protocol.offers(Extension::Limits) {
        let Reply::Limits(limits) = server.ask(Request::Limits) else { panic!() };
        assert!(limits.packet >= limits.read && limits.write >= 32_768, "{limits:?}");
    }
    server.succeed(Request::Close(open));
}
