# The notes, chapter "Blocking I/O": the server. Its bugs are kept; docs/notes.md names them.
# Changed, for the tests only (lines marked "changed"):
#   - host and port from the command line: blocking_server.py [[HOST] PORT], port 0 picks a free one
#   - prints "listening on tcp HOST:PORT" once it listens; every line is flushed
import sys  # changed
from socket import *

sys.stdout.reconfigure(line_buffering=True)  # changed
host = sys.argv[1] if len(sys.argv) > 2 else '127.0.0.1'  # changed
port = int(sys.argv[-1]) if len(sys.argv) > 1 else 8080  # changed

server = socket(AF_INET, SOCK_STREAM)
server.bind((host, port))  # changed: was ('127.0.0.1', 8080)
server.listen(5)
print('listening on tcp %s:%d' % server.getsockname())  # changed
while True:
    conn, addr = server.accept()
    print(addr)
    while True:
        try:
            data = conn.recv(1024)
            if not data: break
            conn.send(data.upper())
        except ConnectionResetError:
            break
    conn.close()
