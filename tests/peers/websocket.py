"""WebSockets by Python's `websockets`, as server and as client.

websocket.py serve PORT [CHAIN KEY]: sends back what it gets, answers `ping` after a ping of its own, closes when told `close`, and
breaks the connection off when told `abort`. Prints the code and the reason with which each connection ended. With a certificate it
speaks TLS, and agrees to HTTP/2 where its client offers that, though it does not speak it.
websocket.py ask ADDRESS PORT HOST LARGEST [PATH]: does all that the protocol has, with messages of at most LARGEST bytes, and exits
with 0 when every answer was right. An upgrade of PATH must be answered 403 instead of being made.
websocket.py keep ADDRESS PORT HOST PATH COUNT: keeps so many connections open, with messages that must come back, until SIGTERM. One
that ends is opened again. Prints a line of JSON for each that ended or could not be opened, with times in milliseconds since the Unix
epoch, one when all have had an answer, and what it has seen, last.
"""

import asyncio
import json
import os
import signal
import ssl
import sys
import time

import websockets

OPTIONS = {"max_size": None, "subprotocols": ["second", "first"]}
SIZES = [1, 65_536, 1_048_576]
# Between two messages of a connection that is kept, and between a failure and the next try, in seconds.
PAUSE = 0.05
AGAIN = 0.1


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


def now():
    return time.time_ns() // 1_000_000


class Kept:
    """Connections that are kept, and what became of them."""

    def __init__(self, address, port, url, count):
        self.to, self.url, self.count = {"host": address, "port": int(port)}, url, int(count)
        self.over = asyncio.Event()
        self.seen = {"opened": 0, "messages": 0, "bytes": 0, "ended": 0, "wrong": 0}
        self.waiting = self.count

    async def messages(self, socket):
        number = 0
        while not self.over.is_set():
            message = os.urandom(number * 37 % 6000) if number % 2 else f"message {number} " * (number % 50)
            await socket.send(message)
            got = await asyncio.wait_for(socket.recv(), 20)
            if got != message:
                self.seen["wrong"] += 1
                print(json.dumps({"wrong": f"{len(got)} of {len(message)} came back"}), flush=True)
            self.seen["messages"] += 1
            self.seen["bytes"] += len(got)
            if number == 0:
                self.waiting -= 1
                if self.waiting == 0:
                    print(json.dumps({"flows": True}), flush=True)
            number += 1
            await asyncio.sleep(PAUSE)
        await socket.close(4000, "goodbye")

    async def keep(self):
        while not self.over.is_set():
            begun, is_open = now(), False
            try:
                socket = await websockets.connect(self.url, open_timeout=20, **self.to, **OPTIONS)
                is_open = True
                self.seen["opened"] += 1
                await self.messages(socket)
            except (OSError, asyncio.TimeoutError, websockets.WebSocketException) as error:
                self.seen["ended"] += 1
                told = {"open": is_open, "why": repr(error), "begun": begun, "ended": now()}
                print(json.dumps({"end": told}), flush=True)
                await asyncio.sleep(AGAIN)

    async def run(self):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.over.set)
        await asyncio.gather(*(self.keep() for _ in range(self.count)))
        print(json.dumps({"tally": self.seen}), flush=True)


async def keep(address, port, host, path, count):
    await Kept(address, port, f"ws://{host}{path}", count).run()


async def main(what, *arguments):
    if what == "serve":
        await serve(*arguments)
    elif what == "keep":
        await keep(*arguments)
    else:
        await asyncio.wait_for(client(*arguments), 25)


asyncio.run(main(*sys.argv[1:]))
