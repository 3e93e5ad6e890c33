"""Goal: the client for asyncio does what the blocking one does, and heeds cancellation and calls
nobody awaits.

Method: a real server, an interposer, and fake servers that fall silent.
"""

import asyncio
import gc
import inspect
import io
import os
import subprocess
import sys
import time
import unittest
import warnings

import aft_client
from aft_client import Client, Op, aio
from support import CUT_AFTER, CUT_BEFORE, PASS, URL, Fake, Interposer, fresh, json_answer, number, value_answer


class Mirror(unittest.TestCase):
    def test_every_public_name_and_argument_is_mirrored(self):
        for blocking, tasks in ((Client, aio.Client), (aft_client.Transaction, aio.Transaction), (aft_client.Stream, aio.Stream)):
            for name, method in inspect.getmembers(blocking, inspect.isfunction):
                if name.startswith("_") and name != "__init__":
                    continue
                other = getattr(tasks, name)
                self.assertEqual(list(inspect.signature(method).parameters), list(inspect.signature(other).parameters), name)
                self.assertTrue(other.__doc__ or name == "__init__", name)


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class Calls(unittest.IsolatedAsyncioTestCase):
    async def test_every_verb(self):
        own = fresh()
        async with aio.Client(URL) as client:
            await client.put(own + "a", "1", "text/plain")
            found = await client.get(own + "a")
            self.assertEqual((found.bytes, found.content_type), (b"1", "text/plain"))
            self.assertEqual((await client.get_range(own + "a", 0, 1)).size, 1)
            self.assertEqual(await client.add(own + "n", 5), 5)
            await client.delete(own + "a")
            self.assertIsNone(await client.get(own + "a"))
            async with await client.transaction() as t:
                await t.put(own + "b", "2")
                await t.put(own + "large", b"x" * 100_000)
                await t.delete(own + "c")
                self.assertEqual([listed.key async for listed in t.list(own, page_len=1)], [own + "b", own + "large", own + "n"])
                self.assertEqual((await t.batch([Op.get(own + "b")]))[0].value.bytes, b"2")
                self.assertEqual((await t.get_range(own + "large", 5, 7)).bytes, b"x" * 7)
                t.result = "done"
            self.assertEqual(t.ran.result, b"done")
            with self.assertRaises(ZeroDivisionError):
                async with await client.transaction() as t:
                    await t.put(own + "d", "x")
                    1 / 0
            self.assertIsNone(await client.get(own + "d"))
            executed = await client.execute(own, [Op.put(own + "e", "1"), Op.get(own + "e")], "did")
            self.assertEqual((executed.reads[0].value.bytes, (await client.request(own)).result, await client.result(own)), (b"1", b"did", b"did"))
            async with await client.result_stream(own) as stream:
                self.assertEqual(await stream.read(), b"did")

            async def pieces():
                for _ in range(40):
                    await asyncio.sleep(0)
                    yield b"y" * 100_000
            for source in (pieces(), io.BytesIO(b"y" * 4_000_000)):
                await client.put_stream(own + "f", source)
                async with await client.stream(own + "f") as stream:
                    self.assertEqual(sum([len(piece) async for piece in stream]), 4_000_000)
            self.assertEqual(client.session, client.session)
            with self.assertRaises(aft_client.Invalid):
                await client.put("k", 3)
            with self.assertRaises(aft_client.Invalid):
                await client.run(17, lambda t: None)

    async def test_runs_of_async_and_other_functions_take_effect_once(self):
        async with aio.Client(URL) as client:
            key, request = fresh(), fresh()

            async def order(t):
                await t.put(key, str(number(await t.get(key)) + 1))
                return "sold"
            first, second = await client.run(request, order), await client.run(request, order)
            self.assertEqual((first.result, first.replayed, second.result, second.replayed), (b"sold", False, b"sold", True))
            self.assertEqual((await client.run(fresh(), lambda t: "plain")).result, b"plain")
            self.assertEqual((await client.run(fresh(), lambda t: order(t))).result, b"sold")
            with self.assertRaises(LookupError):
                await client.run(None, self.fail_with(LookupError("own")))
            with self.assertRaises(aft_client.Invalid):
                await client.run(None, lambda t: 200)

    @staticmethod
    def fail_with(error):
        async def function(t):
            raise error
        return function

    async def test_tasks_that_conflict_lose_nothing(self):
        async with aio.Client(URL, attempts_max=100) as client:
            key = fresh()

            async def order(t):
                await t.put(key, str(number(await t.get(key)) + 1))
            await asyncio.gather(*(client.run(fresh(), order) for _ in range(20)))
            self.assertEqual(number(await client.get(key)), 20)

    async def test_lost_answers_are_retried(self):
        for call, act, attempts in (("begin", CUT_AFTER, 1), ("get", CUT_BEFORE, 1), ("batch", CUT_AFTER, 1), ("get", "lost", 2)):
            key = fresh()

            async def order(t):
                await t.put(key, str(number(await t.get(key)) + 1))
            with Interposer(lambda name, before: act if (name, before) == (call, 0) else PASS) as interposer:
                async with aio.Client(interposer.url) as client:
                    ran = await client.run(fresh(), order)
            self.assertEqual((number(Client(URL).get(key)), ran.replayed), (1, False))

    async def test_events_take_effect_once(self):
        async with aio.Client(URL) as client:
            ran = []

            @client.once(key="id")
            async def handle(t, event, context):
                ran.append(context)
                return "done"
            event = {"id": fresh()}
            self.assertEqual((await handle(event, 1), await handle(event, 2), ran), (b"done", b"done", [1]))

    async def test_calls_that_nobody_awaited_are_in_the_commit(self):
        async with aio.Client(URL) as client:
            own = fresh()

            async def work(t, key):
                await t.get(own + key)
                await t.put(own + key, "1")
            kept = []

            def function(t):
                kept.extend(asyncio.ensure_future(work(t, key)) for key in "ab")
                kept.append(asyncio.ensure_future(t.put(own + "large", b"x" * 300_000)))
                return "ok"
            await client.run(None, function)
            self.assertEqual([(await client.get(own + key)) is not None for key in ("a", "b", "large")], [True] * 3)

    async def test_a_call_without_await_fails_the_run(self):
        async with aio.Client(URL) as client:
            own = fresh()

            async def helper(t):
                t.put(own, "1")

            async def within(t):
                await helper(t)
                return "ok"

            async def then_awaited(t):
                t.put(own, "1")
                await t.get(own)

            async def truth_of_a_read(t):
                if t.get(own):
                    await t.put(own, "there")

            async def branch(t):
                t.put(own, "1") if not await t.get(own) else None

            async def in_a_task(t):
                await asyncio.ensure_future(helper(t))
            for function, words in ((lambda t: t.put(own, "1") and "ok", "put("), (helper, f"put({own!r})"), (within, "put("), (then_awaited, "put("),
                                    (truth_of_a_read, "get("), (branch, "put("), (in_a_task, "put("), (lambda t: t.delete(own) and "ok", "delete("),
                                    (lambda t: t.batch([Op.put(own, "1")]) and "ok", "batch"), (lambda t: t.get_range(own, 0, 1) and "ok", "get_range(")):
                request = fresh()
                with warnings.catch_warnings(), self.assertRaises(aft_client.Invalid) as raised:
                    warnings.simplefilter("error")
                    await client.run(request, function)
                self.assertIn(words, str(raised.exception))
                self.assertIn("were not awaited", str(raised.exception))
                self.assertEqual((await client.get(own), await client.request(request)), (None, None), "the attempt was aborted")

    async def test_a_call_without_await_fails_a_transaction_by_hand(self):
        async with aio.Client(URL) as client:
            own = fresh()
            for use in (lambda t: t.put(own, "1"), lambda t: t.abort(), lambda t: t.commit()):
                with self.assertRaises(aft_client.Invalid) as raised:
                    async with await client.transaction() as t:
                        await t.put(own, "0")
                        use(t)
                self.assertIn("were not awaited", str(raised.exception))
                t = await client.transaction()
                await t.put(own, "0")
                use(t)
                for words in ("were not awaited", "has ended"):
                    with self.assertRaises(aft_client.Invalid) as raised:
                        await t.commit()
                    self.assertIn(words, str(raised.exception))
            self.assertIsNone(await client.get(own))
            t = await client.transaction()
            task = asyncio.ensure_future(t.put(own, "1"))
            await t.commit()
            await task
            self.assertEqual((await client.get(own)).bytes, b"1")
            with self.assertRaises(aft_client.Invalid):
                async with await client.transaction() as t:
                    made = t.get(own)
                    await t.put(own, made)
            made.close()

    async def test_calls_may_be_made_first_and_awaited_later(self):
        async with aio.Client(URL) as client:
            own = fresh()

            async def function(t):
                calls = [t.put(own + key, key) for key in "abc"]
                await asyncio.gather(*calls)
                made = t.get(own + "a")
                self.assertTrue(asyncio.iscoroutine(made) and inspect.isawaitable(made))
                tasks = [asyncio.create_task(t.put(own + key, key)) for key in "de"]
                found, read = await asyncio.gather(made, asyncio.wait_for(t.get(own + "b"), 5))
                self.assertEqual((found.bytes, read.bytes), (b"a", b"b"))
                with self.assertRaises(RuntimeError):
                    await made
                # A call that its caller closes, or that a limit ends before it begins, is none.
                t.put(own + "f", "f").close()
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(t.put(own + "f", "f"), 0)
                await asyncio.gather(*tasks)
                return "ok"
            self.assertEqual((await client.run(None, function)).result, b"ok")
            self.assertEqual([await client.get(own + key) is not None for key in "abcdef"], [True] * 5 + [False])

    async def test_a_call_that_nobody_ever_awaits_is_warned_of(self):
        async with aio.Client(URL) as client:
            t = await client.transaction()
            await t.abort()
            with self.assertWarns(RuntimeWarning) as warned:
                t.put("k", "v")
                del t
                gc.collect()
            self.assertIn("put('k') was never awaited", str(warned.warning))

    async def test_a_failure_that_nobody_awaited_fails_the_run(self):
        async with aio.Client(URL) as client:
            own, kept = fresh(), []

            def function(t):
                kept.append(asyncio.ensure_future(t.batch([Op.put(own, "1"), Op.check(own + "x", if_version="1-1")])))
                return "ok"
            with self.assertRaises(aft_client.AftError):
                await client.run(None, function)
            self.assertIsNone(await client.get(own))
            kept[0].exception()

            async def late(t):
                async def call():
                    await asyncio.sleep(0.1)
                    await t.put(own, "1")
                kept.append(asyncio.ensure_future(call()))
                return "ok"
            await client.run(None, late)
            with self.assertRaises(aft_client.Invalid) as raised:
                await kept[1]
            self.assertIn("was not awaited", str(raised.exception))
            self.assertIsNone(await client.get(own))

    async def test_a_cancelled_run_is_aborted(self):
        async with aio.Client(URL) as client:
            request, key, started = fresh(), fresh(), asyncio.Event()

            async def function(t):
                await t.put(key, "1")
                started.set()
                await asyncio.sleep(60)
            task = asyncio.ensure_future(client.run(request, function))
            await started.wait()
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertIsNone(await client.get(key))
            since = time.monotonic()
            self.assertEqual((await client.run(request, lambda t: "2")).result, b"2")
            self.assertLess(time.monotonic() - since, 2, "the next run does not wait for an aborted attempt")


class Silence(unittest.IsolatedAsyncioTestCase):
    async def test_cancellation_ends_a_call_in_flight(self):
        def answer(request):
            if request["line"].startswith("POST /v1/transactions "):
                return json_answer({"transaction": "1-1"})
            if "abort" in request["line"]:
                return json_answer({})
            time.sleep(1)
        with Fake(answer) as server:
            async with aio.Client(server.url) as client:
                for call in (client.get("k"), client.put("k", "v"), client.run("r", lambda t: t.get("k"))):
                    since = time.monotonic()
                    with self.assertRaises(asyncio.TimeoutError):
                        await asyncio.wait_for(call, 0.1)
                    self.assertLess(time.monotonic() - since, 0.8)
                self.assertTrue(any("abort" in request["line"] for request in server.requests))

    async def test_the_loop_goes_on_while_calls_wait(self):
        def answer(request):
            time.sleep(0.3)
            return value_answer()
        with Fake(answer) as server:
            async with aio.Client(server.url) as client:
                since = time.monotonic()
                found = await asyncio.gather(*(client.get(str(n)) for n in range(10)))
                self.assertEqual([value.bytes for value in found], [b"v"] * 10)
                self.assertLess(time.monotonic() - since, 1.5)

    async def test_limits_hold(self):
        with Fake(lambda request: time.sleep(1)) as server:
            async with aio.Client(server.url, call_timeout=0.2) as client:
                since = time.monotonic()
                with self.assertRaises(aft_client.Unknown):
                    await client.put("k", "v")
                with self.assertRaises(aft_client.Unavailable):
                    await client.get("k", run_seconds_max=0.1)
                self.assertLess(time.monotonic() - since, 0.8)
            async with aio.Client("http://127.0.0.1:1", run_seconds_max=0.1) as client:
                with self.assertRaises(aft_client.Unavailable):
                    await client.put("k", "v")


class Frozen(unittest.TestCase):
    """The process is stopped while the answer comes, as functions are frozen."""

    SERVER = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.4)
        self.answer(b'{"committed":true,"version":"1-1"}')
    def do_GET(self):
        time.sleep(0.4)
        self.answer(b"v" * 100_000, b"v" * 100_000)
    def answer(self, *pieces):
        self.send_response(200)
        self.send_header("Aft-Version", "1-1")
        self.send_header("Content-Length", str(sum(map(len, pieces))))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            time.sleep(0.4)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
    CLIENT = """
import asyncio, os, subprocess, sys, time
import aft_client
from aft_client import Client, aio
url = sys.argv[1]

def stop():
    # The process stops 0.2 s after the call has begun, for longer than its limit.
    subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -STOP {os.getpid()}; sleep 1.2; kill -CONT {os.getpid()}"], start_new_session=True)

async def tasks():
    client = aio.Client(url, call_timeout=0.7)
    stop()
    print((await client.put("k", "v")).version)
    stop()
    print(len((await client.get("k")).bytes))
    async with await client.stream("k") as stream:
        stop()
        print(sum([len(piece) async for piece in stream]))
    stop()
    asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_later(0.1, time.sleep, 1))
    print((await client.put("k", "v")).version)
    await client.close()
asyncio.run(tasks())
with Client(url, call_timeout=0.7) as client:
    stop()
    print(client.put("k", "v").version)
    stop()
    print(len(client.get("k").bytes))
"""

    def test_an_answer_that_came_meanwhile_is_heard(self):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen([sys.executable, "-c", self.SERVER], stdout=subprocess.PIPE, text=True) as server:
            try:
                url = f"http://127.0.0.1:{int(server.stdout.readline())}"
                done = subprocess.run([sys.executable, "-c", self.CLIENT, url], capture_output=True, text=True, env=environment, timeout=60)
            finally:
                server.kill()
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout.split(), ["1-1", "200000", "200000", "1-1", "1-1", "200000"])


class Loops(unittest.TestCase):
    def test_one_client_serves_one_loop_after_another(self):
        with Fake(lambda request: value_answer()) as server:
            client = aio.Client(server.url)
            for _ in range(3):
                self.assertEqual(asyncio.run(client.get("k")).bytes, b"v")
            self.assertEqual(server.connections, 1)


if __name__ == "__main__":
    unittest.main()
