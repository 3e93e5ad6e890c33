"""Measures what the layer adds to an invocation, on this machine.

    python3 lambda-wrapper/layer/bench/overhead.py [INVOCATIONS]

It runs the same function with the layer and without it, in turns, under the local Lambda: nothing
to do, and one PUT of 4 KiB. AFT (default target/release/aft) and LAYER (default
target/layer/aft-layer) name the binaries, MINIO a MinIO, and PYTHON an interpreter that has
awslambdaric and boto3. Without MINIO the PUTs are left out.

Prints medians and 99th percentiles of the time from the call of the Invoke API to its answer, the
time from the start of the layer to the start of the function's runtime, and the layer's memory.
"""

import http.client
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
AFT = os.environ.get("AFT", str(ROOT / "target/release/aft"))
LAYER = os.environ.get("LAYER", str(ROOT / "target/layer/aft-layer"))
PYTHON = os.environ.get("PYTHON", sys.executable)
MINIO = os.environ.get("MINIO")
COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
WARM_UP = 50
KEYS = {"AWS_ACCESS_KEY_ID": os.environ.get("MINIO_ACCESS_KEY", "any"),
        "AWS_SECRET_ACCESS_KEY": os.environ.get("MINIO_SECRET_KEY", "anysecret")}


class Program:
    """A program that prints words followed by an address."""

    def __init__(self, arguments, environment=None):
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env={**os.environ, **(environment or {})}, text=True)
        self.lines = []

    def says(self, words):
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return line.split(words)[1].split()[0]
        raise SystemExit("".join(self.lines))

    def drain(self):
        """Reads the rest of the output, so that the program never waits for a reader."""
        threading.Thread(target=lambda: list(self.process.stdout), daemon=True).start()

    def stop(self):
        self.process.terminate()
        self.process.wait()


def shim(store):
    """Starts a server, and returns it with the variables that lead the layer to it."""
    arguments = [AFT, "serve", "--store", store, "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"]
    program = Program(arguments + ["--bucket", "bench"], KEYS)
    url = program.says("listening on ")
    s3_url = program.says("listening for S3 on ")
    program.drain()
    return program, {"AFT_URL": url, "AFT_S3_URL": s3_url}


def function(name, handler, environment, layer):
    command = [PYTHON, "-m", "awslambdaric", f"handlers.{handler}"]
    command = [LAYER, "run", "--"] + command if layer else command
    variables = {**KEYS, "AFT_LOG": "error", **environment}
    lines = [f"{name} = {json.dumps(value)}" for name, value in variables.items()]
    return "\n".join([
        "[[function]]", f'name = "{name}"', f"command = {json.dumps(command)}",
        f'directory = "{pathlib.Path(__file__).parent}"', f'handler = "handlers.{handler}"',
        "timeout = 30", "concurrency = 1", "[function.environment]", *lines, ""])


def invoke(connection, name, event):
    start = time.perf_counter()
    connection.request("POST", f"/2015-03-31/functions/{name}/invocations", json.dumps(event))
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200 or answer.getheader("X-Amz-Function-Error"):
        raise SystemExit(f"{name}: {answer.status} {body}")
    return (time.perf_counter() - start) * 1e3


def measure(host, names):
    """Invokes the functions in turns, and returns the times of each in milliseconds."""
    connection = http.client.HTTPConnection(host)
    times = {name: [] for name in names}
    for turn in range(COUNT + WARM_UP):
        for name in names:
            taken = invoke(connection, name, {"key": f"k{turn % 100}"})
            if turn >= WARM_UP:
                times[name].append(taken)
    return times


def show(title, times):
    print(title)
    base = None
    for name, taken in times.items():
        p50, p99 = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
        base = base or (p50, p99)
        print(f"  {name:12} p50 {p50:7.3f} ms (+{p50 - base[0]:.3f}, x{p50 / base[0]:.2f})"
              f"   p99 {p99:7.3f} ms (+{p99 - base[1]:.3f})")


def start_up():
    """Returns the times from the layer's start to the end of a command that does nothing."""
    environment = {**os.environ, **KEYS, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9", "AFT_LOG": "error"}
    taken = {}
    for store in ["memory:", "dynamodb://aft?region=us-east-1", "s3://bench/aft?region=us-east-1"]:
        each = []
        for _ in range(20):
            start = time.perf_counter()
            subprocess.run([LAYER, "run", "--", "/bin/true"], env={**environment, "AFT_STORE": store}, check=True)
            each.append((time.perf_counter() - start) * 1e3)
        taken[store] = each
    return taken


def memory():
    """Returns the resident memory of every layer under the local Lambda, in MiB."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if "Name:\taft-layer" in text:
            found.append(int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024)
    return found


def main():
    servers = []
    functions = [function("plain", "noop", {}, False), function("embedded", "noop", {"AFT_STORE": "memory:"}, True)]
    server, variables = shim("memory:")
    servers.append(server)
    functions.append(function("shim", "noop", variables, True))
    puts = []
    if MINIO:
        functions.append(function("minio", "put", {"AWS_ENDPOINT_URL_S3": MINIO}, False))
        server, variables = shim(f"s3://aft/bench?endpoint={MINIO}")
        servers.append(server)
        functions.append(function("shim-minio", "put", variables, True))
        puts = ["minio", "shim-minio"]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write("\n".join(functions))
        file.flush()
        host = Program([AFT, "functions", "serve", file.name, "--listen", "127.0.0.1:0"])
        address = host.says("listening for invocations on http://")
        host.drain()
        show("nothing to do", measure(address, ["plain", "embedded", "shim"]))
        if puts:
            show("one PUT of 4 KiB", measure(address, puts))
        print("memory of the layers, MiB:", " ".join(f"{each:.1f}" for each in memory()))
        host.stop()
    for server in servers:
        server.stop()
    for store, taken in start_up().items():
        print(f"start-up over {store}: median {statistics.median(taken):.1f} ms, least {min(taken):.1f} ms")


if __name__ == "__main__":
    main()
