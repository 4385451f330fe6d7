"""A link with a delay, where the kernel has no netem: delay.py MS HOST PORT listens on loopback, prints its port, and hands every
byte on MS milliseconds after it came, in both directions. The round trip is twice that longer. Rate is not limited; TCP's own windows end at the relay."""
import asyncio
import socket
import sys

DELAY, HOST, PORT = float(sys.argv[1]) / 1000, sys.argv[2], int(sys.argv[3])
# What may be on the way, per direction: more than any window of SSH.
ON_THE_WAY = 64 << 20


async def pump(reader, writer):
    loop = asyncio.get_running_loop()
    queue, room = asyncio.Queue(), asyncio.Semaphore(ON_THE_WAY >> 16)

    async def hand_on():
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0, due - loop.time()))
            room.release()
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    task = asyncio.create_task(hand_on())
    while True:
        await room.acquire()
        try:
            data = await reader.read(1 << 16)
        except ConnectionError:
            data = b""
        queue.put_nowait((loop.time() + DELAY, data))
        if not data:
            break
    await task


async def serve(near_reader, near_writer):
    far_reader, far_writer = await asyncio.open_connection(HOST, PORT)
    for writer in (near_writer, far_writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.gather(pump(near_reader, far_writer), pump(far_reader, near_writer), return_exceptions=True)


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
