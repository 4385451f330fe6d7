# The notes, chapter "socketserver", UDP: the client. Its bugs are kept; docs/notes.md names them.
# Changed, for the tests only (lines marked "changed"):
#   - host and port from the command line: udp_client.py [[HOST] PORT]
#   - every line is flushed
#   - the end of the input ends it with exit code 0 (the notes: an EOFError traceback), which makes
#     client.close() reachable
import sys  # changed
from socket import *

sys.stdout.reconfigure(line_buffering=True)  # changed
host = sys.argv[1] if len(sys.argv) > 2 else '127.0.0.1'  # changed
port = int(sys.argv[-1]) if len(sys.argv) > 1 else 8080  # changed

client = socket(AF_INET, SOCK_DGRAM)
try:  # changed
    while True:
        msg = input('>>:').strip()
        if not msg: continue
        client.sendto(msg.encode('utf-8'), (host, port))  # changed: was ('127.0.0.1', 8080)
        data, server_addr = client.recvfrom(1024)
        print(data.decode('utf-8'))
except EOFError:  # changed
    pass  # changed
client.close()
