//! SSH: log in, run, copy.

pub mod agent;
pub mod config;
pub mod key_file;
pub mod known_hosts;
pub mod sftp;
pub mod target;
