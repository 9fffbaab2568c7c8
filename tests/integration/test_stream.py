"""Sockets of the stream: how they end."""

import asyncio

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from api.stream import Socket

#: Longer than any end takes.
FOREVER_S = 20
#: More than a server takes ahead of its use.
MANY = 20


def test_a_socket_closes_though_its_client_still_sends():
    async def told(connection):
        await asyncio.to_thread(Socket(connection, asyncio.get_running_loop()).send, {"type": "error"})

    async def talk():
        # All this time a server waits for the client's close, which is behind what was sent.
        async with serve(told, "127.0.0.1", 0, max_queue=4, close_timeout=2 * FOREVER_S) as server:
            address = "ws://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
            async with connect(address) as socket:
                for _ in range(MANY):
                    await socket.send(b"sound" * 1000)
                assert await socket.recv() == '{"type": "error"}'
                await socket.wait_closed()
                return socket.close_code

    assert asyncio.run(asyncio.wait_for(talk(), FOREVER_S)) == 1000
