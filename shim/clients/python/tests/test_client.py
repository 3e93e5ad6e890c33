"""Goal: the Python client keeps the protocol's promises although the network fails.

Method: a real server, at the URL in the environment variable AFT_URL. Between it and the client is
an interposer, which plays a script call by call, or a cutter, which cuts connections at random
bytes and delivers calls late. Seeds are printed first; AFT_CLIENT_SEED replays one.

    AFT_URL=http://127.0.0.1:7400 PYTHONPATH=src python3 -m unittest discover -s tests
"""

import http.client
import http.server
import itertools
import json
import os
import pathlib
import random
import socket
import socketserver
import threading
import time
import unittest
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import aft_client
from aft_client import Client, Op

URL = os.environ.get("AFT_URL", "")
SEED = int(os.environ.get("AFT_CLIENT_SEED", "1"))
VECTORS = json.loads((pathlib.Path(__file__).parents[2] / "vectors.json").read_text("utf-8"))

PASS, CUT_BEFORE, CUT_AFTER, BAD_GATEWAY = "pass", "cut before", "cut after", "bad gateway"
ACTIONS = {
    "snapshot_gone": (409, "retry"), "conflict": (409, "retry"), "lost": (409, "retry"), "overloaded": (429, "retry"), "not_serving": (503, "retry"),
    "store_unavailable": (503, "retry"), "unknown": (503, "unknown"), "in_progress": (409, "conflict"),
    "key_reused": (422, "conflict"), "result_gone": (410, "conflict"), "invalid": (400, "invalid"),
    "not_found": (404, "not_found"), "no_such_path": (404, "not_found"), "unauthorized": (401, "unauthorized"),
    "damaged": (503, "internal"), "of_next_year": (409, "retry"),
}


def fresh(name="r"):
    """Returns a name that no other test uses, since all tests share one server."""
    return f"{name}-{uuid.uuid4()}"


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
    """A server between client and server that records every call and treats it as a script says."""

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


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class Verbs(unittest.TestCase):
    def test_every_verb(self):
        for buffer in (1 << 20, 0):
            client = Client(URL, write_buffer_bytes_max=buffer)
            own = fresh()
            keys = [own + vector["key"] for vector in VECTORS["paths"]]
            with client.transaction() as t:
                for key in keys:
                    t.put(key, key)
                t.put(own + "typed", "{}", "application/json")
                t.put(own + "gone", b"x")
                t.delete(own + "gone")
                typed = t.get(own + "typed")
                self.assertEqual((typed.bytes, typed.content_type, typed.version), (b"{}", "application/json", "uncommitted"))
                self.assertIsNone(t.get(own + "gone"))
                self.assertIsNone(client.get(own + "typed"), "others do not see an uncommitted write")
                listed = [listed.key for listed in t.list(own, page_len=3)]
                self.assertEqual(listed, sorted(keys + [own + "typed"], key=str.encode))
                large = bytes(range(256)) * 1200
                t.put(own + "large", "small first")
                t.put(own + "large", large)
                self.assertEqual(t.get(own + "large").bytes, large)
                t.put(own + "small", large)
                t.put(own + "small", "small last")
                reads = t.batch([Op.get(own + "typed"), Op.put(own + "typed", "new"), Op.get(own + "typed"), Op.get(own + "nothing")])
                self.assertEqual([read.value and read.value.bytes for read in reads], [b"{}", b"new", None])
                t.result = "done"
            self.assertEqual((t.ran.result, t.ran.replayed), (b"done", False))
            with self.assertRaises(aft_client.Invalid):
                t.get("x")
            with self.assertRaises(aft_client.Invalid):
                t.put("x", "x")
            for key in keys:
                self.assertEqual(client.get(key).bytes.decode(), key)
            self.assertEqual(client.get(own + "large").bytes, large)
            self.assertEqual(client.get(own + "small").bytes, b"small last")
            with self.assertRaises(ZeroDivisionError), client.transaction() as t:
                t.put(own + "aborted", "x")
                1 / 0
            t = client.transaction()
            t.put(own + "aborted", "x")
            t.abort()
            with self.assertRaises(aft_client.Invalid):
                t.commit()
            self.assertIsNone(client.get(own + "aborted"))
            client.put(own + "alone", "1", "text/plain")
            self.assertEqual(client.get(own + "alone").content_type, "text/plain")
            client.delete(own + "alone")
            self.assertIsNone(client.get(own + "alone"))
            for key in ("", "k" * 2000, "\ud800"):
                with self.assertRaises(aft_client.Invalid):
                    client.put(key, "")

    def test_runs_replay_and_are_looked_up(self):
        client, request, key = Client(URL), fresh("r/ä "), fresh()

        def run(value):
            def function(t):
                t.put(key, value)
                return value
            return client.run(request, function)

        first, second = run("one"), run("two")
        self.assertEqual((first.result, first.replayed, first.attempts), (b"one", False, 1))
        self.assertEqual((second.result, second.replayed, second.version, second.attempts), (b"one", True, first.version, 0))
        found = client.request(request)
        self.assertEqual((found.version, found.result, found.keys), (first.version, b"one", [key]))
        self.assertIsNone(client.request(fresh()))
        self.assertIsNone(client.request(request, scope="elsewhere"))
        with client.transaction(request) as t:
            self.assertTrue(t.replayed)
            self.assertEqual(t.ran.result, b"one")
        request = fresh()
        executed = client.execute(request, [Op.put(key, "1"), Op.get(key)], "done")
        self.assertEqual((executed.reads[0].value.bytes, executed.ran.replayed), (b"1", False))
        again = client.execute(request, [Op.put(key, "1"), Op.get(key)], "done")
        self.assertEqual((again.ran.result, again.ran.replayed, again.reads), (b"done", True, []))
        with self.assertRaises(aft_client.KeyReused):
            client.execute(request, [Op.put(key, "2")], "done")
        self.assertEqual((client.result(request), client.result(fresh())), (b"done", None))
        # A result that is too large for a commit call is put by a call that this client does not
        # have, and read by a call of its own.
        request, large = fresh(), b"7" * (2 << 20)
        t = client.transaction(request)
        client._transport.send("PUT", f"/v1/transactions/{t.token}/result", large)
        t.commit()
        ran = client.transaction(request).ran
        self.assertEqual((ran.result, ran.result_size, client.result(request)), (b"", len(large), large))
        request = fresh()
        client.run(request, lambda t: None, fingerprint="a")
        self.assertTrue(client.run(request, lambda t: None, fingerprint="a").replayed)
        with self.assertRaises(aft_client.KeyReused):
            client.run(request, lambda t: None, fingerprint="b")

    def test_the_readmes_stock_is_sold_once_by_ten_threads(self):
        readme = (pathlib.Path(__file__).parents[1] / "README.md").read_text("utf-8")
        code = readme.split("```python\n")[1].split("```")[0].replace("http://127.0.0.1:7400", URL)
        names = {}
        exec(code, names)
        client, order = names["client"], names["order"]
        client.put("stock/tea", "100")

        def shop(_):
            return [client.run(fresh("order"), order) for _ in range(11)]

        with ThreadPoolExecutor(10) as threads:
            told = [ran for shop in threads.map(shop, range(10)) for ran in shop]
        results = [ran.result for ran in told]
        self.assertEqual((results.count(b"sold"), results.count(b"sold out")), (100, 10))
        self.assertEqual(client.get("stock/tea").bytes, b"0")
        print(f"110 orders took {sum(ran.attempts for ran in told)} attempts, at most {max(ran.attempts for ran in told)}", flush=True)

    def test_conflicts_are_retried_up_to_attempts_max(self):
        for conflicts in (0, 2, 9):
            key = fresh()
            with Interposer(lambda name, before: "conflict" if before < conflicts else PASS) as interposer:
                executed = Client(interposer.url).execute(None, [Op.get(key), Op.put(key, "1")])
            self.assertEqual((executed.ran.attempts, executed.reads[0].value), (conflicts + 1, None))
        with Interposer(lambda name, _: "conflict" if name in ("execute", "commit") else PASS) as interposer:
            client = Client(interposer.url, attempts_max=3)
            for name, call in (("execute", lambda: client.execute(None, [Op.put(fresh(), "1")])), ("commit", lambda: client.run(None, lambda t: None))):
                with self.assertRaises(aft_client.Retry) as raised:
                    call()
                self.assertEqual((raised.exception.code, interposer.take().count(name)), ("conflict", 3))

    def test_only_serializable_runs_repeat_after_an_overwrite(self):
        client, key = Client(URL), fresh()
        client.put(key, "0")

        def overtaken(t):
            t.get(key)
            if not called:
                client.put(key, "7")
            called.append(1)
            t.put(key, "1")

        for isolation, attempts in (("serializable", 2), ("read_atomic", 1), (None, 1)):
            called = []
            self.assertEqual(client.run(None, overtaken, isolation=isolation).attempts, attempts, isolation)
        called = []
        with self.assertRaises(aft_client.Retry) as raised:
            Client(URL, attempts_max=1).run(None, overtaken)
        self.assertEqual((raised.exception.code, len(called)), ("conflict", 1))
        with client.transaction() as t:
            called = []
            overtaken(t)
        client.put(key, "0")
        with client.transaction(isolation="serializable") as t:
            t.get(key)
        behind = client.transaction(isolation="serializable")
        self.assertEqual(behind.get(key).bytes, b"0")
        client.put(key, "7")
        behind.put(key, "1")
        with self.assertRaises(aft_client.Retry) as raised:
            behind.commit()
        self.assertEqual((raised.exception.code, client.get(key).bytes), ("conflict", b"7"))
        executed = client.execute(None, [Op.get(key), Op.put(key, "8")])
        self.assertEqual((executed.reads[0].value.bytes, executed.ran.attempts), (b"7", 1))
        with self.assertRaises(aft_client.Invalid):
            client.run(None, lambda t: None, isolation="chaos")

    def test_conditions_hold_or_fail_and_sums_add_up(self):
        client, key, counter = Client(URL), fresh(), fresh()

        def fails(call):
            with self.assertRaises(aft_client.ConditionFailed) as raised:
                call()
            self.assertEqual((raised.exception.code, isinstance(raised.exception, aft_client.Invalid)), ("condition_failed", True))

        first = client.put(key, "a", if_absent=True)
        fails(lambda: client.put(key, "b", if_absent=True))
        second = client.put(key, "b", "text/plain", if_version=first.version)
        self.assertEqual((client.get(key).version, client.get(key).content_type), (second.version, "text/plain"))
        fails(lambda: client.put(key, "c", if_version=first.version))
        fails(lambda: client.put(key, "c", if_value="a"))
        client.put(key, "c", if_value=b"b")
        # A condition on one key for a write of another, in a whole transaction and in a run.
        client.execute(None, [Op.check(key, if_value="c"), Op.put(counter, "5")])
        fails(lambda: client.execute(None, [Op.check(key, if_absent=True), Op.put(counter, "6")]))
        fails(lambda: client.run(None, lambda t: t.batch([Op.put(key, "d", if_absent=True)])))
        client.run(None, lambda t: t.batch([Op.put(key, "d", if_value="c")]))
        fails(lambda: client.delete(key, if_value="c"))
        client.delete(key, if_value="d")
        self.assertIsNone(client.get(key))
        self.assertEqual([client.add(counter), client.add(counter, -8), client.add(fresh(), 2 ** 40)], [6, -2, 2 ** 40])
        for call in (lambda: client.put(key, "a", if_absent=True, if_value="b"), lambda: Op.check(key), lambda: client.put(key, "a", if_version="x")):
            with self.assertRaises(aft_client.Invalid):
                call()

    def test_a_conditional_write_that_is_sent_again_does_not_conflict_with_itself(self):
        for act in (CUT_BEFORE, CUT_AFTER, BAD_GATEWAY):
            key, counter = fresh(), fresh()
            with Interposer(lambda name, before: act if before == 0 else PASS) as interposer:
                ran = Client(interposer.url).put(key, "a", if_absent=True)
            self.assertEqual(Client(URL).get(key).version, ran.version, act)
            with Interposer(lambda name, before: act if before == 0 else PASS) as interposer:
                told = Client(interposer.url).add(counter)
            self.assertEqual((told, Client(URL).get(counter).bytes), (None if act == CUT_AFTER else 1, b"1"), act)

    def test_a_functions_exception_aborts_and_is_raised(self):
        client, request, key, called = Client(URL), fresh(), fresh(), []

        def function(t):
            called.append(1)
            t.put(key, "v")
            raise LookupError("own")

        with self.assertRaisesRegex(LookupError, "own"):
            client.run(request, function)
        self.assertEqual((len(called), client.get(key)), (1, None))
        since = time.monotonic()
        self.assertEqual(client.run(request, lambda t: "2").result, b"2")
        self.assertLess(time.monotonic() - since, 4, "the next run does not wait for an aborted attempt")

    def test_a_function_of_a_run_must_not_commit_or_abort(self):
        client, request = Client(URL), fresh()
        for function in (lambda t: t.commit(), lambda t: t.abort()):
            with self.assertRaises(aft_client.Invalid):
                client.run(request, function)
        self.assertIsNone(client.request(request))

    def test_a_transaction_takes_few_calls(self):
        counter, entry = fresh(), fresh()

        def function(t):
            following = increment(t, counter)
            t.put(entry, "x")
            return str(following)

        with Interposer(lambda *_: PASS) as interposer:
            client, request = Client(interposer.url), fresh()
            client.run(fresh(), function)
            self.assertEqual(interposer.take(), ["begin", "get", "batch"])
            client.run(request, function, reads=[counter])
            self.assertEqual(interposer.take(), ["begin", "batch"])
            self.assertEqual(client.run(request, function).result, b"2")
            self.assertEqual(interposer.take(), ["begin"])
            client.run(fresh(), lambda t: t.get(counter) and None)
            self.assertEqual(interposer.take(), ["begin", "get", "commit"])
            Client(interposer.url, write_buffer_bytes_max=0).run(fresh(), function)
            self.assertEqual(interposer.take(), ["begin", "get", "put", "put", "commit"])

            def many(t):
                for n in range(900):
                    t.put(f"{entry}/{n:04}", str(n))
                return t.get(f"{entry}/0000").bytes
            self.assertEqual(client.run(fresh(), many).result, b"0")
            self.assertEqual(interposer.take(), ["begin", "batch", "get", "batch"])

    def test_the_client_agrees_with_the_shared_vectors(self):
        for vector in VECTORS["paths"]:
            self.assertEqual(aft_client._path(vector["key"]), vector["path"])
        for vector in VECTORS["sessions"]:
            self.assertEqual(aft_client.merge_sessions(vector["one"], vector["other"]), vector["merged"])
            self.assertEqual(aft_client.merge_sessions(vector["other"], vector["one"]), vector["merged"])
        for vector in VECTORS["pauses"]:
            least, most = aft_client._pause(vector["failures"], vector["code"] == "in_progress", vector["retry_after_ms"])
            self.assertAlmostEqual(least * 1000, vector["least_ms"])
            self.assertAlmostEqual(most * 1000, vector["most_ms"])
        levels = {"nothing": {}, "of_the_store": {"isolation": None}}
        for vector in VECTORS["levels"]:
            client, sent = Client("http://127.0.0.1:1"), []

            def post(path, message, headers=None):
                sent.append(message)
                raise aft_client.Invalid("the test sends nothing")
            client._post = post
            asked = levels.get(vector["asked"], {"isolation": vector["asked"]})
            calls = {"run": lambda: client.run(None, lambda t: None, **asked), "begin": lambda: client.transaction(**asked),
                     "execute": lambda: client.execute(None, [], **asked)}
            with self.assertRaises(aft_client.Invalid):
                calls[vector["call"]]()
            self.assertEqual([message.get("isolation") for message in sent], [vector["sent"]], vector)
        for text in VECTORS["unreadable"]:
            with self.assertRaises(ValueError):
                aft_client.merge_sessions(text, VECTORS["sessions"][1]["one"])

    def test_sessions_are_merged_and_handed_over(self):
        client, key = Client(URL), fresh()
        self.assertIsNone(client.session)
        one, two = client.transaction(), client.transaction()
        one.put(key + "1", "x")
        two.put(key + "2", "x")
        one.commit()
        first = client.session
        two.commit()
        self.assertEqual(client.session, aft_client.merge_sessions(first, client.session), "the session holds both commits")
        self.assertGreater(len(client.session), len(first))
        other = Client(URL)
        other.join_session(client.session)
        self.assertEqual(other.session, client.session)
        self.assertEqual(other.get(key + "1").bytes, b"x")
        off = Client(URL, session=False)
        off.put(key, "x")
        self.assertIsNone(off.session)

    def test_wrong_urls_and_tokens_are_rejected(self):
        for url in ("127.0.0.1:7400", "ftp://h", "http://h/v1", "http://u@h", ""):
            with self.assertRaises(aft_client.Invalid):
                Client(url)
        with self.assertRaises(aft_client.Invalid):
            Client(URL, token="a\nb")


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class Refusals(unittest.TestCase):
    def go(self, named, script):
        """Runs an increment through a script.

        Returns the outcome, the number of calls of the function, the counter as the server has it,
        and the HTTP calls.
        """
        counter, called = fresh(), []

        def function(t):
            called.append(1)
            return str(increment(t, counter))

        with Interposer(script) as interposer:
            client = Client(interposer.url, run_seconds_max=3)
            try:
                outcome = client.run(fresh() if named else None, function)
            except aft_client.AftError as error:
                outcome = error
            return outcome, len(called), number(Client(URL).get(counter)), interposer.take()

    def commits(self, named, script, called):
        outcome, *seen, calls = self.go(named, script)
        self.assertIsInstance(outcome, aft_client.Ran, calls)
        self.assertEqual(seen, [called, 1], calls)
        self.assertEqual((outcome.result, outcome.replayed), (b"1", False), calls)
        return calls

    def test_retryable_failures_are_retried(self):
        for named in (True, False):
            for call, act, called in [
                ("begin", "overloaded", 1), ("begin", "not_serving", 1), ("begin", "store_unavailable", 1), ("begin", "in_progress", 1),
                ("begin", CUT_BEFORE, 1), ("begin", CUT_AFTER, 1), ("begin", BAD_GATEWAY, 1), ("begin", "of_next_year", 1),
                ("get", "snapshot_gone", 2), ("get", "lost", 2), ("get", "not_found", 2), ("get", "store_unavailable", 2),
                ("get", "overloaded", 1), ("get", CUT_BEFORE, 1), ("get", CUT_AFTER, 1),
                ("batch", "lost", 2), ("batch", "not_found", 2), ("batch", "overloaded", 1), ("batch", "store_unavailable", 1),
                ("batch", CUT_BEFORE, 1), ("batch", CUT_AFTER, 1), ("batch", "unknown", 1),
            ]:
                with self.subTest(named=named, call=call, act=act):
                    self.commits(named, lambda name, before: act if (name, before) == (call, 0) else PASS, called)

    def test_a_commit_whose_transaction_is_forgotten_is_run_again_or_unknown(self):
        def script(first):
            def play(name, before):
                if name == "batch":
                    return first if before == 0 else "not_found" if before == 1 else PASS
                return "not_found" if name == "commit" else PASS
            return play
        self.commits(True, script(CUT_AFTER), 1)
        self.commits(True, script(CUT_BEFORE), 2)
        for first, effects in ((CUT_AFTER, 1), (CUT_BEFORE, 0)):
            outcome, called, counter, calls = self.go(False, script(first))
            self.assertIsInstance(outcome, aft_client.Unknown, calls)
            self.assertEqual((called, counter), (1, effects), "an unnamed request is not run again")

    def test_a_commit_in_doubt_at_the_end_of_the_time_is_unknown(self):
        def deaf(name, before):
            if name in ("begin", "get") and before == 0:
                return PASS
            return CUT_AFTER if (name, before) == ("batch", 0) else CUT_BEFORE
        for named in (True, False):
            outcome, _, counter, calls = self.go(named, deaf)
            self.assertIsInstance(outcome, aft_client.Unknown)
            self.assertEqual((counter, "request" in calls, outcome.request_id is not None), (1, named, named))
            self.assertTrue(outcome.transaction)

    def test_a_commit_in_doubt_is_aborted_or_looked_up(self):
        def aborts(name, before):
            return CUT_BEFORE if name == "batch" else "unauthorized" if name == "begin" and before else PASS
        outcome, called, counter, _ = self.go(True, aborts)
        self.assertIsInstance(outcome, aft_client.Unauthorized)
        self.assertEqual((called, counter), (1, 0))

        def found(name, before):
            if name == "begin" and before:
                return "unauthorized"
            return {"batch": CUT_AFTER, "commit": CUT_BEFORE}.get(name, PASS)
        self.assertIn("request", self.commits(True, found, 1))

    def test_a_failing_function_does_not_hide_a_commit(self):
        for act, commits in ((CUT_AFTER, True), (CUT_BEFORE, False)):
            key, called = fresh(), []

            def script(name, before):
                if name == "begin" and before == 1:
                    return "lost"
                return act if name == "batch" else CUT_BEFORE if name == "commit" else PASS

            def function(t):
                called.append(1)
                if len(called) > 1:
                    raise LookupError("own")
                t.put(key, "v")
                return "done"

            with Interposer(script) as interposer:
                try:
                    outcome = Client(interposer.url).run(fresh(), function)
                except LookupError:
                    outcome = None
            self.assertEqual((outcome is not None, Client(URL).get(key) is not None), (commits, commits))

    def test_attempts_and_time_are_bounded(self):
        outcome, called, *_ = self.go(True, lambda name, _: "snapshot_gone" if name == "get" else PASS)
        self.assertIsInstance(outcome, aft_client.Retry)
        self.assertTrue(2 <= called <= 10, called)
        outcome, *_ = self.go(True, lambda name, _: "in_progress" if name == "begin" else PASS)
        self.assertIsInstance(outcome, aft_client.InProgress)
        with self.assertRaises(aft_client.Unavailable):
            Client("http://127.0.0.1:1", run_seconds_max=0.3).run("r", lambda t: None)

    def test_errors_that_a_retry_cannot_help_are_raised_at_once(self):
        for code, kind in [("key_reused", aft_client.KeyReused), ("result_gone", aft_client.ResultGone), ("invalid", aft_client.Invalid),
                           ("unauthorized", aft_client.Unauthorized), ("damaged", aft_client.Internal), ("no_such_path", aft_client.NotFound)]:
            outcome, called, _, calls = self.go(True, lambda *_: code)
            self.assertIs(type(outcome), kind)
            self.assertEqual((outcome.code, called, calls), (code, 0, ["begin"]))

    def test_a_transaction_with_a_write_in_doubt_does_not_commit(self):
        key = fresh()
        with Interposer(lambda name, before: CUT_AFTER if (name, before) == ("put", 0) else PASS) as interposer:
            t = Client(interposer.url, write_buffer_bytes_max=0).transaction()
            with self.assertRaises(aft_client.Unavailable):
                t.put(key, "1")
            t.put(key, "2")
            with self.assertRaises(aft_client.Unavailable):
                t.commit()
        self.assertIsNone(Client(URL).get(key))

    def test_whole_transactions_are_sent_again_only_with_an_id(self):
        for act in (CUT_AFTER, CUT_BEFORE):
            with Interposer(lambda name, before: act if before == 0 else PASS) as interposer:
                client, key = Client(interposer.url), fresh()
                self.assertEqual(client.execute(fresh(), [Op.put(key, "v")], "done").ran.result, b"done")
                interposer.take()
                with self.assertRaises(aft_client.Unknown):
                    client.execute(None, [Op.put(key, "v")])
                self.assertEqual(interposer.take(), ["execute"], "it is not sent again")
                with self.assertRaises(aft_client.Unknown):
                    client.put(key, "v")
                self.assertEqual(interposer.take(), ["alone"], "it is not sent again")
                self.assertEqual(client.get(key).bytes, b"v", "reads are sent again")


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class CutAnywhere(unittest.TestCase):
    """An answer that is cut off after any number of its bytes is not taken for a whole one."""

    def test_an_answer_that_is_cut_off_is_read_again(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nAft-Version: 1-1\r\n"
        for answer in (head + b"Content-Length: 12\r\nConnection: close\r\n\r\n120000000001",
                       head + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nc\r\n120000000001\r\n0\r\n\r\n"):
            with CutAnswers(answer) as server, Client(server.url) as client:
                for cut in range(len(answer)):
                    value = client.get(str(cut))
                    self.assertEqual(value and value.bytes, b"120000000001", answer[:cut])


class Early:
    """A server that answers after `taken` bytes of a call, and closes while the rest is sent."""

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


class CutOff(unittest.TestCase):
    """Answers that arrive, with the connection's end, before all of a large body was sent."""
    LARGE = b"7" * (24 << 20)

    def test_a_rejection_is_raised_as_what_it_is(self):
        problem = {"type": "x", "title": "x", "status": 413, "detail": "too long", "code": "too_large", "action": "invalid"}
        body = json.dumps(problem).encode()
        head = f"HTTP/1.1 413 No\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        for taken in (1, 1 << 20):
            with Early(head.encode() + body, taken) as server, Client(server.url, run_seconds_max=2) as client:
                for _ in range(20):
                    with self.assertRaises(aft_client.Invalid) as refused:
                        client.put("k", self.LARGE)
                    self.assertEqual(refused.exception.code, "too_large")

    def test_a_success_is_no_answer(self):
        yes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        with Early(yes, 1) as server, Client(server.url, run_seconds_max=2) as client:
            with self.assertRaises(aft_client.Unknown):
                client.put("k", self.LARGE)


class Cuts(unittest.TestCase):
    """Runs over connections that are cut take effect once, and their outcomes are right.

    Every run increments its writer's counter, and writes an entry that names the call of the
    function that made it. Afterwards, without the cutter, the counter shows how many runs took
    effect, and the entries show which.
    """
    WRITERS, RUNS = 4, 75

    def write(self, cutter, named):
        own, calls = fresh(), itertools.count()

        def writer(who):
            client = Client(cutter.url, call_timeout=2, attempts_max=100, write_buffer_bytes_max=(who % 2) << 20)
            outcomes = []
            for run in range(self.RUNS):
                def function(t):
                    call = next(calls)
                    increment(t, f"{own}/count/{who}")
                    t.put(f"{own}/entry/{who}/{run}/{call}", "x")
                    return str(call)
                try:
                    ran = client.run(f"{own}/{who}/{run}" if named else None, function)
                    outcomes.append(ran.result.decode())
                    if named and run % 10 == 0:
                        self.assertEqual(client.run(f"{own}/{who}/{run}", function).result, ran.result)
                except aft_client.Unknown:
                    outcomes.append(None)
            return outcomes

        with ThreadPoolExecutor(self.WRITERS) as pool:
            outcomes = list(pool.map(writer, range(self.WRITERS)))
        seen = []
        with Client(URL).transaction() as t:
            for who in range(self.WRITERS):
                entries = [listed.key.split("/")[-2:] for listed in t.list(f"{own}/entry/{who}/")]
                seen.append((number(t.get(f"{own}/count/{who}")), entries))
        return outcomes, seen, next(calls)

    def test_named_runs_take_effect_once(self):
        print(f"seed {SEED} (AFT_CLIENT_SEED={SEED} replays its cuts)", flush=True)
        with Cutter(SEED) as cutter:
            outcomes, seen, calls = self.write(cutter, True)
        runs = self.WRITERS * self.RUNS
        print(f"{runs} named runs, {calls} calls of the function, {cutter.cuts} connections cut", flush=True)
        for told, (count, entries) in zip(outcomes, seen):
            self.assertEqual((count, len(entries)), (self.RUNS, self.RUNS))
            self.assertEqual(sorted((int(run), call) for run, call in entries), list(enumerate(told)))
        self.assertGreater(cutter.cuts, runs / 2, "too few connections were cut to test anything")
        self.assertGreater(calls, runs, "no attempt was made twice, so nothing was tested")

    def test_unnamed_runs_never_take_effect_twice(self):
        print(f"seed {SEED} (AFT_CLIENT_SEED={SEED} replays its cuts)", flush=True)
        with Cutter(SEED) as cutter:
            outcomes, seen, _ = self.write(cutter, False)
        unknown = sum(told.count(None) for told in outcomes)
        print(f"{self.WRITERS * self.RUNS} unnamed runs, {unknown} unknown, {cutter.cuts} connections cut", flush=True)
        for told, (count, entries) in zip(outcomes, seen):
            self.assertEqual(count, len(entries), "the counter and the entries must agree")
            for run, call in enumerate(told):
                effects = [call for of, call in entries if int(of) == run]
                self.assertLessEqual(len(effects), 1)
                if call is not None:
                    self.assertEqual(effects, [call], "a run that returned has committed, with this call")


if __name__ == "__main__":
    unittest.main()
