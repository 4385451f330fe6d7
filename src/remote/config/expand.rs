//! Paths as ssh_config(5) writes them ("TOKENS" and "ENVIRONMENT VARIABLES").

use super::{Local, Settings};
use crate::remote::target::Target;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What the percent signs of a path stand for.
pub(super) struct Tokens<'a> {
    settings: &'a Settings,
    target: &'a Target,
    local: &'a Local,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(settings: &'a Settings, target: &'a Target, local: &'a Local) -> Self {
        Self { settings, target, local }
    }

    /// A path with its `~`, `%` and `${NAME}` replaced, in OpenSSH's order: what is put in is not looked at again.
    pub(super) fn path(&self, path: &str) -> Result<OsString, String> {
        let wrong = |what: &str| format!("'{}': {what}", path.escape_debug());
        let (mut whole, mut rest) = match tilde_of(path).map_err(wrong)? {
            Some(rest) => (home(self.local), rest),
            None => (OsString::new(), path),
        };
        while let Some(at) = rest.find(['%', '$']) {
            let (before, found) = rest.split_at(at);
            whole.push(before);
            if let Some(name) = found.strip_prefix("${") {
                let (name, after) =
                    name.split_once('}').ok_or_else(|| wrong("a '${' without its '}'"))?;
                let value = (self.local.variable)(name);
                whole.push(value.ok_or_else(|| wrong(&format!("${{{name}}} has no value")))?);
                rest = after;
            } else if let Some(after) = found.strip_prefix('$') {
                whole.push("$");
                rest = after;
            } else {
                let letter = found[1..].chars().next();
                let letter = letter.ok_or_else(|| wrong("a '%' at the end"))?;
                let value = self.token(letter);
                whole.push(value.ok_or_else(|| wrong(&format!("%{letter} is not known here")))?);
                rest = &found[1 + letter.len_utf8()..];
            }
        }
        whole.push(rest);
        Ok(whole)
    }

    /// OpenSSH has `%C`, `%j`, `%L` and `%l` besides: hashes and this machine's name.
    fn token(&self, letter: char) -> Option<OsString> {
        let host = self.target.host();
        Some(match letter {
            '%' => "%".into(),
            'd' => self.local.home.clone().into(),
            'h' => self.settings.host_name.clone().into(),
            'i' => self.local.uid.to_string().into(),
            'k' => self.settings.host_key_alias.as_deref().unwrap_or(host).into(),
            'n' => host.into(),
            'p' => self.settings.port.to_string().into(),
            'r' => self.settings.user.clone().into(),
            'u' => self.local.name.clone().into(),
            _ => return None,
        })
    }
}

/// The home directory with a slash at its end.
fn home(local: &Local) -> OsString {
    let mut home = local.home.clone().into_os_string();
    if !home.as_encoded_bytes().ends_with(b"/") {
        home.push("/");
    }
    home
}

/// What follows `~` and its slashes; `None` for a path without one.
fn tilde_of(path: &str) -> Result<Option<&str>, &'static str> {
    match path.strip_prefix('~') {
        None => Ok(None),
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            Ok(Some(rest.trim_start_matches('/')))
        }
        Some(_) => Err("another user's home directory: write the path itself"),
    }
}

/// A path with its `~` replaced and no more: ssh has done the rest by the time it prints.
pub(super) fn tilde(path: &str, local: &Local) -> Result<OsString, &'static str> {
    Ok(match tilde_of(path)? {
        Some(rest) => {
            let mut whole = home(local);
            whole.push(rest);
            whole
        }
        None => OsStr::new(path).to_owned(),
    })
}

/// The files of one line. ssh puts blanks between them and leaves those inside of them as they are, so a path
/// begins where a blank stands before `/` or `~`: no file is looked for under half of its name.
pub(super) fn known_hosts(value: &str, local: &Local) -> Result<Vec<PathBuf>, &'static str> {
    if value == "none" {
        return Ok(Vec::new());
    }
    let begins = |at: usize| value[at + 1..].starts_with(['/', '~']);
    let gaps = value.match_indices(' ').map(|(at, _)| at).filter(|&at| begins(at));
    let mut start = 0;
    let mut files = Vec::new();
    for end in gaps.chain([value.len()]) {
        files.push(tilde(&value[start..end], local)?.into());
        start = end + 1;
    }
    Ok(files)
}
