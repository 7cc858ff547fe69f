#!/usr/bin/env python3
"""Text clients that report and ask all the while, and tell what they noticed.

    text_client.py HOST:PORT REPORT.json [CLIENTS]      until it is sent SIGTERM

Half of the clients keep one connection for as long as it lasts, the others make one for each line, as `nc` does. A
connection that ends between an answer and the next line is made anew: a gateway that stops does that, and nobody has
lost anything. Whatever else goes wrong is counted and printed: a connection that is refused or takes longer than LIMIT,
a line that is not answered, an answer that is not the right one. The line is then sent again.
"""

import json
import signal
import socket
import sys
import threading
import time

LIMIT = 10
PAUSE = 0.02
IDS = 5

stop = threading.Event()
lock = threading.Lock()
counts = {"answers": 0, "connections": 0, "ended between lines": 0, "failed": 0, "slowest_ms": 0}
newest = {}


def count(what, number=1):
    with lock:
        counts[what] += number


def tell(client, what):
    count("failed")
    stamp = time.strftime("%H:%M:%S", time.gmtime()) + f".{int(time.time() % 1 * 1000):03}"
    print(f"{stamp} text client {client}: {what}", flush=True)


class Client:
    def __init__(self, number, address, keeps):
        self.number, self.address, self.keeps = number, address, keeps
        self.connection = self.lines = None

    def connect(self):
        self.connection = socket.create_connection(self.address, timeout=LIMIT)
        self.lines = self.connection.makefile("rb")
        count("connections")

    def hang_up(self):
        if self.connection:
            self.lines.close()
            self.connection.close()
        self.connection = None

    def ended(self):
        """Whether the gateway has hung up while nothing was asked."""
        self.connection.setblocking(False)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(LIMIT)

    def ask(self, line, right):
        """Sends a line until it is answered; whether it was, before all ended."""
        while True:
            try:
                if self.connection and self.ended():
                    count("ended between lines")
                    self.hang_up()
                if not self.connection:
                    self.connect()
                started = time.monotonic()
                self.connection.sendall(line.encode() + b"\n")
                answer = self.lines.readline().decode()
                if not answer.endswith("\n"):
                    raise OSError(f"hung up after {answer!r}")
                if line.startswith("WHATSAT"):
                    while (rest := self.lines.readline()) != b"\n":
                        if not rest:
                            raise OSError("hung up in the middle of places")
                if not right(answer):
                    raise OSError(f"answered {answer!r}")
                took = (time.monotonic() - started) * 1000
                with lock:
                    counts["answers"] += 1
                    counts["slowest_ms"] = max(counts["slowest_ms"], round(took))
                return True
            except OSError as error:
                tell(self.number, f"{line!r}: {error!r}")
                self.hang_up()
                time.sleep(0.5)
                if stop.is_set():
                    return False
            finally:
                if not self.keeps:
                    self.hang_up()

    def run(self):
        turn = 0
        while not stop.is_set():
            name = f"client-{self.number}-{turn % IDS}"
            turn += 1
            now = f"{time.time():.6f}"
            end = f" {name} +34.068930-118.445127 {now}\n"
            if self.ask(f"IAMAT{end[:-1]}", lambda answer: answer.startswith("AT ") and answer.endswith(end)):
                with lock:
                    newest[name] = now
            self.ask(f"WHATSAT {name} 1 1", lambda answer: answer.split(" ")[0] == "AT" and answer.split(" ")[3] == name)
            time.sleep(PAUSE)
        self.hang_up()


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    number = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    clients = [Client(which, (host, int(port)), which % 2 == 0) for which in range(number)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    while not stop.wait(1):
        pass
    for thread in threads:
        thread.join()
    with open(sys.argv[2], "w") as report:
        json.dump({"counts": counts, "newest": newest}, report)
    print("text clients:", ", ".join(f"{number} {what}" for what, number in counts.items()), flush=True)


if __name__ == "__main__":
    main()
