"""Goal: what is no value, no ID or no setting is rejected at once, by name and with the remedy.

Method: a server that fails the test by being reached, and one that records what it gets.
"""

import asyncio
import unittest
import uuid

import aft_client
from aft_client import Client, Op, aio
from support import URL, Fake, answer_of, fresh, json_answer

NO_VALUES = (3, True, [1], 200, 1.5, {"a": 1}, {1}, object())


class NoValues(unittest.TestCase):
    def rejects(self, call, *words):
        with self.assertRaises(aft_client.Invalid) as raised:
            call()
        for word in words:
            self.assertIn(word, str(raised.exception))

    def test_only_text_and_bytes_are_values(self):
        with Fake(lambda request: answer_of("500 No")) as server:
            client = Client(server.url)
            for value in NO_VALUES:
                name = type(value).__qualname__
                self.rejects(lambda: client.put("k", value), "value", name, "str(value)")
                self.rejects(lambda: client.put("k", "v", if_value=value), "if_value", name)
                self.rejects(lambda: Op.put("k", value), name, "str(value)")
                self.rejects(lambda: Op.check("k", if_value=value), "if_value", name)
                self.rejects(lambda: client.execute(None, [], value), "result", name)
                self.rejects(lambda: client.execute(None, [value]), "operation", name)
            for by in (True, 1.0, "1", None):
                self.rejects(lambda: Op.add("k", by), "by", "int")
                self.rejects(lambda: client.add("k", by), "by", "int")
            for key in (3, b"k", None, ""):
                self.rejects(lambda: client.get(key), "key")
                self.rejects(lambda: client.put(key, "v"), "key")
            self.rejects(lambda: client.run(None, lambda t: None, reads="abc"), "reads", "list")
            for name in ("if_absent", "if_version", "if_value"):
                calls = [lambda: client.put("k", "v", **missing), lambda: Op.put("k", "v", **missing), lambda: Op.check("k", **missing),
                         lambda: asyncio.run(aio.Client(server.url).put("k", "v", **missing))]
                if name != "if_absent":
                    calls += [lambda: client.delete("k", **missing), lambda: Op.delete("k", **missing),
                              lambda: asyncio.run(aio.Client(server.url).delete("k", **missing))]
                missing = {name: None}
                for call in calls:
                    self.rejects(call, f"{name} is None", "leave it out", "if_absent=True")
            for value in (1, "yes"):
                self.rejects(lambda: client.put("k", "v", if_absent=value), "if_absent", type(value).__name__, "True or False")
            self.assertEqual(server.requests, [], "nothing is sent")

    def test_request_ids_and_scopes_are_text(self):
        with Fake(lambda request: answer_of("500 No")) as server:
            client = Client(server.url)
            for value in (17, uuid.uuid4(), b"id", "", " ", "\t\n"):
                name = type(value).__qualname__ if not isinstance(value, str) else "blank"
                remedy = "str(request_id)" if not isinstance(value, str) else "None"
                for call in (lambda: client.run(value, lambda t: None), lambda: client.execute(value, []),
                             lambda: client.transaction(value), lambda: client.request(value), lambda: client.result(value)):
                    self.rejects(call, "request_id", name, remedy)
                for call in (lambda: client.run("r", lambda t: None, scope=value), lambda: client.request("r", scope=value),
                             lambda: client.execute("r", [], scope=value)):
                    self.rejects(call, "scope", name)
            self.rejects(lambda: client.request(None), "request_id", "None")
            self.assertEqual(server.requests, [], "nothing is sent")

    def test_a_value_may_be_of_any_type_of_bytes(self):
        with Fake(lambda request: json_answer({"committed": True, "version": "1-1"})) as server:
            client = Client(server.url)
            for value in ("ä", "ä".encode(), bytearray("ä".encode()), memoryview("ä".encode())):
                client.put("k", value)
            client.put("k", None)
            self.assertEqual([request["body"] for request in server.requests], ["ä".encode()] * 4 + [b""])

    @unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
    def test_a_run_with_another_result_is_aborted(self):
        client = Client(URL)
        for value in NO_VALUES:
            request, key = fresh(), fresh()

            def function(t):
                t.put(key, "1")
                return value
            self.rejects(lambda: client.run(request, function), "result", type(value).__qualname__, "str(value)")
            self.assertEqual((client.get(key), client.request(request)), (None, None))
            t = client.transaction()
            self.rejects(lambda: t.put(key, value), "str(value)")
            self.rejects(lambda: t.commit(value), "result")
            t.abort()
            with self.assertRaises(aft_client.Invalid), client.transaction() as t:
                t.result = value
            self.rejects(lambda: t.get(key), "has ended")

        async def function_of_tasks(t):
            return "done"
        self.rejects(lambda: client.run(None, function_of_tasks), "aft_client.aio")


class Settings(unittest.TestCase):
    def test_wrong_urls_and_tokens_are_rejected(self):
        for url in ("127.0.0.1:7400", "ftp://h", "http://h/v1", "http://h?a", "http://h#a", "http://", "http://[::1", "", "http://h h", None):
            with self.assertRaises(aft_client.Invalid):
                Client(url)
        for url in ("http://h", "http://h/", "http://h:1", "https://[::1]:7400", "https://h"):
            Client(url)
        for port in ("abc", "99999", "0", "-1", "1.5"):
            with self.assertRaises(aft_client.Invalid) as raised:
                Client(f"http://h:{port}")
            self.assertIn(port, str(raised.exception))
        with self.assertRaises(aft_client.Invalid):
            Client("http://h", token="a\nb")

    def test_no_message_repeats_credentials_of_a_url(self):
        for url in ("http://user:s3cret@host", "http://user:s3cret@host:abc", "ftp://user:s3cret@host", "http://s3cret@host/v1"):
            with self.assertRaises(aft_client.Invalid) as raised:
                Client(url)
            self.assertNotIn("s3cret", repr(raised.exception) + str(raised.exception))
            self.assertIn("give the token by `token`", str(raised.exception))

    def test_times_and_sizes_are_numbers(self):
        for name in ("connect_timeout", "call_timeout", "run_seconds_max", "transaction_timeout", "attempts_max", "write_buffer_bytes_max"):
            for value in ("5", True, -1.0 if "max" not in name[-9:] else "x"):
                with self.assertRaises(aft_client.Invalid) as raised:
                    Client("http://h", **{name: value})
                self.assertIn(name, str(raised.exception))
        with self.assertRaises(aft_client.Invalid):
            Client("http://h", run_seconds_max=-1)
        with self.assertRaises(aft_client.Invalid):
            Client("http://h").get("k", run_seconds_max="soon")
        with self.assertRaises(aft_client.Invalid):
            Client("http://h").join_session("a\r\nX: y")

    def test_times_out_of_range_are_rejected_with_their_range(self):
        for value in (float("inf"), 1e300, 10 ** 400, 30 * 86400, float("nan"), -1):
            for name in ("connect_timeout", "call_timeout", "run_seconds_max", "transaction_timeout"):
                self.rejects(lambda: Client("http://h", **{name: value}), name, "from 0 to 2,147,483")
            client = Client("http://127.0.0.1:1")
            for name in ("timeout", "retention", "run_seconds_max"):
                for call in (lambda **o: client.run(None, lambda t: None, **o), lambda **o: client.execute(None, [], **o),
                             lambda **o: client.transaction(**o), lambda **o: client.once("id", scope="s", **o)(lambda t, event: None)({"id": "r"})):
                    self.rejects(lambda: call(**{name: value}), name, "from 0 to 2,147,483")
            self.rejects(lambda: client.get("k", run_seconds_max=value), "run_seconds_max", "from 0 to")
        longest = 2_147_483
        with Fake(lambda request: json_answer({"committed": True, "version": "1-1"})) as server:
            for make in (Client, aio.Client):
                client = make(server.url, call_timeout=longest, connect_timeout=longest, run_seconds_max=longest)
                put = client.put("k", "v")
                self.assertEqual((asyncio.run(put) if asyncio.iscoroutine(put) else put).version, "1-1")

    def rejects(self, call, *words):
        with self.assertRaises(aft_client.Invalid) as raised:
            call()
        for word in words:
            self.assertIn(word, str(raised.exception))


if __name__ == "__main__":
    unittest.main()
