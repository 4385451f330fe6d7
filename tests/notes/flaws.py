"""Runs the notes' programs beside this file and shows what each gets wrong: docs/notes.md quotes it.

    python3 tests/notes/flaws.py            every flaw, in less than a minute
    python3 tests/notes/flaws.py NAME...    these only;  --list names them

One line per observation. Exit code 1 if a program did not do what docs/notes.md says. Loopback only,
standard library only; ends only the processes it started. Linux: it reads /proc. A check that needs
strace is skipped aloud without it, and fails under NO_SKIP=1.
"""
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from socket import *

HERE = os.path.dirname(os.path.relpath(__file__))
QUIET = 1.0  # seconds without an answer that count as "no answer"
LIMIT = 10.0  # seconds after which anything that must happen has failed to
TICK = os.sysconf('SC_CLK_TCK')
FLAWS = {}
failed = []


class Skip(Exception):
    pass


def flaw(f):
    FLAWS[f.__name__.replace('_', '-')] = f
    return f


def seen(ok, text):
    """One observation: printed, and remembered if it is not what the notes' program should do."""
    print('  %s%s' % ('' if ok else 'NOT AS DESCRIBED: ', text), flush=True)
    if not ok:
        failed.append(text)


class Program:
    """One of the notes' programs as a child process; `port` once a server listens."""

    def __init__(self, name, *args, source=None, strace=None, nofile=None):
        argv = [sys.executable, os.path.join(HERE, name)] if source is None else [sys.executable, '-c', source]
        self.trace = None
        self.output = b''
        if strace is not None:
            if not shutil.which('strace'):
                raise Skip('no strace')
            self.trace = tempfile.NamedTemporaryFile('r', prefix='notes-', suffix='.trace')
            argv = ['strace', '-f', '-o', self.trace.name] + strace + argv
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))) if nofile else None
        self.errors = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen(
            argv + [str(a) for a in args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            preexec_fn=limit, bufsize=0, env=dict(os.environ, PYTHONUTF8='1'))
        self.pid = self.process.pid
        if 'server' in name:
            line = self.line(LIMIT) or ''
            if not line.startswith('listening on '):
                text = self.error()
                self.__exit__()
                if strace is not None and 'ptrace' in text:
                    raise Skip('ptrace is forbidden here')
                raise OSError(text or line)
            self.port = int(line.rsplit(':', 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            if self.trace:  # end the traced child, then strace ends by itself
                for child in open('/proc/%d/task/%d/children' % (self.pid, self.pid)).read().split():
                    os.kill(int(child), signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait(LIMIT)

    def line(self, seconds):
        """The next line of its output, or None if there is none in time."""
        end = time.monotonic() + seconds
        while b'\n' not in self.output:
            if not select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return None
            self.output += more
        line, self.output = self.output.split(b'\n', 1)
        return line.decode('utf-8')

    def type(self, text):
        self.process.stdin.write((text + '\n').encode('utf-8'))

    def ended(self, seconds=LIMIT):
        """Its last line of standard error, or None if it still runs after `seconds`."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return (self.error().splitlines() or ['exit code %d' % self.process.returncode])[-1]

    def error(self):
        self.errors.seek(0)
        return self.errors.read().strip()

    def cpu(self, seconds):
        """The share of one core it uses over `seconds`, in percent; `self.spins`: it never slept.

        On a machine with other work a spinning process gets less than a core: the time it stood
        in line for one counts as not sleeping."""
        def ticks():
            fields = open('/proc/%d/stat' % self.pid).read().rsplit(')', 1)[1].split()
            return int(fields[11]) + int(fields[12])

        def in_line():  # seconds, all threads: field 2 of schedstat
            threads = '/proc/%d/task' % self.pid
            return sum(int(open('%s/%s/schedstat' % (threads, t)).read().split()[1]) for t in os.listdir(threads)) / 1e9
        start, before, line = time.monotonic(), ticks(), in_line()
        time.sleep(seconds)
        passed = time.monotonic() - start
        used = (ticks() - before) / TICK
        self.spins = used + in_line() - line > 0.6 * passed
        return 100 * used / passed

    def descriptor_flags(self, fd):
        return int(re.search(r'flags:\s+(\d+)', open('/proc/%d/fdinfo/%d' % (self.pid, fd)).read()).group(1), 8)

    def sockets(self):
        base = '/proc/%d/fd' % self.pid
        return sorted(int(n) for n in os.listdir(base) if os.readlink('%s/%s' % (base, n)).startswith('socket:'))


def dial(port):
    client = socket(AF_INET, SOCK_STREAM)
    client.settimeout(LIMIT)
    client.connect(('127.0.0.1', port))
    return client


def knock(port):
    """Dials a server that may end at any moment, even before; the client, or None."""
    try:
        return dial(port)
    except (ConnectionError, timeout):
        return None


def answer(client, seconds=QUIET, size=1024):
    """What comes back within `seconds`; None if nothing does."""
    client.settimeout(seconds)
    try:
        return client.recv(size)
    except timeout:
        return None


def ask(client, message=b'hello', seconds=QUIET):
    client.sendall(message)
    return answer(client, seconds)


# ---- Blocking I/O ----

@flaw
def one_at_a_time():
    with Program('blocking_server.py', 0) as server:
        first, second = dial(server.port), dial(server.port)
        seen(ask(first) == b'HELLO', 'first client answered')
        seen(ask(second) is None, 'second client connected (backlog), no answer for %.0f s' % QUIET)
        first.close()
        seen(answer(second) == b'HELLO', 'first client leaves: second client answered')


@flaw
def long_message():
    with Program('blocking_server.py', 0) as server, Program('client.py', server.port) as client:
        sizes = []
        for message in 'a' * 1500, 'b' * 10:
            client.type(message)
            time.sleep(0.3)  # the server's two sends have arrived; what the client leaves unread, it leaves
            reply = (client.line(LIMIT) or '').replace('>>:', '')
            sizes.append((len(message), len(reply), ''.join(sorted(set(reply)))))
        for sent, got, letters in sizes:
            print('  sent %4d bytes, answer printed: %4d characters, letters %s' % (sent, got, letters))
        # 'AB' if the second answer came before the client's recv
        seen(sizes[0][1] == 1024 and sizes[1][2] in ('A', 'AB'),
             "the rest of the first answer stands in the second's place")


@flaw
def split_character():
    with Program('blocking_server.py', 0) as server, Program('client.py', server.port) as client:
        client.type('\u963b' * 400)  # 1200 bytes: the cut at 1024 lies inside a character
        last = client.ended()
        seen(last is not None and last.startswith('UnicodeDecodeError'), 'client: %s' % last)


@flaw
def both_send():
    with Program('blocking_server.py', 0) as server, Program('client.py', server.port) as client:
        client.type('x' * 40_000_000)
        time.sleep(2)
        busy = client.cpu(1) + server.cpu(1)
        seen(client.line(QUIET) is None and client.process.poll() is None and busy < 5,
             'message of 40 MB: client waits in send, server waits in send, for ever (CPU of both %.0f %%)' % busy)


@flaw
def interrupted_send():
    with Program('blocking_server.py', 0) as server, \
            Program('client.py', server.port, strace=['-e', 'trace=sendto']) as client:
        client.type('x' * 40_000_000)
        time.sleep(2)
        child = int(open('/proc/%d/task/%d/children' % (client.pid, client.pid)).read().split()[0])
        os.kill(child, signal.SIGSTOP)  # what ^Z and `fg` do
        time.sleep(0.3)
        os.kill(child, signal.SIGCONT)
        reply = client.line(LIMIT)
        calls = re.findall(r'sendto\(.*?, (\d+), 0, NULL, 0\) *= (\d+)|sendto resumed.*= (\d+)', client.trace.read())
        sent = [int(b or c) for _, b, c in calls]
        seen(len(sent) == 1 and 0 < sent[0] < 40_000_000 and reply is not None,
             'client stopped and continued in send: given 40000000, send returned %s; the rest is never sent' % sent)


@flaw
def early_leaver():
    for name in 'blocking_server.py', 'nonblocking_server.py':
        with Program(name, 0) as server:
            first = dial(server.port)
            time.sleep(0.3)  # accepted; the server is in its recv
            second = dial(server.port)
            second.sendall(b'x' * 2048)
            second.close()  # before the server has come to it: its second send will find nobody
            ask(first)
            first.close()
            last = server.ended()
            seen(last == 'BrokenPipeError: [Errno 32] Broken pipe', '%s ended: %s' % (name, last))


@flaw
def failing_accept():
    inject = ['-e', 'trace=accept4', '-e', 'inject=accept4:error=ECONNABORTED:when=1']
    for name in 'blocking_server.py', 'nonblocking_server.py', 'select_server.py':
        with Program(name, 0, strace=inject) as server:
            client = knock(server.port)  # held until the server has ended
            last = server.ended()
            seen('(INJECTED)' in server.trace.read() and last is not None and 'Errno 103' in last,
                 '%s ended: %s' % (name, last))
            del client


@flaw
def no_descriptors():
    for name in 'nonblocking_server.py', 'select_server.py':
        with Program(name, 0, nofile=8) as server:  # 0 to 2, the listener, four clients
            clients = [knock(server.port) for _ in range(6)]
            for client in clients:  # the non-blocking server sleeps in their recv: back to accept
                try:
                    client and client.sendall(b'x')
                except OSError:
                    break  # it has ended
            last = server.ended()
            seen(last == 'OSError: [Errno 24] Too many open files', '%s, 8 descriptors: ended: %s' % (name, last))
            del clients


@flaw
def restart():
    for who in 'client', 'server':
        with Program('blocking_server.py', 0) as server:
            client = dial(server.port)
            ask(client)
            if who == 'client':
                client.close()
                time.sleep(0.2)
            port = server.port
        client.close()
        try:
            with Program('blocking_server.py', port):
                last = 'listens'
        except OSError as error:
            last = str(error).splitlines()[-1]
        seen(('Errno 98' in last) == (who == 'server'), '%s closed first, server started again: %s' % (who, last))


@flaw
def server_gone():
    with Program('blocking_server.py', 0) as server, Program('client.py', server.port) as client:
        client.type('one')
        first = client.line(LIMIT)
        server.process.kill()
        server.process.wait()
        client.type('two')
        second = client.line(LIMIT)
        client.type('three')
        seen(first == '>>:ONE' and second is not None, 'server killed after %r: the client prints %r' % (first, second))
        last = client.ended()
        seen(last is not None, 'its next message: %s' % last)


# ---- Non-blocking I/O ----

@flaw
def silent_client():
    with Program('nonblocking_server.py', 0) as server:
        idle = server.cpu(2)
        seen(server.spins, 'no client: %.0f %% of a core' % idle)
        first = dial(server.port)
        time.sleep(0.3)  # accepted; the server is in its recv
        second = dial(server.port)
        seen(ask(second) is None, 'first client silent: second client has no answer for %.0f s' % QUIET)
        blocked = server.cpu(2)
        seen(blocked < 5, 'meanwhile: %.0f %% of a core: the server sleeps in recv' % blocked)
        flags = ['%d %s' % (fd, 'O_NONBLOCK' if server.descriptor_flags(fd) & os.O_NONBLOCK else 'blocking')
                 for fd in server.sockets()]
        seen(flags[0].endswith('O_NONBLOCK') and flags[1].endswith('blocking') and len(flags) > 1,
             'descriptors by /proc/PID/fdinfo: listener %s, accepted %s' % (flags[0], ', '.join(flags[1:])))
        seen(ask(first) == b'HELLO' and answer(second) is None, 'first client speaks: it alone is answered')
        seen(ask(first) == b'HELLO' and answer(second) == b'HELLO', 'first client speaks again: now both are')


@flaw
def lost_answer():
    """The same program with the one line it lacks: what the ignored return value of send then costs."""
    source = open(os.path.join(HERE, 'nonblocking_server.py')).read()
    source = source.replace('conn_l.append(conn)', 'conn.setblocking(False); conn_l.append(conn)')
    with Program('nonblocking_server.py', 0, source=source) as server:
        client = dial(server.port)
        client.setblocking(False)
        sent = 0
        quiet = time.monotonic()
        while time.monotonic() < quiet + QUIET and sent < 20_000_000:
            try:
                sent += client.send(b'x' * 65536)
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        got = 0
        while True:
            data = answer(client, size=1 << 20)
            if not data:
                break
            got += len(data)
        seen(0 < got < sent, 'accepted socket made non-blocking, reader late: %d bytes sent, %d answered' % (sent, got))


# ---- I/O multiplexing ----

@flaw
def used_after_close():
    with Program('select_server.py', 0) as server:
        stays, leaves = dial(server.port), dial(server.port)
        seen(ask(stays) == b'HELLO' and ask(leaves) == b'HELLO', 'two clients answered')
        leaves.close()
        last = server.ended()
        seen(last == 'OSError: [Errno 9] Bad file descriptor', 'one leaves: the server ended: %s' % last)
        seen(answer(stays) == b'', 'the other client: connection closed')


@flaw
def stopped_reader():
    with Program('select_server.py', 0) as server:
        reader, neighbour = dial(server.port), dial(server.port)
        seen(ask(neighbour) == b'HELLO', 'neighbour answered')
        reader.settimeout(QUIET)
        sent = 0
        try:
            while sent < 100_000_000:
                sent += reader.send(b'x' * 65536)
        except timeout:
            pass
        seen(ask(neighbour) is None and server.cpu(1) < 5,
             'a client that does not read, after %d bytes: neighbour has no answer, the server sleeps in send' % sent)


@flaw
def descriptor_1024():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        raise Skip('descriptor limit %d' % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with Program('select_server.py', 0, nofile=2048) as server:
        clients = []
        try:
            for _ in range(1030):
                clients.append(dial(server.port))
                ask(clients[-1])  # accepted: the backlog of 5 never overflows
        except OSError:
            pass  # it has ended
        last = server.ended()
        seen(last == 'ValueError: filedescriptor out of range in select()',
             'the client on descriptor 1024 arrives: the server ended: %s' % last)
        for client in clients:
            client.close()


@flaw
def calls():
    for name, expected in ('blocking_server.py', 2), ('select_server.py', 3), ('nonblocking_server.py', 2):
        with Program(name, 0, strace=['-e', 'trace=network,desc']) as server:
            client = dial(server.port)
            [ask(client) for _ in range(3)]
            server.trace.read()
            [ask(client) for _ in range(100)]
            time.sleep(0.3)
            names = re.findall(r'^\d+ +(\w+)\(', server.trace.read(), re.M)
            count = {n: names.count(n) for n in sorted(set(names))}
            print('  %s, 100 requests: %s' % (name, count))
            if not name.startswith('non'):
                total = sum(count.values())
                seen(abs(total - 100 * expected) <= 3, '%.2f calls per request' % (total / 100))


@flaw
def asleep():
    """The notes: select "constantly polls" its sockets. It looks once and sleeps until one wakes it."""
    with Program('select_server.py', 0) as server:
        clients = [dial(server.port) for _ in range(20)]
        for client in clients:
            ask(client)
        busy = server.cpu(2)
        seen(busy < 2, '20 silent clients: %.0f %% of a core' % busy)


# ---- socketserver ----

@flaw
def never_leaves():
    with Program('threading_tcp_server.py', 0) as server:
        client = dial(server.port)
        seen(ask(client) == b'HELLO' and server.cpu(1) < 5, 'one client connected, silent: 0 % of a core')
        client.close()
        time.sleep(0.2)
        one = server.cpu(2)
        seen(server.spins, 'it has left: %.0f %% of a core' % one)
        for _ in range(3):
            dial(server.port).close()
        time.sleep(0.2)
        four = server.cpu(2)
        threads = len(os.listdir('/proc/%d/task' % server.pid))
        seen(server.spins and threads == 5, 'four have left: %.0f %%, %d threads, %d sockets open'
             % (four, threads, len(server.sockets())))


@flaw
def full_table():
    with Program('threading_tcp_server.py', 0, nofile=16) as server:
        clients = [dial(server.port) for _ in range(14)]
        time.sleep(0.3)
        busy = server.cpu(2)
        seen(server.spins, '16 descriptors, all clients silent: %.0f %% of a core' % busy)
        seen(server.ended(0.1) is None and server.error() == '', 'the server runs on, and says nothing')
        for client in clients:
            client.close()


@flaw
def lost_datagram():
    silent = socket(AF_INET, SOCK_DGRAM)
    silent.bind(('127.0.0.1', 0))
    with Program('udp_client.py', silent.getsockname()[1]) as client:
        client.type('one')
        client.type('two')
        seen(silent.recv(100) == b'one', 'first datagram taken, and not answered')
        seen(not select.select([silent], [], [], 3)[0] and client.process.poll() is None,
             'after 3 s the client still waits; its second line is not sent')
    port = silent.getsockname()[1]
    silent.close()
    with Program('udp_client.py', port) as client:
        client.type('one')
        seen(client.ended(3) is None, 'nobody bound to the port: after 3 s the client still waits, no error')


@flaw
def cut_datagram():
    with Program('threading_udp_server.py', 0) as server, Program('udp_client.py', server.port) as client:
        for message in 'a' * 1500, 'b' * 10:
            client.type(message)
            reply = (client.line(LIMIT) or '').replace('>>:', '')
            seen(len(reply) == min(len(message), 1024) and set(reply) == {message[0].upper()},
                 'sent %4d bytes, answer printed: %4d characters, letters %s'
                 % (len(message), len(reply), ''.join(set(reply))))
        direct = socket(AF_INET, SOCK_DGRAM)
        direct.sendto(b'x' * 9000, ('127.0.0.1', server.port))
        got = len(answer(direct, size=65536) or b'')
        seen(got == 8192, 'sent 9000 bytes with room for all: %d come back' % got)


@flaw
def wrong_port():
    with Program('blocking_server.py', 0) as server:
        free = socket(AF_INET, SOCK_STREAM)  # bound, not listening: a port where nobody answers
        free.bind(('127.0.0.1', 0))
        with Program('client.py', free.getsockname()[1]) as client:
            last = client.ended()
            seen(last == 'ConnectionRefusedError: [Errno 111] Connection refused', 'client: %s' % last)


def main(names):
    if names == ['--list']:
        print('\n'.join(FLAWS))
        return 0
    for name in names:
        if name not in FLAWS:
            print('flaws.py: no flaw named %r; --list names them' % name, file=sys.stderr)
            return 2
    print('Python %s, Linux %s' % (sys.version.split()[0], os.uname().release))
    for name in names or FLAWS:
        print(name, flush=True)
        try:
            FLAWS[name]()
        except Skip as why:
            print('  skipped: %s' % why)
            if os.environ.get('NO_SKIP') == '1':
                failed.append(name)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
