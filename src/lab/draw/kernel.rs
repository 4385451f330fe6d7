//! The kernel's own word beside the recorder's: which of the calls that tracepoints saw is which event of a run.

use crate::json::Value;
use crate::lab::kernel::KernelIo;
use crate::phase::{Event, How, Nanos, What};

/// What the kernel's tracepoints said of one receive, and of the readiness call that ended its wait, where somebody listened to
/// them. Nanoseconds, told in whole microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Not runnable.
    pub asleep: u64,
    /// Runnable without a CPU.
    pub runnable: u64,
    /// Between the tracepoints around the copy.
    pub copied: u64,
}

/// The kernel's text is rounded to microseconds, each end of a call for itself.
const ROUNDED: u64 = 1_000;

impl Kernel {
    /// A time of the kernel's text, which knows nothing below a microsecond.
    pub(super) fn told(ns: u64) -> String {
        if ns < ROUNDED { "<1 us".to_owned() } else { Nanos(ns).to_string() }
    }

    pub(super) fn of_json(value: &Value) -> Option<Self> {
        let count = |name| value.count(name);
        let (asleep, runnable) = (count("asleep_ns")?, count("runnable_ns")?);
        Some(Self { asleep, runnable, copied: count("copied_ns")? })
    }

    pub(super) fn to_json(self) -> Value {
        Value::object([
            ("asleep_ns", self.asleep.into()),
            ("runnable_ns", self.runnable.into()),
            ("copied_ns", self.copied.into()),
        ])
    }
}

/// For each event of a run what the kernel said of it: of receives that brought data, and nothing of others. A call that began
/// before the recording is unknown.
pub(super) fn join(events: &[Event], ios: &[KernelIo]) -> Vec<Option<Kernel>> {
    let of_receive = |(n, event): (usize, &Event)| {
        let phases = event.phases.filter(|_| event.what == What::Receive)?;
        let ready = ended(event, &events[..n]);
        if phases.how == How::Completed {
            // The recorder's wait and copy are two parts of one call.
            return brought(ready?, event, ios);
        }
        let receive = seen(event, ios)?;
        let Some(ready) = ready.filter(|_| phases.how == How::Ready) else {
            let KernelIo { asleep, runnable, copied, .. } = *receive;
            return Some(Kernel { asleep, runnable, copied });
        };
        let wait = seen(ready, ios)?;
        Some(Kernel {
            asleep: wait.asleep + receive.asleep,
            runnable: wait.runnable + receive.runnable,
            copied: receive.copied,
        })
    };
    events.iter().enumerate().map(of_receive).collect()
}

/// The readiness call that ended the wait of an event, among those before it.
pub(super) fn ended<'e>(event: &Event, before: &'e [Event]) -> Option<&'e Event> {
    let flow = (event.process, event.flow);
    let waits = |e: &&Event| (e.process, e.flow) == flow && e.what == What::Wait && e.amount > 0;
    before.iter().rev().find(waits)
}

/// What a ring's call did that waited from one event's beginning to the other's end; the copies of all that it brought are its own.
fn brought(wait: &Event, receive: &Event, ios: &[KernelIo]) -> Option<Kernel> {
    let whole = Event { end: receive.end.max(wait.end), ..*wait };
    let KernelIo { asleep, runnable, copied, .. } = *ios.iter().find(|io| within(&whole, io))?;
    Some(Kernel { asleep, runnable, copied })
}

/// The same call, as the kernel saw it: of that flow, and inside that time. The recorder looks at the clock before and after.
fn seen<'i>(event: &Event, ios: &'i [KernelIo]) -> Option<&'i KernelIo> {
    ios.iter().find(|io| within(event, io) && io.result > 0)
}

fn within(event: &Event, io: &KernelIo) -> bool {
    (io.flow, Some(io.call)) == (event.flow, event.call)
        && event.start <= io.enter + ROUNDED
        && io.exit <= event.end + ROUNDED
}

#[cfg(test)]
mod tests {
    use super::{Kernel, join};
    use crate::lab::kernel::read;
    use crate::phase::{Asked, Call, Event, How, Phases, What};

    fn event(what: What, call: Call, (start, end): (u64, u64), how: Option<How>) -> Event {
        let phases = how.map(|how| Phases {
            how,
            wait: 0,
            queued: 0,
            copy: 0,
            wake: None,
            age: 0,
            nth: (1, 1),
            again: Asked::default(),
        });
        let (process, flow) = (7, 7);
        Event {
            what,
            call: Some(call),
            process,
            flow,
            client: None,
            id: None,
            start,
            end,
            amount: 1,
            phases,
        }
    }

    /// Two turns of a process 7: asleep for 50 us and for 20 us, copies of 3 us and 1 us.
    const TEXT: &str = "\
 x-7 [000] ..... 1.000010: sys_epoll_wait(epfd: 4, events: 0x1)
 x-7 [000] d..2. 1.000012: sched_switch: prev_comm=x prev_pid=7 prev_prio=120 prev_state=S ==> next_comm=y next_pid=9 next_prio=120
 y-9 [000] d..2. 1.000062: sched_wakeup: comm=x pid=7 prio=120 target_cpu=000
 y-9 [000] d..2. 1.000066: sched_switch: prev_comm=y prev_pid=9 prev_prio=120 prev_state=S ==> next_comm=x next_pid=7 next_prio=120
 x-7 [000] ..... 1.000070: sys_epoll_wait -> 0x1
 x-7 [000] ..... 1.000075: sys_recvfrom(fd: 5, ubuf: 0x1)
 x-7 [000] ..... 1.000077: skb_copy_datagram_iovec: skbaddr=0000000000000001 len=5
 x-7 [000] ..... 1.000080: tcp_rcv_space_adjust: family=AF_INET
 x-7 [000] ..... 1.000082: sys_recvfrom -> 0x5
 x-7 [000] ..... 1.000090: sys_epoll_wait(epfd: 4, events: 0x1)
 x-7 [000] d..2. 1.000091: sched_switch: prev_comm=x prev_pid=7 prev_prio=120 prev_state=S ==> next_comm=y next_pid=9 next_prio=120
 y-9 [000] d..2. 1.000111: sched_wakeup: comm=x pid=7 prio=120 target_cpu=000
 y-9 [000] d..2. 1.000112: sched_switch: prev_comm=y prev_pid=9 prev_prio=120 prev_state=S ==> next_comm=x next_pid=7 next_prio=120
 x-7 [000] ..... 1.000113: sys_epoll_wait -> 0x1
 x-7 [000] ..... 1.000115: sys_recvfrom(fd: 5, ubuf: 0x1)
 x-7 [000] ..... 1.000117: skb_copy_datagram_iovec: skbaddr=0000000000000001 len=5
 x-7 [000] ..... 1.000118: tcp_rcv_space_adjust: family=AF_INET
 x-7 [000] ..... 1.000119: sys_recvfrom -> 0x5
";

    #[test]
    fn each_receive_finds_its_own_calls() {
        let at = |us: u64| 1_000_000_000 + us * 1_000;
        let ios = read(TEXT).unwrap();
        let (wait, receive) = (Call::EpollWait, Call::Recvfrom);
        // The recorder's clock is finer: one call began after what the kernel tells as its beginning, one ended before its end.
        let events = [
            event(What::Wait, wait, (at(10) + 400, at(70) - 400), None),
            event(What::Receive, receive, (at(74) + 900, at(83)), Some(How::Ready)),
            event(What::Wait, wait, (at(90) + 100, at(114)), None),
            event(What::Receive, receive, (at(115) + 200, at(120)), Some(How::Ready)),
            // Found its data there: what its wait was is said of the one before.
            event(What::Receive, receive, (at(115) + 200, at(120)), Some(How::SameTurn)),
            // Nobody has seen this one.
            event(What::Receive, receive, (at(200), at(210)), Some(How::Ready)),
        ];
        let said = |asleep, runnable, copied| Some(Kernel { asleep, runnable, copied });
        assert_eq!(
            join(&events, &ios),
            [
                None,
                said(50_000, 4_000, 3_000),
                None,
                said(20_000, 1_000, 1_000),
                said(0, 0, 1_000),
                None
            ]
        );
        // Another flow's calls are none of its own.
        let stranger = events.map(|event| Event { flow: 8, ..event });
        assert_eq!(join(&stranger, &ios), [None; 6]);
    }
}
