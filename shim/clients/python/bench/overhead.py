"""Measures the client's own cost of a call: its latency above that of a bare HTTP client, on
loopback.

    python3 bench/overhead.py [CALLS]                                     an echo server in a
    process of its own AFT_URL=http://127.0.0.1:7400 python3 bench/overhead.py [CALLS]       a real
    server

Bare are `http.client` of the standard library over one kept connection, and a plain socket that
sends ready bytes and reads one answer. All send the same GET in turns, so that they meet the same
state of the machine. Prints the medians, and the differences.
"""

import asyncio
import http.client
import multiprocessing
import os
import pathlib
import socket
import statistics
import sys
import time
from urllib.parse import urlsplit

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "src"))

from aft_client import Client, aio  # noqa: E402

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
WARM_UP = 200
KEY = "bench/overhead"
ANSWER = (b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\naft-version: 1-1\r\ncontent-length: 100\r\n\r\n"
          + b"x" * 100)


def echo(listener):
    """Answers every call with the same value."""
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if os.fork() == 0:
            received = b""
            while True:
                part = connection.recv(65536)
                if not part:
                    os._exit(0)
                received += part
                while b"\r\n\r\n" in received:
                    received = received.partition(b"\r\n\r\n")[2]
                    connection.sendall(ANSWER)


def bare_socket(host, port):
    """Returns a call over a plain socket."""
    sock = socket.create_connection((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    call = f"GET /v1/keys/{KEY} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()

    def get():
        sock.sendall(call)
        received = b""
        while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < 100:
            received += sock.recv(65536)
    return get


def library(host, port):
    """Returns a call by http.client."""
    connection = http.client.HTTPConnection(host, port)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get():
        connection.request("GET", f"/v1/keys/{KEY}")
        connection.getresponse().read()
    return get


def tasks(url):
    """Returns a call by the client for asyncio, and its loop."""
    loop, client = asyncio.new_event_loop(), aio.Client(url)

    async def many(times):
        took = []
        for _ in range(times):
            since = time.perf_counter()
            await client.get(KEY)
            took.append(time.perf_counter() - since)
        return took
    return lambda times: loop.run_until_complete(many(times))


def main():
    """Measures, and prints a table."""
    url, server = os.environ.get("AFT_URL"), None
    if not url:
        listener = socket.create_server(("127.0.0.1", 0))
        server = multiprocessing.get_context("fork").Process(target=echo, args=(listener,), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    else:
        Client(url).put(KEY, "x" * 100)
    host, port = urlsplit(url).hostname, urlsplit(url).port or 80
    # Without a session, as the bare clients have none.
    client = Client(url, session=False)
    calls = {"a plain socket": bare_socket(host, port), "http.client": library(host, port),
             "aft_client": lambda: client.get(KEY)}
    took = {name: [] for name in calls}
    cpu = dict.fromkeys(calls, 0.0)
    for nth in range(WARM_UP + CALLS):
        for name, call in calls.items():
            since, since_cpu = time.perf_counter(), time.thread_time()
            call()
            if nth >= WARM_UP:
                took[name].append(time.perf_counter() - since)
                cpu[name] += time.thread_time() - since_cpu
    many = tasks(url)
    many(WARM_UP)
    took["aft_client.aio"] = many(CALLS)
    medians = {name: statistics.median(values) * 1e6 for name, values in took.items()}
    base = medians["http.client"]
    print(f"{CALLS} gets of 100 bytes from {'an echo server' if server else url}; medians in µs")
    for name, median in medians.items():
        spent = f"{cpu[name] / CALLS * 1e6:8.0f}" if name in cpu else " " * 8
        print(f"{name:<16} {median:8.0f}   CPU {spent}   above http.client {median - base:+8.0f}   "
              f"above a plain socket {median - medians['a plain socket']:+8.0f}")
    if server:
        server.terminate()


if __name__ == "__main__":
    main()
