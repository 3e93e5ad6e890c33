"""Goal: the client keeps the protocol's promises although the network fails.

Method: between a real server and the client is a cutter, which cuts connections at random bytes and
delivers calls late. Seeds are printed first; AFT_CLIENT_SEED replays one.
"""

import itertools
import unittest
from concurrent.futures import ThreadPoolExecutor

import aft_client
from aft_client import Client
from support import SEED, URL, CutAnswers, Cutter, fresh, increment, number


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


@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class Cuts(unittest.TestCase):
    """Runs over connections that are cut take effect once, and their outcomes are right.

    Every run increments its writer's counter, and writes an entry that names the call of the
    function that made it. Afterwards, without the cutter, the counter shows how many runs took
    effect, and the entries show which.
    """
    WRITERS, RUNS = 20, 15

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
