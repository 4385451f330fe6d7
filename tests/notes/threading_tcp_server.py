# The notes, chapter "socketserver", TCP: the server. Its bugs are kept; docs/notes.md names them.
# Changed, for the tests only (lines marked "changed"):
#   - host and port from the command line: threading_tcp_server.py [[HOST] PORT], port 0 picks a free one
#   - prints "listening on tcp HOST:PORT" once it listens; every line is flushed
#   - comments translated
import sys  # changed
import socketserver

sys.stdout.reconfigure(line_buffering=True)  # changed
host = sys.argv[1] if len(sys.argv) > 2 else '127.0.0.1'  # changed
port = int(sys.argv[-1]) if len(sys.argv) > 1 else 8080  # changed


class MyTCPHandler(socketserver.BaseRequestHandler):
    def handle(self):
        print('========?>', self.request)  # self.request is conn
        while True:
            data = self.request.recv(1024)
            self.request.send(data.upper())


if __name__ == '__main__':
    # socketserver.ForkingTCPServer: the many-process kind of this module works on Linux only
    server = socketserver.ThreadingTCPServer((host, port), MyTCPHandler)  # changed: was ('127.0.0.1', 8080)
    print('listening on tcp %s:%d' % server.server_address)  # changed
    server.serve_forever()
