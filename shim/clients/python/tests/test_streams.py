"""Goal: values of any size are read in ranges and streams, and written from sources, in bounded
memory.

Method: a real server; and fake ones that break off, answer early, or ignore the range.
"""

import http.client
import io
import posixpath
import socket
import time
import tracemalloc
import unittest
from unittest import mock
from urllib.parse import urlsplit

import aft_client
from aft_client import Client, transport
from aft_client.wire import Blocking, Wire, drive
from support import URL, Early, Fake, answer_of, fresh, json_answer, knows_queries, value_answer


class Broken(io.RawIOBase):
    """A source that fails after some bytes."""

    def __init__(self, good):
        self.good = good

    def read(self, size=-1):
        if self.good <= 0:
            raise RuntimeError("the disk is gone")
        self.good -= size
        return b"x" * size


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class Large(unittest.TestCase):
    def test_ranges_of_small_and_large_values(self):
        client = Client(URL)
        for size in (10, 3 << 20):
            key, value = fresh(), (bytes(range(256)) * (size // 256 + 1))[:size]
            client.put(key, value, "text/plain")
            for start, length in ((0, 1), (2, 5), (size - 3, 100), (0, size)):
                found = client.get_range(key, start, length)
                self.assertEqual((found.bytes, found.size, found.content_type), (value[start:start + length], size, "text/plain"))
                self.assertEqual(found.version, client.get(key).version)
                with client.transaction() as t:
                    self.assertEqual(t.get_range(key, start, length).bytes, value[start:start + length])
                with client.transaction(reads=[key] if size < 100 else []) as t:
                    self.assertEqual(t.get_range(key, start, length).bytes, value[start:start + length])
            with self.assertRaises(aft_client.Invalid) as raised:
                client.get_range(key, size, 1)
            self.assertEqual(raised.exception.code, "range_not_satisfiable")
        for start, length in ((-1, 1), (0, 0), (0, -1), (0, True), (1.5, 1), ("0", 1)):
            with self.assertRaises(aft_client.Invalid):
                client.get_range(key, start, length)
        self.assertIsNone(client.get_range(fresh(), 0, 1))
        with client.transaction() as t:
            t.put("own", "0123456789")
            own = t.get_range("own", 2, 3)
            self.assertEqual((own.bytes, own.size, own.version), (b"234", 10, "uncommitted"))
            with self.assertRaises(aft_client.Invalid):
                t.get_range("own", 10, 1)
            self.assertEqual(client.get("own"), None)
            t.delete("own")
            self.assertIsNone(t.get_range("own", 0, 1))

    def test_streams_have_bounded_memory(self):
        client, key, size = Client(URL), fresh(), 24 << 20
        tracemalloc.start()
        try:
            client.put_stream(key, (b"%07d\n" % n * 8192 for n in range(size // (8 * 8192))), size)
            with client.stream(key) as stream:
                self.assertEqual((stream.size, stream.read(8)), (size, b"0000000\n"))
                last, length = b"", 8
                for piece in stream:
                    length += len(piece)
                    last = piece
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertEqual((length, last[-8:]), (size, b"%07d\n" % (size // (8 * 8192) - 1)))
        self.assertLess(peak, 6 << 20)
        before = client.get_range(key, 0, 1).version
        self.assertEqual(stream.version, before)

    def test_sources_of_every_kind(self):
        client = Client(URL)
        value = bytes(range(256)) * 4096
        for source, size, expected in ((io.BytesIO(value), None, value), (io.BytesIO(value), len(value), value), (iter([value[:5], b"", value[5:]]), None, value),
                                       ([bytearray(value[:9]), memoryview(value)[9:]], len(value), value), (value, None, value),
                                       (io.BytesIO(b""), None, b""), (io.BytesIO(b""), 0, b"")):
            key = fresh()
            ran = client.put_stream(key, source, size, "text/plain")
            found = client.get(key)
            self.assertEqual((found.bytes == expected, found.version, found.content_type), (True, ran.version, "text/plain"))
        with client.stream(key) as stream:
            self.assertEqual((stream.read(), stream.read(), stream.size), (b"", b"", 0))
        self.assertIsNone(client.stream(fresh()))

        async def pieces():
            yield b"x"
        for source in (3, None, io.StringIO("text"), ["text"], pieces()):
            with self.assertRaises(aft_client.Invalid):
                client.put_stream(fresh(), source)
        for size in (-1, True, "3", 1.5):
            with self.assertRaises(aft_client.Invalid):
                client.put_stream(fresh(), io.BytesIO(b"x"), size)

    def test_a_source_that_fails_or_lies_writes_nothing(self):
        client = Client(URL)
        for source, size, kind in ((Broken(3 << 20), None, RuntimeError), (Broken(3 << 20), 9 << 20, RuntimeError), (io.BytesIO(b"123"), 4, aft_client.Invalid),
                                   (io.BytesIO(b"12345"), 4, aft_client.Invalid)):
            key = fresh()
            with self.assertRaises(kind):
                client.put_stream(key, source, size)
            time.sleep(0.1)
            self.assertIsNone(client.get(key))

    def test_results_are_streamed(self):
        client, request = Client(URL), fresh()
        result = b"7" * (2 << 20)
        client.run(request, lambda t: result[:1 << 20])
        with client.result_stream(request) as stream:
            self.assertEqual((stream.size, sum(map(len, stream))), (1 << 20, 1 << 20))
        self.assertIsNone(client.result_stream(fresh()))
        other, key = Client(URL), fresh()
        client.put(key, "v")
        other.stream(key).close()
        self.assertIsNotNone(other.session, "what was read belongs to the session")

    def test_a_stream_that_is_closed_gives_no_more(self):
        client, key = Client(URL), fresh()
        client.put(key, b"x" * (8 << 20))
        with client.stream(key) as stream:
            stream.read(10)
        with self.assertRaises(aft_client.Invalid):
            stream.read(10)
        self.assertEqual(len(client.get(key).bytes), 8 << 20)


class Failures(unittest.TestCase):
    def test_a_stream_that_breaks_off_raises(self):
        for head in (b"Content-Length: 100000", b"Transfer-Encoding: chunked"):
            body = b"x" * 5000 if b"Length" in head else b"1388\r\n" + b"x" * 5000 + b"\r\n"

            def answer(request):
                yield b"HTTP/1.1 200 OK\r\nAft-Version: 1-1\r\n" + head + b"\r\n\r\n" + body
                raise OSError("cut")
            with Fake(answer) as server, Client(server.url) as client:
                with client.stream("k") as stream, self.assertRaises(aft_client.Unavailable) as raised:
                    self.assertEqual(len(stream.read(5000)), 5000)
                    stream.read(1)
                self.assertIn("incomplete", raised.exception.detail)

    def test_a_source_is_read_only_when_connected_and_only_once(self):
        source = io.BytesIO(b"x" * 100)
        with self.assertRaises(aft_client.Unavailable) as raised:
            Client("http://127.0.0.1:1", run_seconds_max=0.3).put_stream("k", source)
        self.assertEqual(source.tell(), 0)
        self.assertIn("tries", raised.exception.detail, "it is tried again while nothing was read")
        for answer, kind in ((None, aft_client.Unknown), (answer_of("429 Slow", b"", "Retry-After: 0"), aft_client.Unavailable)):
            with Fake(lambda request: answer) as server, Client(server.url, run_seconds_max=1) as client:
                with self.assertRaises(kind):
                    client.put_stream("k", io.BytesIO(b"x" * 100), 100)
                self.assertEqual([request["body"] for request in server.requests], [b"x" * 100])

    def test_a_call_that_was_not_sent_to_its_end_had_no_effect(self):
        def serve(connection):
            connection.recv(100_000)
            time.sleep(0.05)
            connection.close()
        pieces = lambda: (time.sleep(0.01) or b"x" * 50_000 for _ in range(500))
        with Fake(lambda request: None) as server, Client(server.url, run_seconds_max=0.3) as client:
            server.serve = serve
            for call in (lambda: client.put("k", b"x" * (32 << 20)), lambda: client.put_stream("k", pieces()), lambda: client.put_stream("k", pieces(), 25_000_000)):
                with self.assertRaises(aft_client.Unavailable) as raised:
                    call()
                self.assertTrue(raised.exception.retryable)
                self.assertIn("not sent to its end, and had no effect", raised.exception.detail)

    def test_an_early_refusal_is_read(self):
        problem = b'{"status":413,"detail":"too long","code":"too_large","action":"invalid"}'
        head = b"HTTP/1.1 413 No\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(problem)
        for size in (24 << 20, None):
            with Early(head + problem, 1 << 20) as server, Client(server.url) as client:
                read = []
                source = (read.append(1) or b"7" * (1 << 20) for _ in range(24))
                with self.assertRaises(aft_client.Invalid) as raised:
                    client.put_stream("k", source, size)
                self.assertEqual(raised.exception.code, "too_large")

    def test_a_server_that_answers_early_and_keeps_open_is_heard(self):
        # It neither reads on nor closes, so the rest of the body never fits into the line.
        problem = b'{"status":413,"detail":"too long","code":"too_large","action":"invalid"}'
        answer = answer_of("413 No", problem, "Content-Type: application/problem+json")
        with Fake(lambda request: None) as server, Client(server.url, call_timeout=5) as client:
            server.serve = lambda connection: (connection.recv(1000), time.sleep(0.4), connection.sendall(answer), time.sleep(4))
            since = time.monotonic()
            with self.assertRaises(aft_client.Invalid) as raised:
                client.put("k", b"7" * (24 << 20))
            self.assertEqual(raised.exception.code, "too_large")
            self.assertLess(time.monotonic() - since, 3)

    def test_an_answer_is_noticed_while_the_line_is_full(self):
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            wire = Wire(Blocking(), here)
            there.sendall(b"answer")
            since = time.monotonic()
            # One piece, larger than what the line holds.
            self.assertFalse(drive(wire.send(b"x" * (256 << 10), 5)))
            self.assertLess(time.monotonic() - since, 1)
            self.assertEqual(wire.buffer, b"answer")

    def test_an_answer_that_is_too_long_for_memory_names_the_stream(self):
        def chunked(request):
            yield b"HTTP/1.1 200 OK\r\nAft-Version: 1-1\r\nTransfer-Encoding: chunked\r\n\r\n"
            for _ in range(40):
                yield b"400\r\n" + b"x" * 1024 + b"\r\n"
            yield b"0\r\n\r\n"
        for answer in (lambda request: value_answer(b"x" * 20_000), chunked):
            with mock.patch.object(transport, "ANSWER_BYTES_MAX", 10_000), Fake(answer) as server, Client(server.url) as client:
                with self.assertRaises(aft_client.Invalid) as raised:
                    client.get("k")
                self.assertIn("`stream`", raised.exception.detail)
                with client.stream("k") as stream:
                    self.assertIn(len(stream.read()), (20_000, 40 * 1024))

    def test_a_range_that_a_proxy_drops_is_cut_out(self):
        with Fake(lambda request: value_answer(b"0123456789")) as server, Client(server.url) as client:
            found = client.get_range("k", 2, 3)
            self.assertEqual((found.bytes, found.size), (b"234", 10))
            self.assertEqual(server.requests[0]["headers"]["range"], "bytes=2-4")


class Rewriter:
    """A proxy that resolves `.` and `..` in paths, and joins slashes, as nginx does."""

    def __init__(self):
        upstream = urlsplit(URL)

        def answer(request):
            method, target, _ = request["line"].split(" ")
            path, mark, query = target.partition("?")
            path = posixpath.normpath(path.replace("//", "/"))
            connection = http.client.HTTPConnection(upstream.hostname, upstream.port)
            headers = {name: value for name, value in request["headers"].items() if name not in ("host", "content-length")}
            connection.request(method, path + mark + query, request["body"], headers)
            response = connection.getresponse()
            body = response.read()
            connection.close()
            kept = [f"{name}: {value}" for name, value in response.headers.items() if name.lower() not in ("content-length", "date")]
            whole = answer_of(f"{response.status} x", body, *kept)
            return whole.replace(b"Content-Length: 0\r\n", b"") if response.status == 204 else whole
        self.server = Fake(answer)


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class BehindAProxy(unittest.TestCase):
    def test_names_arrive_unchanged(self):
        if not knows_queries():
            self.skipTest("the server takes no names in the query")
        own = fresh()
        with Rewriter().server as proxy, Client(proxy.url, write_buffer_bytes_max=0) as client:
            for name in (f"{own}/a/../b", f"{own}//b", f"{own}/./b", f"/{own}", f"{own}/", f"../{own}"):
                client.put(name, name)
                self.assertEqual(client.get(name).bytes.decode(), name)
                self.assertEqual(Client(URL).get(name).bytes.decode(), name)
                client.run(name, lambda t: t.put(name, t.get(name).bytes + b"!") or "done")
                self.assertEqual((client.get(name).bytes.decode(), client.request(name).result, client.result(name)), (name + "!", b"done", b"done"))
            self.assertIsNone(client.get(f"{own}/b"))


class Paths(unittest.TestCase):
    def test_names_that_proxies_rewrite_stand_in_the_query(self):
        def answer(request):
            line = request["line"]
            if line.startswith("POST /v1/transactions "):
                return json_answer({"transaction": "1-1"})
            if line.startswith("GET") and "request" in line:
                return json_answer({"hash": "h", "version": "1-1", "committed_at": "x", "kept_until": "x"})
            if line.startswith("GET") or "HEAD" in line:
                return value_answer()
            return answer_of("204 No Content").replace(b"Content-Length: 0\r\n", b"") if "transactions/1-1/key" in line else json_answer({"committed": True})
        with Fake(answer) as server, Client(server.url, write_buffer_bytes_max=0) as client:
            t = client.transaction()
            for name, path, query in (("a/../b", None, "a%2F..%2Fb"), ("/a b", None, "%2Fa%20b"), ("a/b", "a/b", None), ("..", None, ".."), ("a//ä", None, "a%2F%2F%C3%A4")):
                server.requests.clear()
                client.put(name, "v")
                client.get(name)
                client.get(name, fresh=True)
                client.delete(name)
                t.put(name, "v")
                t.get(name)
                client.request(name)
                client.request(name, scope="s/x")
                client.result(name, scope="s")
                targets = [request["line"].split(" ")[1] for request in server.requests]
                key = f"keys/{path}" if path else f"key?name={query}"
                request, result = (f"requests/{path}", f"results/{path}") if path else (f"request?id={query}", f"result?id={query}")
                also = "?" if path else "&"
                self.assertEqual(targets, [f"/v1/{key}", f"/v1/{key}", f"/v1/{key}{also}fresh=true", f"/v1/{key}", f"/v1/transactions/1-1/{key}",
                                           f"/v1/transactions/1-1/{key}", f"/v1/{request}", f"/v1/{request}{also}scope=s%2Fx", f"/v1/{result}{also}scope=s"])


if __name__ == "__main__":
    unittest.main()
