//! Floor 4: runs models as child processes under real clients and shows what they did.

mod child;
pub mod compare;
pub mod machine;
#[cfg(feature = "remote")]
pub mod sshd;

pub use child::Server;
