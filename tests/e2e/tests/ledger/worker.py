"""Moves money between accounts, from a process that forks after its first calls.

Arguments: the servers' URLs with commas between them, the worker's name, the number of accounts,
    and
the seconds to run. Each transfer is a run with an ID of its own. A line tells of it before it
begins, and another one how it ended: `done`, or the class of the error.
"""

import json
import os
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[4] / "shim/clients/python/src"))

from aft_client import AftError, Client  # noqa: E402

CHILDREN = 2


def say(line):
    """Writes a line in one piece: the parent and its children share the pipe."""
    os.write(1, (json.dumps(line) + "\n").encode())


def transfer(here, id, source, target, amount):
    """Runs one transfer, and returns how it ended."""

    def move(t):
        for account, by in ((source, -amount), (target, amount)):
            t.put(f"account/{account}", str(int(t.get(f"account/{account}").bytes) + by))
        return "done"

    try:
        return here.run(id, move).result.decode()
    except AftError as why:
        return type(why).__name__


def work(clients, name, accounts, until):
    """Transfers until the time is over, on the servers in turn."""
    rng, nth = random.Random(name), 0
    while time.monotonic() < until:
        nth += 1
        id, amount = f"{name}-{nth}", rng.randrange(1, 5)
        source, target = rng.sample(range(accounts), 2)
        here, there = clients[nth % len(clients)], clients[(nth + 1) % len(clients)]
        here.join_session(there.session)
        say({"begins": id, "source": source, "target": target, "amount": amount})
        ended = transfer(here, id, source, target, amount)
        if rng.random() < 0.2:
            # The same request again, on the other server: it must not be done twice.
            again = transfer(there, id, source, target, amount)
            ended = again if again == "done" or ended != "done" else ended
        say({"ended": id, "how": ended})


def main():
    """Makes the clients, uses them, forks, and works in all processes."""
    urls, name, accounts, seconds = sys.argv[1:]
    until = time.monotonic() + float(seconds)
    clients = [Client(url, run_seconds_max=20, attempts_max=10_000) for url in urls.split(",")]
    for client in clients:
        client.get("account/0")
    for child in range(CHILDREN):
        if os.fork() == 0:
            work(clients, f"{name}-child{child}", int(accounts), until)
            os._exit(0)
    work(clients, name, int(accounts), until)
    for _ in range(CHILDREN):
        os.wait()


main()
