"""Goal: every refusal and every lost answer is retried, or reported as what it is.

Method: between a real server and the client is an interposer, which plays a script call by call.
"""

import json
import unittest

import aft_client
from aft_client import Client, Op
from support import BAD_GATEWAY, CUT_AFTER, CUT_BEFORE, PASS, URL, Early, Interposer, fresh, increment, number


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class Refusals(unittest.TestCase):
    def go(self, named, script, seconds=3):
        """Runs an increment through a script.

        Returns the outcome, the number of calls of the function, the counter as the server has it,
        and the HTTP calls.
        """
        counter, called = fresh(), []

        def function(t):
            called.append(1)
            return str(increment(t, counter))

        with Interposer(script) as interposer:
            client = Client(interposer.url, run_seconds_max=seconds)
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
            outcome, _, counter, calls = self.go(named, deaf, seconds=1)
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
        outcome, called, *_ = self.go(True, lambda name, _: "snapshot_gone" if name == "get" else PASS, seconds=1)
        self.assertIsInstance(outcome, aft_client.Retry)
        self.assertTrue(2 <= called <= 10, called)
        outcome, *_ = self.go(True, lambda name, _: "in_progress" if name == "begin" else PASS, seconds=1)
        self.assertIsInstance(outcome, aft_client.InProgress)
        with self.assertRaises(aft_client.Unavailable):
            Client("http://127.0.0.1:1", run_seconds_max=0.3).run("r", lambda t: None)

    def test_errors_that_a_retry_cannot_help_are_raised_at_once(self):
        for code, kind in [("key_reused", aft_client.KeyReused), ("result_gone", aft_client.ResultGone), ("invalid", aft_client.Invalid),
                           ("session_lost", aft_client.SessionLost), ("unauthorized", aft_client.Unauthorized), ("damaged", aft_client.Internal), ("no_such_path", aft_client.NotFound)]:
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


if __name__ == "__main__":
    unittest.main()
