"""WebSockets by Python's `websockets`, as server and as client.

websocket.py serve PORT: sends back what it gets, answers `ping` after a ping of its own, and closes when told `close`. Prints
the code and the reason with which each connection ended.
websocket.py ask ADDRESS PORT HOST: does all that the protocol has, and exits with 0 when every answer was right.
"""

import asyncio
import os
import sys

import websockets

OPTIONS = {"max_size": None, "subprotocols": ["second", "first"]}
LARGE = 5_000_003


async def served(socket, *_path):
    try:
        async for message in socket:
            if message == "ping":
                await asyncio.wait_for(await socket.ping(b"from the server"), 10)
                await socket.send("ponged")
            elif message == "close":
                await socket.close(4321, "as you wish")
            else:
                await socket.send(message)
    except websockets.ConnectionClosedError:
        pass
    print(socket.close_code, socket.close_reason, flush=True)


async def serve(port):
    async with websockets.serve(served, ["0.0.0.0", "::"], port, **OPTIONS):
        await asyncio.Future()


async def echoes(socket, message, whole=None):
    await socket.send(message)
    got = await socket.recv()
    whole = message if whole is None else whole
    assert got == whole, f"{len(got)} of {len(whole)}: {got[:40]!r}"


async def connect(address, port, host, **more):
    return await websockets.connect(f"ws://{host}/", host=address, port=port, **OPTIONS, **more)


async def messages(socket):
    assert socket.subprotocol in ("first", "second"), socket.subprotocol
    for message in ["text", "", "ü€😀", b"", bytes(range(256)), os.urandom(LARGE), "x" * LARGE]:
        await echoes(socket, message)
    await echoes(socket, ["in ", "", "three parts"], "in three parts")
    for number in range(300):
        await socket.send(str(number))
    for number in range(300):
        assert await socket.recv() == str(number)
    await asyncio.wait_for(await socket.ping(b"from the client"), 10)
    await echoes(socket, "ping", "ponged")


async def ask(address, port, host):
    for compression in ["deflate", None]:
        socket = await connect(address, port, host, compression=compression)
        await messages(socket)
        await socket.close(4000, "goodbye")
        assert socket.close_code == 4000, socket.close_code
    socket = await connect(address, port, host)
    await socket.send("close")
    try:
        await socket.recv()
        raise AssertionError("a message came instead of the close")
    except websockets.ConnectionClosed:
        assert (socket.close_code, socket.close_reason) == (4321, "as you wish"), (socket.close_code, socket.close_reason)
    # A client that goes without a word.
    socket = await connect(address, port, host)
    await echoes(socket, "here")
    socket.transport.abort()


async def main(what, *arguments):
    if what == "serve":
        await serve(int(arguments[0]))
    else:
        await asyncio.wait_for(ask(arguments[0], int(arguments[1]), arguments[2]), 25)


asyncio.run(main(*sys.argv[1:]))
