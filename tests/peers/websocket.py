"""WebSockets by Python's `websockets`, as server and as client.

websocket.py serve PORT [CHAIN KEY]: sends back what it gets, answers `ping` after a ping of its own, closes when told `close`, and
breaks the connection off when told `abort`. Prints the code and the reason with which each connection ended. With a certificate it
speaks TLS, and agrees to HTTP/2 where its client offers that, though it does not speak it.
websocket.py ask ADDRESS PORT HOST LARGEST [PATH]: does all that the protocol has, with messages of at most LARGEST bytes, and exits
with 0 when every answer was right. An upgrade of PATH must be answered 403 instead of being made.
"""

import asyncio
import os
import ssl
import sys

import websockets

OPTIONS = {"max_size": None, "subprotocols": ["second", "first"]}
SIZES = [1, 65_536, 1_048_576]


async def served(socket, *_path):
    try:
        async for message in socket:
            if message == "ping":
                await asyncio.wait_for(await socket.ping(b"from the server"), 10)
                await socket.send("ponged")
            elif message == "close":
                await socket.close(4321, "as you wish")
            elif message == "abort":
                socket.transport.abort()
            else:
                await socket.send(message)
    except websockets.ConnectionClosedError:
        pass
    print(socket.close_code, socket.close_reason, flush=True)


async def serve(port, *certificate):
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
        tls.set_alpn_protocols(["h2", "http/1.1"])
    async with websockets.serve(served, ["0.0.0.0", "::"], port, ssl=tls, **OPTIONS):
        await asyncio.Future()


async def echoes(socket, message, whole=None):
    await socket.send(message)
    got = await socket.recv()
    whole = message if whole is None else whole
    assert got == whole, f"{len(got)} of {len(whole)}: {got[:40]!r}"


async def messages(socket, largest):
    assert socket.subprotocol in ("first", "second"), socket.subprotocol
    for message in ["text", "", "ü€😀", b"", bytes(range(256))]:
        await echoes(socket, message)
    for size in {min(size, largest) for size in SIZES} | {largest}:
        await echoes(socket, os.urandom(size))
        await echoes(socket, "x" * size)
    await echoes(socket, ["in ", "", "three parts"], "in three parts")
    for number in range(300):
        await socket.send(str(number))
    for number in range(300):
        assert await socket.recv() == str(number)
    await asyncio.wait_for(await socket.ping(b"from the client"), 10)
    await echoes(socket, "ping", "ponged")


async def is_told_the_end(socket, told, code, reason):
    await socket.send(told)
    try:
        await socket.recv()
        raise AssertionError(f"a message came after {told}")
    except websockets.ConnectionClosed:
        seen = (socket.close_code, socket.close_reason)
        assert seen == (code, reason), f"{told}: {seen}"


async def ask(connect, largest):
    for compression in ["deflate", None]:
        socket = await connect("/", compression=compression)
        await messages(socket, largest)
        await socket.close(4000, "goodbye")
        assert socket.close_code == 4000, socket.close_code
    await is_told_the_end(await connect("/"), "close", 4321, "as you wish")
    await is_told_the_end(await connect("/"), "abort", 1006, "")
    # A client that goes without a word.
    socket = await connect("/")
    await echoes(socket, "here")
    socket.transport.abort()


async def is_denied(connect, path):
    try:
        await connect(path)
        raise AssertionError(f"{path} is upgraded")
    except websockets.InvalidStatusCode as error:
        assert error.status_code == 403, error


async def client(address, port, host, largest, *denied):
    def connect(path, **more):
        return websockets.connect(f"ws://{host}{path}", host=address, port=int(port), **OPTIONS, **more)

    for path in denied:
        await is_denied(connect, path)
    await ask(connect, int(largest))


async def main(what, *arguments):
    if what == "serve":
        await serve(*arguments)
    else:
        await asyncio.wait_for(client(*arguments), 25)


asyncio.run(main(*sys.argv[1:]))
