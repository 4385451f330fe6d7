//! A ring that goes: what it leaves behind is nothing.

mod support;

use support::{PATIENCE, alone, connected, listening, skip, watchdog};
use waitcopy::sys::{self, Uring, Wait};

/// `None`, aloud, where this machine has no rings.
fn ring(completions: u32) -> Option<Uring> {
    let ring = Uring::setup(2, completions).and_then(|mut ring| {
        ring.provide(8, 1024)?;
        Ok(ring)
    });
    ring.map_err(|error| skip(&format!("io_uring_setup: {}", sys::describe(&error)))).ok()
}

/// It takes its operations along, and with them the kernel's hold on the sockets.
#[test]
fn it_lets_go_of_its_sockets() {
    watchdog(PATIENCE, || {
        let Some(mut ring) = ring(16) else { return };
        let (near, far) = connected();
        ring.receive(&far, 1);
        ring.enter(Wait::Not).unwrap();
        drop(far);
        drop(ring);
        assert_eq!(sys::recv(&near, &mut [0; 1]).unwrap(), 0);
    });
}

/// Clients whom the kernel has accepted and nobody has collected: in the ring, or kept aside where it has room for two. Their
/// descriptors are closed with it. In a process of its own, where no other test opens any.
#[test]
fn it_closes_whom_it_has_accepted() {
    alone("it_closes_whom_it_has_accepted", || {
        const CLIENTS: usize = 40;
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        for completions in [2, 64] {
            let (listener, address) = listening();
            let base = open();
            let Some(mut ring) = ring(completions) else { return };
            ring.accept(&listener, true);
            ring.enter(Wait::Not).unwrap();
            let near: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let near = sys::socket(address, sys::Kind::Stream).unwrap();
                    sys::connect(&near, address).unwrap();
                    near
                })
                .collect();
            ring.enter(Wait::Look).unwrap();
            // Beside the ring's own.
            let accepted = open() - base - CLIENTS - 1;
            assert!(accepted > 0, "nobody was accepted: nothing to close");
            assert_eq!(ring.aside(), completions == 2);
            drop(ring);
            assert_eq!(open(), base + CLIENTS, "{accepted} were accepted");
            drop(listener);
            for near in near {
                // The end, or a reset of who was still in the backlog.
                assert_eq!(sys::recv(&near, &mut [0; 1]).unwrap_or(0), 0);
            }
        }
    });
}
