//! io_uring(7) without a library: a ring of operations to the kernel, a ring of completions back.
//!
//! An operation names memory, and the kernel may use it until the completion has come. So **memory in flight belongs to
//! the ring**: a receive takes a buffer that the ring has provided, a send takes what it sends with it, and both come back with the
//! completion. Nothing that a caller holds can be freed under an operation.
//!
//! A send is made in one of two ways. *At once*: the kernel takes it while it reads the operation (`MSG_DONTWAIT`), and says something only
//! if it did not take all (`MSG_WAITALL`, `IOSQE_CQE_SKIP_SUCCESS`); it is over when the operation was read. *Waiting*: for room, as
//! long as it takes.

mod abi;
mod buffers;
mod completions;
mod mapping;
mod operations;
mod setup;

pub use buffers::Taken;
pub use completions::{Completion, Sent};
pub use operations::Rest;
pub use setup::{Uring, Wait};
