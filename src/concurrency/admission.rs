//! How many are in, in all and from each address.

use crate::sys::Address;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those who are in.
#[derive(Debug)]
pub(super) struct Admission {
    most: usize,
    per_peer: usize,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    /// Only kept where there is a limit per peer.
    of: HashMap<IpAddr, usize>,
}

/// A place inside; dropped, it is free again.
#[derive(Debug)]
pub struct Pass {
    inside: Arc<Mutex<Inside>>,
    ip: Option<IpAddr>,
}

impl Admission {
    pub(super) fn new(most: Option<usize>, per_peer: Option<usize>) -> Self {
        Self {
            most: most.unwrap_or(usize::MAX),
            per_peer: per_peer.unwrap_or(usize::MAX),
            inside: Arc::default(),
        }
    }

    /// Lets one more in, or says why not.
    pub(super) fn enter(&self, peer: &Address) -> Result<Pass, String> {
        let counted = self.per_peer < usize::MAX;
        let ip = peer.ip().map(|address| address.ip().to_canonical()).filter(|_| counted);
        let mut inside = lock(&self.inside);
        if inside.all >= self.most {
            return Err(format!("{} connections are the limit", self.most));
        }
        if let Some(ip) = ip {
            let from = inside.of.entry(ip).or_insert(0);
            if *from >= self.per_peer {
                return Err(format!(
                    "{} connections from one address are the limit",
                    self.per_peer
                ));
            }
            *from += 1;
        }
        inside.all += 1;
        Ok(Pass { inside: Arc::clone(&self.inside), ip })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = lock(&self.inside);
        inside.all -= 1;
        let Some(ip) = self.ip else { return };
        if let Some(from) = inside.of.get_mut(&ip) {
            *from -= 1;
            if *from == 0 {
                inside.of.remove(&ip);
            }
        }
    }
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    // Nothing in here panics half-way.
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::Admission;
    use crate::sys::Address;

    #[test]
    fn limits_hold_in_all_and_per_peer_and_places_are_freed() {
        let peer = |text: &str| Address::from(text.parse::<std::net::SocketAddr>().unwrap());
        let admission = Admission::new(Some(3), Some(2));
        let first = admission.enter(&peer("10.0.0.1:1")).unwrap();
        let _second = admission.enter(&peer("[::ffff:10.0.0.1]:2")).unwrap();
        assert!(admission.enter(&peer("10.0.0.1:3")).unwrap_err().contains("one address"));
        let _third = admission.enter(&peer("10.0.0.2:1")).unwrap();
        assert!(admission.enter(&peer("10.0.0.3:1")).unwrap_err().starts_with("3 connections"));
        drop(first);
        let _again = admission.enter(&peer("10.0.0.1:4")).unwrap();
    }
}
