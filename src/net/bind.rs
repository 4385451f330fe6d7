//! From an endpoint to a bound socket, and back to nothing: Unix paths are cleaned up.

use super::{Endpoint, Transport};
use crate::failure::{During, Failure};
use crate::sys::{self, Address, Kind};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How a server's socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Connections that may wait to be accepted (listen(2)).
    pub backlog: u32,
    /// `SO_TIMESTAMPNS`, for an observer that divides waiting receives.
    pub stamps: bool,
    /// `SO_REUSEADDR`: do not wait until connections of an earlier server have left TIME_WAIT.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`: more sockets of this server may be bound to the same address ([`Front::again`](super::Front::again)). Not those of another one
    /// that is there already; who comes later and asks for it as well could join, if the same user runs it.
    pub reuse_port: bool,
    /// `TCP_NODELAY` for all connections to inherit: each answer is complete when it is sent.
    pub nodelay: bool,
}

impl Default for Bind {
    fn default() -> Self {
        Self { backlog: 1024, stamps: false, reuse_address: true, reuse_port: false, nodelay: true }
    }
}

/// A bound socket. Dropped by the process that bound it, it removes its Unix path.
#[derive(Debug)]
pub(super) struct Bound {
    socket: OwnedFd,
    pub(super) endpoint: Endpoint,
    pub(super) options: Bind,
    /// Who bound it. A forked child has only a copy.
    process: u32,
    /// Removed when this is dropped.
    _path: Option<OwnPath>,
}

/// The path that a Unix socket came into being at.
#[derive(Debug)]
struct OwnPath {
    path: PathBuf,
    /// A forked child that drops its copy leaves the path alone.
    process: u32,
    /// Device and inode: somebody else's socket at the same path is not ours.
    file: (u64, u64),
}

impl Bound {
    /// socket, the options, bind. Not listen: until then a Unix path looks dead, and whoever would reclaim it is
    /// kept out by the lock that is returned. With `joins`, the address is one that this server has already.
    pub(super) fn new(
        endpoint: Endpoint,
        options: &Bind,
        joins: bool,
    ) -> Result<(Self, Option<File>), Failure> {
        let transport = endpoint.transport();
        let hinted = |call: &'static str| {
            move |error: io::Error| {
                let hint = hint(&error, transport);
                Failure::new(call, endpoint, error).hint(hint)
            }
        };
        let address = endpoint.address();
        let socket = sys::socket(address, transport.kind()).map_err(hinted("socket"))?;
        // A UDP socket with SO_REUSEADDR would take the datagrams of the one that is there already.
        if options.reuse_address && transport == Transport::Tcp {
            sys::set_reuse_address(&socket).during("setsockopt SO_REUSEADDR", endpoint)?;
        }
        let share = || sys::set_reuse_port(&socket).during("setsockopt SO_REUSEPORT", endpoint);
        if joins {
            share()?;
        }
        if options.nodelay && transport == Transport::Tcp {
            sys::set_nodelay(&socket).during("setsockopt TCP_NODELAY", endpoint)?;
        }
        if options.stamps && transport.stamps() {
            sys::set_timestamps(&socket).during("setsockopt SO_TIMESTAMPNS", endpoint)?;
        }
        if address.ip().is_some_and(|ip| ip.is_ipv6() && ip.ip().is_unspecified()) {
            sys::set_dual_stack(&socket).during("setsockopt IPV6_V6ONLY", endpoint)?;
        }
        let locked = address.path().and_then(lock);
        match sys::bind(&socket, address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && locked.is_some() => {
                reclaim(&socket, &address, transport.kind(), error)
            }
            result => result,
        }
        .map_err(hinted("bind"))?;
        // Set after its bind, the first socket does not join those of another server, and lets ours join it.
        if options.reuse_port && !joins {
            share()?;
        }
        let name = sys::getsockname(&socket).during("getsockname", endpoint)?;
        let endpoint = Endpoint::of(transport, name).unwrap_or(endpoint);
        let path = name.path().and_then(OwnPath::new);
        let process = std::process::id();
        Ok((Self { socket, endpoint, options: *options, process, _path: path }, locked))
    }

    /// Whether this process has bound it.
    pub(super) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// listen(2).
    pub(super) fn listen(&self, backlog: u32) -> Result<(), Failure> {
        sys::listen(&self.socket, backlog).map_err(|error| {
            let hint = hint(&error, self.endpoint.transport());
            Failure::new("listen", self.endpoint, error).hint(hint)
        })
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl OwnPath {
    fn new(path: &Path) -> Option<Self> {
        // A relative one must be found again when the process has moved on.
        let path = std::path::absolute(path).ok()?;
        let file = fs::symlink_metadata(&path).ok()?;
        Some(Self { path, process: std::process::id(), file: (file.dev(), file.ino()) })
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).map(|file| (file.dev(), file.ino()));
        if self.process == std::process::id() && now.is_ok_and(|now| now == self.file) {
            // If that fails, the next server reclaims it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks the directory of a path against other servers of ours: of two that start at once on a dead path, one takes it and the
/// other finds it alive. `None` where the directory cannot be read; then nothing is reclaimed in it.
fn lock(path: &Path) -> Option<File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new("."))).ok()?;
    sys::flock(&directory).ok().map(|()| directory)
}

/// Takes over a path whose server is gone. A socket that answers is never touched, nor is anything that is no socket.
fn reclaim(socket: &OwnedFd, address: &Address, kind: Kind, in_use: io::Error) -> io::Result<()> {
    let Some(path) = address.path() else { return Err(in_use) };
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(in_use);
    }
    let probe = sys::socket(address, kind)?;
    // A full backlog must not make the probe wait: EAGAIN is an answer too.
    sys::set_nonblocking(&probe, true)?;
    match sys::connect(&probe, address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => return Err(in_use),
    }
    fs::remove_file(path)?;
    sys::bind(socket, address)
}

fn hint(error: &io::Error, transport: Transport) -> Option<&'static str> {
    if sys::accept_failure(error) == sys::AcceptFailure::NoResources {
        return Some("this process may have too few descriptors: ulimit -n");
    }
    let unix = matches!(transport, Transport::Unix | Transport::Unixgram);
    match error.kind() {
        io::ErrorKind::AddrInUse if unix => Some(
            "a server answers there, or it is no socket: choose another path, or remove it yourself",
        ),
        io::ErrorKind::AddrInUse => {
            Some("another server has it: choose another --listen ADDR, or port 0 for a free one")
        }
        io::ErrorKind::PermissionDenied if unix => {
            Some("the directory does not let you create files")
        }
        io::ErrorKind::NotFound => Some("the directory does not exist"),
        io::ErrorKind::PermissionDenied => {
            Some("ports below net.ipv4.ip_unprivileged_port_start (1024) need privileges")
        }
        io::ErrorKind::AddrNotAvailable => Some("no interface of this machine has that address"),
        _ => None,
    }
}
