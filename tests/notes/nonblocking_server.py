# The notes, chapter "Non-blocking I/O": the server. Its bugs are kept; docs/notes.md names them.
# Changed, for the tests only (lines marked "changed"):
#   - host and port from the command line: nonblocking_server.py [[HOST] PORT], port 0 picks a free one
#   - prints "listening on tcp HOST:PORT" once it listens; every line is flushed
#   - comments translated
# 1. takes too much of the CPU, and to no use
# 2. with too many connections it cannot answer its clients in time
import sys  # changed
from socket import *

sys.stdout.reconfigure(line_buffering=True)  # changed
host = sys.argv[1] if len(sys.argv) > 2 else '127.0.0.1'  # changed
port = int(sys.argv[-1]) if len(sys.argv) > 1 else 8080  # changed

server = socket(AF_INET, SOCK_STREAM)
server.bind((host, port))  # changed: was ('127.0.0.1', 8080)
server.listen(5)
server.setblocking(False)  # non-blocking; the default is blocking, True
print('listening on tcp %s:%d' % server.getsockname())  # changed
conn_l = []
while True:
    try:
        conn, addr = server.accept()
        conn_l.append(conn)
        print(addr)
    except BlockingIOError:
        # print('gone to do other work')
        # time.sleep(2)
        del_l = []
        for conn in conn_l:
            try:
                data = conn.recv(1024)
                if not data:  # for Linux
                    conn.close()
                    del_l.append(conn)
                    continue
                conn.send(data.upper())
            except BlockingIOError:
                pass
            except ConnectionResetError:
                conn.close()
                del_l.append(conn)
        for conn in del_l:
            conn_l.remove(conn)
