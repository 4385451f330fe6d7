//! The first events of a server, in memory that threads and children share.

use super::event::{Asked, Event, How, Phases, What};
use super::{Call, Id};
use crate::sys::Shared;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Words of one event.
const WORDS: usize = 20;
/// In the place of a time that was not measured.
const NONE: u64 = u64::MAX;

/// The first N events of all flows; clones write into the same memory. Nobody waits for anybody, and no call is
/// made: an event that finds no place is counted and lost. Pages that are never reached cost no memory.
#[derive(Clone, Debug)]
pub(super) struct Events {
    /// How many asked for a place.
    asked: Shared<[AtomicU64; 1]>,
    /// The places.
    rows: Shared<[[AtomicU64; WORDS]]>,
}

impl Events {
    /// Room for so many.
    ///
    /// # Errors
    /// `ENOMEM` from mmap(2).
    pub(super) fn new(room: usize) -> io::Result<Self> {
        Ok(Self { asked: Shared::new()?, rows: Shared::rows(room)? })
    }

    /// Keeps an event, if there is a place left.
    pub(super) fn keep(&self, event: &Event) {
        let place = self.asked[0].fetch_add(1, Relaxed);
        let Some([first, others @ ..]) = self.rows.get(place as usize) else { return };
        let [kind, rest @ ..] = encode(event);
        for (word, value) in others.iter().zip(rest) {
            word.store(value, Relaxed);
        }
        // Last, so that what a killed child has left half written is not read.
        first.store(kind, Release);
    }

    /// All that were kept whole, by their beginning, and how many were lost.
    pub(super) fn read(&self) -> (Vec<Event>, u64) {
        let asked = self.asked[0].load(Relaxed);
        let places = self.rows.iter().take(asked as usize);
        let mut events: Vec<_> = places
            .filter_map(|[first, others @ ..]| {
                let kind = first.load(Acquire);
                let mut words = [kind; WORDS];
                for (value, word) in words[1..].iter_mut().zip(others) {
                    *value = word.load(Relaxed);
                }
                decode(&words)
            })
            .collect();
        events.sort_by_key(|event| (event.start, event.end));
        let lost = asked - events.len() as u64;
        (events, lost)
    }
}

fn encode(event: &Event) -> [u64; WORDS] {
    let call = event.call.map_or(0, |call| call as u64 + 1);
    let how = event.phases.map_or(0, |phases| phases.how as u64);
    let (family, port, ip) = match event.client {
        None => (0, 0, 0),
        Some(client) => match client.ip() {
            IpAddr::V4(ip) => (4, client.port(), u128::from(ip.to_bits())),
            IpAddr::V6(ip) => (6, client.port(), ip.to_bits()),
        },
    };
    let phases = event.phases.unwrap_or(NOTHING);
    [
        event.what as u64 | call << 8 | how << 16 | family << 24 | u64::from(port) << 32,
        u64::from(event.process) << 32 | u64::from(event.flow),
        ip as u64,
        (ip >> 64) as u64,
        event.id.map_or(NONE, Id::token),
        event.start,
        event.end,
        event.amount,
        phases.wait,
        phases.queued,
        phases.copy,
        phases.wake.unwrap_or(NONE),
        phases.age,
        phases.nth.0,
        phases.nth.1,
        phases.again.calls,
        phases.again.inside,
        phases.again.first,
        phases.again.last,
        0,
    ]
}

const NOTHING: Phases = Phases {
    how: How::Call,
    wait: 0,
    queued: 0,
    copy: 0,
    wake: None,
    age: 0,
    nth: (0, 0),
    again: Asked { calls: 0, inside: 0, first: 0, last: 0 },
};

fn decode(words: &[u64; WORDS]) -> Option<Event> {
    let byte = |n: u32| (words[0] >> (8 * n)) as u8;
    let port = (words[0] >> 32) as u16;
    let client = match byte(3) {
        4 => Some(SocketAddr::from((Ipv4Addr::from_bits(words[2] as u32), port))),
        6 => {
            let ip = u128::from(words[3]) << 64 | u128::from(words[2]);
            Some(SocketAddr::from((Ipv6Addr::from_bits(ip), port)))
        }
        _ => None,
    };
    let how = How::ALL.into_iter().find(|(how, _)| *how as u8 == byte(2)).map(|(how, _)| how);
    let measured = |ns| (ns != NONE).then_some(ns);
    let phases = how.map(|how| Phases {
        how,
        wait: words[8],
        queued: words[9],
        copy: words[10],
        wake: measured(words[11]),
        age: words[12],
        nth: (words[13], words[14]),
        again: Asked { calls: words[15], inside: words[16], first: words[17], last: words[18] },
    });
    Some(Event {
        what: What::ALL.into_iter().find(|(what, _)| *what as u8 == byte(0))?.0,
        call: Call::ALL.into_iter().find(|call| *call as u64 + 1 == u64::from(byte(1))),
        process: (words[1] >> 32) as u32,
        flow: words[1] as u32,
        client,
        id: measured(words[4]).map(Id::of_token),
        start: words[5],
        end: words[6],
        amount: words[7],
        phases,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u64) -> Event {
        let again = Asked { calls: n, inside: n + 1, first: n + 2, last: n + 3 };
        let phases = Phases {
            how: How::ALL[n as usize % How::ALL.len()].0,
            wait: n + 4,
            queued: n + 5,
            copy: n + 6,
            wake: (n % 2 == 0).then_some(n + 7),
            age: 0,
            nth: (0, 0),
            again,
        };
        let client = if n % 3 == 0 { "[fe80::1]:9" } else { "127.0.0.1:65535" };
        Event {
            what: What::ALL[n as usize % What::ALL.len()].0,
            call: Call::ALL.into_iter().nth(n as usize % (Call::ALL.len() + 1)),
            process: 7,
            flow: u32::MAX,
            client: client.parse().ok().filter(|_| n % 5 != 0),
            id: (n % 4 != 0).then_some(Id { slot: n as u32, generation: u32::MAX }),
            start: n,
            end: n + 9,
            amount: 0,
            phases: (n % 7 != 0).then_some(phases),
        }
    }

    #[test]
    fn what_is_kept_is_read_back_from_memory_and_from_json() {
        let events = Events::new(200).unwrap();
        let all: Vec<_> = (0..200).map(event).collect();
        all.iter().rev().for_each(|event| events.keep(event));
        assert_eq!(events.read(), (all.clone(), 0));
        for event in all {
            assert_eq!(Event::of_json(&event.to_json()), Ok(event));
        }
    }

    #[test]
    fn what_finds_no_place_is_counted_and_what_is_half_written_is_not_read() {
        let events = Events::new(3).unwrap();
        (0..5).for_each(|n| events.keep(&event(n)));
        assert_eq!(events.read(), ((0..3).map(event).collect(), 2));
        events.rows[1][0].store(0, Relaxed);
        assert_eq!(events.read(), (vec![event(0), event(2)], 3));
    }
}
