"""Sends the S3 endpoint what no client sends, over plain sockets.

Goal: whatever arrives, the endpoint stays up, stores nothing that it does not acknowledge, blames
itself for nothing that the caller did wrong, and says what is wrong.

Method: a list of cases, each the bytes of one request and what must come of it. Requests are put
together here and signed, so that also a right signature comes with a wrong body. After each case:

* the status is one of those that the case names, and never a 5xx, except for 501;
* a failure has a code and a message in its body, unless HTTP itself was violated;
* the objects of the bucket are the same as before, if the call was rejected;
* the server answers a right call.

Usage: raw.py S3_URL [PART]…

Only the cases whose names contain one of the parts are run, if there is any. Keys are in
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Uses nothing but the standard library. The exit code
is 0 if everything is right.
"""

import base64
import binascii
import dataclasses
import hashlib
import hmac
import json
import os
import re
import socket
import sys
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

URL = urllib.parse.urlsplit(sys.argv[1])
PARTS = sys.argv[2:]
HOST = f"{URL.hostname}:{URL.port}"
KEY, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
BUCKET = f"raw-{os.urandom(6).hex()}"
TIMEOUT_S = 15
BODY = b"hello world"
UNSIGNED = "UNSIGNED-PAYLOAD"
FRAMED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED_FRAMES = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
OK, BAD = {200, 204}, {400}


# Requests.


def digest(secret, text):
    """Returns the HMAC of a text."""
    return hmac.new(secret, text.encode(), hashlib.sha256).digest()


@dataclasses.dataclass
class Signer:
    """Signs one request, and the frames of its body."""

    time: str
    previous: str = ""

    def key(self):
        """Returns the key for this day."""
        key = f"AWS4{SECRET}".encode()
        for part in [self.time[:8], "us-east-1", "s3", "aws4_request"]:
            key = digest(key, part)
        return key

    def sign(self, kind, text):
        """Returns the signature of a text."""
        scope = f"{self.time[:8]}/us-east-1/s3/aws4_request"
        return digest(self.key(), f"{kind}\n{self.time}\n{scope}\n{text}").hex()

    def head(self, method, path, query, headers):
        """Returns the header `Authorization`."""
        pairs = [pair.partition("=") for pair in query.split("&") if pair]
        quoted = [tuple(urllib.parse.quote(urllib.parse.unquote_plus(text), safe="-_.~")
                        for text in (name, value)) for name, _, value in pairs]
        names = sorted({name.lower() for name, _ in headers})
        lines = [f"{name}:" + ",".join(value.strip() for other, value in headers
                                       if other.lower() == name) for name in names]
        payload = next(value for name, value in headers if name == "x-amz-content-sha256")
        plain = urllib.parse.quote(urllib.parse.unquote(path), safe="/-_.~")
        text = "\n".join([method, plain, "&".join("=".join(pair) for pair in sorted(quoted)),
                          *lines, "", ";".join(names), payload])
        hashed = hashlib.sha256(text.encode()).hexdigest()
        self.previous = self.sign("AWS4-HMAC-SHA256", hashed)
        scope = f"{self.time[:8]}/us-east-1/s3/aws4_request"
        return (f"AWS4-HMAC-SHA256 Credential={KEY}/{scope},SignedHeaders={';'.join(names)},"
                f"Signature={self.previous}")

    def frame(self, data, kind="PAYLOAD"):
        """Returns the signature of a frame, or of a trailer."""
        empty = hashlib.sha256(b"").hexdigest() + "\n" if kind == "PAYLOAD" else ""
        text = f"{self.previous}\n{empty}{hashlib.sha256(data).hexdigest()}"
        self.previous = self.sign(f"AWS4-HMAC-SHA256-{kind}", text)
        return self.previous


def request(method, target, body=b"", headers=None, payload=None, drop=(), signed=True, lines=(),
            version="HTTP/1.1", host=HOST, sent=None):
    """Returns the bytes of a request. `payload` is the value of x-amz-content-sha256; `lines` are
    added to the head as they are; `drop` are headers that are left out; a `body` that is a function
    gets the signer. `sent` is what is sent instead of the body."""
    path, _, query = target.partition("?")
    signer = Signer(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    pairs = [("host", host), ("x-amz-date", signer.time)]
    is_framed = callable(body) or (payload or "").startswith("STREAMING-")
    payload = payload or hashlib.sha256(b"" if is_framed else body).hexdigest()
    pairs += [("x-amz-content-sha256", payload)]
    pairs += [(name, value) for name, value in (headers or {}).items() if value is not None]
    pairs = [(name, value) for name, value in pairs if name not in drop]
    if signed:
        pairs.append(("authorization", signer.head(method, path, query, pairs)))
    content = body(signer) if callable(body) else body
    if not {"content-length", "transfer-encoding"} & {*(headers or {}), *drop}:
        pairs.append(("content-length", str(len(content))))
    head = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in pairs), *lines]
    text = "\r\n".join(head) + "\r\n\r\n"
    return text.encode("utf-8", "surrogateescape") + (content if sent is None else sent)


def put(body=BODY, headers=None, key="new", **more):
    """Returns the bytes of a PUT."""
    return request("PUT", f"/{BUCKET}/{key}", body, headers, **more)


def framed(data, payload=FRAMED, length=len(BODY), trailer="x-amz-checksum-crc32", **headers):
    """Returns the bytes of a PUT whose body is framed already."""
    headers["x-amz-decoded-content-length"] = None if length is None else str(length)
    headers["x-amz-trailer"] = trailer
    return put(data, headers, payload=payload)


def crc32(data):
    """Returns the CRC-32 in base64."""
    return base64.b64encode(binascii.crc32(data).to_bytes(4, "big")).decode()


TRAILER = f"x-amz-checksum-crc32:{crc32(BODY)}\r\n\r\n".encode()
FRAMES = b"b\r\nhello world\r\n0\r\n" + TRAILER


def signed_frames(*frames, forge=None, trailer=None):
    """Returns a function that makes a body of signed frames. The frame with the number `forge` has
    a wrong signature."""

    def body(signer):
        parts = []
        for at, data in enumerate([*frames, b""]):
            signature = signer.frame(data)
            signature = "0" * 64 if at == forge else signature
            parts.append(f"{len(data):x};chunk-signature={signature}\r\n".encode() + data)
            parts.append(b"\r\n" if data else b"")
        if trailer is None:
            return b"".join(parts) + b"\r\n"
        signature = signer.frame(trailer.encode() + b"\n", "TRAILER")
        signature = "0" * 64 if forge == "trailer" else signature
        end = f"{trailer}\r\nx-amz-trailer-signature:{signature}\r\n\r\n"
        return b"".join(parts) + end.encode()

    return body


def xml(operation, body, **more):
    """Returns the bytes of a call whose body is XML."""
    method, target = {
        "delete": ("POST", f"/{BUCKET}?delete="),
        "tagging": ("PUT", f"/{BUCKET}/old?tagging="),
        "bucket": ("PUT", f"/{BUCKET}-other"),
    }[operation]
    body = body.encode() if isinstance(body, str) else body
    headers = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    headers.update(more.pop("headers", {}))
    return request(method, target, body, headers, **more)


def delete(*keys):
    """Returns the XML that deletes keys."""
    return "<Delete>" + "".join(f"<Object><Key>{key}</Key></Object>" for key in keys) + "</Delete>"


def tagging(*tags):
    """Returns the XML that sets tags."""
    entries = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags)
    return f"<Tagging><TagSet>{entries}</TagSet></Tagging>"


def policy(conditions, seconds=60):
    """Returns the fields of a form with a signed policy."""
    signer = Signer(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    fields = {"x-amz-date": signer.time, "x-amz-algorithm": "AWS4-HMAC-SHA256",
              "x-amz-credential": f"{KEY}/{signer.time[:8]}/us-east-1/s3/aws4_request"}
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    conditions = conditions + [{name: value} for name, value in fields.items()]
    text = json.dumps({"expiration": until, "conditions": conditions})
    fields["policy"] = base64.b64encode(text.encode()).decode()
    fields["x-amz-signature"] = digest(signer.key(), fields["policy"]).hex()
    return fields


def form(fields, file=BODY, target=None, boundary="edge", end="--edge--\r\n", kind=None):
    """Returns the bytes of a form; `file` is `None` if it has no file."""
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
             for name, value in fields.items()]
    if file is not None:
        head = 'Content-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n'
        parts.append(head.encode() + file)
    body = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + end.encode()
    kind = kind or f"multipart/form-data; boundary={boundary}"
    return request("POST", target or f"/{BUCKET}", body, {"content-type": kind}, signed=False,
                   drop=["x-amz-content-sha256", "x-amz-date"])


# Answers.


@dataclasses.dataclass
class Answer:
    """The answer to a request. The status is 0 if the connection was closed without one, and -1 if
    nothing came in time."""

    status: int = 0
    code: str = ""
    message: str = ""
    headers: dict = dataclasses.field(default_factory=dict)
    body: bytes = b""


def converse(data, half_close=False):
    """Sends bytes, and returns the answer."""
    with socket.create_connection((URL.hostname, URL.port), timeout=TIMEOUT_S) as here:
        try:
            here.sendall(data)
            if half_close:
                here.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The server may answer, and close, before it has read everything.
        return read_answer(here, data.startswith(b"HEAD "))


def read_answer(here, is_head=False):
    """Reads one answer."""
    got = b""
    try:
        while b"\r\n\r\n" not in got:
            piece = here.recv(1 << 16)
            if not piece:
                return Answer()
            got += piece
            if got.startswith(b"HTTP/1.1 100"):
                got = got.partition(b"\r\n\r\n")[2]
        head, _, body = got.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip()
                   for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        has_body = not is_head and status not in (204, 304)
        length = int(headers.get("content-length", 0)) if has_body else 0
        while len(body) < length:
            piece = here.recv(1 << 16)
            if not piece:
                break
            body += piece
        body = body[:length]  # Another answer may follow if more than one request was sent.
    except ConnectionError:
        return Answer()
    except TimeoutError:
        return Answer(-1)
    answer = Answer(status, headers=headers, body=body)
    if answer.status >= 400 and body.startswith(b"<?xml"):
        error = ElementTree.fromstring(body)
        answer.code = error.findtext("Code") or ""
        answer.message = error.findtext("Message") or ""
    return answer


def objects():
    """Returns the tags, keys and sizes of the bucket's objects."""
    answer = converse(request("HEAD", f"/{BUCKET}"))
    if answer.status != 200:
        return [("", "the bucket", "")]
    answer = converse(request("GET", f"/{BUCKET}?encoding-type=url&list-type=2"))
    assert answer.status == 200, answer
    text = answer.body.decode()
    return re.findall(r"<ETag>(.*?)</ETag><Key>(.*?)</Key>.*?<Size>(.*?)</Size>", text)


# Cases.


@dataclasses.dataclass
class Case:
    """One request with what must come of it."""

    name: str
    data: bytes
    status: set
    # The codes that are possible; any one if empty.
    codes: set = dataclasses.field(default_factory=set)
    # True if the request violates HTTP, so that the answer may have no body or be missing.
    is_http: bool = False
    half_close: bool = False
    # The object that a success must have made.
    makes: bytes | None = None
    key: str = "new"


def bodies():
    """Returns cases of bodies that are cut, or have another length than they say."""
    cut = {"half_close": True, "is_http": True}
    yield Case("body cut", put(sent=BODY[:5]), BAD, **cut)
    yield Case("body missing", put(sent=b""), BAD, **cut)
    yield Case("large body cut", put(bytes(3 << 20), sent=bytes(2 << 20)), BAD, **cut)
    yield Case("unsigned body cut", put(payload=UNSIGNED, sent=BODY[:5]), BAD, **cut)
    yield Case("body longer than its head says", put(headers={"content-length": "5"}), BAD)
    for length in ["-1", "+5", "5abc", "0x5", "1e1", "5 5", "5,6", "", "99999999999999999999999"]:
        data = put(headers={"content-length": length}, signed=False)
        yield Case(f"content-length {length!r}", data, BAD | {403, 413}, is_http=True)
    lines = ["Content-Length: 5"]
    yield Case("two lengths", put(lines=lines), BAD, is_http=True)
    # HTTP lets the framing win here.
    lines, sent = ["Transfer-Encoding: chunked"], b"b\r\nhello world\r\n0\r\n\r\n"
    data = put(lines=lines, sent=sent)
    yield Case("length and chunked", data, OK | {400, 411}, is_http=True, makes=BODY)
    chunked = {"transfer-encoding": "chunked"}
    for name, sent in [("size", b"zz\r\nhello\r\n0\r\n\r\n"), ("end", b"3\r\nhello\r\n0\r\n\r\n"),
                       ("huge size", b"fffffffffffffffff\r\nhello"), ("no size", b"\r\nhello")]:
        yield Case(f"chunked: bad {name}", put(b"hello", chunked, sent=sent), {400, 411},
                   is_http=True)
    sent = b"5\r\nhello\r\n"
    yield Case("chunked: cut", put(b"hello", chunked, sent=sent), {400, 411}, **cut)
    for coding in ["gzip", "identity", "chunked, gzip"]:
        data = put(b"hello", {"transfer-encoding": coding}, sent=b"5\r\nhello\r\n0\r\n\r\n")
        yield Case(f"transfer-encoding {coding}", data, BAD | {403, 411, 501}, is_http=True)
    data = put(b"", {"content-length": str(6 << 30), "expect": "100-continue"}, payload=UNSIGNED)
    yield Case("six GiB", data, BAD, {"EntityTooLarge"})
    data = put(b"", {"content-length": str(1 << 62)}, payload=UNSIGNED)
    yield Case("four EiB", data, BAD, {"EntityTooLarge"})


def frames():
    """Returns cases of bodies that are framed wrongly."""
    yield Case("frames: right", framed(FRAMES), OK, makes=BODY)
    for length, why in [(10, "short"), (12, "long"), (0, "zero"), (1 << 40, "absurd")]:
        yield Case(f"frames: {why} decoded length", framed(FRAMES, length=length), BAD)
    for length in ["-1", "11x", "", "0x0b", "1e1", "18446744073709551627"]:
        yield Case(f"frames: decoded length {length!r}", framed(FRAMES, length=length), BAD)
    data = framed(FRAMES, length=None)
    yield Case("frames: decoded length missing", data, OK | {400, 411}, makes=BODY)
    for why, data in [
        ("no end", b"b\r\nhello world\r\n"), ("no last line", b"b\r\nhello world\r\n0\r\n"),
        ("cut in a frame", b"b\r\nhello"), ("cut in a size", b"b\r\nhello world\r\n0"),
        ("frame too short", b"5\r\nhello world\r\n0\r\n" + TRAILER),
        ("frame too long", b"ff\r\nhello world\r\n0\r\n" + TRAILER),
        ("size", b"xyz\r\nhello world\r\n0\r\n" + TRAILER),
        ("no size", b"\r\nhello world\r\n0\r\n" + TRAILER),
        ("negative size", b"-b\r\nhello world\r\n0\r\n" + TRAILER),
        ("overflowing size", b"1000000000000000b\r\nhello world\r\n0\r\n" + TRAILER),
        ("long size", b"0" * 2_000 + b"b\r\nhello world\r\n0\r\n" + TRAILER),
        ("extension", b"b;x=y\r\nhello world\r\n0\r\n" + TRAILER),
        ("more frames than announced", b"b\r\nhello world\r\n1\r\n!\r\n0\r\n" + TRAILER),
        ("no frames", BODY), ("empty", b""),
        ("trailer missing", b"b\r\nhello world\r\n0\r\n\r\n"),
        ("trailer wrong", FRAMES.replace(b":", b":AAAA", 1)),
        ("trailer of other bytes", FRAMES.replace(crc32(BODY).encode(), b"AAAAAA==")),
        ("trailer no base64", FRAMES.replace(b"==", b"!!")),
        ("trailer of another kind", FRAMES.replace(b"crc32", b"sha1")),
        ("trailer without colon", FRAMES.replace(b":", b" ")),
        ("trailer of 100 KB", FRAMES[:-2] + b"x-a:" + b"a" * 100_000 + b"\r\n\r\n"),
    ]:
        yield Case(f"frames: {why}", framed(data), BAD)
    yield Case("frames: garbage after the end", framed(FRAMES + b"garbage"), BAD)
    for name in ["x-amz-checksum-md5", "x-amz-checksum-",
                 "x-amz-checksum-crc32,x-amz-checksum-sha1"]:
        yield Case(f"frames: trailer {name}", framed(FRAMES, trailer=name), BAD)
    for kind in ["STREAMING-NONSENSE", "STREAMING-", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"]:
        yield Case(f"frames: {kind}", framed(FRAMES, payload=kind), {400, 403, 501})


def signed_bodies():
    """Returns cases of signed frames, right and wrong."""
    parts, sum = [b"hello ", b"world"], f"x-amz-checksum-crc32:{crc32(BODY)}"
    plain = {"payload": SIGNED_FRAMES, "trailer": None}
    yield Case("signed frames: right", framed(signed_frames(*parts), **plain), OK, makes=BODY)
    trailed = {"payload": SIGNED_TRAILER}
    right = signed_frames(*parts, trailer=sum)
    yield Case("signed trailer: right", framed(right, **trailed), OK, makes=BODY)
    other = "x-amz-checksum-crc32:AAAAAA=="
    wrong = signed_frames(*parts, trailer=other)
    yield Case("signed trailer: other checksum", framed(wrong, **trailed), BAD, {"BadDigest"})
    if not VERIFIED:
        return
    denied = {"SignatureDoesNotMatch"}
    for at in range(3):
        data = framed(signed_frames(*parts, forge=at), **plain)
        yield Case(f"signed frames: forged {at}", data, {403}, denied)
    data = framed(signed_frames(*parts, trailer=sum, forge="trailer"), **trailed)
    yield Case("signed trailer: forged", data, {403}, denied)
    data = framed(FRAMES, **trailed)
    yield Case("signed frames: without signatures", data, {400, 403})


def digests():
    """Returns cases of digests that are wrong."""
    sums = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
    for name, length in sums.items():
        header = f"x-amz-checksum-{name}"
        wrong = base64.b64encode(bytes(length)).decode()
        yield Case(f"{header} wrong", put(headers={header: wrong}), BAD, {"BadDigest"})
        for value in ["", "!", "AAAA", wrong + wrong]:
            data = put(headers={header: value})
            yield Case(f"{header} {value!r}", data, BAD, {"InvalidRequest", "InvalidDigest"})
    two = {"x-amz-checksum-crc32": crc32(BODY), "x-amz-checksum-sha1": "AAAA"}
    yield Case("two checksums", put(headers=two), BAD)
    yield Case("unknown checksum", put(headers={"x-amz-checksum-md4": "AAAA"}), BAD)
    other = {"x-amz-checksum-crc32": crc32(BODY), "x-amz-sdk-checksum-algorithm": "SHA1"}
    yield Case("algorithm of another checksum", put(headers=other), BAD)
    yield Case("unknown algorithm", put(headers={"x-amz-sdk-checksum-algorithm": "X"}), BAD)
    wrong = base64.b64encode(bytes(16)).decode()
    yield Case("content-md5 wrong", put(headers={"content-md5": wrong}), BAD, {"BadDigest"})
    for value in ["", "!", "AAAA", hashlib.md5(BODY).hexdigest()]:
        data = put(headers={"content-md5": value})
        yield Case(f"content-md5 {value!r}", data, BAD, {"InvalidDigest"})
    sha = {"XAmzContentSHA256Mismatch", "BadDigest"}
    yield Case("x-amz-content-sha256 wrong", put(payload="0" * 64), BAD, sha)
    large = put(bytes(3 << 20), payload="0" * 64)
    yield Case("x-amz-content-sha256 wrong, large", large, BAD, sha)
    for value in ["x", "0" * 63, "g" * 64]:
        yield Case(f"x-amz-content-sha256 {value[:4]}", put(payload=value), {400, 403})


def heads():
    """Returns cases of heads that are wrong."""
    for method in ["BREW", "OPTIONS", "TRACE", "PATCH", "get", "PUTT"]:
        data = request(method, f"/{BUCKET}/new", BODY)
        yield Case(f"method {method}", data, {400, 403, 405}, is_http=True)
    for version in ["HTTP/0.9", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "HTTP", "ICY/1.1"]:
        data = request("GET", f"/{BUCKET}/old", version=version)
        yield Case(f"version {version}", data, OK | {400, 505}, is_http=True)
    yield Case("no host", request("GET", f"/{BUCKET}/old", drop=["host"]), {400, 403}, is_http=True)
    lines = ["Host: other"]
    yield Case("two hosts", put(lines=lines), {400, 403}, is_http=True)
    for host in ["\x7f", f"{BUCKET}.s3.amazonaws.com", f"{BUCKET}.localhost", "ä",
                 f"{BUCKET}.example.com:80", f"{BUCKET}.127.0.0.1"]:
        yield Case(f"host {host!r}", put(host=host), {400, 403}, is_http=True)
    for host in ["localhost", "[::1]:80", "LOCALHOST:1"]:
        yield Case(f"host {host!r}", put(host=host), OK, makes=BODY)
    for line in ["x-a\0: b", "x a: b", " folded", "x-a", ": b", "x-amz-meta-a: \x01"]:
        yield Case(f"line {line!r}", put(lines=[line]), {400, 403}, is_http=True)
    long = {"x-amz-meta-a": "v" * 20_000}
    yield Case("header of 20 KB", put(headers=long), {400, 431}, is_http=True)
    many = {f"x-{at}": "v" for at in range(300)}
    yield Case("300 headers", put(headers=many), {400, 431}, is_http=True)
    yield Case("metadata of 3 KB", put(headers={"x-amz-meta-a": "v" * 3_000}), BAD)
    for path, why in [("k" * 1_025, "key"), ("k" * 70_000, "path")]:
        yield Case(f"{why} of {len(path)} bytes", put(key=path), {400, 414, 431}, is_http=True)
    yield Case("garbage", b"\x16\x03\x01\x02\x00\x01\xfc\r\n\r\n", BAD, is_http=True)
    yield Case("nothing", b"", BAD, is_http=True, half_close=True)
    yield Case("half a head", put()[:50], BAD, is_http=True, half_close=True)
    for name, value in [("x-amz-acl", "public-read"), ("x-amz-storage-class", "GLACIER"),
                        ("x-amz-server-side-encryption", "AES256"), ("x-amz-tagging", "a=1&a=2"),
                        ("x-amz-tagging", "%ff"), ("x-amz-object-lock-mode", "GOVERNANCE"),
                        ("if-match", "no quotes \x01"), ("if-none-match", '"tag"'),
                        ("aft-transaction", "garbage"), ("x-amz-trailer", "x-amz-checksum-crc32"),
                        ("x-amzn-trace-id", "Root=1;Txn=garbage"),
                        ("x-amz-write-offset-bytes", "3"),
                        ("x-amz-checksum-type", "COMPOSITE"), ("x-amz-grant-read", "id=x")]:
        data = put(headers={name: value})
        yield Case(f"header {name}: {value!r}", data, {400, 501}, is_http=True)


def targets():
    """Returns cases of paths and queries that are wrong."""
    for path in ["%", "%zz", "%e4", "%ff%fe", "a%", "%c0%af"]:
        yield Case(f"key {path!r}", put(key=path), {400, 403}, is_http=True)
    for target in ["*", "new", "", "http://", "/\x01", "/a b", "//", f"/{BUCKET.upper()}/new",
                   "/ab/new", "/10.0.0.1/new", "/a..b/new", "/%/new", f"/-{BUCKET}/new"]:
        data = request("PUT", target, BODY)
        yield Case(f"target {target!r}", data, {400, 403, 404, 405, 501}, is_http=True)
    yield Case("target http://…", request("GET", f"http://{HOST}/{BUCKET}/old"), OK | {403},
               is_http=True)
    for query in ["max-keys=-1", "max-keys=a", "max-keys=99999999999", "max-keys=1e3", "max-keys=",
                  "encoding-type=x", "list-type=2&continuation-token=x", "prefix=%ff",
                  "list-type=2&continuation-token=", "list-type=2&max-keys=2&max-keys=3"]:
        data = request("GET", f"/{BUCKET}?{query}")
        yield Case(f"listing {query!r}", data, OK | BAD)
    for query in ["%", "=", "&&&", "a=b=c", "a" * 5_000, "&".join(["a=b"] * 2_000), "%00", "x=%zz",
                  "list-type=3", "foo"]:
        data = request("GET", f"/{BUCKET}?{query}", payload=UNSIGNED)
        yield Case(f"query {query[:9]!r}", data, OK | {400, 403, 501}, is_http=True)
    for query in ["acl", "policy", "lifecycle", "cors", "website", "versions", "object-lock",
                  "replication", "encryption", "notification", "logging"]:
        data = request("GET", f"/{BUCKET}?{query}=")
        yield Case(f"operation GET {query}", data, {400, 404, 501})
    for target in ["new?restore=", "new?select=&select-type=2", "old?foo="]:
        data = request("POST", f"/{BUCKET}/{target}", b"")
        yield Case(f"operation POST {target}", data, {400, 405, 501})
    # A name that is not known must not turn the call into a plain write or deletion.
    for target in ["new?acl=", "new?retention=", "new?legal-hold=", "new?partNumber=1&uploadId=x",
                   "new?renameObject=", "new?encryption=", "new?annotation=&annotationName=x"]:
        yield Case(f"operation PUT {target}", request("PUT", f"/{BUCKET}/{target}", BODY),
                   {400, 404, 501})
    for target in ["/old?annotation=&annotationName=x", "?metadataConfiguration=", "?policy=",
                   "/old?uploadId=x"]:
        data = request("DELETE", f"/{BUCKET}{target}")
        yield Case(f"operation DELETE {target}", data, {400, 404, 501})
    for query in ["versionId=x", "versionId=", "partNumber=0", "partNumber=-1", "partNumber=a",
                  "partNumber=2", "partNumber=99999999999", "response-content-type=%0d%0aa:%20b",
                  "response-expires=x", "response-cache-control=%ff"]:
        data = request("GET", f"/{BUCKET}/old?{query}")
        yield Case(f"read {query!r}", data, OK | {206, 400, 404, 416, 501})


def reads():
    """Returns cases of ranges, conditions and dates that are absurd."""
    for value in ["bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-0,2-2", "lines=1-2",
                  "bytes=-0", "bytes=99-", "bytes=0-99999999999999999999", "bytes=--1", "x",
                  "bytes=18446744073709551615-", "bytes=0-,-1", "bytes= 0-1"]:
        data = request("GET", f"/{BUCKET}/old", headers={"range": value})
        yield Case(f"range {value!r}", data, OK | {206, 400, 416})
    for name in ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"]:
        for value in ["", "x", "*", '"', 'W/"x"', '"a", "b"', "Thu, 99 Foo 2020 00:00:00 GMT",
                      "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "-1"]:
            for method in ["GET", "HEAD"]:
                data = request(method, f"/{BUCKET}/old", headers={name: value})
                yield Case(f"{method} {name} {value!r}", data, OK | {304, 400, 412, 501})
    for value in ["", "x", "/", "//", f"/{BUCKET}", f"/{BUCKET}/", f"/{BUCKET}/none", "/none/x",
                  f"/{BUCKET}/old?versionId=x", "arn:aws:s3:::x", f"/{BUCKET}/%ff", "a" * 3_000,
                  "%zz"]:
        data = put(b"", {"x-amz-copy-source": value})
        yield Case(f"copy of {value[:40]!r}", data, {400, 404, 501})
    data = request("PUT", f"/{BUCKET}/old", b"", {"x-amz-copy-source": f"/{BUCKET}/old"})
    yield Case("copy to itself", data, BAD)
    for name, value in [("x-amz-metadata-directive", "x"), ("x-amz-copy-source-if-match", '"x"'),
                        ("x-amz-copy-source-if-modified-since", "x"),
                        ("x-amz-tagging-directive", "x"),
                        ("if-match", '"x"'), ("x-amz-checksum-algorithm", "x")]:
        headers = {"x-amz-copy-source": f"/{BUCKET}/old", name: value}
        yield Case(f"copy with {name}: {value}", put(b"", headers), {400, 404, 412, 501})


def framed_documents():
    """Returns cases of XML in frames, with right and wrong checksums after it."""
    body = delete("other").encode()
    for sum, status in [(crc32(body), OK), ("AAAAAA==", BAD)]:
        text = f"{len(body):x}\r\n".encode() + body
        text += f"\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n".encode()
        headers = {"x-amz-decoded-content-length": str(len(body)), "content-md5": None,
                   "x-amz-trailer": "x-amz-checksum-crc32"}
        data = xml("delete", text, headers=headers, payload=FRAMED)
        yield Case(f"deletion: frames, {sum}", data, status)


def documents():
    """Returns cases of XML that is wrong."""
    deep = "<Delete>" + "<a>" * 100_000 + "</a>" * 100_000 + "</Delete>"
    bomb = ('<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
            "<Delete><Object><Key>&b;</Key></Object></Delete>")
    for name, body in [
        ("empty", ""), ("garbage", "garbage"), ("unclosed", "<Delete><Object><Key>old"),
        ("other root", delete("old").replace("Delete", "Other")), ("no keys", "<Delete></Delete>"),
        ("no key", "<Delete><Object></Object></Delete>"),
        ("UTF-16", delete("old").encode("utf-16")),
        ("not UTF-8", delete("old").encode().replace(b"old", b"\xff")), ("deep", deep),
        ("bomb", bomb), ("1001 keys", delete(*range(1_001))),
        ("JSON", '{"Objects": [{"Key": "old"}]}'),
        ("5 MB", "<Delete>" + " " * 5_000_000), ("two keys", delete("old</Key><Key>x")),
        ("version", delete("old</Key><VersionId>x</VersionId><Key>x")),
    ]:
        yield Case(f"deletion: {name}", xml("delete", body), {400, 413, 501})
    yield Case("deletion: empty key", xml("delete", delete("")), OK | BAD)
    wrong = {"content-md5": base64.b64encode(bytes(16)).decode()}
    data = xml("delete", delete("old"), headers=wrong)
    yield Case("deletion: wrong MD5", data, BAD, {"BadDigest"})
    data = xml("delete", delete("old"), headers={"x-amz-checksum-crc32": "AAAAAA=="})
    yield Case("deletion: wrong CRC", data, BAD, {"BadDigest"})
    data = xml("delete", delete("old"), payload="0" * 64)
    yield Case("deletion: wrong SHA-256", data, {400, 403})
    yield from framed_documents()
    many = [(f"k{at}", "v") for at in range(11)]
    for name, body in [
        ("empty", ""), ("garbage", "garbage"), ("unclosed", "<Tagging><TagSet>"),
        ("11", tagging(*many)),
        ("twice", tagging(("k", "1"), ("k", "2"))), ("no key", tagging(("", "v"))),
        ("long key", tagging(("k" * 129, "v"))), ("long value", tagging(("k", "v" * 257))),
        ("other root", tagging(("k", "v")).replace("Tagging", "Other")), ("bomb", bomb),
    ]:
        yield Case(f"tags: {name}", xml("tagging", body), BAD)
    for name, body in [("garbage", "garbage"), ("unclosed", "<CreateBucketConfiguration>")]:
        yield Case(f"bucket: {name}", xml("bucket", body), BAD)


def forms():
    """Returns cases of forms."""
    key = {"key": "new"}
    rules = [["eq", "$key", "new"], {"bucket": BUCKET}, ["content-length-range", 1, 100]]
    right = {**key, **policy(rules)}
    yield Case("form: right", form(right), OK, makes=BODY)
    named = {"key": "${filename}", **policy([["starts-with", "$key", ""], {"bucket": BUCKET}])}
    yield Case("form: name of the file", form(named), OK, makes=BODY, key="f.txt")
    yield Case("form: no file", form(right, file=None), BAD)
    yield Case("form: no key", form({**policy([{"bucket": BUCKET}])}), BAD)
    nameless = {"key": "", **policy([["eq", "$key", ""], {"bucket": BUCKET}])}
    yield Case("form: empty key", form(nameless), BAD)
    yield Case("form: cut", form(right, end=""), BAD)
    yield Case("form: no boundary", form(right, kind="multipart/form-data"), BAD)
    yield Case("form: other boundary", form(right, boundary="other"), BAD)
    yield Case("form: at a key", form(right, target=f"/{BUCKET}/new"), {400, 405})
    yield Case("form: no bucket", form(right, target="/"), {400, 405, 501})
    yield Case("form: none such bucket", form({**key, **policy([["eq", "$key", "new"]])},
                                              target="/none-such"), {404})
    yield Case("form: empty", form({}, file=None), BAD | {403})
    large = {**right, "x-amz-meta-a": "v" * 3_000_000}
    yield Case("form: large field", form(large), {400, 403})
    many = {**right, **{f"x-ignore-{at}": "v" for at in range(5_000)}}
    yield Case("form: many fields", form(many), OK | {400, 403}, makes=BODY)
    for name, change in [("garbage", "garbage"), ("no JSON", base64.b64encode(b"{").decode())]:
        yield Case(f"form: policy {name}", form({**right, "policy": change}), {400, 403})
    if not VERIFIED:
        yield Case("form: unsigned", form(key), OK, makes=BODY)
        return
    yield Case("form: unsigned", form(key), {403}, {"AccessDenied"})
    yield Case("form: forged", form({**right, "x-amz-signature": "0" * 64}), {403})
    yield Case("form: expired", form({**key, **policy(rules, seconds=-60)}), {400, 403})
    yield Case("form: other key", form({**right, "key": "else"}), {400, 403})
    other = {**key, **policy([*rules, {"bucket": "other"}])}
    yield Case("form: other bucket", form(other), {400, 403})
    yield Case("form: file too large", form(right, file=b"x" * 101), BAD, {"EntityTooLarge"})
    yield Case("form: file too small", form(right, file=b""), BAD, {"EntityTooSmall"})
    yield Case("form: field without rule", form({**right, "x-amz-meta-a": "b"}), {403})


def signatures():
    """Returns cases of calls that are not signed rightly."""
    if not VERIFIED:
        return
    old = f"/{BUCKET}/old"
    yield Case("signature: none", request("GET", old, signed=False), {403}, {"AccessDenied"})
    yield Case("signature: none, write", put(signed=False), {403}, {"AccessDenied"})
    for value in ["", "x", "Basic eDp5", "Bearer x", "AWS x:y", "AWS4-HMAC-SHA256 x",
                  "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=x"]:
        data = put(headers={"authorization": value}, signed=False)
        yield Case(f"signature: {value[:22]!r}", data, {400, 403})
    data = put().replace(b"hello world", b"HELLO world")
    yield Case("signature: other body", data, {400, 403})
    yield Case("signature: other key", put().replace(b"/new ", b"/other "), {403})
    lines = [f"x-amz-copy-source: /{BUCKET}/old"]
    yield Case("signature: x-amz- header that it does not cover", put(b"", lines=lines), {403})


def check(case, before):
    """Runs a case, and returns what is wrong with its outcome."""
    answer = converse(case.data, case.half_close)
    wrong = []
    status = case.status | ({0} if case.is_http else set())
    if answer.status not in status or answer.status >= 500 and answer.status != 501:
        wrong.append(f"the status is {answer.status}")
    if case.codes and answer.code not in case.codes and answer.status in case.status:
        wrong.append(f"the code is {answer.code!r}")
    is_head = case.data.startswith(b"HEAD")
    if answer.status >= 400 and not case.is_http and not is_head:
        if not answer.code or not answer.message:
            wrong.append("there is no code, or no message")
    after = objects()
    if answer.status in OK and case.makes is not None:
        made = converse(request("GET", f"/{BUCKET}/{case.key}"))
        if made.body != case.makes:
            wrong.append(f"the object is {made.body[:40]!r}")
    elif after != before:
        wrong.append(f"objects have changed: {sorted(set(after) ^ set(before))}")
    if wrong or after != before:
        restore()
    if wrong:
        wrong.append(f"answer: {answer.status} {answer.code} {answer.message[:120]}")
    return wrong


def restore():
    """Makes the bucket again, with the one object that it has between cases."""
    for _, key, _ in objects():
        converse(request("DELETE", f"/{BUCKET}/{key}"))
    converse(request("DELETE", f"/{BUCKET}"))
    converse(request("PUT", f"/{BUCKET}"))
    converse(put(b"0123456789", key="old"))


def is_verified():
    """Returns true if the endpoint checks signatures."""
    return converse(request("GET", "/", signed=False)).status == 403


VERIFIED = is_verified()


def main():
    """Runs the cases."""
    restore()
    assert len(objects()) == 1, "the server does not answer right calls"
    cases = [case for group in [bodies, frames, signed_bodies, digests, heads, targets, reads,
                                documents, forms, signatures] for case in group()]
    cases = [case for case in cases if not PARTS or any(part in case.name for part in PARTS)]
    failed = 0
    for case in cases:
        wrong = check(case, objects())
        failed += bool(wrong)
        if wrong:
            print(f"FAILED {case.name}: {'; '.join(wrong)}", file=sys.stderr)
    converse(request("DELETE", f"/{BUCKET}/old"))
    converse(request("DELETE", f"/{BUCKET}"))
    print(f"{len(cases) - failed} passed, {failed} failed; "
          f"signatures {'verified' if VERIFIED else 'not verified'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
