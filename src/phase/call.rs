//! The system calls that a server makes, by family.

/// A family of system calls: what a program asks libc for. A trace may show
/// another name for it: glibc's `select` is the kernel's `pselect6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Call {
    /// accept4(2).
    Accept4,
    /// recv(2).
    Recvfrom,
    /// recvmsg(2): a receive with the kernel's stamp.
    Recvmsg,
    /// send(2).
    Sendto,
    /// select(2).
    Select,
    /// poll(2).
    Poll,
    /// epoll_wait(2).
    EpollWait,
    /// epoll_ctl(2).
    EpollCtl,
    /// fcntl(2).
    Fcntl,
    /// setsockopt(2).
    Setsockopt,
    /// ioctl(2).
    Ioctl,
    /// shutdown(2).
    Shutdown,
    /// close(2).
    Close,
    /// clone(2): a thread or a child.
    Clone,
    /// pidfd_open(2): a descriptor that tells of a child's end.
    PidfdOpen,
    /// waitid(2): a child's end.
    Waitid,
    /// sigtimedwait(2): a signal that tells of readiness.
    Sigtimedwait,
    /// io_uring_enter(2): hands operations over, waits for completions.
    IoUringEnter,
    /// getpeername(2).
    Getpeername,
}

impl Call {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::Accept4,
        Self::Recvfrom,
        Self::Recvmsg,
        Self::Sendto,
        Self::Select,
        Self::Poll,
        Self::EpollWait,
        Self::EpollCtl,
        Self::Fcntl,
        Self::Setsockopt,
        Self::Ioctl,
        Self::Shutdown,
        Self::Close,
        Self::Clone,
        Self::PidfdOpen,
        Self::Waitid,
        Self::Sigtimedwait,
        Self::IoUringEnter,
        Self::Getpeername,
    ];

    /// Those that wait for readiness and do nothing else.
    pub const READINESS: [Self; 4] =
        [Self::Select, Self::Poll, Self::EpollWait, Self::Sigtimedwait];

    /// The family's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.traced()[0]
    }

    /// The names under which a trace may show it, the family's own first.
    #[must_use]
    pub const fn traced(self) -> &'static [&'static str] {
        match self {
            Self::Accept4 => &["accept4"],
            Self::Recvfrom => &["recvfrom"],
            Self::Recvmsg => &["recvmsg"],
            Self::Sendto => &["sendto"],
            Self::Select => &["select", "pselect6"],
            Self::Poll => &["poll", "ppoll"],
            Self::EpollWait => &["epoll_wait", "epoll_pwait"],
            Self::EpollCtl => &["epoll_ctl"],
            Self::Fcntl => &["fcntl"],
            Self::Setsockopt => &["setsockopt"],
            Self::Ioctl => &["ioctl"],
            Self::Shutdown => &["shutdown"],
            Self::Close => &["close"],
            Self::Clone => &["clone", "clone3", "fork", "vfork"],
            Self::PidfdOpen => &["pidfd_open"],
            Self::Waitid => &["waitid"],
            Self::Sigtimedwait => &["rt_sigtimedwait", "rt_sigtimedwait_time64"],
            Self::IoUringEnter => &["io_uring_enter"],
            Self::Getpeername => &["getpeername"],
        }
    }

    /// The family that a name in a trace belongs to.
    #[must_use]
    pub fn of_trace(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.traced().contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::Call;

    #[test]
    fn every_traced_name_leads_back_to_its_family() {
        for (i, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, i);
            for name in call.traced() {
                assert_eq!(Call::of_trace(name), Some(call));
            }
        }
        assert_eq!(Call::of_trace("brk"), None);
    }
}
