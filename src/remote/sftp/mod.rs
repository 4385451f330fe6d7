//! SFTP version 3, our own client.

pub mod protocol;
pub mod wire;
