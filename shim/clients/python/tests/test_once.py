"""Goal: a handler of events takes effect once for each event, by an ID that is taken from the
event.

Method: a real server, and events that come again, or lack their ID.
"""

import asyncio
import functools
import unittest
import uuid

import aft_client
from aft_client import Client, aio
from support import URL, Fake, answer_of, fresh


class NoId(unittest.TestCase):
    def test_an_event_without_an_id_runs_nothing(self):
        ran = []
        with Fake(lambda request: answer_of("500 No")) as server, Client(server.url) as client:
            for key, event, words in (("id", {}, "'id'"), ("detail.order_id", {"detail": {}}, "detail.order_id"), ("detail.order_id", {"detail": None}, "detail.order_id"),
                                      ("id", {"id": None}, "None"), ("id", {"id": " "}, "blank"), ("id", {"id": ""}, "blank"), ("id", {"id": 17}, "str("),
                                      (lambda event: None, {}, "None"), (lambda event: uuid.uuid4(), {}, "UUID"), ("id", None, "'id'")):
                handle = client.once(key, scope="s")(lambda t, event: ran.append(event))
                with self.assertRaises(aft_client.Invalid) as raised:
                    handle(event)
                self.assertIn(words, str(raised.exception))
            for key in (None, "", 3):
                with self.assertRaises(aft_client.Invalid):
                    client.once(key)
            self.assertEqual((server.requests, ran), ([], []))


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class OncePerEvent(unittest.TestCase):
    def test_an_event_that_comes_again_gets_the_same_result(self):
        client, own, ran = Client(URL), fresh(), []

        @client.once(key="detail.order_id", retention=3600)
        def handle(t, event, context):
            """Sells."""
            ran.append(context)
            t.put(own, event["detail"]["order_id"])
            return "sold"

        event = {"detail": {"order_id": fresh()}}
        self.assertEqual((handle(event, "first"), handle(event, "second"), ran), (b"sold", b"sold", ["first"]))
        self.assertEqual((handle.__name__, handle.__doc__), ("handle", "Sells."))
        scope = f"{__name__}.OncePerEvent.test_an_event_that_comes_again_gets_the_same_result.<locals>.handle"
        self.assertEqual(client.request(event["detail"]["order_id"], scope=scope).result, b"sold")
        self.assertIsNone(client.request(event["detail"]["order_id"]))

    def test_two_handlers_of_one_event_are_kept_apart(self):
        client, event = Client(URL), {"id": fresh()}
        one = client.once(lambda event, *_: event["id"], scope="one")(lambda t, event: "1")
        two = client.once(lambda event, *_: event["id"], scope="two")(lambda t, event: "2")
        self.assertEqual((one(event), two(event), one(event)), (b"1", b"2", b"1"))

    def test_arguments_may_be_named(self):
        client, own = Client(URL), fresh()

        def handle(t, event, context=None, *, note="none"):
            return f"{event['id']} {context} {note}"
        for key in ("id", lambda event, *_, **__: event["id"], lambda event, context=None, note=None: event["id"]):
            once = client.once(key, scope=fresh())(handle)
            for call in (lambda: once({"id": own}, context=1), lambda: once(event={"id": own}, context=1), lambda: once({"id": own}, 1)):
                self.assertEqual(call(), f"{own} 1 none".encode())
            self.assertEqual(once({"id": own + "noted"}, note="a"), f"{own}noted None a".encode())
        for call in (lambda: once(), lambda: once({"id": own}, other=1), lambda: once({"id": own}, 1, 2)):
            with self.assertRaises(TypeError):
                call()

        async def tasks():
            async with aio.Client(URL) as client:
                once = client.once("id", scope=fresh())(handle)
                return await once(event={"id": own}, context=1)
        self.assertEqual(asyncio.run(tasks()), f"{own} 1 none".encode())

    def test_a_function_without_a_name_of_its_own_needs_a_scope(self):
        client, own = Client(URL), fresh()

        class Handler:
            def __call__(self, t, event):
                return "object"
        for function, result in ((functools.partial(lambda table, t, event: table, "partial"), b"partial"), (Handler(), b"object"),
                                 (lambda t, event: "lambda", b"lambda")):
            for of in (client, aio.Client(URL)):
                with self.assertRaises(aft_client.Invalid) as raised:
                    of.once("id")(function)
                self.assertIn("pass scope", str(raised.exception))
            once = client.once("id", scope=fresh())(function)
            self.assertEqual((once({"id": own}), once(event={"id": own})), (result, result))
        with self.assertRaises(aft_client.Invalid):
            client.once("id", scope="s")("no function")


if __name__ == "__main__":
    unittest.main()
