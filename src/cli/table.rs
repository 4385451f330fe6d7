//! The one table of commands and flags: parser and help are made from it.

use super::flags::{Command, Flag, JSON, option, switch};
use super::verbs::VERBS;

const UDP: Flag = switch("udp", "datagrams instead of connections");
const UNIX: Flag = option("unix", "PATH", "a Unix socket instead of TCP; @NAME is an abstract one");
const UNIXGRAM: Flag = option("unixgram", "PATH", "the same for datagrams");

/// Every command.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "serve",
        usage: "MODEL [OPTIONS]",
        about: "serve the notes' protocol by one I/O model ('waitcopy models' lists them)",
        operands: 1,
        flags: &[&[
            option("listen", "ADDR", "where to listen; port 0 picks a free one [127.0.0.1:8080]"),
            UDP,
            UNIX,
            UNIXGRAM,
            option("service", "NAME", "what to answer: upper, echo, discard [upper]"),
            option("buffer", "N", "bytes of one receive at most [1024]"),
            option(
                "batch",
                "N",
                "blocking, epoll, datagrams: so many in one call, their answers in another [1]",
            ),
            option("backlog", "N", "connections that may wait to be accepted [1024]"),
            option(
                "max-connections",
                "N",
                "connections at most (reuseport: of each worker); more are refused and counted",
            ),
            option(
                "idle-timeout",
                "DURATION",
                "close a connection on which no byte moves for so long",
            ),
            option(
                "request-timeout",
                "DURATION",
                "a flow per connection: close it so long after its flow took it",
            ),
            option(
                "workers",
                "N",
                "thread-pool, prefork: flows [64]; reuseport: flows [one per core]",
            ),
            option("queue", "N", "thread-pool: clients that may wait for a worker [as workers]"),
            option(
                "when-full",
                "HOW",
                "thread-pool, queue full: wait (in the backlog) or refuse [wait]",
            ),
            option("queue-timeout", "DURATION", "thread-pool: turn away who waits for so long"),
            option("pause", "DURATION", "nonblocking only: sleep between two rounds"),
            option("ring", "N", "io-uring only: completions that its ring has room for [4096]"),
            option("drain", "DURATION", "at a stop, time for what is in flight [10s]"),
            switch("phases", "print a line per I/O: its wait, its copy"),
            option("report", "FILE", "record the phases, write the figures to FILE as JSON"),
            option("events", "N", "with --report: the first N calls too, each with its times"),
        ]],
        notes: "The first line on standard output is 'listening on tcp ADDR' (or udp ADDR, unix PATH, unixgram PATH),\n\
                once clients can connect. Not every model serves every transport: 'waitcopy models'.\n\
                SIGTERM or ^C: stop accepting, answer what was received, close, print the summary;\n\
                a second one ends at once.",
        verbs: &[],
    },
    Command {
        name: "client",
        usage: "[ADDR] [OPTIONS]",
        about: "the notes' client: send lines, print the replies",
        operands: 1,
        flags: &[&[
            UDP,
            UNIX,
            UNIXGRAM,
            option("timeout", "DURATION", "datagrams: give up on a reply after this time [2s]"),
        ]],
        notes: "ADDR may be a host name; [127.0.0.1:8080]. Blank lines are skipped; end of file ends it.\n\
                A lost datagram is said, and makes the exit status 1 at the end.",
        verbs: &[],
    },
    Command {
        name: "load",
        usage: "[ADDR] [OPTIONS]",
        about: "drive a server of the notes' protocol with many clients, and check every byte",
        operands: 1,
        flags: &[
            &[
                option("connections", "N", "how many at a time [1]").or('c'),
                option("size", "BYTES", "of each message [64]").or('s'),
                option("duration", "DURATION", "of the measurement [10s]").or('d'),
                option("count", "N", "so many requests instead").or('n'),
                option("threads", "N", "that share the connections [1]"),
                UDP,
                UNIX,
                UNIXGRAM,
            ],
            &[
                option("pipeline", "N", "N messages in flight per connection"),
                option("rate", "R", "open loop: R messages a second in all, at planned times"),
                switch("churn", "connect, one message, its answer, close; again"),
            ],
            &[
                option(
                    "warm-up",
                    "DURATION",
                    "before the measurement [a tenth of it, 1s at most; with --count none]",
                ),
                option(
                    "ramp",
                    "DURATION",
                    "open the connections evenly over this time [all at once]",
                ),
                option(
                    "timeout",
                    "DURATION",
                    "wait so long for a lost datagram, a connection, the last answers [1s]",
                ),
                option("idle", "N", "N connections beside those that say nothing"),
                option("slow", "N", "N connections beside those that send a byte at a time"),
                option("slow-interval", "DURATION", "between two such bytes [100ms]"),
            ],
            &[
                option(
                    "fail-if",
                    "LIMIT",
                    "exit 1 if it holds: 'p99>5ms', 'rate<10000', 'lost>1%'; may be repeated",
                ),
                JSON,
            ],
        ],
        notes: "One mode a run: a closed loop (one message in flight per connection) unless --pipeline, --rate or --churn is given.\n\
                With --rate latency counts from the planned time; 'uncorrected' counts from the true send, as a closed loop would.\n\
                Wrong bytes, dead, unserved and unanswered connections, and lost datagrams unless a LIMIT speaks of them, make the\n\
                exit status 1. LIMIT: p50 p90 p99 p99.9 max rate cpu requests errors wrong dead unanswered unserved lost late\n\
                unreachable unsent, then > >= < or <=, then a value with its unit. ^C ends the measurement and prints it.",
        verbs: &[],
    },
    Command {
        name: "compare",
        usage: "[MODEL...] [OPTIONS]",
        about: "run models as real servers under real clients: one table, one page",
        operands: usize::MAX,
        flags: &[&[
            option("connections", "N,N", "how many clients, each count in turn [1,10,100,1000]"),
            option(
                "idle",
                "N,N",
                "silent clients beside 10 busy ones, each count in turn, or none [1000,10000]",
            ),
            option("repeat", "N", "rounds; figures are their medians [1]"),
            option("duration", "DURATION", "of each measurement of the rate [1.5s]"),
            option("size", "BYTES", "of each message [64]"),
            switch(
                "quick",
                "the short form: --connections 1,10,100 --idle 1000 --duration 300ms, where not said otherwise",
            ),
            switch(
                "kernel",
                "a third pass, the kernel watching: asleep, runnable, copied per request (root, tracefs)",
            ),
            switch(
                "claims",
                "with --html: the notes' claims, put to the test, as a section of the page",
            ),
            option(
                "html",
                "FILE",
                "leave a page with charts and all figures; it needs no other file",
            ),
            option("from", "FILE", "measure nothing: show what --json has written to FILE"),
            JSON,
        ]],
        notes: "Rates, latencies and CPU are measured with the recorder off; calls, EAGAINs, context switches and phases in a\n\
                shorter second pass with it on. Servers and clients have a core each, where there are two.\n\
                With --kernel without root or tracefs: the reason, and exit status 69.",
        verbs: &[],
    },
    Command {
        name: "claims",
        usage: "[OPTIONS]",
        about: "the notes' claims, each put to the test on this machine",
        operands: 0,
        flags: &[&[
            option("duration", "DURATION", "of each measurement under load [300ms]"),
            option("rounds", "N", "paired rounds, where two models are compared [6]"),
            JSON,
            switch("markdown", "as docs/claims.md has it"),
        ]],
        notes: "Verdicts: holds, does not hold here, depends (on what is said), documented (nothing to measure).\n\
                The exit status does not depend on them. Takes about three quarters of a minute.",
        verbs: &[],
    },
    Command {
        name: "draw",
        usage: "MODEL|all [OPTIONS]",
        about: "run a model for real and draw what happened: the notes' figures",
        operands: 1,
        flags: &[&[
            option("delay", "DURATION", "how late the client sends, 1ms to 10s [50ms]"),
            option(
                "clients",
                "N",
                "a lane for each flow of the server, under N clients, 8 at most",
            ),
            option("svg", "FILE", "write the figure to FILE and not to the terminal"),
            option(
                "from",
                "FILE",
                "draw a recorded run: what --json printed, or the report of serve --events",
            ),
            switch(
                "kernel",
                "with the kernel's own word on each I/O: asleep, runnable, copying (root, tracefs)",
            ),
            switch("ascii", "no character that is not ASCII; so too in a locale that is not UTF-8"),
            JSON,
        ]],
        notes: "The application is at the left, the kernel at the right, time runs downwards; the figure is of the input that\n\
                waited longest. 'draw all' puts all models side by side. --svg and --json together are of one run.\n\
                With --kernel without root or tracefs: the reason, and exit status 69.",
        verbs: &[],
    },
    Command {
        name: "inspect",
        usage: "MODEL|all [OPTIONS]",
        about: "run a model under strace, and mark each call: wait, copy, send, ...",
        operands: 1,
        flags: &[
            &[
                option("clients", "N", "scripted clients [1]"),
                option("messages", "N", "messages of each client [3]"),
                UDP,
                UNIX,
                UNIXGRAM,
                option("raw", "FILE", "keep strace's own output there"),
                option(
                    "file",
                    "FILE",
                    "annotate an output of strace -f -o FILE instead of running anything",
                ),
                switch("all", "the loader's and the runtime's calls too"),
                JSON,
            ],
            &[
                switch(
                    "kernel",
                    "the kernel's own word on each I/O instead: asleep, runnable, copying (root, tracefs)",
                ),
                option("late", "DURATION", "with --kernel: how late each message is sent [5ms]"),
                option("size", "BYTES", "with --kernel: of each message [64]"),
            ],
        ],
        notes: "The last line says whether the trace is what the catalogue says, or which call deviates first (exit status 1).\n\
                Without strace or ptrace, or with --kernel without root or tracefs: the reason, and exit status 69.\n\
                strace shows which calls are made and in what order, not how long they take: it stops the process twice per call.\n\
                Times: serve --phases, or --kernel, which runs without strace. What runs inside the kernel without a call of its own\n\
                (an io_uring, a softirq) is not in any trace of calls.",
        verbs: &[],
    },
    Command {
        name: "remote",
        usage: "VERB [OPTIONS] HOST ...",
        about: "SSH: run commands, copy files, with both phases in sight",
        operands: 0,
        flags: &[],
        notes: "HOST is [user@]host[:port], or an alias of OpenSSH's configuration. Each verb explains itself with --help.\n\
                Exit status: 0 done, 1 a file or check failed, 2 wrong usage, 255 the connection; exec: the command's own.",
        verbs: &VERBS,
    },
    Command {
        name: "models",
        usage: "[OPTIONS]",
        about: "the catalogue: what blocks, who copies, which calls",
        operands: 0,
        flags: &[&[JSON, switch("names", "only the names, one a line")]],
        notes: "",
        verbs: &[],
    },
    Command {
        name: "doctor",
        usage: "[OPTIONS]",
        about: "what this machine can do, and what to do about what it cannot",
        operands: 0,
        flags: &[&[JSON]],
        notes: "",
        verbs: &[],
    },
];
