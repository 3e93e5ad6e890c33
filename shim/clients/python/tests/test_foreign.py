"""Goal: what is not AFT's answer is named as such, ends at once where no try can help, and never
hides a commit.

Method: servers that answer as proxies, portals and other programs do, and servers whose TLS does
    not fit, with
certificates that the test makes by `openssl`.
"""

import asyncio
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
from unittest import mock

import aft_client
from aft_client import Client, Op, aio
from support import PASS, URL, Fake, Interposer, answer_of, fresh, json_answer, problem_answer, value_answer

PAGE = b"<html><head><style>b{c:d}</style><title>Moved</title></head><body><h1>No entry</h1>\x07</body></html>"


class Foreign(unittest.TestCase):
    def fails(self, kind, retryable, call, tries=None, server=None, within=1.0):
        since, before = time.monotonic(), len(server.requests) if server else 0
        with self.assertRaises(aft_client.AftError) as raised:
            call()
        error = raised.exception
        self.assertEqual((type(error), error.retryable), (kind, retryable), error)
        self.assertLess(time.monotonic() - since, within)
        if tries is not None:
            self.assertEqual(len(server.requests) - before, tries)
        return error

    def test_a_refusal_that_no_try_can_help_ends_every_call_at_once(self):
        for status in ("301 Moved", "308 Permanent Redirect", "400 Bad", "401 Unauthorized", "403 Forbidden", "404 Not Found", "405 No",
                       "407 Proxy", "410 Gone", "411 Length", "413 Large", "414 Long", "431 Heads", "501 Not Implemented"):
            page = answer_of(status, PAGE, "Location: https://elsewhere.example/login", "Server: portal/1", "Via: 1.1 cache")
            with Fake(lambda request: page) as server, Client(server.url) as client:
                for call in (lambda: client.get("k"), lambda: client.put("k", "v"), lambda: client.run("r", lambda t: None),
                             lambda: client.execute("r", [Op.put("k", "v")]), lambda: client.request("r"), lambda: client.result("r"),
                             lambda: client.stream("k"), lambda: client.transaction()):
                    error = self.fails(aft_client.Unavailable, False, call, 1, server)
                    for word in (status, "Location: https://elsewhere.example/login", "Server: portal/1", "Via: 1.1 cache",
                                 "this is not AFT's answer: a proxy's?", "Moved No entry"):
                        self.assertIn(word, error.detail)
                    self.assertNotIn("<", error.detail)
                    self.assertNotIn("c:d", error.detail)

    def test_a_proxys_limit_is_waited_for(self):
        for call in (lambda client: client.get("k"), lambda client: client.put("k", "v")):
            def answer(request):
                if len(server.requests) == 1:
                    return answer_of("429 Too Many Requests", b"slow down", "Retry-After: 1")
                return value_answer() if request["line"].startswith("GET") else json_answer({"committed": True})
            with Fake(answer) as server, Client(server.url) as client:
                since = time.monotonic()
                call(client)
                self.assertGreaterEqual(time.monotonic() - since, 1)
                self.assertEqual(len(server.requests), 2)

    @unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
    def test_a_proxys_limit_within_a_transaction_is_waited_for_in_place(self):
        for call in ("get", "put", "commit"):
            def script(name, before):
                return "limit page" if (name, before) == (call, 0) else PASS

            def function(t):
                t.get(key)
                t.put(key, "v")
            key = fresh()
            with Interposer(script) as interposer, Client(interposer.url, write_buffer_bytes_max=0) as client:
                self.assertEqual(client.run(None, function).attempts, 1)
                self.assertEqual(interposer.take().count(call), 2)
            self.assertEqual(Client(URL).get(key).bytes, b"v")

    def test_a_gateways_failure_may_have_been_passed_on(self):
        for status in ("408 Timeout", "500 Oops", "502 Bad Gateway", "503 Busy", "504 Late"):
            with Fake(lambda request: answer_of(status, PAGE)) as server, Client(server.url, run_seconds_max=0.1) as client:
                self.fails(aft_client.Unknown, False, lambda: client.put("k", "v"), 1, server)
                error = self.fails(aft_client.Unavailable, True, lambda: client.get("k"))
                self.assertGreater(len(server.requests), 2, "a read is sent again")
                self.assertIn(status, error.detail)
                self.assertRegex(error.detail, r"the last failure of [0-9]+ tries")

    def test_a_page_in_place_of_a_reply_is_no_reply(self):
        with Fake(lambda request: answer_of("200 OK", PAGE, "Content-Type: text/html")) as server, Client(server.url) as client:
            for call in (lambda: client.get("k"), lambda: client.request("r"), lambda: client.result("r"), lambda: client.stream("k"),
                         lambda: client.run("r", lambda t: None)):
                error = self.fails(aft_client.Unavailable, False, call, 1, server)
                self.assertIn("not AFT's answer", error.detail)
            self.fails(aft_client.Unknown, False, lambda: client.put("k", "v"), 1, server)
            self.fails(aft_client.Unknown, False, lambda: client.execute(None, [Op.put("k", "v")]), 1, server)

    def test_json_that_is_not_afts_is_no_reply(self):
        for body in (b"[]", b"{}", b"null", b'"x"', b'{"status":"ok"}', b'{"committed":false}', b'{"committed":1}', b'{"committed":true,"session":5}',
                     b'{"committed":true,"results":{}}', b'{"replayed":true,"result":7}', b'{"hash":"h","version":"v"}', b'{"transaction":7}'):
            with Fake(lambda request: answer_of("200 OK", body)) as server, Client(server.url) as client:
                for call in (lambda: client.put("k", "v"), lambda: client.put("k", "v", if_absent=True), lambda: client.delete("k"),
                             lambda: client.put_stream("k", [b"v"]), lambda: client.add("k"), lambda: client.execute("r", [Op.put("k", "v")]),
                             lambda: client.execute(None, [Op.put("k", "v")])):
                    self.assertIn("not AFT's answer", self.fails(aft_client.Unknown, False, call, 1, server).detail)
                for call in (lambda: client.get("k"), lambda: client.request("r"), lambda: client.result("r"), lambda: client.stream("k"),
                             lambda: client.run("r", lambda t: None), lambda: client.transaction()):
                    self.assertIn("not AFT's answer", self.fails(aft_client.Unavailable, False, call, 1, server).detail)
                self.assertIsNone(client.session)

    def test_json_that_is_not_afts_within_a_transaction_is_no_reply(self):
        def answer(request):
            return json_answer({"transaction": "1-1"} if request["line"].startswith("POST /v1/transactions ") else {"status": "ok"})
        for call in (lambda t: t.batch([Op.get("k")]), lambda t: list(t.list()), lambda t: t.abort()):
            with Fake(answer) as server, Client(server.url) as client:
                self.assertIn("not AFT's answer", self.fails(aft_client.Unavailable, False, lambda: call(client.transaction())).detail)

    @unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
    def test_an_abort_that_something_else_answers_has_aborted_nothing(self):
        def script(name, before):
            if name == "batch" and before == 0:
                return "cut after"
            return PASS if name == "begin" and before == 0 else "json"
        key = fresh()
        with Interposer(script) as interposer, Client(interposer.url, run_seconds_max=0.5) as client:
            self.fails(aft_client.Unknown, False, lambda: client.run(fresh(), lambda t: t.put(key, "v")), within=3)

    @unittest.skipUnless(URL, "set AFT_URL to the URL of a running server")
    def test_a_commit_in_doubt_stays_unknown_when_a_proxy_steps_in(self):
        key = fresh()

        def script(name, before):
            if name == "execute":
                return "cut after" if before == 0 else "forbidden page"
            return PASS
        with Interposer(script) as interposer, Client(interposer.url) as client:
            self.fails(aft_client.Unknown, False, lambda: client.execute(fresh(), [Op.put(key, "v")]))
        self.assertEqual(Client(URL).get(key).bytes, b"v")

        def of_a_run(name, before):
            return {"batch": "cut after" if before == 0 else "forbidden page", "begin": PASS if before == 0 else "forbidden page",
                    "abort": "forbidden page", "request": "forbidden page", "commit": "forbidden page"}.get(name, PASS)
        for named in (True, False):
            key = fresh()
            with Interposer(of_a_run) as interposer, Client(interposer.url, run_seconds_max=0.5) as client:
                self.fails(aft_client.Unknown, False, lambda: client.run(fresh() if named else None, lambda t: t.put(key, "v")), within=3)
            self.assertEqual(Client(URL).get(key).bytes, b"v")

    def test_a_port_of_another_protocol_is_named(self):
        def greet(connection):
            connection.sendall(banner)
            time.sleep(1)
            connection.close()
        for banner in (b"SSH-2.0-OpenSSH_9\r\n", b"-ERR unknown command 'PUT'\r\n", b"220 mail ESMTP\r\n", b"J\x00\x00\x00\n8.0.36", b"HTT",
                       b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", b"<html>no head</html>"):
            with Fake(lambda request: None) as server, Client(server.url) as client:
                server.serve = greet
                for call in (lambda: client.get("k"), lambda: client.put("k", "v"), lambda: client.run("r", lambda t: None),
                             lambda: client.execute("r", [Op.put("k", "v")]), lambda: client.put_stream("k", [b"v"] * 3)):
                    if banner == b"HTT":
                        continue  # The start of an answer, which may go on.
                    detail = self.fails(aft_client.Unavailable, False, call, within=0.9).detail
                    for words in ("does not speak HTTP", "not AFT's answer", repr(banner[:20].decode("latin-1"))[1:-1], "port"):
                        self.assertIn(words, detail)
        # After an answer it could be a rest of that: the next call may have been carried out.
        with Fake(lambda request: json_answer({"committed": True}) if len(server.requests) == 1 else b"rest of it\r\n\r\n") as server, \
                Client(server.url) as client:
            client.put("k", "v")
            self.fails(aft_client.Unknown, False, lambda: client.put("k", "v"), 1, server)

    def test_refused_connections_and_unknown_hosts_stay_retryable(self):
        def resolve(host, *arguments, **more):
            if host == "no-such-host.invalid":
                raise socket.gaierror(-2, "Name or service not known")
            return known(host, *arguments, **more)
        known = socket.getaddrinfo
        for url in ("http://127.0.0.1:1", "http://no-such-host.invalid"):
            with mock.patch("socket.getaddrinfo", resolve), Client(url, run_seconds_max=0.2) as client:
                for call in (lambda: client.get("k"), lambda: client.put("k", "v"), lambda: client.run("r", lambda t: None)):
                    self.fails(aft_client.Unavailable, True, call, within=5)

    def test_problems_of_aft_keep_their_kinds(self):
        for status, code, action, kind in (("401 No", "unauthorized", "unauthorized", aft_client.Unauthorized), ("404 No", "not_found", "not_found", aft_client.NotFound),
                                           ("400 No", "invalid", "invalid", aft_client.Invalid)):
            with Fake(lambda request: problem_answer(status, code, action)) as server, Client(server.url) as client:
                self.fails(kind, False, lambda: client.get("k"), 1, server)


@unittest.skipUnless(shutil.which("openssl"), "the program openssl is missing")
class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)

        def run(*arguments):
            subprocess.run(["openssl", *map(str, arguments)], check=True, cwd=cls.folder, capture_output=True)

        for ca in ("ca", "other"):
            run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{ca}.key",
                "-out", f"{ca}.pem", "-subj", f"/CN={ca}", "-days", "2")
        for name, names, days in (("server", "IP:127.0.0.1,DNS:localhost", 2), ("elsewhere", "DNS:elsewhere.example", 2), ("expired", "IP:127.0.0.1", -1), ("client", "DNS:client", 2)):
            (cls.folder / f"{name}.ext").write_text(f"subjectAltName={names}\n")
            run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem",
                "-extfile", f"{name}.ext", "-days", days)

    def path(self, name):
        return str(self.folder / name)

    def server(self, name="server", client_ca=None, version=None, answer=lambda request: value_answer()):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(f"{name}.pem"), self.path(f"{name}.key"))
        if version is not None:
            context.maximum_version = version
        if client_ca is not None:
            context.load_verify_locations(self.path(client_ca))
            context.verify_mode = ssl.CERT_REQUIRED
        return Fake(answer, context)

    def refused(self, url, *words, **settings):
        """Checks that calls of all kinds fail at once, for good, and as not sent."""
        for call in (lambda client: client.put("k", "v"), lambda client: client.get("k"), lambda client: client.run("r", lambda t: None),
                     lambda client: client.execute(None, [Op.put("k", "v")]), lambda client: client.put("k", b"v" * (5 << 20))):
            since = time.monotonic()
            with Client(url, **settings) as client, self.assertRaises(aft_client.Unavailable) as raised:
                call(client)
            self.assertFalse(raised.exception.retryable, raised.exception)
            self.assertLess(time.monotonic() - since, 2)
            for word in words:
                self.assertIn(word, str(raised.exception))

    def test_a_trusted_server_is_spoken_to_over_kept_connections(self):
        large = bytes(range(256)) * 8192
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            answer = lambda request: value_answer(large) if request["line"].startswith("GET") else json_answer({"committed": True})
            with self.server(version=version, answer=answer) as server:
                for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
                    with Client(url, ca=self.path("ca.pem")) as client:
                        before = server.connections
                        for _ in range(3):
                            self.assertEqual(client.get("k").bytes, large)
                        client.put("k", large)
                        self.assertEqual(server.connections - before, 1)
                self.assertEqual(server.requests[-1]["body"], large)

    def test_tasks_speak_tls_too(self):
        large = bytes(range(256)) * 8192

        async def speak(url):
            async with aio.Client(url, ca=self.path("ca.pem")) as client:
                await client.put("k", large)
                self.assertEqual([value.bytes for value in await asyncio.gather(client.get("a"), client.get("b"))], [large] * 2)
            async with aio.Client(url) as client:
                with self.assertRaises(aft_client.Unavailable) as raised:
                    await client.put("k", "v")
                self.assertFalse(raised.exception.retryable)
        answer = lambda request: value_answer(large) if request["line"].startswith("GET") else json_answer({"committed": True})
        with self.server(answer=answer) as server:
            asyncio.run(speak(server.url))
            self.assertEqual(server.requests[0]["body"], large)

    def test_a_certificate_that_is_not_trusted_ends_every_call_at_once(self):
        with self.server() as server:
            self.refused(server.url, "not trusted", "ca")
            self.refused(server.url, "not trusted", ca=self.path("other.pem"))
        for name in ("elsewhere", "expired"):
            with self.server(name) as server:
                self.refused(server.url, ca=self.path("ca.pem"))
                self.assertEqual(server.requests, [])

    def test_plain_and_tls_are_told_apart(self):
        with Fake(lambda request: None) as plain:
            plain.serve = lambda connection: (connection.recv(10), connection.sendall(answer_of("400 Bad Request")), connection.close())
            self.refused(plain.url.replace("http:", "https:"), "http://")
        with Fake(lambda request: None) as server:
            # The alert of a server that takes the call for a handshake.
            server.serve = lambda connection: (connection.recv(65536), connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46"), connection.close())
            self.refused(server.url, "https://")

    def test_a_missing_or_rejected_client_certificate_is_named(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.server(client_ca="ca.pem", version=version) as server:
                self.refused(server.url, ca=self.path("ca.pem"))
                own = {"certificate": self.path("client.pem"), "key": self.path("client.key")}
                with Client(server.url, ca=self.path("ca.pem"), **own) as client:
                    self.assertEqual(client.get("k").bytes, b"v")
                self.assertEqual(len(server.requests), 1)
            with self.server(client_ca="other.pem", version=version) as server:
                self.refused(server.url, ca=self.path("ca.pem"), **own)

    def test_files_that_cannot_be_used_are_named(self):
        (self.folder / "empty.pem").write_text("")
        good = {"certificate": self.path("client.pem"), "key": self.path("client.key")}
        for settings, words in (({"ca": "/no/such.pem"}, ("ca", "/no/such.pem")), ({"ca": self.path("empty.pem")}, ("ca", "empty.pem")),
                                ({"certificate": good["certificate"]}, ("certificate", "key", "both")), ({"key": good["key"]}, ("certificate", "both")),
                                ({**good, "key": "/no/such.key"}, ("key", "/no/such.key")), ({**good, "certificate": "/no/such.crt"}, ("certificate", "/no/such.crt")),
                                ({**good, "key": self.path("ca.key")}, ("key", "ca.key"))):
            for url in ("https://127.0.0.1:1", "http://127.0.0.1:1"):
                with self.assertRaises(aft_client.Invalid) as raised:
                    Client(url, **settings)
                for word in words:
                    self.assertIn(word, str(raised.exception))

    def test_the_handshake_counts_to_the_time_of_connecting(self):
        with Fake(lambda request: None) as server:
            server.serve = lambda connection: time.sleep(3)
            since = time.monotonic()
            with Client(server.url.replace("http:", "https:"), connect_timeout=0.2, run_seconds_max=0.1) as client:
                with self.assertRaises(aft_client.Unavailable) as raised:
                    client.put("k", "v")
            self.assertTrue(raised.exception.retryable)
            self.assertLess(time.monotonic() - since, 1)


if __name__ == "__main__":
    unittest.main()
