"""The upper-case server with asyncio's protocols, which are its fast half; with uvloop when asked.

    asyncio_server.py ADDR BYTES [uvloop]

BufferedProtocol gives the loop a buffer to receive into, the same for all clients: a callback is done with it before the next
one begins. The transport keeps what the kernel does not take; reading pauses meanwhile.
"""
import asyncio
import socket
import sys

BUFFER = bytearray(int(sys.argv[2]))
VIEW = memoryview(BUFFER)


class Upper(asyncio.BufferedProtocol):
    __slots__ = ("transport",)

    def connection_made(self, transport):
        self.transport = transport
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint):
        return BUFFER

    def buffer_updated(self, nbytes):
        self.transport.write(bytes(VIEW[:nbytes]).upper())

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upper, host, int(port), backlog=1024)
    print("listening on tcp %s:%d" % server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


if sys.argv[3:] == ["uvloop"]:
    import uvloop

    uvloop.install()
asyncio.run(main())
