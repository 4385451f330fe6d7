//! Socket addresses as the kernel reads and writes them.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where the path begins in a `sockaddr_un`, behind the family.
const PATH: usize = std::mem::offset_of!(libc::sockaddr_un, sun_path);

/// An IPv4, IPv6 or Unix address, in the kernel's own form: it goes from a receive into the send of the answer
/// without being taken apart (ip(7), ipv6(7), unix(7)).
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Address {
    /// For bind(2): a name of the abstract namespace that the kernel chooses (unix(7), "Autobind feature").
    pub const AUTOBIND: Self = {
        // SAFETY: a sockaddr_storage of zeros is valid: AF_UNSPEC.
        let mut storage = unsafe { MaybeUninit::<libc::sockaddr_storage>::zeroed().assume_init() };
        storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        Self { storage, len: PATH as libc::socklen_t }
    };

    /// A Unix address: a path, or with `@` in front a name of the abstract namespace.
    ///
    /// # Errors
    /// `ENAMETOOLONG` above 107 bytes, `EINVAL` for an empty path or one with a NUL in it.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut raw = libc::sockaddr_un { sun_family: libc::AF_UNIX as _, sun_path: [0; 108] };
        // A path ends with a NUL; an abstract name begins with one, and its length says where it ends.
        if bytes.len() >= raw.sun_path.len() {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        for (to, from) in raw.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        let end = if bytes[0] == b'@' {
            raw.sun_path[0] = 0;
            bytes.len()
        } else {
            bytes.len() + 1
        };
        let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        // SAFETY: sockaddr_storage is made to hold any address, in size and alignment.
        unsafe { storage.as_mut_ptr().cast::<libc::sockaddr_un>().write(raw) };
        // SAFETY: zeroed at first and written since.
        let storage = unsafe { storage.assume_init() };
        Ok(Self { storage, len: (PATH + end) as libc::socklen_t })
    }

    /// Has a call of the kernel write an address: it gets the room and its length, and changes both.
    pub(super) fn written<T>(
        call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> io::Result<T>,
    ) -> io::Result<(T, Self)> {
        let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let room = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let mut len = room;
        let result = call(storage.as_mut_ptr().cast(), &raw mut len)?;
        // SAFETY: zeroed at first, so it is initialised whatever the kernel wrote.
        let storage = unsafe { storage.assume_init() };
        // A longer address would have been cut: the kernel says how long it was.
        Ok((result, Self { storage, len: len.min(room) }))
    }

    /// One that the kernel has written elsewhere, `len` bytes of it.
    pub(super) fn of(mut storage: libc::sockaddr_storage, len: libc::socklen_t) -> Self {
        if (len as usize) < size_of::<libc::sa_family_t>() {
            // Nobody was named: what stands there is another's.
            storage.ss_family = libc::AF_UNSPEC as libc::sa_family_t;
        }
        Self { storage, len: len.min(size_of::<libc::sockaddr_storage>() as libc::socklen_t) }
    }

    /// What a call reads.
    pub(super) fn raw(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }

    /// `AF_INET`, `AF_INET6`, `AF_UNIX`; `AF_UNSPEC` where the kernel gave no address.
    pub(super) fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }

    /// The IP address and port; `None` for a Unix address.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the family says that a sockaddr_in lies there.
                let raw = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that a sockaddr_in6 lies there.
                let raw = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                let port = u16::from_be(raw.sin6_port);
                Some(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// The bytes of a Unix address, a leading NUL for an abstract name; empty for an unnamed socket and
    /// for an IP address.
    fn name(&self) -> &[u8] {
        let len = self.len as usize;
        if self.family() != libc::AF_UNIX || len <= PATH {
            return &[];
        }
        let start = (&raw const self.storage).cast::<u8>();
        // SAFETY: `len` is at most the size of the storage, all of which is initialised.
        let bytes = unsafe { std::slice::from_raw_parts(start, len) };
        let name = &bytes[PATH..];
        // The kernel counts the NUL behind a path.
        match name.iter().position(|&byte| byte == 0) {
            Some(end) if end > 0 => &name[..end],
            _ => name,
        }
    }

    /// The path of a Unix socket that is bound to one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        let name = self.name();
        (name.first()? != &0).then(|| Path::new(OsStr::from_bytes(name)))
    }

    /// Whether nobody could be reached by it: a Unix socket that was never bound.
    #[must_use]
    pub fn unnamed(&self) -> bool {
        self.ip().is_none() && self.name().is_empty()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let len = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is made to hold any address, in size and alignment.
                unsafe { storage.as_mut_ptr().cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { storage.as_mut_ptr().cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        // SAFETY: zeroed at first and written since.
        Self { storage: unsafe { storage.assume_init() }, len: len as libc::socklen_t }
    }
}

impl From<&SocketAddr> for Address {
    fn from(address: &SocketAddr) -> Self {
        (*address).into()
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        *address
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        (self.family(), self.ip(), self.name()) == (other.family(), other.ip(), other.name())
    }
}

impl Eq for Address {}

impl PartialEq<SocketAddr> for Address {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.ip() == Some(*other)
    }
}

/// `127.0.0.1:8080` (also for an IPv4 peer of a dual-stack socket), `/run/x.sock`, `@name`, `unnamed`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.ip() {
            return match address.ip().to_canonical() {
                ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()).fmt(f),
                IpAddr::V6(_) => address.fmt(f),
            };
        }
        match self.name() {
            [] => f.pad("unnamed"),
            [0, name @ ..] => write!(f, "@{}", name.escape_ascii()),
            path => write!(f, "{}", Path::new(OsStr::from_bytes(path)).display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::Address;
    use std::path::Path;

    #[test]
    fn every_family_comes_back_as_it_went_in() {
        for text in ["127.0.0.1:8080", "[::1]:0", "[fe80::1%3]:7"] {
            let ip: std::net::SocketAddr = text.parse().unwrap();
            let address = Address::from(ip);
            assert_eq!((address.ip(), address.to_string()), (Some(ip), text.to_owned()));
            assert!(address.path().is_none() && !address.unnamed());
        }
        let longest = format!("/{}", "x".repeat(106));
        for path in ["/run/x.sock", "relative", &longest] {
            let address = Address::unix(Path::new(path)).unwrap();
            assert_eq!(address.path(), Some(Path::new(path)));
            assert_eq!((address.to_string(), address.ip()), (path.to_owned(), None));
        }
        let name = Address::unix(Path::new("@name")).unwrap();
        assert_eq!((name.to_string(), name.path()), ("@name".to_owned(), None));
        assert!(!name.unnamed());
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let errno = |path: &str| Address::unix(Path::new(path)).unwrap_err().raw_os_error();
        assert_eq!(errno(""), Some(libc::EINVAL));
        assert_eq!(errno("a\0b"), Some(libc::EINVAL));
        assert_eq!(errno(&"x".repeat(108)), Some(libc::ENAMETOOLONG));
    }

    #[test]
    fn an_ipv4_peer_of_a_dual_stack_socket_is_shown_as_ipv4() {
        let mapped: std::net::SocketAddr = "[::ffff:10.0.0.1]:5".parse().unwrap();
        assert_eq!(Address::from(mapped).to_string(), "10.0.0.1:5");
    }
}
