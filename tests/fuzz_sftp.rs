//! Properties of the SFTP client's state machine, for any requests, replies, pieces and bytes.
//!
//! `WAITCOPY_FUZZ_CASES=N` sets how many cases each property has.
#![cfg(feature = "remote")]

use proptest::collection::vec;
use proptest::prelude::*;
use waitcopy::remote::sftp::protocol::PACKET_LIMIT;
use waitcopy::remote::sftp::{
    Attributes, Extension, Handle, OpenFlags, Protocol, Reply, Request, Ticket,
};

fn cases(usual: u32) -> ProptestConfig {
    let wanted = std::env::var("WAITCOPY_FUZZ_CASES").ok().map(|n| n.parse().expect("a number"));
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(wanted.unwrap_or(usual))
    }
}

fn packet(kind: u8, number: u32, fields: &[u8]) -> Vec<u8> {
    let len = u32::try_from(5 + fields.len()).unwrap();
    [&len.to_be_bytes(), &[kind][..], &number.to_be_bytes(), fields].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn session() -> Protocol {
    let offers: Vec<u8> = (Extension::ALL.iter())
        .flat_map(|(_, name, version)| [string(name.as_bytes()), string(version.as_bytes())])
        .flatten()
        .collect();
    let mut protocol = Protocol::new();
    protocol.feed(&packet(2, 3, &offers)).unwrap();
    protocol.sent(usize::MAX);
    protocol
}

/// A field as the draft describes it.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(u32),
    Long(u64),
    Bytes(Vec<u8>),
    Attributes(Attributes),
}

/// What a request's fields are made of.
#[derive(Clone, Debug)]
struct Arguments {
    which: usize,
    path: Vec<u8>,
    second: Vec<u8>,
    handle: Handle,
    bytes: Vec<u8>,
    offset: u64,
    len: u32,
    attributes: Attributes,
}

/// The rows of the draft's section 6 and of OpenSSH's PROTOCOL: type, extension, fields.
/// p path, q second path, h handle, o offset, l length, f open flags (all six, 0x3f), a attributes, b bytes.
const REQUESTS: [(u8, &str, &str); 25] = [
    (3, "", "pfa"),
    (4, "", "h"),
    (5, "", "hol"),
    (6, "", "hob"),
    (7, "", "p"),
    (8, "", "h"),
    (9, "", "pa"),
    (10, "", "ha"),
    (11, "", "p"),
    (12, "", "h"),
    (13, "", "p"),
    (14, "", "pa"),
    (15, "", "p"),
    (16, "", "p"),
    (17, "", "p"),
    (18, "", "pq"),
    (19, "", "p"),
    (20, "", "qp"),
    (200, "posix-rename@openssh.com", "pq"),
    (200, "hardlink@openssh.com", "pq"),
    (200, "fsync@openssh.com", "h"),
    (200, "statvfs@openssh.com", "p"),
    (200, "fstatvfs@openssh.com", "h"),
    (200, "limits@openssh.com", ""),
    (200, "lsetstat@openssh.com", "pa"),
];

impl Arguments {
    /// The request of that row.
    fn request(&self) -> Request<'_> {
        let Self { path, second, handle, bytes, offset, len, attributes, .. } = self;
        let (offset, len, attributes) = (*offset, *len, *attributes);
        let access = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::APPEND;
        let flags = access | OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::EXCLUSIVE;
        match self.which {
            0 => Request::Open { path, flags, attributes },
            1 => Request::Close(handle),
            2 => Request::Read { handle, offset, len },
            3 => Request::Write { handle, offset, bytes },
            4 => Request::Lstat(path),
            5 => Request::Fstat(handle),
            6 => Request::Setstat { path, attributes },
            7 => Request::Fsetstat { handle, attributes },
            8 => Request::Opendir(path),
            9 => Request::Readdir(handle),
            10 => Request::Remove(path),
            11 => Request::Mkdir { path, attributes },
            12 => Request::Rmdir(path),
            13 => Request::Realpath(path),
            14 => Request::Stat(path),
            15 => Request::Rename { from: path, to: second },
            16 => Request::Readlink(path),
            17 => Request::Symlink { link: path, target: second },
            18 => Request::PosixRename { from: path, to: second },
            19 => Request::Hardlink { file: path, link: second },
            20 => Request::Fsync(handle),
            21 => Request::Statvfs(path),
            22 => Request::Fstatvfs(handle),
            23 => Request::Limits,
            _ => Request::Lsetstat { path, attributes },
        }
    }

    fn field(&self, letter: char) -> Field {
        match letter {
            'p' => Field::Bytes(self.path.clone()),
            'q' => Field::Bytes(self.second.clone()),
            'h' => Field::Bytes(self.handle.bytes().to_vec()),
            'b' => Field::Bytes(self.bytes.clone()),
            'o' => Field::Long(self.offset),
            'l' => Field::Number(self.len),
            'f' => Field::Number(0x3f),
            _ => Field::Attributes(self.attributes),
        }
    }
}

/// A server's reading of a packet: plain, and none of the code under test.
struct Server<'a>(&'a [u8]);

impl Server<'_> {
    fn number(&mut self, bytes: usize) -> u64 {
        let (number, rest) = self.0.split_at(bytes);
        self.0 = rest;
        number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    fn word(&mut self) -> u32 {
        self.number(4) as u32
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.word() as usize;
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes.to_vec()
    }

    fn attributes(&mut self) -> Attributes {
        let flags = self.word();
        assert_eq!(flags & !15, 0);
        Attributes {
            size: (flags & 1 != 0).then(|| self.number(8)),
            owner: (flags & 2 != 0).then(|| (self.word(), self.word())),
            permissions: (flags & 4 != 0).then(|| self.word()),
            times: (flags & 8 != 0).then(|| (self.word(), self.word())),
        }
    }

    fn field(&mut self, letter: char) -> Field {
        match letter {
            'p' | 'q' | 'h' | 'b' => Field::Bytes(self.bytes()),
            'o' => Field::Long(self.number(8)),
            'l' | 'f' => Field::Number(self.word()),
            _ => Field::Attributes(self.attributes()),
        }
    }
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let fields = any::<(Option<u64>, Option<(u32, u32)>, Option<u32>, Option<(u32, u32)>)>();
    fields.prop_map(|(size, owner, permissions, times)| Attributes {
        size,
        owner,
        permissions,
        times,
    })
}

fn arguments() -> impl Strategy<Value = Arguments> {
    let path = || vec(1..=255_u8, 0..40);
    let bytes = vec(any::<u8>(), 0..300);
    let handle = vec(any::<u8>(), 0..=256).prop_map(|bytes| Handle::new(&bytes).unwrap());
    let numbers = (any::<u64>(), any::<u32>());
    (0..REQUESTS.len(), path(), path(), handle, bytes, numbers, attributes()).prop_map(
        |(which, path, second, handle, bytes, (offset, len), attributes)| Arguments {
            which,
            path,
            second,
            handle,
            bytes,
            offset,
            len,
            attributes,
        },
    )
}

/// A reply that fits the request of that row, by its size: `salt` makes it different from others.
fn fitting(which: usize, id: u32, salt: &[u8]) -> Vec<u8> {
    let name = [string(salt), string(b"long"), vec![0; 4]].concat();
    let names = |count: u32| [&count.to_be_bytes(), &name.repeat(count as usize)[..]].concat();
    let longs =
        |count: u64| (0..count).flat_map(|n| (n + salt.len() as u64).to_be_bytes()).collect();
    match which {
        0 | 8 => packet(102, id, &string(salt)),
        2 => packet(103, id, &string(&[salt, b"+"].concat())),
        4 | 5 | 14 => packet(105, id, &[&[0, 0, 0, 1][..], &[salt.len() as u8; 8]].concat()),
        9 => packet(104, id, &names(1 + salt.len() as u32)),
        13 | 16 => packet(104, id, &names(1)),
        21 | 22 => packet(201, id, &Vec::clone(&longs(11))),
        23 => packet(201, id, &Vec::clone(&longs(4))),
        _ => packet(101, id, &[&[0, 0, 0, 4], &string(salt)[..], &string(b"")].concat()),
    }
}

/// Sends the requests of these rows, with room for any read.
fn sent(protocol: &mut Protocol, rows: &[(usize, Vec<u8>)]) -> Vec<Ticket> {
    let arguments = |which| Arguments {
        which,
        path: b"p".to_vec(),
        second: b"q".to_vec(),
        handle: Handle::new(b"h").unwrap(),
        bytes: Vec::new(),
        offset: 0,
        len: 32_768,
        attributes: Attributes::default(),
    };
    rows.iter().map(|(which, _)| protocol.send(arguments(*which).request()).unwrap()).collect()
}

fn rows() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    vec((0..REQUESTS.len(), vec(any::<u8>(), 0..60)), 1..20)
}

fn answers(rows: &[(usize, Vec<u8>)]) -> Vec<Vec<u8>> {
    (1..).zip(rows).map(|(id, (which, salt))| fitting(*which, id, salt)).collect()
}

fn taken(protocol: &mut Protocol, tickets: &[Ticket]) -> Vec<Reply> {
    tickets.iter().map(|ticket| protocol.take(*ticket).unwrap()).collect()
}

/// Bytes held for each byte received, at most: an entry of 12 bytes becomes a `Name`.
const NAME_FACTOR: u64 = 9;

/// Tables of 64 requests and their replies, the known extensions, the text of a status.
const TABLES: u64 = 64 * 1024;

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn requests_are_read_as_the_draft_says(all in vec(arguments(), 1..8)) {
        let mut protocol = session();
        for arguments in &all {
            protocol.send(arguments.request()).unwrap();
        }
        let mut server = Server(protocol.output());
        for (id, arguments) in (1..).zip(&all) {
            let (kind, extension, letters) = REQUESTS[arguments.which];
            let mut packet = Server(&server.bytes().clone());
            prop_assert_eq!(packet.number(1), u64::from(kind));
            prop_assert_eq!(packet.word(), id);
            if kind == 200 {
                prop_assert_eq!(packet.bytes(), extension.as_bytes());
            }
            for letter in letters.chars() {
                prop_assert_eq!(packet.field(letter), arguments.field(letter));
            }
            prop_assert_eq!(packet.0.len(), 0);
        }
        prop_assert_eq!(server.0.len(), 0);
    }

    #[test]
    fn any_pieces_give_the_same_replies(rows in rows(), cuts in vec(1..100_usize, 1..50)) {
        let stream = answers(&rows).concat();
        let (mut whole, mut pieces) = (session(), session());
        let tickets = sent(&mut whole, &rows);
        prop_assert_eq!(&tickets, &sent(&mut pieces, &rows));
        whole.feed(&stream).unwrap();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.feed(piece).unwrap();
            rest = after;
            if rest.is_empty() { break }
        }
        prop_assert_eq!((whole.in_flight(), pieces.in_flight()), (0, 0));
        prop_assert_eq!(taken(&mut whole, &tickets), taken(&mut pieces, &tickets));
    }

    #[test]
    fn replies_in_any_order_reach_their_tickets(
        (rows, order) in rows().prop_flat_map(|rows| {
            let order: Vec<_> = (0..rows.len()).collect();
            (Just(rows), Just(order).prop_shuffle())
        })
    ) {
        let (mut straight, mut shuffled) = (session(), session());
        let answers = answers(&rows);
        let tickets = sent(&mut straight, &rows);
        sent(&mut shuffled, &rows);
        straight.feed(&answers.concat()).unwrap();
        for (n, at) in order.iter().enumerate() {
            prop_assert_eq!(shuffled.in_flight(), rows.len() - n);
            prop_assert_eq!(shuffled.take(tickets[*at]), None);
            shuffled.feed(&answers[*at]).unwrap();
        }
        prop_assert_eq!(taken(&mut straight, &tickets), taken(&mut shuffled, &tickets));
        prop_assert!(tickets.iter().all(|ticket| shuffled.take(*ticket).is_none()));
    }

    /// Whatever a server sends: no panic, and no more memory than what it sent accounts for.
    #[test]
    fn arbitrary_bytes(greeting in any::<bool>(), bytes in vec(any::<u8>(), 0..400)) {
        let mut protocol = if greeting { session() } else { Protocol::new() };
        let _tickets = if greeting { sent(&mut protocol, &vec![(9, Vec::new()); 8]) } else { Vec::new() };
        bounded(&mut protocol, &bytes)?;
    }

    /// Replies that were good until some of their bytes were changed; tickets are abandoned or kept.
    #[test]
    fn changed_replies(
        rows in rows(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        abandoned in vec(any::<bool>(), 20),
    ) {
        let mut protocol = session();
        let tickets = sent(&mut protocol, &rows);
        for (ticket, _) in tickets.iter().zip(abandoned).filter(|(_, abandoned)| *abandoned) {
            protocol.abandon(*ticket);
        }
        let mut stream = answers(&rows).concat();
        for (at, byte) in changes {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        bounded(&mut protocol, &stream)?;
        let replies = tickets.iter().filter(|ticket| protocol.take(**ticket).is_some()).count();
        prop_assert!(replies + protocol.in_flight() <= rows.len());
        prop_assert!(protocol.broken().is_none() || replies + protocol.in_flight() == 0);
    }
}

/// Feeds in two pieces and measures.
fn bounded(protocol: &mut Protocol, bytes: &[u8]) -> Result<(), TestCaseError> {
    let info = allocation_counter::measure(|| {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let first = protocol.feed(first);
        let second = protocol.feed(second);
        assert!(first.is_ok() || first == second);
        assert_eq!(second.err(), protocol.broken());
    });
    let most = u64::from(PACKET_LIMIT) + NAME_FACTOR * bytes.len() as u64 + TABLES;
    prop_assert!(info.bytes_max <= most, "{} of {most}", info.bytes_max);
    Ok(())
}

/// The worst that a server can make of its bytes, up to the limit: empty names, in a reply for each request.
#[test]
fn empty_names_take_nine_times_their_bytes_at_most() {
    let count = (PACKET_LIMIT - 9) / 12;
    let fields = [&count.to_be_bytes()[..], &vec![0; 12 * count as usize]].concat();
    let stream: Vec<u8> = (1..=8).flat_map(|id| packet(104, id, &fields)).collect();
    let mut protocol = session();
    let tickets = sent(&mut protocol, &vec![(9, Vec::new()); 8]);
    bounded(&mut protocol, &stream).unwrap();
    assert_eq!(taken(&mut protocol, &tickets).len(), 8);
}
