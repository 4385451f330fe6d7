//! Dropbear: the other SSH server that real machines run, small ones above all.

use super::accounts::Accounts;
use super::{Program, Sshd, StartError};

/// A private dropbear(8).
#[derive(Debug)]
pub struct Dropbear;

impl Dropbear {
    /// Starts one for the throw-away account, by key and by password; `extra` are more of its arguments. Its SFTP is
    /// OpenSSH's sftp-server, which it looks for at `/usr/lib/sftp-server` (compiled in; Debian has a link there).
    ///
    /// # Errors
    /// [`StartError::Unavailable`] unless root runs this, since dropbear reads keys from the home of an account; the
    /// others of [`Sshd::start`].
    pub fn start(extra: &[&str]) -> Result<Sshd, StartError> {
        let extra = extra.iter().map(|&word| word.to_owned()).collect();
        Sshd::launch(Program::Dropbear { extra }, Accounts::Password)
    }
}
