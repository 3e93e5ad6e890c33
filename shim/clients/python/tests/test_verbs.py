"""Goal: every call does what its documentation says, and the README's example holds.

Method: a real server, at the URL in the environment variable AFT_URL.
"""

import ast
import asyncio
import json
import pathlib
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import aft_client
from aft_client import Client, Op, pace, values
from aft_client.wire import drive
from support import PASS, URL, VECTORS, Interposer, fresh, increment, knows_queries


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class Verbs(unittest.TestCase):
    def test_every_verb(self):
        for buffer in (1 << 20, 0):
            client = Client(URL, write_buffer_bytes_max=buffer)
            own = fresh()
            keys = [own + vector["key"] for vector in VECTORS["paths"]]
            if not knows_queries():
                keys = [key for key in keys if "?" not in values.key_target("", key)]
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
        drive(client._core.transport.call("PUT", f"/v1/transactions/{t.token}/result", large))
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

    def test_the_readmes_other_examples_hold(self):
        readme = (pathlib.Path(__file__).parents[1] / "README.md").read_text("utf-8")
        _, once, tasks, *more = [part.split("```")[0] for part in readme.split("```python\n")[1:]]
        self.assertEqual(more, [])
        client = Client(URL)
        names = {"client": client, "event": {"detail": {"order_id": fresh()}}, "context": None}
        exec(once, names)
        self.assertEqual(names["handle"](names["event"], None), b"sold")
        client.put("stock/tea", "5")
        code = compile(tasks.replace("http://127.0.0.1:7400", URL).replace("order-22", fresh()), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        names = {}
        asyncio.run(eval(code, names))
        self.assertEqual((names["ran"].result, client.get("stock/tea").bytes), (b"sold", b"4"))

    def test_the_version_is_said(self):
        self.assertRegex(aft_client.__version__, r"^[0-9]+\.[0-9]+\.[0-9]+$")

    def test_the_client_agrees_with_the_shared_vectors(self):
        for vector in VECTORS["paths"]:
            expected = f"/v1/keys/{vector['path']}" if "path" in vector else f"/v1/key?name={vector['query']}"
            self.assertEqual(values.key_target("/v1", vector["key"]), expected)
        for vector in VECTORS["sessions"]:
            self.assertEqual(aft_client.merge_sessions(vector["one"], vector["other"]), vector["merged"])
            self.assertEqual(aft_client.merge_sessions(vector["other"], vector["one"]), vector["merged"])
        for vector in VECTORS["pauses"]:
            least, most = pace.pause_range(vector["failures"], vector["code"] == "in_progress", vector["retry_after_ms"])
            self.assertAlmostEqual(least * 1000, vector["least_ms"])
            self.assertAlmostEqual(most * 1000, vector["most_ms"])
        levels = {"nothing": {}, "of_the_store": {"isolation": None}}
        for vector in VECTORS["levels"]:
            client, sent = Client("http://127.0.0.1:1"), []

            async def post(path, message, headers=None, silence=None):
                sent.append(message)
                raise aft_client.Invalid("the test sends nothing")
            client._core.post = post
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


if __name__ == "__main__":
    unittest.main()
