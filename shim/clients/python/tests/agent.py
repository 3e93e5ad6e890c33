"""An agent that plays situations with the client: reads one JSON object a line, and answers one a
line.

The list of situations is shared by the clients; each has an agent that speaks this language. Every
answer has `ok`, or `error` with `retryable`, `detail` and `code`; and `ms`, the time that the call
took.

    {"do":"client","url":…,"token"?,"ca"?,"certificate"?,"key"?,"silence_ms"?,"run_ms"?}   true
    {"do":"get","key"}                                      the value's text, or null
    {"do":"put","key","value" or "size"}                    true
    {"do":"run","id","key","value","sleep_ms"?,"waits"?}    "done", with `replayed` and `attempts`
    {"do":"read","key","sleep_ms"?,"waits"?}                the value's text, read in a run, or null
    {"do":"execute","id","key","value"}                     true, with `replayed`
    {"do":"request","id"}                                   the version, or null
    {"do":"count","key","times","tasks"}                    the number of runs, each of which takes
                                                            one away
    {"do":"fork","key","times"}                             the number of wrong answers in four
                                                            forked processes

A function that waits makes the file `reached` in the folder of that name, and goes on when the file
`open` is there.
"""

import json
import multiprocessing
import pathlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "src"))

from aft_client import AftError, Client, Op  # noqa: E402

# The client that the forked processes inherit.
CLIENT = None


def make(url, token=None, ca=None, certificate=None, key=None, silence_ms=None, run_ms=None):
    """Makes the client."""
    global CLIENT
    settings = {"token": token, "ca": ca, "certificate": certificate, "key": key}
    if silence_ms is not None:
        settings["call_timeout"] = silence_ms / 1000
    if run_ms is not None:
        settings["run_seconds_max"] = run_ms / 1000
    CLIENT = Client(url, **settings)
    return {"ok": True}


def text_of(value):
    """Returns a value as text."""
    return None if value is None else value.bytes.decode("utf-8", "replace")


def get(key):
    """Reads a key."""
    return {"ok": text_of(CLIENT.get(key))}


def put(key, value=None, size=None):
    """Writes a key."""
    CLIENT.put(key, value if size is None else b"x" * size)
    return {"ok": True}


def wait_at(gate):
    """Waits until the gate opens, if there is one."""
    if gate is None:
        return
    (pathlib.Path(gate) / "reached").touch()
    while not (pathlib.Path(gate) / "open").exists():
        time.sleep(0.005)


def run(id, key, value, sleep_ms=0, waits=None):
    """Reads and writes a key in a run."""
    def function(t):
        t.get(key)
        time.sleep(sleep_ms / 1000)
        wait_at(waits)
        t.put(key, value)
        return "done"
    ran = CLIENT.run(id, function)
    return {"ok": ran.result.decode(), "replayed": ran.replayed, "attempts": ran.attempts}


def read(key, sleep_ms=0, waits=None):
    """Reads a key in a run that writes nothing."""
    found = []

    def function(t):
        found[:] = [text_of(t.get(key))]
        time.sleep(sleep_ms / 1000)
        wait_at(waits)
    CLIENT.run(None, function)
    return {"ok": found[0]}


def execute(id, key, value):
    """Writes a key in a whole transaction."""
    return {"ok": True, "replayed": CLIENT.execute(id, [Op.put(key, value)]).ran.replayed}


def request(id):
    """Looks a request up."""
    found = CLIENT.request(id)
    return {"ok": None if found is None else found.version}


def count(key, times, tasks):
    """Counts a key down in runs of several threads."""
    def down(t):
        found = t.get(key)
        t.put(key, str(int(found.bytes if found else 0) - 1))
        return "done"
    with ThreadPoolExecutor(tasks) as pool:
        done = list(pool.map(lambda _: CLIENT.run(None, down).result, range(times)))
    return {"ok": done.count(b"done")}


def of_child(key):
    """Reads a key in a child, and executes a request there whose version the parent compares."""
    job = f"{key}/job"
    return key, text_of(CLIENT.get(key)), CLIENT.execute(f"{job}-{time.monotonic_ns()}", [Op.put(job, key)]).ran.version


def fork(key, times):
    """Uses the client before a fork, and in four children."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return {"skipped": "no fork"}
    keys = [f"{key}/{letter}" for letter in "abcd"]
    for one in keys:
        CLIENT.put(one, one)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        answers = list(pool.imap_unordered(of_child, (keys * times)[:times]))
    versions = {version for *_, version in answers}
    return {"ok": sum(found != one for one, found, _ in answers) + len(answers) - len(versions)}


CALLS = {"client": make, "get": get, "put": put, "run": run, "read": read, "execute": execute, "request": request,
         "count": count, "fork": fork}


def answer(line):
    """Returns the answer to a line."""
    since = time.monotonic()
    try:
        call = json.loads(line)
        told = CALLS[call.pop("do")](**call)
    except AftError as error:
        told = {"error": type(error).__name__, "retryable": error.retryable, "detail": error.detail, "code": error.code}
    except Exception as error:
        told = {"error": type(error).__name__, "retryable": False, "detail": str(error), "code": None}
    told["ms"] = round((time.monotonic() - since) * 1000, 1)
    return told


def main():
    """Answers line by line until the input ends."""
    for line in sys.stdin:
        if line.strip():
            print(json.dumps(answer(line)), flush=True)


if __name__ == "__main__":
    main()
