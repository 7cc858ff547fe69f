"""The herd's IAMAT job as an asyncio server does it: reads lines, stores, answers.

    python3 asyncio_server.py PORT [uvloop]
"""

import asyncio
import re
import sys
import time

POSITION = re.compile(r"([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)")
clients = {}


def answer(line):
    words = line.split()
    if len(words) != 4 or words[0] != "IAMAT":
        return f"? {line}"
    _, client, position, sent = words
    match = POSITION.fullmatch(position)
    if match is None:
        return f"? {line}"
    latitude, longitude = float(match[1]), float(match[2])
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return f"? {line}"
    moment = float(sent)
    known = clients.get(client)
    text = f"AT Peer {time.time() - moment:+.9f} {client} {position} {sent}"
    if known is None or known[2] < moment:
        clients[client] = (latitude, longitude, moment, text)
    return text


async def serve(reader, writer):
    while line := await reader.readline():
        writer.write((answer(line.decode().rstrip("\n")) + "\n").encode())
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


if sys.argv[2:] == ["uvloop"]:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
