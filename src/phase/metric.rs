//! What is measured, and by which way of waiting.

/// How a model waits, and so how its waits are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// In the receive itself: the kernel's stamp divides the call.
    InCall,
    /// In a readiness call, before the receive.
    Readiness,
    /// By asking again and again: from a connection's first `EAGAIN` on.
    Polling,
    /// In one call that waits for completions: when it returns, the copy is over too.
    Completion,
}

/// What is measured, each in a histogram of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Metric {
    /// Waiting for a client.
    Accept,
    /// Waiting for data.
    Wait,
    /// The part of a wait's end in which the flow could run and had no CPU yet.
    Wake,
    /// Data known to be there, neighbours served first.
    Queued,
    /// The data on its way into the buffer.
    Copy,
    /// Waiting for room to send.
    Room,
    /// The answer on its way into the kernel.
    Send,
    /// A thread or child on its way to its first instruction for a client.
    Start,
    /// An accepted client, or a datagram, in the queue of the pool.
    Line,
}

impl Metric {
    /// All of them with their names in reports, in the order of their numbers.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Accept, "accept"),
        (Self::Wait, "wait"),
        (Self::Wake, "wake"),
        (Self::Queued, "queued"),
        (Self::Copy, "copy"),
        (Self::Room, "room"),
        (Self::Send, "send"),
        (Self::Start, "start"),
        (Self::Line, "pool_queue"),
    ];
}
