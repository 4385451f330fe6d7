//! Whom to log in as, and where: what a person types.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Longer texts are refused before they are looked at: a host name has at most 253 bytes (RFC 1035).
const LONGEST: usize = 1024;
/// The same for a user and for a host alone.
const LONGEST_PART: usize = 255;

/// What a shell or a pattern of ssh_config(5) takes for more than a letter. OpenSSH's `ssh_valid_hostname` and
/// `ssh_valid_ruser` refuse most of them, so that no `Match exec`, `ProxyCommand` or file name is turned by a host
/// that came out of a list or a link.
const SPECIAL: &str = "'`\"$;&<>|(){}[]*?!#~^,/";

/// A host or an alias of the user's `ssh_config`, and perhaps the user and port to take.
///
/// Written `[user@]host[:port]`, `[user@][IPv6]:port`, a bare IPv6 address, or `ssh://[user@]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Why a text is no target: a sentence. The command line was wrong (exit status 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError(String);

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TargetError {}

impl Target {
    /// A target of its parts, under the same rules as a text.
    ///
    /// # Errors
    /// A sentence that says which part is refused, and why.
    pub fn new(user: Option<&str>, host: &str, port: Option<u16>) -> Result<Self, TargetError> {
        let wrong = |what: &str| {
            // A foreign part is shown escaped: it may hold what moves a terminal's cursor.
            let (user, host) = (user.unwrap_or_default(), host);
            let at = if user.is_empty() { "" } else { "@" };
            let shown: String = [user, at, host].concat().chars().take(LONGEST_PART).collect();
            TargetError(format!("host '{}': {what}", shown.escape_debug()))
        };
        user.map_or(Ok(()), check_user).map_err(&wrong)?;
        check_host(host).map_err(&wrong)?;
        if port == Some(0) {
            return Err(wrong(PORT));
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }

    /// The user to log in as, where one was named.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The host name, alias or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, where one was named; never 0.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

const PORT: &str = "the port is a number from 1 to 65535";

impl FromStr for Target {
    type Err = TargetError;

    /// # Errors
    /// A sentence that says what the text lacks, or what is refused in it.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.len() > LONGEST {
            return Err(TargetError(format!("host: longer than {LONGEST} bytes")));
        }
        let wrong = |what| TargetError(format!("host '{}': {what}", text.escape_debug()));
        let (uri, rest) = match text.strip_prefix("ssh://") {
            // The one path that says nothing.
            Some(rest) => (true, rest.strip_suffix('/').unwrap_or(rest)),
            None => (false, text),
        };
        // A user may hold an '@' (user@domain), a host may not: the last one divides.
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let user = match user {
            Some(user) if uri => Some(percent_decoded(user).ok_or_else(|| {
                wrong("in an ssh:// address % stands before two hexadecimal digits")
            })?),
            user => user.map(str::to_owned),
        };
        let (host, port) = host_and_port(place).map_err(wrong)?;
        Self::new(user.as_deref(), host, port)
    }
}

/// Divides `host`, `host:port`, `[IPv6]`, `[IPv6]:port` and a bare IPv6 address.
fn host_and_port(place: &str) -> Result<(&str, Option<u16>), &'static str> {
    if let Some(bracketed) = place.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').ok_or("the bracket is not closed")?;
        if !is_ipv6(host) {
            return Err("only IPv6 addresses stand in brackets, [::1]:22");
        }
        return match after.strip_prefix(':') {
            Some(digits) => Ok((host, Some(port(digits)?))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("after the bracket only :PORT may stand"),
        };
    }
    match place.split_once(':') {
        // More than one colon: whatever it is, it is not host:port.
        Some((_, rest)) if rest.contains(':') => Ok((place, None)),
        Some((host, digits)) => Ok((host, Some(port(digits)?))),
        None => Ok((place, None)),
    }
}

/// Digits only: `u16` alone would also take `+22`.
fn port(digits: &str) -> Result<u16, &'static str> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&port| plain && port > 0).ok_or(PORT)
}

/// An address, perhaps with the name of an interface: `fe80::1%eth0` (RFC 4007).
fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, "0"));
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.bytes().all(letter)
}

/// What is refused in users and hosts alike.
fn check_part(part: &str) -> Result<(), &'static str> {
    if part.starts_with('-') {
        return Err("neither user nor host may begin with '-': it would be taken for an option");
    }
    if part.len() > LONGEST_PART {
        return Err("neither user nor host may have more than 255 bytes");
    }
    for letter in part.chars() {
        if letter.is_control() || letter.is_whitespace() {
            return Err("blanks and control characters are refused");
        }
        if SPECIAL.contains(letter) {
            return Err("characters with a meaning to a shell, a pattern or a path are refused");
        }
        // Marks and directions, which make a name look like another one.
        if !letter.is_ascii() && !letter.is_alphanumeric() {
            return Err("beyond ASCII only letters and digits are taken");
        }
    }
    Ok(())
}

fn check_user(user: &str) -> Result<(), &'static str> {
    if user.is_empty() {
        return Err("no user before the '@'");
    }
    // Inside it divides domain and user (DOMAIN\user), at the end it would quote what follows.
    if user.ends_with('\\') {
        return Err("a user may not end with '\\'");
    }
    check_part(user)
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("no host name");
    }
    if is_ipv6(host) {
        return Ok(());
    }
    if host.contains(':') {
        return Err("not an IPv6 address; with a port it stands in brackets, [::1]:22");
    }
    // A percent sign would be a token of ssh_config(5).
    if host.contains(['@', '\\', '%']) {
        return Err("a host name holds no '@', '\\' or '%'");
    }
    check_part(host)
}

/// `%40` is `@` (RFC 3986); `None` where a percent sign stands alone, or the bytes are no UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            decoded.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        decoded.push((digit(0)? * 16 + digit(1)?) as u8);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

/// As it would be typed: [`Target::from_str`] reads it back.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) => HostPort(&self.host, port).fmt(f),
            None => f.write_str(&self.host),
        }
    }
}

/// A host and a port as a person writes them: `HOST:PORT`, IPv6 addresses in brackets.
pub(super) struct HostPort<'a>(pub(super) &'a str, pub(super) u16);

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Target;
    use proptest::prelude::*;

    fn parts(text: &str) -> (Option<String>, String, Option<u16>) {
        let target: Target = text.parse().unwrap_or_else(|e| panic!("{e}"));
        (target.user, target.host, target.port)
    }

    #[test]
    fn targets_as_people_type_them() {
        for (text, user, host, port) in [
            ("web", None, "web", None),
            ("bob@web", Some("bob"), "web", None),
            ("bob@web.example.org:2222", Some("bob"), "web.example.org", Some(2222)),
            ("bob@example.org@bastion:22", Some("bob@example.org"), "bastion", Some(22)),
            ("CORP\\bob@web", Some("CORP\\bob"), "web", None),
            ("bob:prod@bastion", Some("bob:prod"), "bastion", None),
            ("::1", None, "::1", None),
            ("bob@fe80::1%eth0", Some("bob"), "fe80::1%eth0", None),
            ("[::1]", None, "::1", None),
            ("bob@[2001:db8::2]:2222", Some("bob"), "2001:db8::2", Some(2222)),
            ("192.0.2.1:65535", None, "192.0.2.1", Some(65535)),
            ("ssh://web", None, "web", None),
            ("ssh://bob@web:2222/", Some("bob"), "web", Some(2222)),
            ("ssh://bob%40example.org@[::1]:22", Some("bob@example.org"), "::1", Some(22)),
            ("büro_1", None, "büro_1", None),
        ] {
            assert_eq!(parts(text), (user.map(str::to_owned), host.to_owned(), port), "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_refused_with_its_reason() {
        for (reason, texts) in [
            ("no host name", &["", "bob@", ":22", "ssh://", "ssh://bob@:22"][..]),
            ("no user", &["@web", "ssh://@web"]),
            ("begin with '-'", &["-oProxyCommand=x", "bob@-web", "-l@web", "ssh://-x", "-v@::1"]),
            (
                "control characters",
                &["we b", "web\n", "a\tb@web", "bo b@web", "web\u{1b}", "a\u{a0}b"],
            ),
            (
                "to a shell",
                &["$(id)", "web;id", "`id`", "a|b", "b&b@web", "{a,b}", "*.org", "web/x"],
            ),
            (
                "to a shell",
                &["bob'@web", "$HOME@web", "web\"", "a<b", "a>b", "~", "#x", "ssh://web/p"],
            ),
            ("beyond ASCII", &["we\u{202e}b", "we\u{200b}b", "bob\u{301}@web"]),
            ("port is a number", &["web:0", "web:65536", "web:", "web:+22", "web:ssh", "[::1]:0"]),
            ("not an IPv6 address", &["web:22:23", "1:2:3", ":::"]),
            ("only IPv6", &["[web]:22", "[]:22", "[::1%]:22"]),
            ("bracket", &["[::1", "[::1]22", "[::1]]:22"]),
            ("holds no", &["web%h", "we\\b"]),
            ("end with '\\'", &["bob\\@web"]),
            ("hexadecimal", &["ssh://b%4@web", "ssh://b%zz@web", "ssh://b%ff@web", "ssh://%@web"]),
        ] {
            for text in texts {
                let error = text.parse::<Target>().expect_err(text).to_string();
                assert!(error.starts_with("host '") && error.contains(reason), "{text:?}: {error}");
                assert!(!error.chars().any(char::is_control), "{error:?}");
            }
        }
        assert!(Target::new(None, "web", Some(0)).is_err());
        for long in ["x".repeat(256), "x".repeat(1 << 20), format!("{}@web", "x".repeat(256))] {
            assert!(long.parse::<Target>().unwrap_err().to_string().len() < 600);
        }
    }

    proptest! {
        #[test]
        fn it_is_read_back_as_it_is_written(
            user in proptest::option::of("[a-z_][a-zA-Z0-9_.+@:-]{0,8}"),
            host in "[a-z0-9_.][a-z0-9_.-]{0,12}|[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}|::[0-9a-f]{1,4}|fe80::1%eth[0-9]",
            port in proptest::option::of(1_u16..),
        ) {
            let target = Target::new(user.as_deref(), &host, port).unwrap();
            prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
        }

        #[test]
        fn what_is_taken_is_read_back_the_same(text in ".{0,24}|[a@:.\\[\\]%1-]{0,16}|ssh://[a@:%4]{0,8}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }
}
