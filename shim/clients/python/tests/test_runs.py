"""Goal: runs, conflicts and conditions behave as documented, in few calls.

Method: a real server, at times behind an interposer that plays a script call by call.
"""

import time
import unittest

import aft_client
from aft_client import Client, Op
from support import BAD_GATEWAY, CUT_AFTER, CUT_BEFORE, PASS, URL, Interposer, fresh, increment


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class Runs(unittest.TestCase):
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
        client.run(None, lambda t: str(t.batch([Op.put(key, "d", if_value="c")])))
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

    def test_exceptions_of_every_kind_pass_through(self):
        for own in (StopIteration("own"), StopAsyncIteration(), GeneratorExit(), RuntimeError("own"), TimeoutError(), SystemExit(3), aft_client.Retry("own")):
            calls = []

            def function(t):
                calls.append(1)
                raise own
            with self.assertRaises(type(own)) as raised:
                Client(URL).run(None, function)
            self.assertIs(raised.exception, own)
            self.assertEqual(len(calls), 1)

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


if __name__ == "__main__":
    unittest.main()
