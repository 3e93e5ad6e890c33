"""The tests' helpers: names that no other test uses, and servers that stand between client and
server."""

import http.client
import http.server
import json
import os
import pathlib
import random
import socket
import socketserver
import threading
import time
import urllib.error
import urllib.request
import uuid
from urllib.parse import urlsplit

URL = os.environ.get("AFT_URL", "")
SEED = int(os.environ.get("AFT_CLIENT_SEED", "1"))
VECTORS = json.loads((pathlib.Path(__file__).parents[2] / "vectors.json").read_text("utf-8"))

PASS, CUT_BEFORE, CUT_AFTER, BAD_GATEWAY = "pass", "cut before", "cut after", "bad gateway"
ACTIONS = {
    "snapshot_gone": (409, "retry"), "conflict": (409, "retry"), "lost": (409, "retry"), "overloaded": (429, "retry"), "not_serving": (503, "retry"),
    "store_unavailable": (503, "retry"), "unknown": (503, "unknown"), "in_progress": (409, "conflict"),
    "key_reused": (422, "conflict"), "result_gone": (410, "conflict"), "session_lost": (409, "invalid"), "invalid": (400, "invalid"),
    "not_found": (404, "not_found"), "no_such_path": (404, "not_found"), "unauthorized": (401, "unauthorized"),
    "damaged": (503, "internal"), "of_next_year": (409, "retry"),
}


def fresh(name="r"):
    """Returns a name that no other test uses, since all tests share one server."""
    return f"{name}-{uuid.uuid4()}"


def knows_queries():
    """Returns True if the server takes names in the query too, where proxies do not rewrite
    them."""
    try:
        with urllib.request.urlopen(f"{URL}/v1/key?name=x") as answer:
            return answer.status == 200
    except urllib.error.HTTPError as answer:
        return json.load(answer)["code"] == "absent"


def number(value):
    return int(value.bytes) if value else 0


def increment(t, key):
    following = number(t.get(key)) + 1
    t.put(key, str(following))
    return following


def name_of(method, path):
    parts = path.split("?")[0].split("/")[2:]
    if parts == ["transactions"]:
        return "begin"
    if parts[0] == "transactions":
        if parts[2] != "keys":
            return parts[2]
        return "keys" if len(parts) == 3 else "get" if method == "GET" else "put"
    return {"execute": "execute", "requests": "request"}.get(parts[0], "alone")


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # Connections are cut on purpose.


class Interposer:
    """A server between client and server that records every call, and does with each what a script
    says."""

    def __init__(self, script):
        upstream, lock, self.calls = urlsplit(URL), threading.Lock(), []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_call(self):
                name = name_of(self.command, self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with lock:
                    before = outer.calls.count(name)
                    outer.calls.append(name)
                act = script(name, before)
                if act == CUT_BEFORE:
                    self.close_connection = True
                    return
                if act == BAD_GATEWAY:
                    return self.answer(502, {}, b"<h1>Bad gateway</h1>")
                if act == "json":
                    return self.answer(200, {"Content-Type": "application/json"}, b'{"status":"ok"}')
                if act == "forbidden page":
                    return self.answer(403, {}, b"<h1>Forbidden</h1>")
                if act == "limit page":
                    return self.answer(429, {"Retry-After": "0"}, b"<h1>Slow down</h1>")
                if act in ACTIONS:
                    status, action = ACTIONS[act]
                    problem = {"type": "x", "title": "x", "status": status, "detail": "the script says so", "code": act, "action": action}
                    if act in ("overloaded", "in_progress"):
                        problem["retry_after_ms"] = 20
                    return self.answer(status, {"Content-Type": "application/problem+json"}, json.dumps(problem).encode())
                connection = http.client.HTTPConnection(upstream.hostname, upstream.port)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length", "connection")}
                connection.request(self.command, self.path, body=body or None, headers=headers)
                response = connection.getresponse()
                answer = response.read()
                connection.close()
                if act == CUT_AFTER:
                    self.close_connection = True
                    return
                kept = {name: value for name, value in response.headers.items() if name.lower() not in ("content-length", "date", "connection")}
                self.answer(response.status, kept, answer)

            do_GET = do_PUT = do_POST = do_DELETE = handle_call

            def answer(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def take(self):
        calls, self.calls[:] = list(self.calls), []
        return calls

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Cutter:
    """A TCP proxy that cuts every connection at a byte that a seed chooses, in either direction.

    Sometimes it delivers the call to the server after it has cut off the client.
    """

    def __init__(self, seed):
        rng, lock = random.Random(seed), threading.Lock()
        upstream = urlsplit(URL)
        outer = self
        self.cuts = 0

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with lock:
                    outer.cuts += 1
                    most = 400 if rng.random() < 0.4 else 3000
                    kind = rng.choices(["up", "down", "late"], [4, 4, 2])[0]
                    limit, pause = rng.randrange(most), rng.random() * 0.06
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with socket.create_connection((upstream.hostname, upstream.port)) as server:
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    down = threading.Thread(target=pump, args=(server, self.request, limit if kind == "down" else None), daemon=True)
                    down.start()
                    rest = pump(self.request, server, None if kind == "down" else limit, kind == "late")
                    if rest:
                        hang_up(self.request)
                        time.sleep(pause)
                        try:
                            server.sendall(rest)
                            # Give the server time to carry the call out before it notices that the
                            # client is gone.
                            time.sleep(0.1)
                        except OSError:
                            pass
                    hang_up(server)
                    hang_up(self.request)
                    down.join()

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server.daemon_threads = True
        self.server.request_queue_size = 64
        self.server.server_bind()
        self.server.server_activate()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class CutAnswers:
    """A server that answers every path twice.

    The first time it sends only as many bytes of the answer as the path's number says, and closes
    the connection; the second time it sends the whole answer.
    """

    def __init__(self, answer):
        asked, lock = set(), threading.Lock()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                path = self.rfile.readline().split()[1].decode()
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                with lock:
                    first, _ = path not in asked, asked.add(path)
                self.wfile.write(answer[:int(path.rpartition("/")[2])] if first else answer)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def hang_up(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def pump(source, sink, limit, keep=False):
    """Passes at most `limit` bytes on, then closes both sockets.

    With `keep` it returns the chunk that exceeds the limit instead.
    """
    passed = 0
    try:
        while True:
            chunk = source.recv(8192)
            if not chunk:
                break
            if limit is not None and passed + len(chunk) > limit:
                if keep:
                    return chunk
                sink.sendall(chunk[:limit - passed])
                break
            sink.sendall(chunk)
            passed += len(chunk)
    except OSError:
        pass
    hang_up(source)
    hang_up(sink)
    return None


class Fake:
    """A server that records every request, and answers with the bytes that `answer(request)`
    returns.

    A request is a dict of `line`, `headers` and `body`. With None the server closes the connection,
    and with an iterable it sends the parts one by one; with `context` it speaks TLS.
    """

    def __init__(self, answer, context=None):
        self.answer, self.context = answer, context
        self.requests, self.connections = [], 0
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        self.open.add(connection)
        try:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
                self.open.add(connection)
            file = connection.makefile("rb")
            while True:
                request = read_request(file)
                if request is None:
                    return
                self.requests.append(request)
                answer = self.answer(request)
                if answer is None:
                    return
                for part in [answer] if isinstance(answer, bytes) else answer:
                    connection.sendall(part)
        except (OSError, ValueError):
            pass
        finally:
            hang_up(connection)
            connection.close()

    def cut(self):
        """Closes all connections."""
        for connection in list(self.open):
            hang_up(connection)
        self.open.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.cut()


def read_request(file):
    line = file.readline().decode().strip()
    if not line:
        return None
    headers = {}
    while True:
        name, colon, value = file.readline().decode().strip().partition(":")
        if not colon:
            break
        headers[name.lower()] = value.strip()
    body = file.read(int(headers.get("content-length", 0)))
    if headers.get("transfer-encoding") == "chunked":
        while True:
            length = int(file.readline(), 16)
            body += file.read(length)
            file.readline()
            if length == 0:
                break
    return {"line": line, "headers": headers, "body": body}


def answer_of(status="200 OK", body=b"", *headers):
    """Returns the bytes of an answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def value_answer(body=b"v"):
    """Returns the answer to a get."""
    return answer_of("200 OK", body, "Aft-Version: 1-1", "Content-Type: text/plain")


def json_answer(message, status="200 OK"):
    """Returns an answer in JSON."""
    return answer_of(status, json.dumps(message).encode(), "Content-Type: application/json")


def problem_answer(status, code, action, **more):
    """Returns a refusal of AFT."""
    problem = {"type": "x", "title": "x", "status": int(status.split()[0]), "detail": "x", "code": code, "action": action}
    return answer_of(status, json.dumps({**problem, **more}).encode(), "Content-Type: application/problem+json")


class Early:
    """A server that answers when it has received `taken` bytes of a call, and closes while the rest
    is being sent."""

    def __init__(self, answer, taken):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

        def serve():
            while True:
                try:
                    connection, _ = self.listener.accept()
                except OSError:
                    return
                with connection:
                    length = 0
                    while length < taken:
                        length += len(connection.recv(65536))
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
