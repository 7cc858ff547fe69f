#!/usr/bin/env python3
"""A server of an original herd, as small as it can be: what the bridge is tried against.

    text-server.py [--waits] NAME PORT [FRIEND_PORT...]

Reads one message of each connection, as such servers do; floods what is new to its friends by AT lines, a
connection each; loses what a friend that is down would have had to be told. Writes every line in and out
to standard output.

With --waits as careless as some are: its lines to friends have no end, and it answers nobody before each friend has
closed the connection.
"""

import asyncio
import sys
import time

WAITS = sys.argv[1] == "--waits"
NAME, PORT, *FRIENDS = sys.argv[2 if WAITS else 1 :]
clients = {}


def log(direction, line):
    print(direction, line, flush=True)


async def tell(port, line):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write((line if WAITS else line + "\n").encode())
        await writer.drain()
        if WAITS:
            await reader.read()
        writer.close()
        log(f"to {port}:", line.strip())
    except OSError:
        log(f"no {port}:", line.strip())


async def learn(line):
    words = line.split()
    client, moment = words[3], float(words[5])
    if client in clients and float(clients[client].split()[5]) >= moment:
        return
    clients[client] = line
    await asyncio.gather(*(tell(port, line) for port in FRIENDS))


async def serve(reader, writer):
    line = (await reader.read(4096)).decode()
    log("in:", line.strip())
    words = line.split()
    answer = "? " + line
    if len(words) >= 6 and words[0] == "AT":
        answer = ""
        await learn(" ".join(words[:6]))
    elif len(words) == 4 and words[0] == "IAMAT":
        answer = f"AT {NAME} {time.time() - float(words[3]):+.9f} {' '.join(words[1:])}"
        await learn(answer)
        answer += "\n"
    elif len(words) == 4 and words[0] == "WHATSAT" and words[1] in clients:
        answer = clients[words[1]] + '\n{"results": []}\n\n'
    if answer:
        log("out:", answer.strip())
        writer.write(answer.encode())
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(PORT))
    log("up:", NAME)
    await server.serve_forever()


asyncio.run(main())
