//! The SFTP client's state machine: the draft's bytes by hand, and servers that break the protocol.
#![cfg(feature = "remote")]

mod support;

use support::pattern;
use waitcopy::remote::sftp::protocol::{PACKET_LIMIT, PACKET_LIMIT_MAX};
use waitcopy::remote::sftp::{
    Attributes, Broken, Extension, FileKind, Handle, OpenFlags, Protocol, Refused, Reply, Request,
    StatusCode,
};

const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// The first ticket's request.
const FIRST: u32 = 1;

fn packet(kind: u8, number: u32, fields: &[u8]) -> Vec<u8> {
    let len = u32::try_from(5 + fields.len()).unwrap();
    [&len.to_be_bytes(), &[kind][..], &number.to_be_bytes(), fields].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn status(id: u32, code: u32) -> Vec<u8> {
    packet(STATUS, id, &[&code.to_be_bytes(), &string(b"said")[..], &string(b"en")].concat())
}

/// A session whose server offers all that the client knows; its greeting is sent.
fn session() -> Protocol {
    let offers: Vec<u8> = (Extension::ALL.iter())
        .flat_map(|(_, name, version)| [string(name.as_bytes()), string(version.as_bytes())])
        .flatten()
        .collect();
    let mut protocol = Protocol::new();
    protocol.feed(&packet(VERSION, 3, &offers)).unwrap();
    protocol.sent(usize::MAX);
    protocol
}

fn handle() -> Handle {
    Handle::new(&[0, 0, 0, 1]).unwrap()
}

fn read(handle: &Handle, len: u32) -> Request<'_> {
    Request::Read { handle, offset: 0, len }
}

/// The server's answer to a request, after which the session must be broken, and stay so.
fn broken_by(request: Request<'_>, answer: &[u8]) -> Broken {
    let mut protocol = session();
    let ticket = protocol.send(request).unwrap();
    let broken = protocol.feed(answer).unwrap_err();
    assert_eq!(protocol.broken(), Some(broken));
    assert_eq!(protocol.feed(&status(FIRST, 0)), Err(broken));
    assert_eq!(protocol.send(Request::Stat(b"/")), Err(Refused::Broken(broken)));
    assert_eq!((protocol.take(ticket), protocol.orphan()), (None, None));
    assert_eq!((protocol.output(), protocol.in_flight()), (&b""[..], 0));
    assert!(broken.to_string().starts_with("the server"), "{broken}");
    broken
}

fn answered(request: Request<'_>, answer: &[u8]) -> Reply {
    let mut protocol = session();
    let ticket = protocol.send(request).unwrap();
    protocol.feed(answer).unwrap();
    protocol.take(ticket).unwrap()
}

#[test]
fn the_drafts_bytes() {
    let handle = handle();
    assert_eq!(Protocol::new().output(), [0, 0, 0, 5, 1, 0, 0, 0, 3]);
    let sent = |request: Request<'_>| {
        let mut protocol = session();
        protocol.send(request).unwrap();
        protocol.output().to_vec()
    };
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let attributes = Attributes { permissions: Some(0o644), ..Attributes::default() };
    assert_eq!(
        sent(Request::Open { path: b"/a\xff", flags, attributes }),
        [
            &[0, 0, 0, 24, 3, 0, 0, 0, 1][..], // length, SSH_FXP_OPEN, id
            &[0, 0, 0, 3, b'/', b'a', 0xff],   // filename, not UTF-8
            &[0, 0, 0, 0x1a],                  // WRITE, CREAT, TRUNC
            &[0, 0, 0, 4, 0, 0, 1, 0xa4],      // permissions only, 0644
        ]
        .concat()
    );
    assert_eq!(
        sent(Request::Read { handle: &handle, offset: 0x0102_0304_0506_0708, len: 32768 }),
        [
            &[0, 0, 0, 25, 5, 0, 0, 0, 1][..],
            &[0, 0, 0, 4, 0, 0, 0, 1],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[0, 0, 0x80, 0],
        ]
        .concat()
    );
    assert_eq!(
        sent(Request::Write { handle: &handle, offset: 2, bytes: b"abc" }),
        [
            &[0, 0, 0, 28, 6, 0, 0, 0, 1][..],
            &[0, 0, 0, 4, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 2],
            &[0, 0, 0, 3, b'a', b'b', b'c'],
        ]
        .concat()
    );
    // OpenSSH's order, not the draft's: the target first.
    let link = sent(Request::Symlink { link: b"link", target: b"to" });
    assert_eq!(link[9..], [&string(b"to")[..], &string(b"link")].concat());
}

#[test]
fn lengths_that_cannot_be_are_refused_before_memory_is_taken() {
    let stat = Request::Stat(b"/");
    for len in [0, PACKET_LIMIT + 1, u32::MAX] {
        let mut protocol = session();
        let mut result = Ok(());
        let info = allocation_counter::measure(|| result = protocol.feed(&len.to_be_bytes()));
        assert_eq!(result, Err(Broken::Length(len)));
        assert!(info.bytes_total < 1024, "{info:?}");
        assert_eq!(broken_by(stat, &len.to_be_bytes()), Broken::Length(len));
    }
    let handle = handle();
    let most = PACKET_LIMIT - 9;
    let answer = packet(DATA, FIRST, &string(&pattern(most as usize, 1)));
    let Reply::Data(data) = answered(read(&handle, most), &answer) else { panic!() };
    assert!(*data == pattern(most as usize, 1));
}

#[test]
fn the_limit_rises_to_what_the_server_said_and_no_further() {
    let limited = |packet_limit: u64| {
        let mut protocol = session();
        let ticket = protocol.send(Request::Limits).unwrap();
        let fields: Vec<u8> =
            [packet_limit, 2, 3, 4].iter().flat_map(|limit| limit.to_be_bytes()).collect();
        protocol.feed(&packet(EXTENDED_REPLY, FIRST, &fields)).unwrap();
        let Some(Reply::Limits(limits)) = protocol.take(ticket) else { panic!() };
        assert_eq!(
            (limits.packet, limits.read, limits.write, limits.handles),
            (packet_limit, 2, 3, 4)
        );
        protocol
    };
    assert_eq!(session().raise_limit(u32::MAX), PACKET_LIMIT, "nothing was said");
    assert_eq!(limited(1000).raise_limit(u32::MAX), PACKET_LIMIT);
    assert_eq!(limited(500_000).raise_limit(u32::MAX), 500_000);
    assert_eq!(limited(500_000).raise_limit(400_000), 400_000);
    let mut protocol = limited(u64::MAX);
    assert_eq!(protocol.raise_limit(u32::MAX), PACKET_LIMIT_MAX);
    assert_eq!(protocol.raise_limit(0), PACKET_LIMIT_MAX, "it is never lowered");
    protocol.feed(&PACKET_LIMIT_MAX.to_be_bytes()).unwrap();
    let mut protocol = limited(500_000);
    protocol.raise_limit(u32::MAX);
    assert_eq!(protocol.feed(&500_001_u32.to_be_bytes()), Err(Broken::Length(500_001)));
}

#[test]
fn the_first_packet_is_version_3() {
    let first = |bytes: &[u8]| Protocol::new().feed(bytes);
    assert_eq!(first(&packet(VERSION, 3, b"")), Ok(()));
    for version in [0, 1, 2, 4, 6, u32::MAX] {
        assert_eq!(first(&packet(VERSION, version, b"")), Err(Broken::Version(version)));
    }
    assert_eq!(first(&status(FIRST, 0)), Err(Broken::NotVersion(STATUS)));
    assert_eq!(first(&[0, 0, 0, 2, VERSION, 0]), Err(Broken::Malformed(VERSION)));
    assert_eq!(
        first(&packet(VERSION, 3, &string(b"half a pair"))),
        Err(Broken::Malformed(VERSION))
    );
    assert_eq!(first(b"Welcome to host\n"), Err(Broken::Text(*b"Welc")));
    let later = u32::from_be_bytes(*b"Welc");
    assert_eq!(broken_by(Request::Limits, b"Welcome"), Broken::Length(later));
    assert!(Broken::Text(*b"\n\x1b[0").to_string().contains("'\\n\\x1b[0'"), "escaped");
    assert_eq!(broken_by(Request::Limits, &packet(VERSION, 3, b"")), Broken::Type(VERSION));
    assert_eq!(Protocol::new().send(Request::Stat(b"/")), Err(Refused::Early));
}

#[test]
fn extensions_are_kept_when_known_and_used_in_our_version() {
    let pair =
        |name: &str, version: &str| [string(name.as_bytes()), string(version.as_bytes())].concat();
    let many: Vec<u8> = (0..5000).flat_map(|n| pair(&format!("{n}@example.org"), "1")).collect();
    let offers = [
        many,
        pair("fsync@openssh.com", "1"),
        pair("fsync@openssh.com", "9"),
        pair("statvfs@openssh.com", "1"),
        pair("statvfs@openssh.com", "2"),
        pair("hardlink@openssh.com", "7"),
    ];
    let greeting = packet(VERSION, 3, &offers.concat());
    let mut protocol = Protocol::new();
    let info = allocation_counter::measure(|| protocol.feed(&greeting).unwrap());
    // The packet itself, which stays as the next one's buffer, and the few bytes of what is known.
    assert!(info.bytes_current < greeting.len() as i64 + 64, "{info:?}");
    assert_eq!(protocol.version(), Some(3));
    assert_eq!(protocol.extension(Extension::Fsync), Some(&b"1"[..]));
    assert!(protocol.offers(Extension::Statvfs) && protocol.offers(Extension::Fsync));
    assert_eq!(protocol.extension(Extension::Hardlink), Some(&b"7"[..]));
    let link = Request::Hardlink { file: b"a", link: b"b" };
    assert_eq!(protocol.send(link), Err(Refused::Unoffered(Extension::Hardlink)));
    assert_eq!(protocol.send(Request::Limits), Err(Refused::Unoffered(Extension::Limits)));
    assert!(protocol.send(Request::Statvfs(b"/")).is_ok());
    for (extension, name, version) in Extension::ALL {
        assert_eq!((extension.name(), extension.version()), (name, version));
    }
}

#[test]
fn refused_requests_leave_nothing_behind() {
    let (mut protocol, handle) = (session(), handle());
    let long = vec![0; PACKET_LIMIT as usize];
    let write = |bytes| Request::Write { handle: &handle, offset: 0, bytes };
    assert_eq!(protocol.send(write(&long)), Err(Refused::TooLong(PACKET_LIMIT as usize + 25)));
    assert_eq!(protocol.send(Request::Stat(b"a\0b")), Err(Refused::Nul));
    assert_eq!(protocol.send(Request::Rename { from: b"a", to: b"\0" }), Err(Refused::Nul));
    assert_eq!((protocol.output(), protocol.in_flight()), (&b""[..], 0));
    assert!(protocol.send(write(&long[25..])).is_ok());
    assert_eq!(protocol.output()[..4], PACKET_LIMIT.to_be_bytes());
}

#[test]
fn replies_that_nobody_asked_for() {
    let stat = Request::Stat(b"/");
    assert_eq!(broken_by(stat, &status(FIRST + 1, 4)), Broken::Unknown(FIRST + 1));
    let twice = [status(FIRST, 4), status(FIRST, 4)].concat();
    assert_eq!(broken_by(stat, &twice), Broken::Twice(FIRST));
    assert_eq!(broken_by(stat, &packet(3, FIRST, b"")), Broken::Type(3));
    assert_eq!(broken_by(stat, &[0, 0, 0, 3, STATUS, 0, 0]), Broken::Malformed(STATUS));
    let mut protocol = session();
    let ticket = protocol.send(stat).unwrap();
    protocol.feed(&status(FIRST, 4)).unwrap();
    assert!(protocol.take(ticket).is_some() && protocol.take(ticket).is_none());
    assert_eq!(protocol.feed(&status(FIRST, 4)), Err(Broken::Unknown(FIRST)), "taken");
}

/// Each request with each type of reply: only those that the draft gives it pass.
#[test]
fn replies_of_a_type_that_does_not_fit() {
    let handle = handle();
    let name = [&1_u32.to_be_bytes(), &string(b"n")[..], &string(b""), &[0; 4]].concat();
    let replies = [
        (HANDLE, string(b"h")),
        (DATA, string(b"d")),
        (NAME, name),
        (ATTRS, vec![0; 4]),
        (EXTENDED_REPLY, vec![0; 88]),
    ];
    let (path, attributes) = (&b"p"[..], Attributes::default());
    let requests = [
        (Request::Opendir(path), Some(HANDLE)),
        (Request::Open { path, flags: OpenFlags::READ, attributes }, Some(HANDLE)),
        (read(&handle, 10), Some(DATA)),
        (Request::Readdir(&handle), Some(NAME)),
        (Request::Realpath(path), Some(NAME)),
        (Request::Readlink(path), Some(NAME)),
        (Request::Stat(path), Some(ATTRS)),
        (Request::Lstat(path), Some(ATTRS)),
        (Request::Fstat(&handle), Some(ATTRS)),
        (Request::Statvfs(path), Some(EXTENDED_REPLY)),
        (Request::Fstatvfs(&handle), Some(EXTENDED_REPLY)),
        (Request::Limits, Some(EXTENDED_REPLY)),
        (Request::Close(&handle), None),
        (Request::Write { handle: &handle, offset: 0, bytes: b"w" }, None),
        (Request::Fsync(&handle), None),
        (Request::Lsetstat { path, attributes }, None),
        (Request::PosixRename { from: path, to: path }, None),
    ];
    for (request, fits) in requests {
        for (kind, fields) in &replies {
            let answer = packet(*kind, FIRST, fields);
            if Some(*kind) == fits {
                assert!(!matches!(answered(request, &answer), Reply::Status(_)), "{request:?}");
            } else {
                assert_eq!(broken_by(request, &answer), Broken::Unfit(*kind), "{request:?}");
            }
        }
        let Reply::Status(status_4) = answered(request, &status(FIRST, 4)) else { panic!() };
        assert_eq!((status_4.code, &*status_4.text), (StatusCode::Failure, "said"));
        // Success is an answer only where nothing else was asked for.
        if fits.is_some() {
            assert_eq!(broken_by(request, &status(FIRST, 0)), Broken::Unfit(STATUS));
        } else {
            assert!(matches!(answered(request, &status(FIRST, 0)), Reply::Status(_)));
        }
    }
}

#[test]
fn bytes_are_as_many_as_asked_at_most_and_one_at_least() {
    let handle = handle();
    let answer = |bytes: &[u8]| packet(DATA, FIRST, &string(bytes));
    assert_eq!(broken_by(read(&handle, 3), &answer(b"four")), Broken::Excess { asked: 3, got: 4 });
    assert_eq!(broken_by(read(&handle, 3), &answer(b"")), Broken::Empty);
    for bytes in [&b"a"[..], b"abc"] {
        let Reply::Data(data) = answered(read(&handle, 3), &answer(bytes)) else { panic!() };
        assert_eq!(*data, *bytes);
    }
    let beyond = packet(DATA, FIRST, &[0, 0, 0, 5, 1, 2, 3, 4]);
    assert_eq!(broken_by(read(&handle, 9), &beyond), Broken::Malformed(DATA));
}

#[test]
fn a_handle_has_256_bytes_at_most() {
    let answer = |len| packet(HANDLE, FIRST, &string(&pattern(len, 1)));
    let Reply::Handle(longest) = answered(Request::Opendir(b"/"), &answer(256)) else { panic!() };
    assert_eq!(longest.bytes(), pattern(256, 1));
    assert_eq!(broken_by(Request::Opendir(b"/"), &answer(257)), Broken::Handle(257));
    assert!(Handle::new(&[0; 257]).is_err());
}

#[test]
fn names_are_counted_before_memory_is_taken() {
    let handle = handle();
    let entry = [&string(b"../x\xff")[..], &string(b"-rw"), &[0; 4]].concat();
    let names = |count: u32, entries: usize| {
        packet(NAME, FIRST, &[&count.to_be_bytes()[..], &entry.repeat(entries)].concat())
    };
    for count in [u32::MAX, 1000, 3] {
        let answer = names(count, 2);
        let info = allocation_counter::measure(|| {
            assert_eq!(broken_by(Request::Readdir(&handle), &answer), Broken::Malformed(NAME));
        });
        assert!(info.bytes_max < 8192, "{info:?}");
    }
    let Reply::Names(all) = answered(Request::Readdir(&handle), &names(2, 2)) else { panic!() };
    assert_eq!((all.len(), &all[1].name[..], &all[1].long[..]), (2, &b"../x\xff"[..], &b"-rw"[..]));
    for count in [0_u8, 2] {
        let answer = names(count.into(), count.into());
        assert_eq!(broken_by(Request::Realpath(b"."), &answer), Broken::Names(count.into()));
        assert_eq!(broken_by(Request::Readlink(b"."), &answer), Broken::Names(count.into()));
    }
    // No names are the end, as for OpenSSH's client.
    let Reply::Status(end) = answered(Request::Readdir(&handle), &names(0, 0)) else { panic!() };
    assert_eq!(end.code, StatusCode::Eof);
}

#[test]
fn attributes_with_extended_pairs() {
    let pairs = [&2_u32.to_be_bytes()[..], &string(b"a").repeat(4)].concat();
    let fields =
        [&0x8000_000c_u32.to_be_bytes()[..], &[0, 0, 0x41, 0xff], &[0, 0, 0, 7, 0, 0, 0, 9]];
    let answer = |pairs: &[u8]| packet(ATTRS, FIRST, &[&fields.concat(), pairs].concat());
    let stat = Request::Stat(b"/");
    let Reply::Attributes(found) = answered(stat, &answer(&pairs)) else { panic!() };
    assert_eq!((found.times, found.size, found.owner), (Some((7, 9)), None, None));
    assert_eq!((found.kind(), found.mode()), (FileKind::Directory, Some(0o777)));
    let empty = [&2_u32.to_be_bytes()[..], &string(b"").repeat(4)].concat();
    assert_eq!(answered(stat, &answer(&empty)), Reply::Attributes(found));
    for hostile in [&pairs[..pairs.len() - 1], &[255; 4], &[255; 40], &[]] {
        assert_eq!(broken_by(stat, &answer(hostile)), Broken::Malformed(ATTRS));
    }
    let kind = |permissions| Attributes { permissions, ..Attributes::default() }.kind();
    assert_eq!(kind(Some(0o100_644)), FileKind::Regular);
    assert_eq!(kind(Some(0o120_777)), FileKind::Symlink);
    assert_eq!(kind(Some(0o010_644)), FileKind::Other);
    assert_eq!((kind(Some(0o644)), kind(None)), (FileKind::Unknown, FileKind::Unknown));
}
