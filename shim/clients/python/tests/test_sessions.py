"""Goal: the loss of a commit of the session is raised once, and the next call reads what the store
has.

Method: a fake server that rejects every call with a session as one of a store that has lost it.
"""

import json
import unittest

import aft_client
from aft_client import Client, Op, aio
from support import VECTORS, Fake, json_answer, problem_answer, value_answer

# A token that names a commit.
TOKEN = VECTORS["sessions"][1]["one"]

LOST = problem_answer("409 Conflict", "session_lost", "invalid")
COMMITTED = json_answer({"committed": True, "version": "1-1"})

CALLS = {
    "run": lambda client, function: client.run("r", function),
    "run without ID": lambda client, function: client.run(None, function),
    "once": lambda client, function: client.once(key="id", scope="s")(lambda t, event: function(t))({"id": "r"}),
    "transaction": lambda client, _: client.transaction(),
    "execute": lambda client, _: client.execute("r", [Op.put("k", "v")]),
    "execute without ID": lambda client, _: client.execute(None, [Op.put("k", "v")]),
    "execute gets": lambda client, _: client.execute(None, [Op.get("k")]),
    "get": lambda client, _: client.get("k"),
    "get_range": lambda client, _: client.get_range("k", 0, 1),
    "stream": lambda client, _: client.stream("k"),
    "put": lambda client, _: client.put("k", "v"),
    "put with a condition": lambda client, _: client.put("k", "v", if_absent=True),
    "put_stream": lambda client, _: client.put_stream("k", [b"v"]),
    "delete": lambda client, _: client.delete("k"),
    "add": lambda client, _: client.add("k"),
}


def session_of(request):
    """Returns the session that a request carries; None without one."""
    body = request["body"]
    return request["headers"].get("aft-session") or (json.loads(body).get("session") if body.startswith(b"{") else None)


def answer(request):
    if session_of(request) is not None:
        return LOST
    if request["line"].startswith("POST /v1/transactions "):
        return json_answer({"transaction": "1-1"})
    return value_answer() if request["line"].startswith("GET") else COMMITTED


class Checks:
    def check_lost(self, client, server, raised, called):
        """Checks the state after the call that was told of the loss."""
        error = raised.exception
        self.assertEqual((error.code, error.retryable, isinstance(error, aft_client.Invalid)), ("session_lost", False, True))
        self.assertEqual(([session_of(request) for request in server.requests], called), ([TOKEN], []))
        self.assertIsNone(client.session)
        server.requests.clear()

    def check_next(self, server, name, called):
        """Checks the next call."""
        self.assertEqual({session_of(request) for request in server.requests}, {None})
        self.assertEqual(len(called), name.startswith(("run", "once")))


class Lost(Checks, unittest.TestCase):
    def test_the_loss_is_raised_once_and_the_next_call_has_no_session(self):
        for name, call in CALLS.items():
            called = []
            with self.subTest(name), Fake(answer) as server, Client(server.url) as client:
                client.join_session(TOKEN)
                with self.assertRaises(aft_client.SessionLost) as raised:
                    call(client, called.append)
                self.check_lost(client, server, raised, called)
                done = call(client, called.append)
                if name == "stream":
                    done.close()
                self.check_next(server, name, called)

    def test_a_commit_in_doubt_comes_first(self):
        def play(request):
            if request["line"].startswith("POST /v1/execute") and len(server.requests) == 1:
                return None
            return answer(request)
        with Fake(play) as server, Client(server.url) as client:
            client.join_session(TOKEN)
            with self.assertRaises(aft_client.Unknown):
                client.execute("r", [Op.put("k", "v")])
            self.assertEqual(client.session, TOKEN, "nobody has heard of the loss")
            with self.assertRaises(aft_client.SessionLost):
                client.get("k")
            self.assertEqual(client.get("k").bytes, b"v")

    def test_a_commit_that_is_found_comes_first(self):
        def play(request):
            line = request["line"]
            if line.startswith("POST /v1/transactions ") and len(server.requests) == 1:
                return json_answer({"transaction": "1-1"})
            if line.startswith("POST /v1/transactions/"):
                return None
            if line.startswith("GET /v1/requests/"):
                return json_answer({"hash": "h", "version": "1-1", "committed_at": "1", "kept_until": "2"})
            return answer(request)
        with Fake(play) as server, Client(server.url) as client:
            client.join_session(TOKEN)
            self.assertEqual(client.run("r", lambda t: t.put("k", "v")).version, "1-1")
            self.assertEqual(client.session, TOKEN, "nobody has heard of the loss")
            with self.assertRaises(aft_client.SessionLost):
                client.get("k")
            self.assertEqual(client.get("k").bytes, b"v")


class LostInTasks(Checks, unittest.IsolatedAsyncioTestCase):
    async def test_the_loss_is_raised_once_and_the_next_call_has_no_session(self):
        for name, call in CALLS.items():
            called = []
            with self.subTest(name), Fake(answer) as server:
                async with aio.Client(server.url) as client:
                    client.join_session(TOKEN)
                    with self.assertRaises(aft_client.SessionLost) as raised:
                        await call(client, called.append)
                    self.check_lost(client, server, raised, called)
                    done = await call(client, called.append)
                    if name == "stream":
                        await done.close()
                    self.check_next(server, name, called)


if __name__ == "__main__":
    unittest.main()
