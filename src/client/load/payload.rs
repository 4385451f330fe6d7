//! What is sent and what must come back: letters that show a lost, a doubled and a foreign byte.
//!
//! A message begins with 16 letters that no other message of the run has: the number of its flow and its own, mixed so that
//! each letter depends on both. Shorter messages have the first of them. What follows is cut from one ring of letters, at a place
//! that depends on them, so that the rests of two messages differ as well. Nothing is stored per message.

/// Letters of the head.
pub(super) const HEAD: usize = 16;
/// Letters of the ring: a prime, so that it fits into no buffer a whole number of times.
const RING: usize = 1021;
/// The golden ratio's bits: the product's upper letters depend on all bits of the number.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
const UNMIX: u64 = inverse(MIX);
/// Bits of a message's own number; the flow's is above.
const OWN: u32 = 40;

/// Where a flow is in its endless row of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The message.
    pub(super) message: u64,
    /// Bytes of it that are done.
    pub(super) offset: usize,
}

/// The messages of one size.
#[derive(Debug)]
pub(super) struct Payload {
    size: usize,
    asked: Table,
    answered: Table,
}

/// One case of the letters.
#[derive(Debug)]
struct Table {
    first: u8,
    /// Several rounds of the ring, so that a rest seldom comes in two pieces.
    ring: Box<[u8]>,
}

impl Payload {
    /// Messages of `size` bytes, 1 or more, in lower case, and their answers in upper case.
    pub(super) fn new(size: usize) -> Self {
        let mut state = MIX;
        let mut letter = || {
            // xorshift64: the same letters in every run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'a' + ((state >> 32) % 26) as u8
        };
        let ring: Vec<u8> = (0..RING).map(|_| letter()).collect();
        let table = |first, ring: Vec<u8>| Table { first, ring: ring.repeat(4).into() };
        let upper = ring.to_ascii_uppercase();
        Self { size, asked: table(b'a', ring), answered: table(b'A', upper) }
    }

    /// The place `bytes` further on.
    pub(super) fn after(&self, place: Place, bytes: usize) -> Place {
        let end = place.offset + bytes;
        // No division in the usual case, one message or less.
        match end.cmp(&self.size) {
            std::cmp::Ordering::Less => Place { offset: end, ..place },
            std::cmp::Ordering::Equal => Place { message: place.message + 1, offset: 0 },
            std::cmp::Ordering::Greater => {
                Place { message: place.message + (end / self.size) as u64, offset: end % self.size }
            }
        }
    }

    /// Bytes from one place to a later one.
    pub(super) fn between(&self, from: Place, to: Place) -> u64 {
        (to.message - from.message) * self.size as u64 + to.offset as u64 - from.offset as u64
    }

    /// Writes what a flow says from a place on.
    pub(super) fn write(&self, flow: u32, place: Place, bytes: &mut [u8]) {
        self.pieces(&self.asked, flow, place, bytes.len(), |at, piece| {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            true
        });
    }

    /// Whether these bytes are the answer from a place on.
    pub(super) fn answers(&self, flow: u32, place: Place, bytes: &[u8]) -> bool {
        self.pieces(&self.answered, flow, place, bytes.len(), |at, piece| {
            &bytes[at..at + piece.len()] == piece
        })
    }

    /// The flow and the message that an answer's head names: of any bytes, of which it need not be one.
    pub(super) fn names(bytes: &[u8]) -> Option<(u32, u64)> {
        let head = bytes.get(..HEAD)?;
        let nibble = |byte: &u8| byte.checked_sub(b'A').filter(|n| *n < 16);
        let mixed =
            head.iter().try_fold(0_u64, |all, byte| Some(all << 4 | u64::from(nibble(byte)?)))?;
        let number = mixed.wrapping_mul(UNMIX);
        Some(((number >> OWN) as u32, number & ((1 << OWN) - 1)))
    }

    /// Shows `each` the letters from a place on, piece by piece, until it says no; whether it never did.
    #[inline]
    fn pieces(
        &self,
        table: &Table,
        flow: u32,
        mut place: Place,
        len: usize,
        mut each: impl FnMut(usize, &[u8]) -> bool,
    ) -> bool {
        let mut at = 0;
        while at < len {
            let mixed = (u64::from(flow) << OWN | place.message).wrapping_mul(MIX);
            if place.offset < HEAD {
                let end = HEAD.min(self.size).min(place.offset + len - at);
                if !each(at, &head(mixed, table.first)[place.offset..end]) {
                    return false;
                }
                at += end - place.offset;
                place.offset = end;
            }
            let start = (mixed >> 32) as usize;
            while at < len && place.offset < self.size {
                let from = (start + place.offset) % RING;
                let piece = &table.ring[from..];
                let n = (self.size - place.offset).min(len - at).min(piece.len());
                if !each(at, &piece[..n]) {
                    return false;
                }
                at += n;
                place.offset += n;
            }
            place = Place { message: place.message + 1, offset: 0 };
        }
        true
    }
}

/// A number in 16 letters, the most mixed ones first: its nibbles spread to bytes, eight at a time.
fn head(mixed: u64, first: u8) -> [u8; HEAD] {
    let spread = |half: u64| {
        let half = (half | half << 16) & 0x0000_ffff_0000_ffff;
        let half = (half | half << 8) & 0x00ff_00ff_00ff_00ff;
        let half = (half | half << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        half + u64::from(first) * 0x0101_0101_0101_0101
    };
    let both = u128::from(spread(mixed >> 32)) << 64 | u128::from(spread(mixed & 0xffff_ffff));
    both.to_be_bytes()
}

/// The inverse of an odd number modulo 2^64, by Newton's method: each round doubles the right bits.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut round = 0;
    while round < 6 {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::{HEAD, Payload, Place};
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn said(payload: &Payload, flow: u32, place: Place, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        payload.write(flow, place, &mut bytes);
        bytes
    }

    #[test]
    fn no_two_messages_have_the_same_head() {
        let payload = Payload::new(HEAD);
        let mut seen = HashSet::new();
        for flow in 0..1_000 {
            for message in 0..100 {
                let words = said(&payload, flow, Place { message, offset: 0 }, HEAD);
                assert_eq!(Payload::names(&words.to_ascii_uppercase()), Some((flow, message)));
                assert!(seen.insert(words), "{flow} {message}");
            }
        }
    }

    #[test]
    fn what_is_no_head_names_nothing() {
        assert_eq!(Payload::names(b"ABCDEFGHIJKLMNO"), None);
        assert_eq!(Payload::names(b"ABCDEFGHIJKLMNOQ"), None);
        assert_eq!(Payload::names(b"abcdefghijklmnop"), None);
    }

    proptest! {
        #[test]
        fn a_message_is_the_same_in_whatever_pieces(
            size in 1_usize..5_000, flow in 0_u32..1 << 24, message in 0_u64..1 << 30,
            cuts in prop::collection::vec(1_usize..3_000, 1..8),
        ) {
            let payload = Payload::new(size);
            let start = Place { message, offset: 0 };
            let whole = said(&payload, flow, start, cuts.iter().sum());
            let (mut place, mut pieces) = (start, Vec::new());
            for cut in &cuts {
                pieces.extend(said(&payload, flow, place, *cut));
                place = payload.after(place, *cut);
            }
            prop_assert_eq!(payload.between(start, place), whole.len() as u64);
            prop_assert_eq!(&pieces, &whole);
            prop_assert!(payload.answers(flow, start, &whole.to_ascii_uppercase()));
            prop_assert!(!payload.answers(flow, start, &whole), "lower case is no answer");
        }

        #[test]
        fn a_lost_a_doubled_and_a_changed_byte_show(
            size in 64_usize..3_000, flow in 0_u32..1 << 24, at in 0_usize..32,
        ) {
            let payload = Payload::new(size);
            let start = Place::default();
            let right = said(&payload, flow, start, size).to_ascii_uppercase();
            let mut lost = right.clone();
            lost.remove(at);
            let mut doubled = right.clone();
            doubled.insert(at, right[at]);
            let mut changed = right.clone();
            changed[at] ^= 1;
            prop_assert!(!payload.answers(flow, start, &lost));
            prop_assert!(!payload.answers(flow, start, &doubled[..size]));
            prop_assert!(!payload.answers(flow, start, &changed));
            prop_assert!(!payload.answers(flow + 1, start, &right), "another flow's");
            let second = Place { message: 1, offset: 0 };
            prop_assert!(!payload.answers(flow, second, &right), "another message's");
        }
    }
}
