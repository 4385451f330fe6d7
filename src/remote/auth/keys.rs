//! The method `publickey` (RFC 4252 section 7): which keys, in which order, and who signs.

use super::{FAILURES, Login, Outcome};
use crate::remote::agent::{Identity, RSA_SHA2_256, RSA_SHA2_512};
use crate::remote::agent_socket::AgentSocket;
use crate::remote::credentials::{Key, PASSWORDS};
use crate::remote::error::Error;
use crate::remote::key_file::{self, Algorithm, KeyError, KeyFile};
use crate::remote::secret::Secret;
use crate::sys::ssh::{self, Signing, SshError};
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A key to try.
enum Candidate {
    File(PathBuf, Rc<KeyFile>),
    Memory(Rc<KeyFile>),
    Agent(Identity),
}

impl Candidate {
    /// To know it again: agents hold many keys under one comment.
    fn identity(&self) -> Vec<u8> {
        match self {
            Self::File(path, _) => path.as_os_str().as_bytes().to_vec(),
            Self::Memory(key) => key.public().unwrap_or_default().to_vec(),
            Self::Agent(identity) => identity.blob.clone(),
        }
    }

    /// For messages.
    fn name(&self) -> String {
        match self {
            Self::File(path, _) => path.display().to_string(),
            Self::Memory(key) => {
                format!("a key in memory ({})", key.algorithm().map_or("unknown", Algorithm::name))
            }
            Self::Agent(identity) => format!("agent's {}", printable(&identity.comment)),
        }
    }
}

/// What the signer's callback leaves to be done.
enum Stage {
    /// These bytes are to be signed.
    Sign(Vec<u8>),
    Done,
}

impl Login<'_> {
    pub(super) async fn by_keys(&mut self) -> Result<Outcome, Error> {
        let mut agent = self.agent().await;
        let candidates = self.candidates(agent.as_mut()).await;
        for candidate in candidates {
            let name = candidate.name();
            if self.used.contains(&candidate.identity()) {
                continue;
            }
            if self.failures >= FAILURES {
                self.tried.push("further keys not tried (the server would hang up)".into());
                break;
            }
            let done = match &candidate {
                Candidate::Agent(identity) => match agent.as_mut() {
                    Some(agent) => self.by_agent(agent, identity, &name).await?,
                    None => continue,
                },
                Candidate::File(path, key) => self.by_key(key, Some(path), &name).await?,
                Candidate::Memory(key) => self.by_key(key, None, &name).await?,
            };
            self.used.insert(candidate.identity());
            let Err(error) = done else { return Ok(Outcome::In(format!("publickey {name}"))) };
            let Some(error) = error else { continue };
            // The server has not heard of it: it can be neither read nor signed with by any way that the server takes.
            if unreadable(&error) || error.code == libssh2_sys::LIBSSH2_ERROR_METHOD_NONE {
                self.tried.push(format!("{name}: {}", error.message));
                continue;
            }
            if !error.denied() {
                return Err(self.gone("publickey", &error));
            }
            self.failed(&name);
            // The server knew the key and saw a signature: it may want another method now.
            if error.code == libssh2_sys::LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED {
                match self.refused().await? {
                    Outcome::No => {}
                    other => {
                        self.tried.pop();
                        return Ok(other);
                    }
                }
            }
        }
        Ok(Outcome::No)
    }

    /// The agent, if there is one. That it cannot be reached is said, and is no failure.
    async fn agent(&mut self) -> Option<AgentSocket> {
        let path = self.credentials.agent.socket()?;
        match AgentSocket::connect(self.transport.reactor(), &path).await {
            Ok(agent) => Some(agent),
            Err(error) => {
                let error = crate::sys::describe(&error);
                self.tried.push(format!("agent {}: {error}", path.display()));
                None
            }
        }
    }

    /// Named keys first, then the agent's, then the usual files: OpenSSH's order, but for a named file that the agent
    /// does not hold, which OpenSSH tries after everything the agent holds.
    async fn candidates(&mut self, agent: Option<&mut AgentSocket>) -> Vec<Candidate> {
        let mut held = match agent {
            None => Vec::new(),
            Some(agent) => agent.identities().await.unwrap_or_else(|error| {
                self.tried.push(format!("agent: {error}"));
                Vec::new()
            }),
        };
        let (mut named, mut usual) = (Vec::new(), Vec::new());
        for key in &self.credentials.keys {
            match key {
                Key::Memory(key) => {
                    named.push(in_agent(Candidate::Memory(Rc::clone(key)), &mut held))
                }
                Key::File { path, named: is_named } => {
                    let list = if *is_named { &mut named } else { &mut usual };
                    // A key that the agent holds needs no private file, and a FIDO key has none that is of use here.
                    let public = key_file::public_half(path);
                    let place = held.iter().position(|held| public.as_ref() == Some(&held.blob));
                    if let Some(place) = place {
                        list.push(Candidate::Agent(held.remove(place)));
                        continue;
                    }
                    match KeyFile::read(path) {
                        Ok(key) => list
                            .push(in_agent(Candidate::File(path.clone(), Rc::new(key)), &mut held)),
                        Err(error) if *is_named || is_news(&error) => {
                            self.tried.push(error.to_string())
                        }
                        Err(_) => {}
                    }
                }
            }
        }
        if !self.credentials.identities_only {
            named.extend(held.into_iter().map(Candidate::Agent));
        }
        named.extend(usual);
        named
    }

    /// By a private key at hand. `Err(None)`: it could not be used, and the server has not heard of it.
    async fn by_key(
        &mut self,
        key: &KeyFile,
        path: Option<&Path>,
        name: &str,
    ) -> Result<Result<(), Option<SshError>>, Error> {
        if !key.encrypted() {
            return self.signed_with(key, None).await.map(|done| done.map_err(Some));
        }
        if let Some(passphrase) = self.credentials.passphrase.clone() {
            return Ok(match self.signed_with(key, Some(&passphrase)).await? {
                Err(error) if unreadable(&error) => {
                    self.tried.push(format!("{name}: the passphrase does not open it"));
                    Err(None)
                }
                done => done.map_err(Some),
            });
        }
        let Some(path) = path.filter(|_| self.credentials.ask.is_some()) else {
            self.tried.push(format!("{name}: encrypted, and no passphrase at hand"));
            return Ok(Err(None));
        };
        // A person is asked only for a key that the server would take.
        if let Some(public) = key.public() {
            if let Err(error) = self.welcome(public).await? {
                return Ok(Err(Some(error)));
            }
        }
        for _ in 0..PASSWORDS {
            let Some(passphrase) = self.ask(|ask| ask.passphrase(path)) else { break };
            match self.signed_with(key, Some(&passphrase)).await? {
                Err(error) if unreadable(&error) => {}
                done => return Ok(done.map_err(Some)),
            }
        }
        self.tried.push(format!("{name}: no passphrase that opens it"));
        Ok(Err(None))
    }

    async fn signed_with(
        &self,
        key: &KeyFile,
        passphrase: Option<&Secret>,
    ) -> Result<Result<(), SshError>, Error> {
        // With the NUL that libssh2 reads to; overwritten when it goes, also where this is given up.
        let passphrase = passphrase.map(|p| terminated(p.expose()));
        let call = |session: &ssh2::Session| {
            ssh::userauth_publickey_frommemory(
                session,
                self.user,
                key.text().expose(),
                // A passphrase with a NUL in it opens nothing.
                passphrase.as_ref().map(|p| CStr::from_bytes_with_nul(p.expose()).unwrap_or(c"")),
            )
        };
        self.transport.exclusively(call).await
    }

    /// Whether the server would take a signature by this key; none is sent.
    async fn welcome(&self, public: &[u8]) -> Result<Result<(), SshError>, Error> {
        let asked = RefCell::new(false);
        let user = self.c_user();
        let call = |session: &ssh2::Session| {
            let mut sign = |_: &[u8]| {
                *asked.borrow_mut() = true;
                Signing::Refused
            };
            let done = ssh::userauth_publickey(session, &user, public, &mut sign);
            if *asked.borrow() { Ok(()) } else { done }
        };
        self.transport.exclusively(call).await
    }

    /// By a key of the agent's: the agent signs, and we wait for it as for the server. `Err(None)`: it has not signed.
    async fn by_agent(
        &mut self,
        agent: &mut AgentSocket,
        identity: &Identity,
        name: &str,
    ) -> Result<Result<(), Option<SshError>>, Error> {
        let user = self.c_user();
        let signature: RefCell<Option<Signing>> = RefCell::default();
        let mut unsigned = false;
        loop {
            let call = |session: &ssh2::Session| {
                let mut message = None;
                let mut sign = |bytes: &[u8]| match signature.take() {
                    Some(signed) => signed,
                    None => {
                        message = Some(bytes.to_vec());
                        Signing::Again
                    }
                };
                let done = ssh::userauth_publickey(session, &user, &identity.blob, &mut sign);
                message.map_or_else(|| done.map(|()| Stage::Done), |bytes| Ok(Stage::Sign(bytes)))
            };
            let stage = self.transport.exclusively(call).await?;
            match stage {
                Err(error) if error.denied() && unsigned => return Ok(Err(None)),
                Err(error) => return Ok(Err(Some(error))),
                Ok(Stage::Done) => return Ok(Ok(())),
                Ok(Stage::Sign(message)) => {
                    let signed = self.agent_signature(agent, identity, &message, name).await;
                    unsigned = matches!(signed, Signing::Refused);
                    *signature.borrow_mut() = Some(signed);
                }
            }
        }
    }

    async fn agent_signature(
        &mut self,
        agent: &mut AgentSocket,
        identity: &Identity,
        message: &[u8],
        name: &str,
    ) -> Signing {
        let wanted = algorithm_of(message).unwrap_or_default();
        let flags = match wanted {
            b"rsa-sha2-256" => RSA_SHA2_256,
            b"rsa-sha2-512" => RSA_SHA2_512,
            _ => 0,
        };
        let why = match agent.sign(&identity.blob, message, flags).await {
            Ok(Some(signed)) if signed.algorithm.as_bytes() != wanted => {
                return Signing::OtherAlgorithm;
            }
            // A FIDO key's signature carries flags and a counter behind it (PROTOCOL.u2f), and libssh2 leaves it as it is.
            Ok(Some(signed)) if !signed.trailer.is_empty() => {
                let len = u32::try_from(signed.bytes.len()).unwrap_or(0).to_be_bytes();
                return Signing::Signed([&len, &*signed.bytes, &*signed.trailer].concat());
            }
            Ok(Some(signed)) => return Signing::Signed(signed.bytes),
            Ok(None) => "the agent refused to sign".to_owned(),
            Err(error) => error.to_string(),
        };
        self.tried.push(format!("{name}: {why}"));
        Signing::Refused
    }

    fn c_user(&self) -> CString {
        // Users with control characters were refused long before.
        CString::new(self.user).unwrap_or_default()
    }
}

/// A key that cannot be read, or not with this passphrase: OpenSSL's reader says the one, libssh2's own, of OpenSSH's
/// format, the other.
fn unreadable(error: &SshError) -> bool {
    matches!(
        error.code,
        libssh2_sys::LIBSSH2_ERROR_FILE | libssh2_sys::LIBSSH2_ERROR_KEYFILE_AUTH_FAILED
    )
}

/// A copy with a NUL behind it.
fn terminated(bytes: &[u8]) -> Secret {
    let mut copy = Secret::with_capacity(bytes.len() + 1);
    // There is room for just this.
    let _ = copy.extend(bytes).and_then(|()| copy.push(0));
    copy
}

/// A key that the agent holds needs no passphrase.
fn in_agent(candidate: Candidate, held: &mut Vec<Identity>) -> Candidate {
    let (Candidate::File(_, key) | Candidate::Memory(key)) = &candidate else { return candidate };
    let place = held.iter().position(|identity| key.public() == Some(&*identity.blob));
    place.map_or(candidate, |place| Candidate::Agent(held.remove(place)))
}

/// Whether a usual key file that cannot be used is worth a word: not one that is not there, nor one of a kind that works
/// through the agent only.
fn is_news(error: &KeyError) -> bool {
    match error {
        KeyError::Failed(failure) => failure.kind() != std::io::ErrorKind::NotFound,
        KeyError::Unsupported(_) => false,
        _ => true,
    }
}

/// The algorithm in the bytes to sign (RFC 4252 section 7): session id, type, user, service, "publickey", true, algorithm.
fn algorithm_of(message: &[u8]) -> Option<&[u8]> {
    let mut rest = message;
    let mut string = |skip: usize| {
        let rest_now = rest.get(skip..)?;
        let (len, after) = rest_now.split_first_chunk::<4>()?;
        let len = u32::from_be_bytes(*len) as usize;
        let (string, after) = (after.get(..len)?, after.get(len..)?);
        rest = after;
        Some(string)
    };
    string(0)?;
    string(1)?;
    string(0)?;
    string(0)?;
    string(1)
}

/// Foreign text, for a message.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
