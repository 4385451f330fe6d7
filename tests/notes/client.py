# The notes, chapters "Blocking I/O" to "socketserver": the TCP client. The notes print it four times;
# the first copy dials 8080, the other three dial 8081. Its bugs are kept; docs/notes.md names them.
# Changed, for the tests only (lines marked "changed"):
#   - host and port from the command line: client.py [[HOST] PORT]
#   - every line is flushed
#   - the end of the input ends it with exit code 0 (the notes: an EOFError traceback), which makes
#     client.close() reachable
import sys  # changed
from socket import *

sys.stdout.reconfigure(line_buffering=True)  # changed
host = sys.argv[1] if len(sys.argv) > 2 else '127.0.0.1'  # changed
port = int(sys.argv[-1]) if len(sys.argv) > 1 else 8080  # changed

client = socket(AF_INET, SOCK_STREAM)
client.connect((host, port))  # changed: was ('127.0.0.1', 8080), later ('127.0.0.1', 8081)
try:  # changed
    while True:
        msg = input('>>:').strip()
        if not msg: continue
        client.send(msg.encode('utf-8'))
        data = client.recv(1024)
        print(data.decode('utf-8'))
except EOFError:  # changed
    pass  # changed
client.close()
