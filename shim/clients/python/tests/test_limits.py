"""Goal: time limits hold: the caller's own, the limit of silence, and the limit of a run.

Method: servers that fall silent, trickle, or answer late; and SIGALRM, as scripts and workers set
    their limits.
"""

import signal
import socket
import threading
import time
import unittest
from unittest import mock

import aft_client
from aft_client import Client, Op
from aft_client.errors import NoAnswer
from aft_client.wire import Blocking, Wire, drive
from support import PASS, URL, Fake, Interposer, answer_of, fresh, json_answer, problem_answer, value_answer


class Silent:
    """A server that takes connections and calls, and never says a word, as a stopped process."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        return self

    def __exit__(self, *_):
        self.listener.close()


class Timeout(OSError):
    """A caller's own kind of exception."""


@unittest.skipUnless(hasattr(signal, "setitimer"), "the system has no timers")
class OwnExceptions(unittest.TestCase):
    def interrupted(self, kind, call, after=0.2):
        """Checks that an exception of a signal handler passes through a call, untouched and at
        once."""
        own = kind("the caller's")

        def alarm(*_):
            raise own
        before = signal.signal(signal.SIGALRM, alarm)
        since = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, after)
        try:
            with self.assertRaises(kind) as raised:
                call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self.assertIs(raised.exception, own)
        self.assertLess(time.monotonic() - since, after + 1.2)

    def test_a_signal_handlers_exception_passes_through_every_call(self):
        for kind in (TimeoutError, ConnectionResetError, BlockingIOError, Timeout, KeyboardInterrupt, ValueError):
            with Silent() as server:
                for call in (lambda client: client.get("k"), lambda client: client.put("k", "v"), lambda client: client.run("r", lambda t: None),
                             lambda client: client.execute("r", [Op.put("k", "v")])):
                    self.interrupted(kind, lambda: call(Client(server.url)), 0.05)

    def test_it_passes_through_reads_and_commits_of_runs(self):
        def reads(t):
            t.get("k")

        def writes(t):
            t.get("k")
            t.put("k", "v")
        for kind in (TimeoutError, Timeout, KeyboardInterrupt):
            for function, silent in ((reads, "/keys/"), (reads, "/commit"), (writes, "/batch")):
                def answer(request):
                    if silent in request["line"] or "/abort" in request["line"]:
                        time.sleep(1.5)
                        return None
                    return value_answer() if "/keys/" in request["line"] else json_answer({"transaction": "1-1"})
                with Fake(answer) as server:
                    self.interrupted(kind, lambda: Client(server.url).run("r", function))
                    calls = [request["line"].split(" ")[1].rpartition("/")[2] for request in server.requests]
                    expected = {"/keys/": ["k", "abort"], "/commit": ["k", "commit"], "/batch": ["k", "batch"]}[silent]
                    self.assertEqual(calls, ["transactions", *expected], "the run is not repeated, and a commit not aborted")

    def test_it_passes_through_a_run_that_was_about_to_run_again(self):
        class Alarm(Exception):
            """An exception that is no OSError."""

        def answer(request):
            if request["line"].startswith("POST /v1/transactions "):
                return json_answer({"transaction": "1-1"})
            if "/lost" in request["line"]:
                return problem_answer("409 No", "lost", "retry")
            time.sleep(1.5)

        def function(t):
            calls.append(1)
            with self.assertRaises(aft_client.Retry):
                t.get("lost")
            t.get("slow")
        calls = []
        with Fake(answer) as server:
            self.interrupted(Alarm, lambda: Client(server.url).run(None, function))
        self.assertEqual(len(calls), 1)

    def test_it_is_told_from_the_sockets_own(self):
        def handler(*_):
            raise own
        here, there = socket.socketpair()
        for own in (TimeoutError("x"), ConnectionResetError("x"), BlockingIOError("x"), Timeout("x")):
            wire = Wire(Blocking(), mock.Mock(recv=handler, send=handler, fileno=here.fileno))
            with self.assertRaises(type(own)) as raised:
                wire._receive_raw()
            self.assertIs(raised.exception, own)
            with self.assertRaises(type(own)) as raised:
                drive(wire.send(b"x", 0.1))
            self.assertIs(raised.exception, own)
        here.setblocking(False)
        wire = Wire(Blocking(), here)
        self.assertIsNone(wire._receive_raw(), "there is nothing to read yet")
        there.close()
        self.assertFalse(drive(wire.send(b"x", 0.1)), "a broken pipe is the socket's own")
        wire.close()
        with self.assertRaises(NoAnswer):
            wire._receive_raw()

    def test_it_passes_through_a_large_write_and_a_pause(self):
        with Silent() as server:
            self.interrupted(TimeoutError, lambda: Client(server.url).put("k", b"x" * (32 << 20)))
        self.interrupted(TimeoutError, lambda: Client("http://127.0.0.1:1").get("k"))

    @unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
    def test_an_interrupted_write_does_not_get_lost_in_a_commit(self):
        key, calls = fresh(), []

        def function(t):
            calls.append(1)
            if len(calls) == 1:
                with self.assertRaises(TimeoutError):
                    self.interrupted_put(t, key)
            else:
                t.put(key, "second")
            t.put(key + "/beside", "1")

        def script(name, before):
            if name == "put" and before == 0:
                time.sleep(0.6)
            return PASS
        with Interposer(script) as interposer:
            ran = Client(interposer.url, write_buffer_bytes_max=0).run(None, function)
        self.assertEqual((len(calls), ran.attempts, Client(URL).get(key).bytes), (2, 2, b"second"))

    @staticmethod
    def interrupted_put(t, key):
        def alarm(*_):
            raise TimeoutError
        before = signal.signal(signal.SIGALRM, alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            t.put(key, "first")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


class Silence(unittest.TestCase):
    def test_a_call_may_take_long_while_bytes_move(self):
        value = b"x" * 40_000

        def answer(request):
            yield answer_of("200 OK", b"", "Aft-Version: 1-1").replace(b"Content-Length: 0", b"Content-Length: 40000")
            for at in range(0, len(value), 1000):
                time.sleep(0.02)
                yield value[at:at + 1000]
        with Fake(answer) as server, Client(server.url, call_timeout=0.4, run_seconds_max=0.4) as client:
            since = time.monotonic()
            self.assertEqual(client.get("k").bytes, value)
            self.assertGreater(time.monotonic() - since, 0.8)

    def test_a_slow_line_up_is_no_silence(self):
        # A small window keeps the bytes in the client's kernel for longer than the limit.
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 10)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        received = []

        def serve():
            connection, _ = listener.accept()
            with connection:
                while sum(map(len, received)) < 1 << 20:
                    time.sleep(0.02)
                    received.append(connection.recv(16 << 10))
                connection.sendall(json_answer({"committed": True}))
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with listener, Client(f"http://127.0.0.1:{listener.getsockname()[1]}", call_timeout=0.3) as client:
            since = time.monotonic()
            client.put("k", b"x" * (1 << 20))
            self.assertGreater(time.monotonic() - since, 0.6)
            thread.join()

    def test_silence_ends_a_call(self):
        with Silent() as server, Client(server.url, call_timeout=0.2, run_seconds_max=0.5) as client:
            since = time.monotonic()
            with self.assertRaises(aft_client.Unknown) as raised:
                client.put("k", "v")
            self.assertIn("0.2 s", raised.exception.detail)
            self.assertLess(time.monotonic() - since, 0.4)
            with self.assertRaises(aft_client.Unavailable) as raised:
                client.get("k")
            self.assertLess(time.monotonic() - since, 1.2)


class LimitOfARun(unittest.TestCase):
    def test_it_bounds_silent_calls_of_every_kind(self):
        with Silent() as server, Client(server.url) as client:
            for call in (lambda: client.get("k", run_seconds_max=0.2), lambda: client.put("k", "v", run_seconds_max=0.2),
                         lambda: client.delete("k", run_seconds_max=0.2), lambda: client.add("k", run_seconds_max=0.2),
                         lambda: client.run("r", lambda t: None, run_seconds_max=0.2), lambda: client.transaction(run_seconds_max=0.2),
                         lambda: client.execute("r", [Op.put("k", "v")], run_seconds_max=0.2), lambda: client.request("r", run_seconds_max=0.2),
                         lambda: client.result("r", run_seconds_max=0.2), lambda: client.stream("k", run_seconds_max=0.2)):
                since = time.monotonic()
                with self.assertRaises(aft_client.AftError):
                    call()
                self.assertLess(time.monotonic() - since, 1.0)

    def test_it_overrides_the_clients(self):
        with Client("http://127.0.0.1:1", run_seconds_max=0.01) as client:
            since = time.monotonic()
            with self.assertRaises(aft_client.Unavailable) as raised:
                client.get("k", run_seconds_max=0.5)
            self.assertTrue(0.1 < time.monotonic() - since < 1)
            self.assertRegex(raised.exception.detail, r"Connection refused.*the last failure of [0-9]+ tries")

    def test_calls_within_a_run_are_bounded_by_it(self):
        def answer(request):
            if request["line"].startswith("POST /v1/transactions "):
                return json_answer({"transaction": "1-1"})
            time.sleep(2)
        with Fake(answer) as server, Client(server.url) as client:
            for function in (lambda t: t.get("k"), lambda t: t.put("k", "v")):
                since = time.monotonic()
                with self.assertRaises(aft_client.AftError):
                    client.run("r", function, run_seconds_max=0.3)
                self.assertLess(time.monotonic() - since, 1.5)

    @unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
    def test_it_does_not_interrupt_a_function(self):
        client, key = Client(URL), fresh()

        def function(t):
            t.put(key, "1")
            time.sleep(0.4)
            t.get(key + "/other")
            return "done"
        self.assertEqual(client.run(fresh(), function, run_seconds_max=0.2).result, b"done")
        self.assertEqual(client.get(key).bytes, b"1")


class KeptConnections(unittest.TestCase):
    def test_a_dead_connection_is_replaced_at_once_for_a_read(self):
        # The connection breaks when the next call has arrived on it.
        def answer(request):
            return None if server.requests.count(request) and len(server.requests) == 2 else value_answer()
        with Fake(answer) as server, Client(server.url) as client:
            client.get("k")
            with mock.patch("aft_client.pace.Pace.pause", side_effect=AssertionError("there must be no pause")):
                self.assertEqual(client.get("k").bytes, b"v")
            self.assertEqual((len(server.requests), server.connections), (3, 2))
        with Fake(lambda request: None if len(server.requests) == 2 else json_answer({"committed": True})) as server:
            client = Client(server.url)
            client.put("k", "v")
            with self.assertRaises(aft_client.Unknown):
                client.put("k", "v")
            self.assertEqual(len(server.requests), 2, "a write is not sent again")

    def test_a_connection_is_dropped_after_a_freeze_and_after_a_clock_set_back(self):
        for jump, connections in ((0, 1), (10, 1), (60, 2), (-5, 2)):
            with Fake(lambda request: value_answer()) as server, Client(server.url) as client:
                client.get("k")
                wall = time.time
                with mock.patch("aft_client.transport.time.time", lambda: wall() + jump):
                    client.get("k")
                self.assertEqual(server.connections, connections, f"the wall clock jumped by {jump} s")


class OnlyReads(unittest.TestCase):
    """A transaction that wrote nothing is never Unknown, whatever becomes of its commit."""

    def test_a_lost_end_is_run_again_at_once(self):
        for lost in (None, answer_of("502 Bad Gateway"), problem_answer("404 No", "not_found", "not_found"), problem_answer("503 No", "unknown", "unknown")):
            def answer(request):
                if request["line"].startswith("POST /v1/transactions "):
                    return json_answer({"transaction": f"1-{len(server.requests)}"})
                if "commit" in request["line"]:
                    commits.append(request)
                    return lost if len(commits) == 1 else json_answer({"committed": True})
                return value_answer()
            commits = []
            with Fake(answer) as server, Client(server.url) as client:
                since = time.monotonic()
                ran = client.run(None, lambda t: t.get("k").bytes)
                self.assertEqual((ran.result, ran.attempts), (b"v", 2))
                self.assertLess(time.monotonic() - since, 1)
                commits.clear()
                t = client.transaction()
                t.get("k")
                with self.assertRaises(aft_client.Retry):
                    t.commit()

    def test_a_read_only_whole_transaction_is_sent_again(self):
        answers = [None, json_answer({"committed": True, "results": [{"key": "k"}]})]
        with Fake(lambda request: answers.pop(0)) as server, Client(server.url) as client:
            self.assertEqual(client.execute(None, [Op.get("k")]).reads[0].key, "k")

    def test_with_a_write_or_an_id_it_stays_in_doubt(self):
        for request_id, function in ((None, lambda t: t.put("k", "v")), ("r", lambda t: None), (None, lambda t: t.batch([Op.check("k", if_absent=True)]) and None)):
            def answer(request):
                if request["line"].startswith("POST /v1/transactions "):
                    return json_answer({"transaction": "1-1"})
                return json_answer({"results": []}) if "batch" in request["line"] and b"commit" not in request["body"] else None
            with Fake(answer) as server, Client(server.url, run_seconds_max=0.3) as client:
                with self.assertRaises(aft_client.Unknown):
                    client.run(request_id, lambda t: function(t) or None)


class Concurrency(unittest.TestCase):
    def test_two_threads_in_one_transaction_are_noticed(self):
        arrived = threading.Event()

        def answer(request):
            if request["line"].startswith("POST /v1/transactions "):
                return json_answer({"transaction": "1-1"})
            if "/keys/" in request["line"]:
                arrived.set()
                time.sleep(0.3)
                return value_answer()
            return json_answer({"committed": True})

        def function(t):
            thread = threading.Thread(target=lambda: told.append(t.get("slow")))
            thread.start()
            arrived.wait()
            try:
                t.put("k", "v")
            except aft_client.Invalid as error:
                told.append(error)
            thread.join()
        told = []
        with Fake(answer) as server, Client(server.url) as client:
            with self.assertRaises(aft_client.Invalid) as raised:
                client.run(None, function)
            self.assertIn("two threads", str(raised.exception))
            self.assertIs(type(told[0]), aft_client.Invalid)
            self.assertFalse(any("commit" in request["line"] or b"commit" in request["body"] for request in server.requests),
                             "a transaction with a missing write does not commit")


if __name__ == "__main__":
    unittest.main()
