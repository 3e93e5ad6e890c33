"""Goal: a client that was made, and used, before a fork serves all processes.

Method: a real server, and children of `os.fork` and of a pool of processes, as servers that fork
    their workers
have them.
"""

import multiprocessing
import os
import unittest

import aft_client
from aft_client import Client, Op
from support import URL, Fake, fresh, value_answer

CLIENT = Client(URL) if URL else None


def read(key):
    return key, CLIENT.get(key).bytes.decode()


def execute(job):
    return job, CLIENT.execute(job, [Op.put(job, job)]).ran.version


def in_child(check):
    """Returns the text that a check in a forked child returns."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            try:
                text = check()
            except BaseException as why:
                text = f"{type(why).__name__}: {why}"
            os.write(writer, str(text).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(child, 0)
    return text


@unittest.skipUnless(hasattr(os, "fork"), "the system has no fork")
@unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
class Forks(unittest.TestCase):
    def test_processes_that_share_a_client_get_their_own_answers(self):
        own = fresh()
        for letter in "abcd":
            CLIENT.put(own + letter, own + letter)
        with multiprocessing.get_context("fork").Pool(4) as pool:
            answers = list(pool.imap_unordered(read, [own + letter for letter in "abcd" * 100]))
            jobs = list(pool.imap_unordered(execute, [f"{own}/{n}" for n in range(200)]))
        self.assertEqual([answer for answer in answers if answer[0] != answer[1]], [])
        wrong = [job for job, version in jobs if CLIENT.request(job).version != version]
        self.assertEqual((wrong, len(jobs)), ([], 200))

    def test_an_open_transaction_does_not_cross_a_fork(self):
        key = fresh()
        t = CLIENT.transaction()
        t.put(key, "1")
        for call in (lambda: t.get(key), lambda: t.put(key, "2"), t.commit, t.abort):
            told = in_child(call)
            self.assertTrue(told.startswith("Invalid") and "fork" in told, told)
        t.commit()
        self.assertEqual(CLIENT.get(key).bytes, b"1")

    def test_the_session_crosses_a_fork_and_a_held_lock_does_not(self):
        CLIENT.put(fresh(), "1")
        session = CLIENT.session
        with CLIENT._core._lock, CLIENT._core.transport._lock:
            told = in_child(lambda: (CLIENT.session == session, CLIENT.get("nothing-here")))
        self.assertEqual(told, "(True, None)")

    def test_a_child_leaves_its_parents_connections_alone(self):
        with Fake(lambda request: value_answer()) as server:
            client = Client(server.url)
            client.get("k")
            self.assertEqual(in_child(lambda: client.get("k").bytes), "b'v'")
            self.assertEqual(client.get("k").bytes, b"v")
            self.assertEqual(server.connections, 2, "the parent goes on with its connection, the child has its own")

    def test_an_open_stream_does_not_cross_a_fork(self):
        key = fresh()
        CLIENT.put(key, b"x" * (8 << 20))
        with CLIENT.stream(key) as stream:
            stream.read(1000)
            told = in_child(lambda: len(stream.read()))
            self.assertTrue(told.startswith("Unavailable") and "fork" in told, told)
            self.assertEqual(len(stream.read()), (8 << 20) - 1000)


if __name__ == "__main__":
    unittest.main()
