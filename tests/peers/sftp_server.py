"""An SFTP server that does what no honest one does. Run by sshd as its subsystem; what it does is in the file `mode` of the
folder in its argument. It serves one file of bytes that are known, `file`, of SIZE bytes, and a folder, `folder`.
"""

import os
import random
import select
import struct
import sys
import time

SIZE = 1_000_003
FOLDER = sys.argv[1]
MODE, *ARGS = open(os.path.join(FOLDER, "mode"), "rb").read().split(b" ", 1)
MODE = MODE.decode()
BYTES = bytes(n * 7 % 251 for n in range(SIZE))
LIMIT = 32768


def string(data):
    return struct.pack(">I", len(data)) + data


def packet(kind, *fields):
    body = bytes([kind]) + b"".join(fields)
    return struct.pack(">I", len(body)) + body


def send(data):
    while data:
        # Trickled: a packet of the channel for each byte, as far as sshd does not join them.
        n = os.write(1, data[:1] if MODE == "trickle" else data)
        data = data[n:]


def status(id, code, text=b""):
    return packet(101, id, struct.pack(">I", code), string(text), string(b""))


def attributes(mode, size):
    return struct.pack(">IQI", 5, size, mode)


class Input:
    """Packets as they come."""

    def __init__(self):
        self.got = b""

    def next(self, wait=True):
        while True:
            if len(self.got) >= 4:
                (length,) = struct.unpack(">I", self.got[:4])
                if len(self.got) >= 4 + length:
                    body, self.got = self.got[4 : 4 + length], self.got[4 + length :]
                    return body
            if not wait and not select.select([0], [], [], 0)[0]:
                return None
            more = os.read(0, 1 << 20)
            if not more:
                sys.exit(0)
            self.got += more


def fields(body):
    (length,) = struct.unpack(">I", body[5:9])
    return body[9 : 9 + length], body[9 + length :]


listed = set()
reversed_batches = 0


# A whole tree of lies, in MODE tree: path -> entries of (name, permissions, size, target of a link).
TREE = eval(ARGS[0]) if MODE == "tree" else {}


handles = []


def tree(kind, id, what, rest):
    if kind in (5, 8, 12):
        what = handles[int(what)]
    folder, _, last = what.rpartition(b"/")
    known = next((entry for entry in TREE.get(folder, []) if entry[0] == last), None)
    endless = what.startswith(b"tree/endless")
    if kind == 17 and known and known[-1] in TREE:  # a link, to a path from the root on
        what = known[-1]
    if kind in (7, 17):
        if what in TREE or endless:
            return packet(105, id, attributes(0o40755, 0))
        return packet(105, id, attributes(*known[1:3])) if known else status(id, 2)
    if kind == 16:
        return packet(104, id, struct.pack(">I", 1), string(b"/" + what), string(b""), bytes(4))
    if kind == 19:
        return packet(104, id, struct.pack(">I", 1), string(known[3]), string(b""), bytes(4))
    if kind in (3, 11):
        if last == b"angry":
            return status(id, 4, b"a" * 100_000)
        handles.append(what)
        return packet(102, id, string(b"%d" % (len(handles) - 1)))
    if kind == 12:
        entries = [(b"endless", 0o40755, 0), (b"file", 0o100644, 9)] if endless else TREE.get(what, [])
        if what == b"tree/flood":
            entries = [(b"file %d" % n, 0o100644, 0) for n in range(100)]
        elif what == b"tree/dots":  # for ever
            entries = [(b".", 0o40755, 0), (b"..", 0o40755, 0)]
        elif what in listed:
            return status(id, 1)
        listed.add(what)
        names = (string(e[0]) + string(b"") + attributes(e[1], e[2]) for e in entries)
        return packet(104, id, struct.pack(">I", len(entries)), *names) if entries else status(id, 1)
    if kind == 5:
        offset, length = struct.unpack(">QI", rest)
        size = 9 if endless or not known else known[2]
        data = BYTES[offset : min(size, offset + length)]
        return packet(103, id, string(data)) if data else status(id, 1)
    return status(id, 0)


def answer(body):
    kind, id = body[0], body[1:5]
    what, rest = fields(body)
    if MODE == "tree":
        return tree(kind, id, what, rest)
    if MODE == "silent":
        return b""
    if MODE == "giant":
        return b"\xff\xff\xff\xff" + bytes([101]) + bytes(1 << 16)
    if MODE == "large":  # the longest that is believed, and one more
        return struct.pack(">I", 257 * 1024 + 1) + bytes(1 << 16)
    if MODE == "zero":
        return bytes(4)
    if MODE == "type":
        return packet(77, id)
    if MODE == "unknown":
        return status(struct.pack(">I", 99_999), 0)
    if MODE == "twice":
        return status(id, 2, b"first") + status(id, 2, b"second")
    if MODE == "unfit":
        return packet(103, id, string(b"data"))
    if MODE == "success":
        return status(id, 0)
    if MODE == "midpacket":
        os.write(1, status(id, 2, b"no such file")[:-3])
        sys.exit(0)
    if MODE == "bare":  # a status without words
        return packet(101, id, struct.pack(">I", 2))
    if MODE == "words":
        return status(id, 4, b"\x1b[2J\xff")
    if kind == 3:
        if MODE == "handle":
            return packet(102, id, string(b"h" * 257))
        if MODE == "string":
            return packet(102, id, struct.pack(">I", 0xFFFFFFFF), b"h")
        return packet(102, id, string(b"\0\xff" + what))
    if kind == 11:
        return packet(102, id, string(b"folder"))
    if kind == 4:
        return status(id, 0)
    if kind in (7, 8, 17):
        return packet(105, id, attributes(0o100644, SIZE))
    if kind == 5:
        offset, length = struct.unpack(">QI", rest)
        if offset >= SIZE:
            return status(id, 1)
        if MODE == "excess":
            return packet(103, id, string(BYTES[:1] * (length + 1)))
        if MODE == "empty":
            return packet(103, id, string(b""))
        if MODE == "end":  # of the file, before its size
            if offset >= 100_000:
                return status(id, 1)
        length = min(length, LIMIT)
        if MODE == "short":
            length = random.randint(1, length)
        return packet(103, id, string(BYTES[offset : offset + length]))
    if kind == 12:
        if MODE == "count":
            return packet(104, id, struct.pack(">I", 0xFFFFFFFF), string(b"x") * 2, bytes(4))
        if MODE == "long":
            return packet(104, id, struct.pack(">I", 1), struct.pack(">I", 0xFFFFFFF0), b"x" * 50)
        if MODE == "none":  # no names, and no end
            return packet(104, id, struct.pack(">I", 0))
        if what in listed and MODE not in ("flood", "dots"):
            return status(id, 1)
        listed.add(what)
        if MODE == "flood":  # for ever
            name = string(b"x" * 120_000)
            return packet(104, id, struct.pack(">I", 1), name, name, bytes(4))
        name = b"." if MODE == "dots" else ARGS[0] if ARGS else b"plain"
        return packet(104, id, struct.pack(">I", 1), string(name), string(b"long"), bytes(4))
    if kind == 16 and MODE == "names":
        return packet(104, id, struct.pack(">I", 2), (string(b"/a") * 2 + bytes(4)) * 2)
    return status(id, 8, b"not here")


if MODE == "text":
    send(b"Welcome to this machine!\nLast login: today\n")
if MODE == "nothing":
    time.sleep(1000)
if MODE == "leaves":
    sys.exit(3)
if MODE == "first":
    send(status(bytes(4), 0))
packets = Input()
packets.next()
extensions = string(b"no-such@example.com") + string(b"\xff")
send(packet(2, struct.pack(">I", 2 if MODE == "version" else 3), extensions))
while True:
    batch = [packets.next()]
    if MODE == "reverse":
        # All that has come, the last one first.
        while len(batch) < 64 and (more := packets.next(wait=False)):
            batch.append(more)
        if len(batch) > 1:
            reversed_batches += 1
            with open(os.path.join(FOLDER, "reversed"), "w") as said:
                said.write(str(reversed_batches))
    send(b"".join(answer(body) for body in reversed(batch)))
