"""A WebSocket client by Python's `websockets`, driven by lines.

client.py URL [SUBPROTOCOL]. Lines of standard input are sent as text messages, but for `.ping` (a ping of the protocol)
and `.close` (a close with 1000). What happens is printed as JSON, a line for each event.
"""

import asyncio
import json
import os
import sys
import zlib

import websockets


def say(**event):
    print(json.dumps(event, ensure_ascii=False), flush=True)


async def obey(connection):
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        command = line.rstrip("\n")
        if line == "" or command == ".close":
            await connection.close(1000)
            return
        if command == ".ping":
            await (await connection.ping())
            say(event="pong")
        else:
            await connection.send(command)


async def main(url, subprotocols):
    async with websockets.connect(
        url, subprotocols=subprotocols, compression=None, max_size=None
    ) as connection:
        say(event="open", subprotocol=connection.subprotocol or "")
        orders = asyncio.create_task(obey(connection))
        try:
            while True:
                message = await connection.recv()
                binary = isinstance(message, bytes)
                # Raw DEFLATE: no header, no checksum.
                text = zlib.decompress(message, -15).decode() if binary else message
                say(event="frame", binary=binary, text=text)
        except websockets.ConnectionClosed as closed:
            # After our own close: what the gateway answered.
            received = closed.rcvd
            say(
                event="close",
                code=received.code if received else 1006,
                reason=received.reason if received else "",
            )
        orders.cancel()


try:
    asyncio.run(main(sys.argv[1], sys.argv[2:] or None))
except websockets.InvalidStatusCode as refused:
    say(event="refused", status=refused.status_code)
# The thread that waits for a line would keep the process.
sys.stdout.flush()
os._exit(0)
