//! Patterns of host names, as in ssh_config(5), PATTERNS: for known_hosts and for the configuration.

/// OpenSSH copies each pattern of a list into 1024 bytes and gives the list up where one does not fit.
const MAX_PATTERN: usize = 1022;

/// Whether all of `subject` matches: `*` stands for any bytes or none, `?` for any single byte, every other byte for
/// itself, in its own case.
///
/// At most `pattern` times `subject` steps. When nothing fits, only the last star takes one byte more: whatever an
/// earlier star could take instead, the last one can take as well, so the earlier ones are never tried again.
#[must_use]
pub fn glob(pattern: &[u8], subject: &[u8]) -> bool {
    let (mut p, mut s) = (0, 0);
    // Behind the last star, and the first byte that it has not taken.
    let mut star = None;
    while s < subject.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                star = Some((p, s));
            }
            Some(&byte) if byte == b'?' || byte == subject[s] => {
                p += 1;
                s += 1;
            }
            _ => {
                let Some((behind, taken)) = star else { return false };
                (p, s) = (behind, taken + 1);
                star = Some((p, s));
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// What a list of patterns says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// One pattern matches, and none with a `!`.
    Yes,
    /// None matches.
    No,
    /// A pattern with a `!` matches: the name is out, whatever else matches.
    Negated,
}

/// Matches a name against a comma list, as OpenSSH's `match_pattern_list`: `*.example.com,!db?.example.com`. A list
/// with a pattern of more than 1022 bytes matches nothing behind the patterns before it.
#[must_use]
pub fn listed(list: &[u8], name: &[u8]) -> Listed {
    let mut found = Listed::No;
    for pattern in list.split(|&byte| byte == b',') {
        let negated = pattern.strip_prefix(b"!");
        let pattern = negated.unwrap_or(pattern);
        if pattern.len() > MAX_PATTERN {
            return Listed::No;
        }
        match (glob(pattern, name), negated) {
            (true, Some(_)) => return Listed::Negated,
            (true, None) => found = Listed::Yes,
            (false, _) => {}
        }
    }
    found
}
