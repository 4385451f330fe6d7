# The notes, chapter "I/O multiplexing": the select server. Its bugs are kept; docs/notes.md names them.
# Changed, for the tests only (lines marked "changed"):
#   - host and port from the command line: select_server.py [[HOST] PORT], port 0 picks a free one
#   - prints "listening on tcp HOST:PORT" once it listens; every line is flushed
#   - comments translated
import sys  # changed
from socket import *
import select

sys.stdout.reconfigure(line_buffering=True)  # changed
host = sys.argv[1] if len(sys.argv) > 2 else '127.0.0.1'  # changed
port = int(sys.argv[-1]) if len(sys.argv) > 1 else 8080  # changed

server = socket(AF_INET, SOCK_STREAM)
server.bind((host, port))  # changed: was ('127.0.0.1', 8080)
server.listen(5)
server.setblocking(False)  # non-blocking; the default is blocking, True
print('listening on tcp %s:%d' % server.getsockname())  # changed
read_l = [server, ]
print('strating....')
while True:
    rl, wl, xl = select.select(read_l, [], [])  # the whole result is a tuple, rl is a list in it
    # print('===>', rl)  # the values in rl are the server object or conn objects
    for r in rl:
        if r is server:
            conn, addr = r.accept()
            read_l.append(conn)
        else:
            try:
                data = r.recv(1024)
                if not data:
                    r.close()
                    read_l.remove(r)
                r.send(data.upper())
            except ConnectionResetError:
                r.close()
                read_l.remove(r)
