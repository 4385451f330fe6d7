"""The notes' ThreadingTCPServer, its handler given an end-of-file check: without it the
handler burns a core for each client that has left. Prints where it listens."""
import socket
import socketserver


class Handler(socketserver.BaseRequestHandler):
    def setup(self):
        # As our servers have it; without it the comparison would be one of Nagle's algorithm.
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle(self):
        while True:
            data = self.request.recv(1024)
            if not data:
                break
            self.request.sendall(data.upper())


class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 1024
    daemon_threads = True


server = Server(('127.0.0.1', 0), Handler)
print('listening on tcp %s:%d' % server.server_address, flush=True)
server.serve_forever()
