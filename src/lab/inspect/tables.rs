//! Whose a descriptor is: the descriptor tables of a traced server's processes, as its calls change them.

use crate::lab::trace::Traced;
use crate::phase::Call;
use std::collections::HashMap;

/// Descriptors of clients, per process; threads share a table, children get a copy.
#[derive(Debug)]
pub(super) struct Tables {
    /// Where datagrams come from is the client.
    datagrams: bool,
    /// Which table a flow uses.
    of_flow: HashMap<u32, usize>,
    tables: Vec<HashMap<i64, usize>>,
    /// Datagram clients by address.
    peers: Vec<String>,
    accepted: usize,
}

impl Tables {
    pub(super) fn new(datagrams: bool) -> Self {
        let (of_flow, tables, peers) = (HashMap::new(), Vec::new(), Vec::new());
        Self { datagrams, of_flow, tables, peers, accepted: 0 }
    }

    /// The number of the next client that is accepted.
    pub(super) fn next(&self) -> usize {
        self.accepted + 1
    }

    /// The client that a call is about, before it changes anything.
    pub(super) fn client(&self, call: &Traced) -> Option<usize> {
        if self.datagrams {
            let peer = peer(call)?;
            let known = self.peers.iter().position(|known| known == peer);
            return Some(known.unwrap_or(self.peers.len()) + 1);
        }
        let table = self.tables.get(*self.of_flow.get(&call.pid)?)?;
        // epoll_ctl(5, EPOLL_CTL_ADD, 6, ...) is about 6.
        let fd =
            if call.is(Call::EpollCtl) { number(call.args.split(", ").nth(2)?) } else { call.fd() };
        table.get(&fd?).copied()
    }

    /// What a call changes.
    pub(super) fn follow(&mut self, call: &Traced) {
        if self.datagrams {
            if let Some(peer) =
                peer(call).filter(|peer| !self.peers.iter().any(|known| known == peer))
            {
                self.peers.push(peer.to_owned());
            }
        } else if let Some(fd) = call.taken_in() {
            self.accepted += 1;
            let (number, table) = (self.accepted, self.table(call.pid));
            table.insert(fd, number);
        } else if call.is(Call::Close) {
            let table = self.table(call.pid);
            call.fd().map(|fd| table.remove(&fd));
        } else if let (true, Some(child @ 1..)) = (call.is(Call::Clone), call.result) {
            let copy = self.table(call.pid).clone();
            let Ok(child) = u32::try_from(child) else { return };
            let shared = self.of_flow[&call.pid];
            let own = self.tables.len();
            let shares = call.args.contains("CLONE_FILES");
            self.of_flow.insert(child, if shares { shared } else { own });
            if !shares {
                self.tables.push(copy);
            }
        }
    }

    fn table(&mut self, flow: u32) -> &mut HashMap<i64, usize> {
        let tables = &mut self.tables;
        let place = *self.of_flow.entry(flow).or_insert_with(|| {
            tables.push(HashMap::new());
            tables.len() - 1
        });
        &mut self.tables[place]
    }
}

/// `{sa_family=AF_INET, sin_port=htons(42987), ...}`: who sent a datagram, or gets it.
fn peer(call: &Traced) -> Option<&str> {
    if !(call.is(Call::Recvfrom) || call.is(Call::Recvmsg) || call.is(Call::Sendto)) {
        return None;
    }
    let rest = &call.args[call.args.rfind("{sa_family=")?..];
    rest.split('}').next()
}

fn number(word: &str) -> Option<i64> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    word[..digits].parse().ok()
}
