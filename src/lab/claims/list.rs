//! What the notes claim, in their words, and what each claim is tested by.

use super::evidence::Evidence;
use super::{Judgement, verdict};

/// One claim of the notes.
#[derive(Debug)]
pub struct Claim {
    /// A short name: `default`, `two-calls`.
    pub name: &'static str,
    /// The notes' words.
    pub words: &'static str,
    /// The same in English.
    pub translation: &'static str,
    /// What is measured, and how.
    pub test: &'static str,
    /// Where it is documented, where that says more than a measurement.
    pub source: Option<&'static str>,
    /// The verdict from the figures.
    pub judge: fn(&Evidence) -> Judgement,
}

/// Every claim, in the notes' order.
pub static CLAIMS: [Claim; 17] = [
    Claim {
        name: "default",
        words: "在linux中,默认情况下所有的socket都是blocking",
        translation: "On Linux all sockets are blocking by default",
        test: "fcntl(F_GETFL) of a fresh socket of each kind, and of one accepted from a non-blocking listener",
        source: None,
        judge: |e| verdict::default(&e.fresh),
    },
    Claim {
        name: "both-phases",
        words: "blocking IO的特点就是在IO执行的两个阶段(等待数据和拷贝数据两个阶段)都被block了",
        translation: "Blocking I/O is blocked in both phases of the I/O, waiting for the data and copying it",
        test: "blocking, and a client who sends late: the kernel's receive stamp divides the one call that the server is in",
        source: None,
        judge: |e| verdict::both_phases(&e.late_blocking),
    },
    Claim {
        name: "switch",
        words: "Linux下,可以通过设置socket使其变为non-blocking",
        translation: "On Linux a socket can be set to be non-blocking",
        test: "a receive on a socket without data, after fcntl(F_SETFL, O_NONBLOCK)",
        source: None,
        judge: |e| verdict::switch(&e.switch),
    },
    Claim {
        name: "asks",
        words: "在非阻塞式IO中,用户进程其实是需要不断的主动询问kernel数据准备好了没有",
        translation: "With non-blocking I/O the process has to keep asking the kernel whether the data is ready",
        test: "nonblocking, and a client who sends late: receives that said EAGAIN for each that brought data",
        source: None,
        judge: |e| verdict::asks(&e.late_nonblocking),
    },
    Claim {
        name: "burns-cpu",
        words: "对cpu的占用率过多,但是是无用的占用",
        translation: "It takes too much CPU, and uses it for nothing",
        test: "CPU time of the server over wall time with one client who sends late: nonblocking beside epoll",
        source: None,
        judge: |e| verdict::burns_cpu(&e.late_nonblocking, &e.late_epoll),
    },
    Claim {
        name: "late-answers",
        words: "在链接数过多的情况下不能及时响应客户端的消息",
        translation: "With too many connections it cannot answer its clients in time",
        test: "median time to the answer of 10 active clients among more and more silent ones: nonblocking beside epoll",
        source: None,
        judge: |e| verdict::late_answers(&e.crowd),
    },
    Claim {
        name: "many-at-once",
        words: "select/epoll的好处就在于单个process就可以同时处理多个网络连接的IO",
        translation: "The good of select/epoll is that one process can handle the I/O of many connections at the same time",
        test: "100 clients at once: how many of them are answered by blocking, select and epoll",
        source: None,
        judge: |e| verdict::many_at_once(&e.served),
    },
    Claim {
        name: "polls-all",
        words: "select/epoll这个function会不断的轮询所负责的所有socket",
        translation: "select/epoll keeps polling all the sockets that it is in charge of",
        test: "server CPU per request of 10 active clients among more and more silent ones: select, poll and epoll",
        source: None,
        judge: |e| verdict::polls_all(&e.crowd),
    },
    Claim {
        name: "then-read",
        words: "select就会返回。这个时候用户进程再调用read操作,将数据从kernel拷贝到用户进程",
        translation: "select returns; then the user process calls read, which copies the data from the kernel to the process",
        test: "one client, calls counted by the server: select, epoll, and what the notes do not have: signals, futures, completions",
        source: None,
        judge: |e| verdict::then_read(&e.calls_beyond),
    },
    Claim {
        name: "two-calls",
        words: "这里需要使用两个系统调用(select和recvfrom),而blocking IO只调用了一个系统调用(recvfrom)",
        translation: "This needs two system calls (select and recvfrom) where blocking I/O makes one (recvfrom)",
        test: "system calls that bring one request in, counted by the server under one client",
        source: None,
        judge: |e| verdict::two_calls(&e.calls_blocking, &e.calls_select),
    },
    Claim {
        name: "single",
        words: "这个图和blocking IO的图其实并没有太大的不同,事实上还更差一些 … select的优势在于可以处理多个连接,不适用于单个连接",
        translation: "The figure does not differ much from that of blocking I/O, in fact it is a little worse … select is of no use for a single connection",
        test: "one client, paired rounds in alternating order: select beside blocking",
        source: None,
        judge: |e| verdict::single(&e.single),
    },
    Claim {
        name: "few",
        words: "如果处理的连接数不是很高的话,使用select/epoll的web server不一定比使用multi-threading + blocking IO的web server性能更好,可能延迟还更大",
        translation: "With not so many connections a select/epoll server is not necessarily better than one with threads and blocking I/O, and its latency may be larger",
        test: "few clients, paired rounds in alternating order: threads beside epoll",
        source: None,
        judge: |e| verdict::few(&e.few),
    },
    Claim {
        name: "nonblocking-sockets",
        words: "在多路复用模型中,对于每一个socket,一般都设置成为non-blocking",
        translation: "With multiplexing each socket is usually set to non-blocking",
        test: "why: a send of more than there is room for, on a socket that poll(2) says is writable, blocking and not",
        source: Some(
            "select(2), BUGS: readiness can be reported for a socket whose read then blocks; \"it may be safer to use O_NONBLOCK on sockets that should not block\"",
        ),
        judge: |e| verdict::nonblocking_sockets(&e.full_send),
    },
    Claim {
        name: "blocked-by-select",
        words: "整个用户的process其实是一直被block的。只不过process是被select这个函数block,而不是被socket IO给block",
        translation: "The process is in fact blocked all the time; only that it is blocked by select and not by the socket I/O",
        test: "where the server's flow spends its time: select, with one client who sends late and with 100 busy ones",
        source: None,
        judge: |e| verdict::blocked_by_select(&e.late_select, &e.busy_select),
    },
    Claim {
        name: "fork-on-linux",
        words: "socketserver.ForkingTCPServer 这个模块的多进程只能在linux上用",
        translation: "socketserver.ForkingTCPServer: the processes of this module can be used on Linux only",
        test: "nothing to measure on one machine",
        source: Some(
            "docs.python.org/3/library/socketserver.html: \"ForkingMixIn and the Forking classes mentioned below are only available on POSIX platforms that support fork()\"",
        ),
        judge: |_| {
            verdict::documented(
                "wider than the notes say: on every POSIX system that has fork(2), macOS and the BSDs among them; not on Windows",
            )
        },
    },
    Claim {
        name: "paramiko",
        words: "fabric和ansible内部的远程管理就是使用的paramiko来现实",
        translation: "The remote management inside fabric and ansible is done with paramiko",
        test: "nothing to measure",
        source: Some(
            "fabric's README: \"It builds on top of Invoke … and Paramiko (SSH protocol implementation)\"; docs.ansible.com, deprecated plugins of ansible-core 2.19: \"ansible.builtin.paramiko_ssh … Will be removed from ansible.builtin 2.21\"",
        ),
        judge: |_| {
            verdict::documented(
                "true of fabric; no longer of ansible: it runs OpenSSH's ssh unless told otherwise, and its paramiko plugin is deprecated",
            )
        },
    },
    Claim {
        name: "authorized-keys",
        words: "服务端必须有文件名:authorized_keys",
        translation: "The server must have a file of the name authorized_keys",
        test: "nothing to measure",
        source: Some("sshd_config(5), AuthorizedKeysFile, AuthorizedKeysCommand"),
        judge: |_| {
            verdict::documented(
                "the default of OpenSSH's server (~/.ssh/authorized_keys), which its configuration can change: other files, or a command",
            )
        },
    },
];
