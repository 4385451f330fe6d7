//! Floor 4: runs models as child processes under real clients and shows what they did.

mod child;
pub mod claims;
pub mod compare;
pub mod draw;
mod family;
pub mod inspect;
pub mod kernel;
pub mod machine;
pub mod page;
pub mod procfs;
pub(crate) mod prose;
#[cfg(feature = "remote")]
pub mod sshd;
pub mod svg;
pub mod trace;

pub use child::{Left, Server};
pub use family::Family;
