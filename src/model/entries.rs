//! Every model: what it is, what it calls, what it cannot do.

use super::catalogue::{Model, On, Per, Phase, Run, Step, Who};
use super::{
    blocking, epoll, epoll_et, futures, io_uring, nonblocking, pairs, poll, select, sigio,
};
use crate::net::Transport;
use crate::phase::{Call, Waits};

const fn step(call: Call, on: On, phase: Phase, per: Per) -> Step {
    Step { call, on, phase, per }
}

const ACCEPT_WAITING: Step = step(Call::Accept4, On::Front, Phase::WaitCopy, Per::Connection);
const ACCEPT: Step = step(Call::Accept4, On::Front, Phase::Open, Per::Connection);
const ACCEPT_IN_VAIN: Step = step(Call::Accept4, On::Front, Phase::Wait, Per::Poll);
const NONBLOCK: Step = step(Call::Fcntl, On::Client, Phase::Open, Per::Connection);
const REGISTER: Step = step(Call::EpollCtl, On::Client, Phase::Open, Per::Connection);
const RECEIVE_WAITING: Step = step(Call::Recvfrom, On::Client, Phase::WaitCopy, Per::Request);
const RECEIVE: Step = step(Call::Recvfrom, On::Client, Phase::Copy, Per::Request);
const RECEIVE_IN_VAIN: Step = step(Call::Recvfrom, On::Client, Phase::Wait, Per::Poll);
const SEND: Step = step(Call::Sendto, On::Client, Phase::Answer, Per::Request);
const STALL: Step = step(Call::EpollCtl, On::Client, Phase::Stall, Per::Stall);
const POLL_ALL: Step = step(Call::Poll, On::Set, Phase::Wait, Per::Overflow);
const CLOSE: Step = step(Call::Close, On::Client, Phase::Close, Per::Connection);

const fn waits_by(call: Call) -> Step {
    step(call, On::Set, Phase::Wait, Per::Turn)
}

const NAME: Step = step(Call::Getpeername, On::Client, Phase::Open, Per::Connection);
const COMPLETE: Step = step(Call::IoUringEnter, On::Set, Phase::WaitCopy, Per::Turn);

const ACCEPTOR_WAITS: Step = step(Call::EpollWait, On::Set, Phase::Wait, Per::Connection);
const START: Step = step(Call::Clone, On::Front, Phase::Open, Per::Connection);

/// What epoll is used for, however the code around it is shaped and whoever runs it.
const BY_EPOLL: [Step; 8] =
    [ACCEPT, NONBLOCK, REGISTER, waits_by(Call::EpollWait), RECEIVE, SEND, STALL, CLOSE];
const IN_EPOLL_WORDS: &str = "accept4 fcntl fcntl epoll_ctl:ADD accept4:EAGAIN \
                              (epoll_wait (recvfrom sendto)+ recvfrom:EAGAIN?)* epoll_wait recvfrom:0 close";

const FRONT_IS_LEVEL: &str =
    "datagrams come to the front, which is level-triggered here: it would be epoll";
const ONE_QUEUE: &str = "N children would take from one queue, as thread-pool does; reuseport gives each a queue of its own";
const NO_REUSEPORT: &str = "SO_REUSEPORT spreads IP addresses; a Unix path belongs to one socket";

/// Every model, in the order of the notes and of Stevens.
pub static CATALOGUE: [Model; 14] = [
    Model {
        name: "blocking",
        meaning: "one call waits and copies; one client at a time",
        blocks: "the process, in accept4 and in recvfrom, through both phases",
        copies: "the kernel, inside the same recvfrom",
        limits: "one client at a time: the next waits in the backlog until this one leaves",
        choose: "one peer, or one per thread or process: the simplest code and the fewest calls",
        waits: Waits::InCall,
        who: Who::One,
        refuses: &[],
        steps: &[ACCEPT_WAITING, RECEIVE_WAITING, SEND, CLOSE],
        grammar: "accept4 (recvfrom sendto)* recvfrom:0 close",
        exempt: &[("neighbour", "one client at a time: a silent or stopped one holds up the next")],
        run: Run { counting: blocking::serve, recording: blocking::serve },
    },
    Model {
        name: "nonblocking",
        meaning: "every call returns at once; the process asks again and again",
        blocks: "nothing: a call that would wait says EAGAIN",
        copies: "the kernel, inside the one recvfrom of many that finds data",
        limits: "a core is always busy; a round costs a call per client, ready or not",
        choose: "never alone; to see what readiness calls save, or where a core may spin for latency",
        waits: Waits::Polling,
        who: Who::One,
        refuses: &[],
        steps: &[ACCEPT, ACCEPT_IN_VAIN, NONBLOCK, RECEIVE_IN_VAIN, RECEIVE, SEND, CLOSE],
        grammar: "accept4 fcntl fcntl (accept4:EAGAIN | recvfrom:EAGAIN | recvfrom sendto)* \
                  recvfrom:0 close",
        exempt: &[("cpu", "it polls: one core is always busy, whether anything happens or not")],
        run: Run { counting: nonblocking::serve, recording: nonblocking::serve },
    },
    Model {
        name: "select",
        meaning: "one call waits for all clients, by sets of at most 1024 descriptors",
        blocks: "the process, in select, for all clients at once; never in a receive",
        copies: "the kernel, inside the recvfrom that follows",
        limits: "descriptors below 1024; each turn builds, copies and scans the sets anew",
        choose: "few descriptors and code that must run anywhere",
        waits: Waits::Readiness,
        who: Who::One,
        refuses: &[],
        steps: &[ACCEPT, NONBLOCK, waits_by(Call::Select), RECEIVE, SEND, CLOSE],
        grammar: "accept4 fcntl fcntl accept4:EAGAIN (select recvfrom sendto)* \
                  select recvfrom:0 close",
        exempt: &[],
        run: Run { counting: select::serve, recording: select::serve },
    },
    Model {
        name: "poll",
        meaning: "one call waits for all clients, by a list of any length",
        blocks: "the process, in poll, for all clients at once; never in a receive",
        copies: "the kernel, inside the recvfrom that follows",
        limits: "each turn builds, copies and scans the whole list anew",
        choose: "up to some hundred descriptors, most of them busy, or a few of changing kind",
        waits: Waits::Readiness,
        who: Who::One,
        refuses: &[],
        steps: &[ACCEPT, NONBLOCK, waits_by(Call::Poll), RECEIVE, SEND, CLOSE],
        grammar: "accept4 fcntl fcntl accept4:EAGAIN (poll recvfrom sendto)* poll recvfrom:0 close",
        exempt: &[],
        run: Run { counting: poll::serve, recording: poll::serve },
    },
    Model {
        name: "epoll",
        meaning: "one call waits for all clients, the set lives in the kernel; level-triggered",
        blocks: "the process, in epoll_wait, for all clients at once; never in a receive",
        copies: "the kernel, inside the recvfrom that follows",
        limits: "Linux only; one epoll_ctl per connection, two per stall",
        choose: "many connections, few of them busy at a time: the default on Linux",
        waits: Waits::Readiness,
        who: Who::One,
        refuses: &[],
        steps: &BY_EPOLL,
        grammar: IN_EPOLL_WORDS,
        exempt: &[],
        run: Run { counting: epoll::serve, recording: epoll::serve },
    },
    Model {
        name: "epoll-et",
        meaning: "the same, edge-triggered: each change is told once, the model drains",
        blocks: "the process, in epoll_wait, for all clients at once; never in a receive",
        copies: "the kernel, inside the recvfroms that drain the socket",
        limits: "Linux only; forgetting to drain loses a client, draining without a cap starves others",
        choose: "as epoll, where stalls are frequent (no epoll_ctl for them) or messages are long",
        waits: Waits::Readiness,
        who: Who::One,
        refuses: &[(Transport::Udp, FRONT_IS_LEVEL), (Transport::Unixgram, FRONT_IS_LEVEL)],
        steps: &[ACCEPT, NONBLOCK, REGISTER, waits_by(Call::EpollWait), RECEIVE, SEND, CLOSE],
        grammar: "accept4 fcntl fcntl epoll_ctl:ADD-ET accept4:EAGAIN \
                  (epoll_wait (recvfrom sendto)* recvfrom:EAGAIN | epoll_wait (recvfrom sendto)+)* \
                  epoll_wait recvfrom:0 close",
        exempt: &[],
        run: Run { counting: epoll_et::serve, recording: epoll_et::serve },
    },
    Model {
        name: "sigio",
        meaning: "the kernel sends a signal for each event; one call takes it, others drain",
        blocks: "the process, in sigtimedwait, for all clients at once; never in a receive",
        copies: "the kernel, inside the recvfroms that drain the socket",
        limits: "Linux only; one signal a call; a full queue of signals costs a poll of everybody",
        choose: "datagrams, or a few descriptors beside other work; else epoll",
        waits: Waits::Readiness,
        who: Who::One,
        refuses: &[],
        steps: &[ACCEPT, NONBLOCK, waits_by(Call::Sigtimedwait), RECEIVE, SEND, POLL_ALL, CLOSE],
        grammar: "accept4 fcntl fcntl fcntl fcntl fcntl fcntl accept4:EAGAIN \
                  (recvfrom:EAGAIN | (recvfrom sendto)+ recvfrom:EAGAIN?) \
                  ((rt_sigtimedwait | rt_sigtimedwait:EAGAIN) (recvfrom sendto)* recvfrom:EAGAIN?)* \
                  rt_sigtimedwait recvfrom:0 close",
        exempt: &[],
        run: Run { counting: sigio::serve, recording: sigio::serve },
    },
    Model {
        name: "io-uring",
        meaning: "one call waits, and what it reports is copied already: completions, not readiness",
        blocks: "the process, in io_uring_enter, for all clients at once",
        copies: "the kernel, inside the same io_uring_enter, into a buffer that it chooses",
        limits: "Linux 6.0; many sandboxes forbid it; no trace of calls shows what it does",
        choose: "many busy connections, where calls themselves cost",
        waits: Waits::Completion,
        who: Who::One,
        refuses: &[],
        steps: &[NAME, COMPLETE, CLOSE],
        grammar: "getpeername io_uring_enter* close",
        exempt: &[],
        run: Run { counting: io_uring::serve, recording: io_uring::serve },
    },
    Model {
        name: "async",
        meaning: "epoll under futures: an async fn for each connection, on an executor of our own",
        blocks: "the process, in epoll_wait, for all clients at once; a future that waits is put aside",
        copies: "the kernel, inside the recvfrom that follows",
        limits: "as epoll; and a future and a waker in memory for each connection",
        choose: "as epoll, where a conversation has many steps: they stand in the order they happen",
        waits: Waits::Readiness,
        who: Who::One,
        refuses: &[],
        steps: &BY_EPOLL,
        grammar: IN_EPOLL_WORDS,
        exempt: &[],
        run: Run { counting: futures::serve, recording: futures::serve },
    },
    Model {
        name: "threads",
        meaning: "blocking, with a thread for each connection or datagram",
        blocks: "each thread in its recvfrom, through both phases; the process never",
        copies: "the kernel, inside the same recvfrom",
        limits: "a thread per client: its start, its stack, a switch per request",
        choose: "up to some thousand clients, handlers that block or compute",
        waits: Waits::InCall,
        who: Who::Threads,
        refuses: &[],
        steps: &[ACCEPTOR_WAITS, ACCEPT, START, RECEIVE_WAITING, SEND, CLOSE],
        grammar: "accept4 clone (recvfrom sendto)* recvfrom:0 close",
        exempt: &[],
        run: Run { counting: pairs::threads, recording: pairs::threads },
    },
    Model {
        name: "thread-pool",
        meaning: "blocking, by N threads made once, behind a bounded queue",
        blocks: "each worker in its recvfrom, through both phases; clients in the queue",
        copies: "the kernel, inside the same recvfrom",
        limits: "N clients at a time: a worker is taken for the whole connection",
        choose: "a bounded number of clients or short connections, and no start per client",
        waits: Waits::InCall,
        who: Who::Pool,
        refuses: &[],
        steps: &[ACCEPTOR_WAITS, ACCEPT, RECEIVE_WAITING, SEND, CLOSE],
        grammar: "accept4 (recvfrom sendto)* recvfrom:0 close",
        exempt: &[],
        run: Run { counting: pairs::thread_pool, recording: pairs::thread_pool },
    },
    Model {
        name: "fork",
        meaning: "blocking, with a child process for each connection or datagram",
        blocks: "each child in its recvfrom, through both phases; the parent never",
        copies: "the kernel, inside the same recvfrom",
        limits: "a process per client: its start, its page tables, a switch per request",
        choose: "few, long connections whose faults must not touch each other",
        waits: Waits::InCall,
        who: Who::Fork,
        refuses: &[],
        steps: &[ACCEPTOR_WAITS, ACCEPT, START, RECEIVE_WAITING, SEND, CLOSE],
        grammar: "accept4 clone (recvfrom sendto)* recvfrom:0 close",
        exempt: &[],
        run: Run { counting: pairs::fork, recording: pairs::fork },
    },
    Model {
        name: "prefork",
        meaning: "blocking, by N child processes made once, on one listener",
        blocks: "each child in its recvfrom, through both phases; clients in the backlog",
        copies: "the kernel, inside the same recvfrom",
        limits: "N clients at a time: a child is taken for the whole connection",
        choose: "as thread-pool, where a fault of one client must not touch the others",
        waits: Waits::InCall,
        who: Who::Prefork,
        refuses: &[(Transport::Udp, ONE_QUEUE), (Transport::Unixgram, ONE_QUEUE)],
        steps: &[ACCEPTOR_WAITS, ACCEPT, RECEIVE_WAITING, SEND, CLOSE],
        grammar: "accept4 (recvfrom sendto)* recvfrom:0 close",
        exempt: &[],
        run: Run { counting: pairs::prefork, recording: pairs::prefork },
    },
    Model {
        name: "reuseport",
        meaning: "epoll in N child processes, each with a listener of its own on the one address",
        blocks: "each child in epoll_wait, for all of its clients at once",
        copies: "the kernel, inside the recvfrom that follows",
        limits: "the kernel spreads clients by a hash, not by load: a busy child's clients wait",
        choose: "more than one core's worth of clients",
        waits: Waits::Readiness,
        who: Who::Reuseport,
        refuses: &[(Transport::Unix, NO_REUSEPORT), (Transport::Unixgram, NO_REUSEPORT)],
        steps: &BY_EPOLL,
        grammar: IN_EPOLL_WORDS,
        exempt: &[],
        run: Run { counting: pairs::reuseport, recording: pairs::reuseport },
    },
];

/// The model of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Model> {
    CATALOGUE.iter().find(|model| model.name == name)
}

/// The name that was perhaps meant: at most two letters away.
#[must_use]
pub fn suggest(name: &str) -> Option<&'static str> {
    let near = CATALOGUE.iter().map(|model| (distance(name, model.name), model.name)).min()?;
    (near.0 <= 2).then_some(near.1)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{CATALOGUE, find, suggest};
    use crate::net::Transport;

    #[test]
    fn names_are_found_and_near_misses_suggested() {
        for model in &CATALOGUE {
            assert!(find(model.name).is_some_and(|found| std::ptr::eq(found, model)));
            assert_eq!(suggest(model.name), Some(model.name));
        }
        assert_eq!(suggest("epol"), Some("epoll"));
        assert_eq!(suggest("slect"), Some("select"));
        assert_eq!(suggest("kqueue"), None);
    }

    #[test]
    fn calls_per_request_are_those_of_the_files() {
        let calls = |name| find(name).unwrap().calls_per_request();
        assert_eq!(["blocking", "select", "poll", "epoll", "epoll-et"].map(calls), [2, 3, 3, 3, 3]);
    }

    #[test]
    fn every_transport_is_served_or_refused_with_a_sentence() {
        for model in &CATALOGUE {
            assert!(model.serves(Transport::Tcp).is_ok());
            for (_, why) in model.refuses {
                assert!(why.len() > 20 && !why.ends_with('.'), "{}: {why}", model.name);
            }
            // A datagram needs a receive and a send and nothing of a connection.
            let calls = model.steps_on(Transport::Udp).map(|step| step.call.name());
            let calls: Vec<_> = calls.collect();
            // A ring's are no calls.
            let ring = calls == ["io_uring_enter"];
            let both = calls.contains(&"recvfrom") && calls.contains(&"sendto");
            assert!(ring || both, "{calls:?}");
            assert!(!calls.contains(&"close") && !calls.contains(&"accept4"), "{calls:?}");
        }
    }

    #[test]
    fn a_grammar_names_only_calls_of_its_steps() {
        for model in &CATALOGUE {
            assert!(!super::super::grammar::matches(model.grammar, &["nothing"]));
            let signs = ['(', ')', '|', '*', '+', '?', ' '];
            for word in model.grammar.split(signs).filter(|word| !word.is_empty()) {
                let family = word.split(':').next().unwrap();
                let known = model.steps.iter().any(|step| step.call.name() == family);
                assert!(known, "{}: {word}", model.name);
            }
        }
    }
}
