//! The part of the table that belongs to `waitcopy remote`. It stands here with the feature `remote` off too: the help
//! then still says what there would be.

use super::flags::{Command, Flag, JSON, option, switch};

/// Whom to connect to, and how.
const CONNECTION: &[Flag] = &[
    option("identity", "FILE", "log in by this key and not by the usual ones; may be repeated"),
    switch("ask-password", "log in by a password, asked for on the terminal (or by SSH_ASKPASS)"),
    option("password-fd", "N", "log in by the password in the first line of descriptor N"),
    option("known-hosts", "FILE", "know hosts by this file only, and save new ones there"),
    option("host-key", "POLICY", "an unknown host: reject, accept-new (saves it) or warn [reject]"),
    option("config", "FILE", "OpenSSH's configuration from FILE; none: no configuration"),
    option(
        "jump",
        "HOST,...",
        "go through these hosts, the nearest first; none: straight [as the configuration says]",
    ),
    option(
        "connect-timeout",
        "DURATION",
        "for the name, for TCP, for the key exchange, each [10s, 10s, 15s]",
    ),
    option(
        "keepalive",
        "DURATION",
        "ask after so long a silence whether the host (with --jump: the nearest one) is there; three missing answers end it [1m]",
    ),
    switch("compress", "compress what goes both ways: for slow lines"),
    option(
        "idle-timeout",
        "DURATION",
        "give up when no byte moves for so long: the host hangs, or has vanished behind a jump host or a proxy command",
    ),
    option("timeout", "DURATION", "give up after so long in all"),
];

/// What is told.
const TOLD: &[Flag] =
    &[switch("phases", "where the time went: the steps to the session, then wait and copy"), JSON];

/// For what runs there.
const ENV: Flag =
    option("env", "NAME=VALUE", "set a variable there, if the server allows it; may be repeated");

/// How a file is copied.
const COPY: &[Flag] = &[
    switch("sync", "on the receiving side's disk before the file gets its name"),
    switch(
        "in-place",
        "write into the file that is there, instead of replacing it when all has come",
    ),
    switch(
        "resume",
        "keep what a cut copy has brought, and go on there the next time; -r: leave out what is there already",
    ),
    option(
        "mode",
        "OCTAL",
        "permissions of the new file, whatever the umask [of the one it replaces, else its source's]",
    ),
    option(
        "parallel",
        "N",
        "sessions that share a tree, or each file of 8 MiB or more, on a thread each; 8 at most [1]",
    ),
];

/// How a tree is copied.
const TREE: &[Flag] = &[
    switch("recursive", "directories too, and all that is in them").or('r'),
    switch("preserve", "permissions, whatever the umask, and times of the source").or('p'),
    option(
        "links",
        "POLICY",
        "-r, symbolic links: skip, keep (get: none that leaves the tree) or follow [skip]",
    ),
    option("max-depth", "N", "-r: directories within each other [128]"),
    option("max-entries", "N", "-r: entries in all [10000000]"),
];

const fn verb(
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    flags: &'static [&'static [Flag]],
    notes: &'static str,
) -> Command {
    Command { name, usage, about, operands: usize::MAX, flags, notes, verbs: &[] }
}

/// Every verb of `remote`.
pub(super) static VERBS: [Command; 14] = [
    verb(
        "remote exec",
        "[OPTIONS] HOST -- CMD...",
        "run a command there",
        &[
            &[
                ENV,
                switch(
                    "pty",
                    "give it a terminal, like ours and on it; its error output then comes with the output",
                ),
                switch("no-input", "give it no input; else ours is passed on"),
            ],
            CONNECTION,
            TOLD,
        ],
        "The words of CMD are joined by blanks and read by the user's shell there, as ssh(1) does it.\n\
         Its exit status is ours; 128 and the signal's number when a signal ended it; 255 is the connection's failure,\n\
         or that the server told neither. --pty: all keys are the command's; there is no ~. as in remote shell.",
    ),
    verb(
        "remote shell",
        "[OPTIONS] HOST",
        "a terminal there on the terminal here",
        &[
            &[
                ENV,
                switch("no-escape", "a tilde at the beginning of a line is a tilde like any other"),
            ],
            CONNECTION,
            TOLD,
        ],
        "At the beginning of a line: ~. leaves, whatever the other side does; ~^Z stops; ~~ is a tilde; ~? shows this.\n\
         The shell's exit status is ours; 255 is the connection's failure, or that it was left.",
    ),
    verb(
        "remote put",
        "[OPTIONS] HOST LOCAL... REMOTE",
        "copy files to the host",
        &[COPY, TREE, CONNECTION, TOLD],
        "LOCAL - is standard input. REMOTE may be a directory; of several files it must be one.\n\
         A file gets its name when it is whole: until then it is a hidden one beside it.\n\
         -r: a tree goes into REMOTE if that is there (of LOCAL/. all that is in it), else it becomes REMOTE. The exit status is 1 when anything failed.",
    ),
    verb(
        "remote get",
        "[OPTIONS] HOST REMOTE... LOCAL",
        "copy files from the host",
        &[COPY, TREE, CONNECTION, TOLD],
        "LOCAL - is standard output. LOCAL may be a directory; for several files it must be one.\n\
         A file gets its name when it is whole: until then it is a hidden one beside it.\n\
         -r: a tree goes into LOCAL if that is there (of REMOTE/. all that is in it), else it becomes LOCAL. The exit status is 1 when anything failed.\n\
         What the server names is not believed: nothing is written outside of the tree, through links or otherwise.",
    ),
    verb(
        "remote ls",
        "[OPTIONS] HOST [PATH...]",
        "list directories",
        &[
            &[
                switch("all", "names that begin with a dot, too"),
                switch("long", "kind and permissions, owner, size, time"),
            ],
            CONNECTION,
            TOLD,
        ],
        "PATH is the login's directory unless given.",
    ),
    verb("remote cat", "[OPTIONS] HOST PATH...", "print files", &[CONNECTION, TOLD], ""),
    verb(
        "remote rm",
        "[OPTIONS] HOST PATH...",
        "remove files",
        &[
            &[
                switch("dir", "empty directories, too"),
                switch("force", "what is not there is no failure"),
            ],
            CONNECTION,
            TOLD,
        ],
        "",
    ),
    verb(
        "remote mkdir",
        "[OPTIONS] HOST PATH...",
        "make directories",
        &[
            &[
                switch("parents", "those above it, too; one that is there is no failure"),
                option("mode", "OCTAL", "permissions, less the server's umask [777]"),
            ],
            CONNECTION,
            TOLD,
        ],
        "",
    ),
    verb(
        "remote mv",
        "[OPTIONS] HOST FROM... TO",
        "rename, over what is there",
        &[&[switch("no-clobber", "fail where TO is there")], CONNECTION, TOLD],
        "TO may be a directory; of several files it must be one. Both are names on the host.",
    ),
    verb(
        "remote stat",
        "[OPTIONS] HOST PATH...",
        "what the server knows of files",
        &[&[switch("no-follow", "of symbolic links themselves")], CONNECTION, TOLD],
        "",
    ),
    verb(
        "remote df",
        "[OPTIONS] HOST [PATH...]",
        "how full file systems are",
        &[CONNECTION, TOLD],
        "PATH is the login's directory unless given. Asked by SFTP (statvfs@openssh.com); 'exec HOST -- df' asks the program.",
    ),
    verb(
        "remote forward",
        "[OPTIONS] HOST",
        "connections through the host, until a signal ends it",
        &[
            &[
                option(
                    "local",
                    "SPEC",
                    "from a port here to a place that the host reaches; may be repeated",
                )
                .or('L'),
                option(
                    "remote",
                    "SPEC",
                    "from a port there to a place that we reach; may be repeated",
                )
                .or('R'),
                option(
                    "dynamic",
                    "PORT",
                    "from a port here to wherever a SOCKS 5 client asks; may be repeated",
                )
                .or('D'),
                option(
                    "stdio",
                    "HOST:PORT",
                    "one connection, joined to standard input and output; ends with it",
                )
                .or('W'),
            ],
            CONNECTION,
            TOLD,
        ],
        "SPEC is [BIND:]PORT:HOST:PORT, PORT also [BIND:]PORT; IPv6 addresses stand in brackets.\n\
         BIND is an address of the machine that listens; without it only that machine may connect, * is everybody's.\n\
         Once a port is open its line is on standard output: 'listening on tcp ADDR -> PLACE', or 'listening there on ...'.\n\
         PORT 0 takes a free one. A place that refuses is said, and ends nothing else.",
    ),
    verb(
        "remote copy-id",
        "[OPTIONS] HOST",
        "let our key log in there: ssh-copy-id",
        &[CONNECTION, TOLD],
        "The public half of --identity, else of the newest of the usual keys, goes to ~/.ssh/authorized_keys, once.",
    ),
    verb(
        "remote demo",
        "[OPTIONS]",
        "the notes' four jobs on a private sshd of its own",
        &[TOLD],
        "It listens on loopback, with throw-away keys and, as root, a throw-away account; all of it is removed at the end.",
    ),
];
