# The notes, chapter "socketserver", UDP: the server. Its bugs are kept; docs/notes.md names them.
# Changed, for the tests only (lines marked "changed"):
#   - host and port from the command line: threading_udp_server.py [[HOST] PORT], port 0 picks a free one
#   - prints "listening on udp HOST:PORT" once it is bound; every line is flushed
#   - comments translated
import sys  # changed
import socketserver

sys.stdout.reconfigure(line_buffering=True)  # changed
host = sys.argv[1] if len(sys.argv) > 2 else '127.0.0.1'  # changed
port = int(sys.argv[-1]) if len(sys.argv) > 1 else 8080  # changed


class MyTCPHandler(socketserver.BaseRequestHandler):
    def handle(self):
        print('========?>', self.request)  # self.request is a tuple: the client's message, then a socket object
        client_data = self.request[0]
        self.request[1].sendto(client_data.upper(), self.client_address)


if __name__ == '__main__':
    # socketserver.ForkingTCPServer: the many-process kind of this module works on Linux only
    server = socketserver.ThreadingUDPServer((host, port), MyTCPHandler)  # changed: was ('127.0.0.1', 8080)
    print('listening on udp %s:%d' % server.server_address)  # changed
    server.serve_forever()
