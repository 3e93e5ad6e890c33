"""Compares this project's S3 endpoint with another S3 server, operation by operation.

Goal: an S3 client cannot tell the endpoint `ours` from the reference `theirs` (MinIO).

Method: a seed determines a sequence of random operations. Each one is sent to both endpoints as
the same signed request, put together here byte by byte, so that malformed requests can be sent as
well. The answers are reduced to the fields that clients look at, and compared. A difference is
explained if a rule of `RULES` has a reason for it; every other difference is printed.

Three devices keep one difference from causing others:
* A write that only one side carried out is undone: its keys are deleted on both sides.
* Keys that the reference refuses (`a//b`, `../c`) have an alias there, in the bucket `odd`. So
  everything but listings is compared for them, too.
* Listings of ours are also compared with a model: the keys in the order of their UTF-8 bytes,
  grouped and cut as the documentation of S3 says. Where the reference departs from the model, and
  ours does not, the reference is wrong.

With `--origin URL`, the first half of the operations go to that server instead of ours, so that its
bucket has objects of all kinds. The other half goes to ours, whose bucket has to read through to
that one: with `--run NAME`, that is NAME-plain.

Usage: differential.py --ours URL --theirs URL --seed N --operations N [--origin URL --run NAME]

The access key and secret are `minioadmin` on both sides unless --our-key, --our-secret,
--their-key and --their-secret say otherwise. The exit code is 0 if no difference is unexplained.
"""

import argparse
import base64
import binascii
import collections
import dataclasses
import email.header
import hashlib
import http.client
import os
import random
import struct
import sys
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.parsers
import botocore.session

REGION = "us-east-1"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
TIMEOUT_S = 60
PAGES_MAX = 100


# Checksums.


def crc_table(polynomial):
    """Makes the table of a reflected CRC."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    return table


CRC32C_TABLE = crc_table(0x82F63B78)
CRC64NVME_TABLE = crc_table(0x9A6C9329AC4BC9B5)


def crc(table, mask, data):
    """Returns the reflected CRC of some bytes."""
    value = mask
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ mask


def crc32(data):
    """Returns the CRC-32 as bytes."""
    return struct.pack(">I", binascii.crc32(data))


def crc32c(data):
    """Returns the CRC-32C as bytes."""
    return struct.pack(">I", crc(CRC32C_TABLE, 0xFFFFFFFF, data))


def crc64nvme(data):
    """Returns the CRC-64/NVME as bytes."""
    return struct.pack(">Q", crc(CRC64NVME_TABLE, 0xFFFFFFFFFFFFFFFF, data))


ALGORITHMS = {
    "CRC32": crc32,
    "CRC32C": crc32c,
    "CRC64NVME": crc64nvme,
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}
SLOW_ALGORITHMS = ("CRC32C", "CRC64NVME")


def check_algorithms():
    """Checks the tables with the published check values."""
    assert crc32c(b"123456789").hex() == "e3069283"
    assert crc64nvme(b"123456789").hex() == "ae8b14860a799888"


def base64_of(data):
    """Returns bytes as base64 text."""
    return base64.b64encode(data).decode()


def md5_of(data):
    """Returns the value of Content-MD5."""
    return base64_of(hashlib.md5(data).digest())


# Requests and replies.


@dataclasses.dataclass
class Request:
    """A request without its signature. A text may contain `{modified}`: see `Side.fill`."""

    method: str
    bucket: str = ""
    key: str = ""
    query: list = dataclasses.field(default_factory=list)
    headers: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    # `signed`, `unsigned`, `wrong` (another body's SHA-256) or `trailer` (aws-chunked).
    payload: str = "signed"
    # The field after an aws-chunked body.
    trailer: tuple = ()

    def target(self):
        """Returns the path and the query, encoded."""
        quoted = urllib.parse.quote(self.key, safe="/-_.~")
        path = "/" + self.bucket + ("/" + quoted if self.key else "")
        pairs = [encoded_pair(name, value) for name, value in self.query]
        return path + ("?" + "&".join(pairs) if pairs else "")

    def shown(self):
        """Returns the lines that describe the request."""
        target = self.target()
        lines = [f"{self.method} {target[:300]}{'...' if len(target) > 300 else ''}"]
        lines += [f"    {name}: {value}" for name, value in self.headers]
        if self.payload != "signed":
            lines.append(f"    (payload: {self.payload}, trailer: {self.trailer})")
        if self.body:
            lines.append(f"    body: {excerpt(self.body)}")
        return lines


def encoded_pair(name, value):
    """Returns a parameter of a query, encoded. A value of None means that there is no `=`."""
    quoted = urllib.parse.quote(name, safe="-_.~")
    if value is None:
        return quoted
    return quoted + "=" + urllib.parse.quote(str(value), safe="-_.~")


def excerpt(data):
    """Returns a short description of bytes."""
    text = repr(data[:800].decode("utf-8", "backslashreplace"))
    return text if len(data) <= 800 else f"{len(data)} bytes that begin {text[:40]}"


@dataclasses.dataclass
class Reply:
    """An answer."""

    status: int
    headers: list
    body: bytes

    def header(self, name):
        """Returns the values of a header, joined; None if there is none."""
        values = [value for other, value in self.headers if other.lower() == name]
        return ", ".join(values) if values else None

    def root(self):
        """Returns the parsed XML; None if the body is not XML."""
        try:
            return ElementTree.fromstring(self.body)
        except ElementTree.ParseError:
            return None

    def code(self):
        """Returns the code of an error; "" if there is none."""
        root = self.root() if self.body else None
        if root is None or local_name(root) != "Error":
            return ""
        return root.findtext("Code") or root.findtext(f"{{{NAMESPACE}}}Code") or ""

    def outcome(self):
        """Returns the status and the code of an error."""
        return f"{self.status} {self.code()}".strip()


def local_name(element):
    """Returns the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


class Signer(botocore.auth.S3SigV4Auth):
    """Signs requests whose payload hash is given."""

    def __init__(self, key, secret, payload):
        super().__init__(botocore.credentials.Credentials(key, secret), "s3", REGION)
        self.given = payload

    def payload(self, request):
        """Returns the given payload hash."""
        return self.given


def payload_hash(request):
    """Returns the value of x-amz-content-sha256."""
    if request.payload == "unsigned":
        return "UNSIGNED-PAYLOAD"
    if request.payload == "trailer":
        return "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    body = request.body + b"!" if request.payload == "wrong" else request.body
    return hashlib.sha256(body).hexdigest()


def chunked(body, trailer):
    """Returns a body in aws-chunked framing, with a field after it."""
    pieces, at = [], 0
    while at < len(body):
        piece = body[at : at + 65536]
        pieces.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        at += len(piece)
    pieces.append(b"0\r\n")
    if trailer:
        pieces.append(f"{trailer[0]}:{trailer[1]}\r\n".encode())
    return b"".join(pieces) + b"\r\n"


class Side:
    """One of the two servers."""

    def __init__(self, name, url, key, secret):
        parts = urllib.parse.urlsplit(url)
        self.name, self.netloc = name, parts.netloc
        self.key, self.secret = key, secret
        self.connection = None
        # The aliases of keys, and the keys of aliases.
        self.aliases, self.keys = {}, {}
        # The start of the names of the run's buckets.
        self.run = ""
        # The object whose time `{modified}` stands for.
        self.modified = ""

    def alias(self, bucket, key):
        """Returns the name of a key on this side."""
        return self.aliases.get((bucket, key), key)

    def fill(self, text):
        """Replaces `{modified}` by the time of the object on this side."""
        return text.replace("{modified}", self.modified) if isinstance(text, str) else text

    def send(self, request):
        """Sends a request, and returns the reply. A connection that has ended is opened again."""
        target, headers, body = self.prepared(request)
        for last in (False, True):
            fresh = self.connection is None
            if fresh:
                self.connection = http.client.HTTPConnection(self.netloc, timeout=TIMEOUT_S)
            try:
                return self.exchange(request.method, target, headers, body)
            except (http.client.HTTPException, OSError) as why:
                self.connection.close()
                self.connection = None
                if last or fresh:
                    return Reply(0, [], f"no answer: {why!r}".encode())
        raise AssertionError("the loop returns")

    def prepared(self, request):
        """Returns the target, the signed headers, and the body as it is sent."""
        request = dataclasses.replace(request, key=self.alias(request.bucket, request.key))
        body, headers = request.body, [(name, self.fill(text)) for name, text in request.headers]
        if request.payload == "trailer":
            headers.append(("x-amz-decoded-content-length", str(len(body))))
            body = chunked(body, request.trailer)
        if body or request.method in ("PUT", "POST"):
            headers.append(("Content-Length", str(len(body))))
        url = f"http://{self.netloc}{request.target()}"
        signed = botocore.awsrequest.AWSRequest(method=request.method, url=url)
        for name, text in headers:
            signed.headers[name] = text
        Signer(self.key, self.secret, payload_hash(request)).add_auth(signed)
        return request.target(), signed.headers.items(), body

    def exchange(self, method, target, headers, body):
        """Sends a request over the open connection."""
        connection = self.connection
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, text in headers:
            connection.putheader(name, text.encode("utf-8"))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return Reply(answer.status, answer.getheaders(), answer.read())


# Fields of answers.

# The headers that are compared, by the kind of the operation. Answers of all kinds may also have
# headers that mean nothing there; MinIO sends many.
CHECKSUM_HEADERS = tuple(f"x-amz-checksum-{name.lower()}" for name in (*ALGORITHMS, "type"))
OBJECT_HEADERS = (
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-range",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "x-amz-delete-marker",
    "x-amz-missing-meta",
    "x-amz-mp-parts-count",
    "x-amz-storage-class",
    "x-amz-tagging-count",
    "x-amz-version-id",
    "x-amz-website-redirect-location",
    *CHECKSUM_HEADERS,
)
HEADERS = {
    "GetObject": OBJECT_HEADERS,
    "HeadObject": OBJECT_HEADERS,
    "PutObject": ("etag", "x-amz-version-id", *CHECKSUM_HEADERS),
    "CopyObject": ("content-type", "x-amz-version-id", "x-amz-copy-source-version-id"),
    "GetObjectAttributes": ("content-type", "last-modified"),
    "DeleteObject": ("x-amz-delete-marker", "x-amz-version-id"),
    "CreateBucket": ("location",),
    "HeadBucket": ("x-amz-bucket-region",),
}
NOT_MODIFIED_HEADERS = ("etag", "last-modified", "cache-control", "expires")
# Members of answers whose values differ by their nature. That they are there is compared.
VOLATILE = (
    "LastModified",
    "CreationDate",
    "NextContinuationToken",
    "ContinuationToken",
    "Owner",
    "BucketRegion",
)
MODEL = botocore.session.get_session().get_service_model("s3")
PARSER = botocore.parsers.create_parser("rest-xml")


def fields_of(side, operation, reply):
    """Returns the fields of a reply that are compared."""
    fields = {"outcome": reply.outcome()}
    names = HEADERS.get(operation.kind, ("content-type",))
    if reply.status == 304:
        names = NOT_MODIFIED_HEADERS
    elif reply.status >= 300:
        # Of the other headers of a failure clients make nothing.
        names = ("content-type",) if reply.body else ()
    for name in names:
        value = reply.header(name)
        fields[name] = "(present)" if value and name == "last-modified" else value
    for name, _ in reply.headers if reply.status < 300 else ():
        if name.lower().startswith("x-amz-meta-"):
            fields[name.lower()] = decoded_words(reply.header(name.lower()))
    if operation.sends_object and reply.status < 300:
        fields["content-length"] = reply.header("content-length")
        fields["body"] = f"{len(reply.body)} bytes, MD5 {hashlib.md5(reply.body).hexdigest()}"
    elif reply.body:
        fields.update(xml_fields(side, operation, reply))
    return fields


def decoded_words(text):
    """Returns a text in which the encoded words of RFC 2047 are decoded: there are two forms."""
    try:
        return str(email.header.make_header(email.header.decode_header(text)))
    except (ValueError, LookupError):
        return text


def xml_fields(side, operation, reply):
    """Returns the fields of a reply's XML."""
    root = reply.root()
    if root is None:
        return {"xml": "is not well-formed"}
    fields = {"xml root": root.tag}
    if reply.status >= 300 or local_name(root) == "Error":
        return fields
    shape = MODEL.operation_model(operation.kind).output_shape
    headers = botocore.awsrequest.HeadersDict()
    parsed = PARSER.parse({"status_code": 200, "headers": headers, "body": reply.body}, shape)
    parsed.pop("ResponseMetadata", None)
    if "Buckets" in parsed:
        mine = [bucket for bucket in parsed["Buckets"] if bucket["Name"].startswith(side.run)]
        parsed["Buckets"] = mine
    fields.update(listing_fields(parsed))
    fields.update({name: stable(side, name, value) for name, value in parsed.items()})
    return fields


def listing_fields(parsed):
    """Returns the keys of a listing as a field of their own, so that differences are short."""
    if "Contents" not in parsed and "CommonPrefixes" not in parsed:
        return {}
    contents = parsed.pop("Contents", [])
    prefixes = [entry.get("Prefix") for entry in parsed.pop("CommonPrefixes", [])]
    fields = {"keys": [entry.get("Key") for entry in contents], "prefixes": prefixes}
    for name in ("Size", "ETag", "StorageClass", "ChecksumAlgorithm", "ChecksumType"):
        fields[f"each {name}"] = [entry.get(name) for entry in contents]
    for name in ("LastModified", "Owner"):
        fields[f"each has {name}"] = [name in entry for entry in contents]
    return fields


def stable(side, name, value):
    """Returns a value of an answer without the parts that differ by their nature."""
    if name in VOLATILE:
        return "(present)"
    if isinstance(value, dict):
        return {name: stable(side, name, value) for name, value in value.items()}
    if isinstance(value, list):
        return [stable(side, "", value) for value in value]
    if name == "Key":
        return side.keys.get(value, value)
    return value


@dataclasses.dataclass
class Difference:
    """A field that the two answers have different values of."""

    operation: "Operation"
    field: str
    ours: object
    theirs: object
    # The number of the page, from 0.
    page: int = 0

    def asked(self, name):
        """Returns a header of the request, in lower case; "" if there is none."""
        values = [text for other, text in self.operation.request.headers if other.lower() == name]
        return values[0] if values else ""

    def parameter(self, name):
        """Returns a parameter of the query; None if there is none."""
        return dict(self.operation.request.query).get(name)


# Operations.


@dataclasses.dataclass
class Operation:
    """A request with the knowledge that comparing its answers needs."""

    kind: str
    request: Request
    # The keys that it changes.
    writes: list = dataclasses.field(default_factory=list)
    # True if a good answer's body is an object.
    sends_object: bool = False
    # The source of a copy: its bucket and key.
    source: tuple = ()
    # True if the pages that follow are asked for, too.
    walks: bool = False
    # What is special about it, for the rules.
    notes: set = dataclasses.field(default_factory=set)

    def shown(self):
        """Returns the lines that describe it."""
        first, *more = self.request.shown()
        notes = f" {sorted(self.notes)}" if self.notes else ""
        return [f"{self.kind}{' with all pages' if self.walks else ''}{notes}: {first}", *more]


def carry_out(side, operation):
    """Carries out an operation, and returns its replies: one, or one for each page."""
    request = side_request(side, operation)
    replies = [side.send(request)]
    while operation.walks and len(replies) < PAGES_MAX:
        more = next_page(operation, replies[-1])
        if more is None:
            break
        query = [pair for pair in request.query if pair[0] != more[0]] + [more]
        replies.append(side.send(dataclasses.replace(request, query=query)))
    return replies


def side_request(side, operation):
    """Returns the request of an operation for one side: aliases of sources and of listed keys."""
    request = operation.request
    if operation.source:
        bucket, key, form = operation.source
        # A form without a place for the source is the source.
        source = form.format(urllib.parse.quote(f"{bucket}/{side.alias(bucket, key)}", safe="/"))
        request = dataclasses.replace(
            request, headers=request.headers + [("x-amz-copy-source", source)]
        )
    if operation.kind == "DeleteObjects" and "{key:" in request.body.decode("utf-8", "replace"):
        body = delete_body(side, operation)
        headers = request.headers + digest_header(body, operation.notes)
        request = dataclasses.replace(request, body=body, headers=headers)
    return request


def next_page(operation, reply):
    """Returns the parameter that asks for the next page; None at the end."""
    root = reply.root()
    if reply.status != 200 or root is None:
        return None
    found = {local_name(element): element.text for element in root}
    if found.get("IsTruncated") != "true":
        return None
    if operation.kind == "ListObjectsV2":
        return ("continuation-token", found.get("NextContinuationToken") or "")
    last = found.get("NextMarker")
    if last is None:
        keys = root.findall(f"{{{NAMESPACE}}}Contents/{{{NAMESPACE}}}Key")
        last = keys[-1].text if keys else None
    if last is None:
        return None
    if any(name == "encoding-type" for name, _ in operation.request.query):
        last = urllib.parse.unquote_plus(last)
    return ("marker", last)


def delete_body(side, operation):
    """Returns the XML that names the keys to delete, as this side calls them."""
    text = operation.request.body.decode()
    for nth, key in enumerate(operation.writes):
        name = side.alias(operation.request.bucket, key)
        # A carriage return has to be written as a reference: XML reads it as a line feed.
        text = text.replace(f"{{key:{nth}}}", escape(name, {"\r": "&#13;"}))
    return text.encode()


def digest_header(body, notes):
    """Returns the header with which a body of XML is checked."""
    if "no digest" in notes:
        return []
    if "wrong digest" in notes:
        return [("Content-MD5", md5_of(body + b"!"))]
    for algorithm in ALGORITHMS:
        if algorithm in notes:
            name = f"x-amz-checksum-{algorithm.lower()}"
            return [(name, base64_of(ALGORITHMS[algorithm](body)))]
    return [("Content-MD5", md5_of(body))]


# Random keys, bodies and headers.

WORDS = ("a", "b", "photos", "2024", "x1", "README", "data.csv", "z")
SIGNS = "+% &<>\"'=?#;:@,~*()!$[]{}|^`\\-_."
LETTERS = "äéßñ日本語ёΩ\u00a0\u0301\u200d\u2028\ue000\uf8ff\ufffd\uffee"
ASTRAL = "😀🚀𝄞𐍈\U0010fffd"
# Characters that XML cannot carry, not even as references.
NOT_XML = {chr(code) for code in range(32)} - set("\t\n\r") | {"\ufffe", "\uffff"}
CONTROLS = "\x01\x08\t\n\r\x1b\x1f\x7f\x80\x85"


class Draw(random.Random):
    """Draws the parts of operations."""

    def maybe(self, probability):
        """Returns True with a probability."""
        return self.random() < probability

    def text(self, length):
        """Returns a text without slashes."""
        pools = [WORDS, SIGNS, LETTERS, ASTRAL, CONTROLS]
        pieces = self.choices(pools, (5, 3, 2, 1.5, 0.3), k=length)
        return "".join(self.choice(pool) for pool in pieces)

    def segment(self):
        """Returns a part of a key that any file system can keep."""
        text = self.text(self.randint(1, 3))
        return text if text not in (".", "..") else "dots"

    def plain_keys(self, count):
        """Returns keys that the reference can keep: none is a folder of another one."""
        folders = [self.segment() + "/" for _ in range(4)]
        folders += [self.choice(folders) + self.segment() + "/" for _ in range(4)]
        folders += ["dir", "dir-", "dir0"]
        keys = set()
        while len(keys) < count:
            folder = self.choice(folders) if self.maybe(0.6) else ""
            keys.add(folder + self.segment())
        taken = {key for key in keys if any(other.startswith(key + "/") for other in keys)}
        return sorted(keys - taken)

    def odd_keys(self, count):
        """Returns keys that file systems cannot keep, or that are folders of others."""
        keys = ["a", "a/", "a/b", "a//b", "/a", "//", "/", ".", "..", "./a", "../a", "a/../b"]
        keys += ["a/.", "a/..", " ", "a ", "x" * 1024, "é" * 512, "😀" * 256, "d/" * 512]
        keys += ["%2F", "%41", "a+b", "a b", "a%20b", "\\", "a\\b", "~", "\uffff", "\U00010000"]
        keys += [self.segment() + self.choice(("/", "//", "/./", "/../")) + self.segment()]
        return self.sample(keys, min(count, len(keys)))

    def body(self, large):
        """Returns the bytes of an object."""
        if large:
            return self.randbytes(9 * 1024 * 1024 + self.randint(0, 3))
        if self.maybe(0.6):
            return self.randbytes(self.choice((0, 0, 1, 2, 10, 100, 1000)))
        near = self.choice((4096, 16384, 65536, 131072, 262144))
        return self.randbytes(self.choice((near - 1, near, near + 1, self.randint(0, 307200))))


CONTENT_HEADERS = {
    "Content-Type": ("text/plain", "text/plain; charset=utf-8", "x", "a/b"),
    "Cache-Control": ("no-cache", "max-age=60, public"),
    "Content-Disposition": ('attachment; filename="a b.txt"', "inline"),
    "Content-Encoding": ("gzip", "br", "aws-chunked", "aws-chunked,gzip", "gzip, br"),
    "Content-Language": ("de", "de, en-GB"),
    "Expires": ("Thu, 01 Dec 2033 16:00:00 GMT",),
    "x-amz-website-redirect-location": ("/other", "https://example.com/"),
    "x-amz-storage-class": ("STANDARD",),
}
ODD_HEADERS = (
    ("Content-Type", "application/x-ä"),
    ("Content-Type", ""),
    ("Cache-Control", ""),
    ("Content-Encoding", ""),
    ("Expires", "0"),
    ("Expires", "never"),
    ("Expires", "Thu, 01 Dec 2033 16:00:00 +0000"),
    ("x-amz-meta-long", "x" * 2044),
    ("x-amz-meta-long", "x" * 2045),
    ("x-amz-meta-long", "x" * 2400),
    ("x-amz-meta-control", "a\tb"),
    ("x-amz-meta-latin", "\u0080"),
    ("x-amz-meta-", "no name"),
)
METADATA_NAMES = ("a", "Camel-Case", "with_underscore", "n1", "x.y")
METADATA_VALUES = ("1", "two words", " padded ", "a,b", "", "=?UTF-8?B?w6Q=?=", "ä", "x" * 200)
TAG_HEADERS = (
    "a=1",
    "a=1&b=2",
    "a+b=c%20d",
    "k%2F=v%3D%2B",
    "flag",
    "a=",
    "&".join(f"k{n}=v" for n in range(10)),
    "a=" + "v" * 256,
    "k" * 128 + "=1",
)
ODD_TAG_HEADERS = (
    "",
    "a=1&a=2",
    "=1",
    "&".join(f"k{n}=v" for n in range(11)),
    "a=" + "v" * 257,
    "k" * 129 + "=1",
    "a=%26",
    "%C3%A4=%C3%A4",
    "a=%F0%9F%98%80",
    "a=%ff",
    "a=1&",
    "aws:x=1",
)
TAG_VALUES = ("", "v", "two words", "+-=._:/@")
ODD_TAGS = (
    [("k0", "again"), ("k0", "again")],
    [("", "v")],
    [("k" * 129, "")],
    [("long", "v" * 257)],
    [("k" * 128, "v" * 256)],
    [(f"m{n}", "") for n in range(11)],
    [("a", "<&>")],
    [("ä", "ß")],
    [("a", "😀")],
    [("aws:x", "1")],
)
RANGES = (
    "bytes=0-0",
    "bytes=0-",
    "bytes=1-3",
    "bytes=5-",
    "bytes=-1",
    "bytes=-5",
    "bytes=-0",
    "bytes=0-99999999",
    "bytes=99999999-",
    "bytes=99999999-100000000",
    "bytes=-99999999",
    "bytes=3-1",
    "bytes=0-0,2-3",
    "bytes=-",
    "bytes=",
    "bytes=a-b",
    "bytes=1-b",
    "bytes=--1",
    "bytes=+1-2",
    "bytes= 1-2",
    "bytes=1 - 2",
    "bytes 1-2",
    "bytes:1-2",
    "Bytes=0-1",
    "items=0-1",
    "0-1",
    "bytes=0-18446744073709551615",
    "bytes=0-99999999999999999999",
    "bytes=18446744073709551616-",
    "",
)
PAST, FUTURE = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
DATES = (PAST, FUTURE, "{modified}", "Saturday, 01-Jan-00 00:00:00 GMT", "yesterday", "")
OVERRIDES = {
    "response-content-type": ("text/html", "a b/ä", ""),
    "response-cache-control": ("private", "no-cache, no-store"),
    "response-content-disposition": ('attachment; filename="ä.txt"', "inline"),
    "response-content-encoding": ("identity", "gzip"),
    "response-content-language": ("fr",),
    "response-expires": ("Thu, 01 Dec 2033 16:00:00 GMT", "soon"),
}
DELIMITERS = ("/", "/", "/", "-", "a", "//", "é", "😀", " ", "+", "")
ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")


class Generator:
    """Makes random operations on two buckets of its own, `plain` and `odd`."""

    def __init__(self, seed, run):
        self.draw = Draw(seed)
        self.plain, self.odd = f"{run}-plain", f"{run}-odd"
        self.missing, self.extra = f"{run}-missing", f"{run}-extra"
        self.keys = {self.plain: self.draw.plain_keys(36), self.odd: self.draw.odd_keys(24)}
        self.keys[self.odd] += self.draw.plain_keys(6)
        self.keys[self.missing] = ["a", "b"]
        # The latest entity tag of each object, as ours told it.
        self.tags = {}

    def first(self):
        """Returns the operations that put the objects of the start."""
        for bucket in (self.plain, self.odd):
            for key in self.keys[bucket]:
                if self.draw.maybe(0.7):
                    body = self.draw.randbytes(self.draw.randint(0, 2000))
                    request = Request("PUT", bucket, key, body=body)
                    yield Operation("PutObject", request, writes=[key])

    def next(self):
        """Returns the next operation."""
        kinds = {
            self.put: 16,
            self.get: 16,
            self.head: 6,
            self.delete: 5,
            self.delete_objects: 3,
            self.copy: 8,
            self.list_v1: 7,
            self.list_v2: 9,
            self.get_tagging: 3,
            self.put_tagging: 3,
            self.delete_tagging: 1,
            self.attributes: 4,
            self.bucket: 4,
            self.edge: 1,
        }
        return self.draw.choices(list(kinds), list(kinds.values()))[0]()

    def place(self):
        """Returns a bucket and a key."""
        buckets = (self.plain, self.odd, self.missing)
        bucket = self.draw.choices(buckets, (60, 35, 1.5))[0]
        return bucket, self.draw.choice(self.keys[bucket])

    def tag_of(self, bucket, key):
        """Returns an entity tag for a condition: often that of the object, in several forms."""
        draw = self.draw
        tag = self.tags.get((bucket, key), "d41d8cd98f00b204e9800998ecf8427e")
        other = '"0123456789abcdef0123456789abcdef"'
        forms = (f'"{tag}"', other, tag, "*", f'W/"{tag}"', f'"x", "{tag}"', '"', "")
        return draw.choices(forms, (60, 20, 10, 4, 2, 2, 1, 1))[0]

    def conditions(self, bucket, key, prefix=""):
        """Returns headers with conditions on the state of an object."""
        draw, headers = self.draw, []
        for name in ("If-Match", "If-None-Match"):
            if draw.maybe(0.35):
                headers.append((prefix + name, self.tag_of(bucket, key)))
        for name in ("If-Modified-Since", "If-Unmodified-Since"):
            if draw.maybe(0.35):
                weights = (10, 10, 10, 2, 1, 1)
                headers.append((prefix + name, draw.choices(DATES, weights)[0]))
        return headers

    def content_headers(self):
        """Returns headers that are kept with an object."""
        draw, headers = self.draw, []
        if draw.maybe(0.04):
            return [draw.choice(ODD_HEADERS)]
        for name, values in CONTENT_HEADERS.items():
            if draw.maybe(0.2):
                headers.append((name, draw.choice(values)))
        for name in METADATA_NAMES:
            if draw.maybe(0.15):
                headers.append((f"x-amz-meta-{name}", draw.choice(METADATA_VALUES)))
                if draw.maybe(0.02):
                    headers.append((f"x-amz-meta-{name}", "again"))
        return headers

    def tag_header(self, probability):
        """Returns the header with tags, or none."""
        if not self.draw.maybe(probability):
            return []
        odd = self.draw.maybe(0.1)
        return [("x-amz-tagging", self.draw.choice(ODD_TAG_HEADERS if odd else TAG_HEADERS))]

    def put(self):
        """Makes a PutObject."""
        draw = self.draw
        bucket, key = self.place()
        body = draw.body(large=draw.maybe(0.015))
        headers = self.content_headers() + self.tag_header(0.25)
        request = Request("PUT", bucket, key, headers=headers, body=body)
        request.payload = draw.choices(("signed", "unsigned", "wrong"), (10, 5, 0.4))[0]
        notes = self.add_digests(request)
        if draw.maybe(0.15):
            name = draw.choice(("If-None-Match", "If-Match"))
            value = "*" if name == "If-None-Match" and draw.maybe(0.8) else self.tag_of(bucket, key)
            request.headers.append((name, value))
        return Operation("PutObject", request, writes=[key], notes=notes)

    def add_digests(self, request):
        """Adds digests of the body to a request: right ones mostly. Returns notes on them."""
        draw, headers, notes = self.draw, request.headers, set()
        if draw.maybe(0.15):
            good, other = md5_of(request.body), md5_of(request.body + b"!")
            headers.append(("Content-MD5", draw.choice((good, good, other, "abc", "", "AAAA"))))
        if draw.maybe(0.6):
            algorithm = draw.choice(list(ALGORITHMS))
            if len(request.body) > 1 << 20 and algorithm in SLOW_ALGORITHMS:
                algorithm = "CRC32"
            self.add_checksum(request, algorithm, notes)
        return notes

    def add_checksum(self, request, algorithm, notes):
        """Adds a checksum to a request, as a header or as a field after the body."""
        draw, headers = self.draw, request.headers
        name = f"x-amz-checksum-{algorithm.lower()}"
        good = base64_of(ALGORITHMS[algorithm](request.body))
        wrong = base64_of(ALGORITHMS[algorithm](request.body[1:] + b"!!"))
        value = draw.choices((good, wrong, good[:-4], "?", ""), (20, 1.5, 0.4, 0.3, 0.3))[0]
        if request.payload == "unsigned" and draw.maybe(0.6):
            request.payload, request.trailer = "trailer", (name, value)
            headers.append(("x-amz-trailer", name))
            if draw.maybe(0.6) and not any(name == "Content-Encoding" for name, _ in headers):
                headers.append(("Content-Encoding", "aws-chunked"))
            notes.add("trailer")
        elif draw.maybe(0.04):
            notes.add("no value")
        else:
            headers.append((name, value))
        if draw.maybe(0.5) or "no value" in notes:
            named = draw.choices((algorithm, "SHA1", "MD5", algorithm.lower()), (20, 1, 0.4, 1))[0]
            headers.append(("x-amz-sdk-checksum-algorithm", named))
        if draw.maybe(0.02):
            headers.append(("x-amz-checksum-crc32", "AAAAAA=="))

    def read(self, method):
        """Returns the request of a read of an object."""
        draw = self.draw
        bucket, key = self.place()
        request = Request(method, bucket, key)
        if draw.maybe(0.4):
            request.headers.append(("Range", draw.choice(RANGES)))
        if draw.maybe(0.3):
            request.headers += self.conditions(bucket, key)
        if draw.maybe(0.4):
            request.headers.append(("x-amz-checksum-mode", "ENABLED"))
        if draw.maybe(0.06):
            number = draw.choice(("1", "1", "1", "2", "0", "-1", "10001", "x", ""))
            request.query.append(("partNumber", number))
        if draw.maybe(0.15):
            for name, values in OVERRIDES.items():
                if draw.maybe(0.4):
                    request.query.append((name, draw.choice(values)))
        if draw.maybe(0.03):
            request.query.append(("versionId", "null"))
        return request

    def get(self):
        """Makes a GetObject."""
        return Operation("GetObject", self.read("GET"), sends_object=True)

    def head(self):
        """Makes a HeadObject."""
        return Operation("HeadObject", self.read("HEAD"), sends_object=True)

    def delete(self):
        """Makes a DeleteObject."""
        bucket, key = self.place()
        request = Request("DELETE", bucket, key)
        if self.draw.maybe(0.03):
            request.query.append(("versionId", "null"))
        return Operation("DeleteObject", request, writes=[key])

    def delete_objects(self):
        """Makes a DeleteObjects."""
        draw = self.draw
        bucket, _ = self.place()
        known = self.keys[bucket]
        keys = draw.choices(known, k=draw.randint(0 if draw.maybe(0.05) else 1, 4))
        keys = [key for key in keys if not set(key) & NOT_XML]
        quiet = draw.choice(("", "<Quiet>true</Quiet>", "<Quiet>false</Quiet>"))
        names = "".join(f"<Object><Key>{{key:{nth}}}</Key></Object>" for nth in range(len(keys)))
        namespace = draw.choice(("", f' xmlns="{NAMESPACE}"'))
        body = f"<Delete{namespace}>{quiet}{names}</Delete>"
        digests = ("", "no digest", "wrong digest", *ALGORITHMS)
        notes = {draw.choices(digests, (9, 1, 1, 1, 1, 1, 1, 1))[0]}
        if draw.maybe(0.05):
            notes.add("malformed")
            body = draw.choice((body[:-3], "", "<Other/>", f"{body}x"))
        request = Request("POST", bucket, "", [("delete", draw.choice((None, "")))])
        request.body = body.encode()
        if "{key:" not in body:
            request.headers += digest_header(request.body, notes)
        return Operation("DeleteObjects", request, writes=keys, notes=notes - {""})

    def copy(self):
        """Makes a CopyObject."""
        draw = self.draw
        source_bucket, source_key = self.place()
        bucket, key = (source_bucket, source_key) if draw.maybe(0.2) else self.place()
        headers = []
        for name in ("x-amz-metadata-directive", "x-amz-tagging-directive"):
            if draw.maybe(0.5):
                values = ("COPY", "REPLACE", "replace", "", "OTHER")
                headers.append((name, draw.choices(values, (10, 20, 0.3, 0.3, 0.3))[0]))
        if draw.maybe(0.4):
            headers += self.content_headers()
        # MinIO takes the tags of the header even where the directive is COPY.
        if ("x-amz-tagging-directive", "REPLACE") in headers:
            headers += self.tag_header(0.5)
        if draw.maybe(0.3):
            headers += self.conditions(source_bucket, source_key, "x-amz-copy-source-")
        if draw.maybe(0.2):
            headers.append(("x-amz-checksum-algorithm", draw.choice(list(ALGORITHMS))))
        form = draw.choices(("{}", "/{}", "{}?versionId=null"), (10, 4, 0.3))[0]
        notes = {"onto itself"} if (bucket, key) == (source_bucket, source_key) else set()
        request = Request("PUT", bucket, key, headers=headers)
        source = (source_bucket, source_key, form)
        return Operation("CopyObject", request, [key], source=source, notes=notes)

    def listing(self):
        """Returns a bucket, and the parameters that both kinds of listings have."""
        draw = self.draw
        bucket, key = self.place()
        query, walks = [], draw.maybe(0.3)
        if draw.maybe(0.4):
            query.append(("prefix", self.around(key)))
        if draw.maybe(0.6):
            query.append(("delimiter", draw.choice(DELIMITERS)))
        if walks:
            query.append(("max-keys", draw.choice(("1", "2", "3", "7"))))
        elif draw.maybe(0.3):
            sizes = ("0", "1", "2", "5", "1000", "1001", "99999999999", "-1", "x", "")
            query.append(("max-keys", draw.choices(sizes, (2, 3, 3, 3, 1, 1, 1, 1, 1, 1))[0]))
        if draw.maybe(0.6):
            kinds = ("url", "URL", "other", "")
            query.append(("encoding-type", draw.choices(kinds, (30, 0.5, 0.5, 0.5))[0]))
        return bucket, query, walks

    def around(self, key):
        """Returns a key, or a part of it, or a text beside it."""
        draw = self.draw
        cut = key[: draw.randint(0, len(key))]
        return draw.choice((key, cut, cut, cut, key[:-1], key + "/", key.rpartition("/")[0] + "/"))

    def list_v1(self):
        """Makes a ListObjects."""
        bucket, query, walks = self.listing()
        if self.draw.maybe(0.25):
            query.append(("marker", self.around(self.draw.choice(self.keys[bucket]))))
        return Operation("ListObjects", Request("GET", bucket, query=query), walks=walks)

    def list_v2(self):
        """Makes a ListObjectsV2."""
        draw = self.draw
        bucket, query, walks = self.listing()
        query.insert(0, ("list-type", "2"))
        if draw.maybe(0.25):
            query.append(("start-after", self.around(draw.choice(self.keys[bucket]))))
        if draw.maybe(0.2):
            query.append(("fetch-owner", draw.choice(("true", "false", ""))))
        if draw.maybe(0.02):
            query.append(("continuation-token", draw.choice(("", "no token", "!"))))
        return Operation("ListObjectsV2", Request("GET", bucket, query=query), walks=walks)

    def get_tagging(self):
        """Makes a GetObjectTagging."""
        return Operation("GetObjectTagging", Request("GET", *self.place(), [("tagging", None)]))

    def delete_tagging(self):
        """Makes a DeleteObjectTagging."""
        bucket, key = self.place()
        request = Request("DELETE", bucket, key, [("tagging", "")])
        return Operation("DeleteObjectTagging", request, writes=[key])

    def put_tagging(self):
        """Makes a PutObjectTagging."""
        draw = self.draw
        bucket, key = self.place()
        pairs = [(f"k{n}", draw.choice(TAG_VALUES)) for n in range(draw.randint(0, 10))]
        odd = draw.maybe(0.15)
        if odd:
            pairs = draw.choice(ODD_TAGS)
        tags = "".join(
            f"<Tag><Key>{escape(name)}</Key><Value>{escape(value)}</Value></Tag>"
            for name, value in pairs
        )
        body = f'<Tagging xmlns="{NAMESPACE}"><TagSet>{tags}</TagSet></Tagging>'
        if not odd and draw.maybe(0.06):
            body = draw.choice((body[:-3], "", "<Other/>", "<Tagging/>"))
        notes = {draw.choices(("", "no digest", "wrong digest", "SHA256"), (9, 1, 1, 2))[0]}
        headers = digest_header(body.encode(), notes)
        request = Request("PUT", bucket, key, [("tagging", "")], headers, body.encode())
        return Operation("PutObjectTagging", request, writes=[key], notes=notes - {""})

    def attributes(self):
        """Makes a GetObjectAttributes."""
        draw = self.draw
        names = draw.sample(ATTRIBUTES, draw.randint(1, 5))
        value = draw.choice((",", ", ")).join(names)
        if draw.maybe(0.05):
            value = draw.choice(("", "Nothing", "ETag,Nothing", "etag"))
        headers = [] if draw.maybe(0.03) else [("x-amz-object-attributes", value)]
        request = Request("GET", *self.place(), [("attributes", None)], headers)
        return Operation("GetObjectAttributes", request)

    def edge(self):
        """Makes an operation with a key that no object can have."""
        draw = self.draw
        bucket, key = draw.choice((self.plain, self.odd)), "k" * 1025
        delete = Request("POST", bucket, "", [("delete", "")])
        delete.body = b"<Delete><Object><Key></Key></Object></Delete>"
        many = dataclasses.replace(delete)
        many.body = b"<Delete>" + b"<Object><Key>a</Key></Object>" * 1001 + b"</Delete>"
        for request in (delete, many):
            request.headers = digest_header(request.body, set())
        target = draw.choice(self.keys[bucket])
        copy = Operation("CopyObject", Request("PUT", bucket, target), writes=[target])
        source = draw.choice((f"{bucket}/", f"/{bucket}/", bucket, "/", f"{bucket}/{key}"))
        copy.source = ("", "", source)
        return draw.choice(
            (
                copy,
                Operation("DeleteObjects", delete, notes={"empty key"}),
                Operation("DeleteObjects", many),
                Operation("PutObject", Request("PUT", bucket, key)),
                Operation("GetObject", Request("GET", bucket, key), sends_object=True),
                Operation("DeleteObject", Request("DELETE", bucket, key)),
            )
        )

    def bucket(self):
        """Makes an operation on a bucket."""
        draw = self.draw
        mine = draw.choice((self.plain, self.odd, self.missing))
        odd = draw.choice(("ab", "Upper", "a_b", "a..b"))
        kept = draw.choice((self.plain, self.missing))
        location = f'<CreateBucketConfiguration xmlns="{NAMESPACE}"><LocationConstraint>'
        location += "us-east-1</LocationConstraint></CreateBucketConfiguration>"
        return draw.choice(
            (
                Operation("HeadBucket", Request("HEAD", mine)),
                Operation("GetBucketLocation", Request("GET", mine, "", [("location", None)])),
                Operation("ListBuckets", Request("GET")),
                Operation("CreateBucket", Request("PUT", self.extra)),
                Operation("CreateBucket", Request("PUT", self.extra, body=location.encode())),
                Operation("CreateBucket", Request("PUT", self.plain)),
                Operation("CreateBucket", Request("PUT", odd)),
                Operation("DeleteBucket", Request("DELETE", self.extra)),
                Operation("DeleteBucket", Request("DELETE", kept)),
            )
        )


# The model of listings.


class Model:
    """The objects that ours acknowledged, by bucket."""

    def __init__(self):
        self.objects = collections.defaultdict(set)

    def learn(self, operation, reply):
        """Takes over what an acknowledged write did."""
        if reply.status >= 300 or reply.code():
            return
        objects = self.objects[operation.request.bucket]
        if operation.kind in ("PutObject", "CopyObject"):
            objects.update(operation.writes)
        elif operation.kind in ("DeleteObject", "DeleteObjects"):
            objects.difference_update(operation.writes)

    def listing(self, operation):
        """Returns the entries that a listing, with all its pages, has to have."""
        query = dict(operation.request.query)
        after = query.get("marker") or query.get("start-after") or ""
        prefix, delimiter = query.get("prefix") or "", query.get("delimiter") or ""
        entries = {}
        for key in sorted(self.objects[operation.request.bucket], key=lambda key: key.encode()):
            if not key.startswith(prefix):
                continue
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            entry = key if end < 0 else key[: end + len(delimiter)]
            # A group in which the listing is to begin is not listed again.
            begun = end >= 0 and after.startswith(entry)
            if key.encode() > after.encode() and not begun:
                entries[(entry, end >= 0)] = None
        return list(entries)


def pages_of(operation, replies):
    """Returns the entries of each page of a listing, in order; None if one cannot be read."""
    query, pages = dict(operation.request.query), []
    decode = urllib.parse.unquote_plus if query.get("encoding-type") == "url" else str
    for reply in replies:
        root = reply.root()
        if reply.status != 200 or root is None:
            return None
        page = [(entry.text or "", False) for entry in root.iterfind(f".//{{{NAMESPACE}}}Key")]
        groups = root.iterfind(f"{{{NAMESPACE}}}CommonPrefixes/{{{NAMESPACE}}}Prefix")
        groups = [(entry.text or "", True) for entry in groups]
        page, groups = ([(decode(text), kind) for text, kind in part] for part in (page, groups))
        if page != in_order(page) or groups != in_order(groups):
            return None
        pages.append(in_order(page + groups))
    return pages


def in_order(entries):
    """Returns entries in the order of their UTF-8 bytes."""
    return sorted(entries, key=lambda entry: entry[0].encode())


def pages_of_model(model, operation):
    """Returns the pages that a listing has to have, as far as it would walk."""
    entries = model.listing(operation)
    size = dict(operation.request.query).get("max-keys") or "1000"
    size = min(int(size), 1000) if size.isdigit() else 1000
    if size == 0:
        return [[]]
    return [entries[at : at + size] for at in range(0, len(entries), size)] or [[]]


def is_as_modelled(model, operation, replies):
    """Returns true if a listing has the pages of the model."""
    wanted = pages_of_model(model, operation)
    more = [True] * (len(wanted) - 1) + [False]
    if not operation.walks:
        wanted, more = wanted[:1], more[:1]
    cut = [b"<IsTruncated>true</IsTruncated>" in reply.body for reply in replies]
    return pages_of(operation, replies) == wanted and cut == more


# Explained differences.

RULES = []
COPY_CONDITIONS = (
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
)
FAULTY_PARAMETERS = (
    "partNumber",
    "response-expires",
    "prefix",
    "marker",
    "start-after",
    "max-keys",
    "encoding-type",
    "continuation-token",
    "versionId",
)


def rule(reason):
    """Makes a function on a difference a rule, which explains it with a reason."""

    def add(applies):
        """Adds the rule."""
        RULES.append((reason, applies))
        return applies

    return add


def explanation(difference):
    """Returns the reason for a difference; None if there is none."""
    for reason, applies in RULES:
        if applies(difference):
            return reason
    return None


def outcomes(difference, ours, theirs):
    """Returns true if the outcomes begin with these texts."""
    if difference.field != "outcome":
        return False
    return difference.ours.startswith(ours) and difference.theirs.startswith(theirs)


@rule("A call has several faults, and S3 does not say which one an answer names.")
def _(d):
    if d.field != "outcome" or d.ours[0] not in "45" or d.theirs[0] not in "45":
        return False
    missing = d.ours.startswith("404") or d.theirs.startswith("404")
    return missing or len(faults(d)) >= 2


def faults(difference):
    """Returns the parts of a call because of which it may fail."""
    d, sent = difference, [name.lower() for name, _ in difference.operation.request.headers]
    found = [name for name in sent if name in ("content-md5", *CHECKSUM_HEADERS)]
    found += [name for name in sent if name.endswith(("-match", "-since", "range"))]
    found += [name for name, _ in d.operation.request.query if name in FAULTY_PARAMETERS]
    found += [note for note in d.operation.notes if note in ("malformed", "trailer", "onto itself")]
    if d.asked("x-amz-tagging") in ODD_TAG_HEADERS:
        found.append("x-amz-tagging")
    if any(header in ODD_HEADERS for header in d.operation.request.headers):
        found.append("odd header")
    if d.operation.request.payload == "wrong":
        found.append("payload")
    return found


@rule("Conditions come before ranges (RFC 9110); MinIO looks at the range first.")
def _(d):
    return outcomes(d, "304", "416") or outcomes(d, "412", "416")


@rule("If-Match and If-Unmodified-Since come before the other two (RFC 9110), and not in MinIO.")
def _(d):
    return outcomes(d, "412", "304")


@rule("The time counts in a copy's conditions only without one on the tag, and in MinIO always.")
def _(d):
    asked = [bool(d.asked(name)) for name in COPY_CONDITIONS]
    both = [True, True]
    return (asked[:2] == both or asked[2:] == both) and outcomes(d, "200", "412")


@rule("A deletion without a digest is carried out; MinIO insists on one, and S3 on one of several.")
def _(d):
    return "no digest" in d.operation.notes and d.theirs == "400 MissingContentMD5"


@rule("MinIO does not read the two older forms of times (RFC 9110), and ignores their conditions.")
def _(d):
    times = [value for name, value in d.operation.request.headers if name.lower().endswith("-since")]
    return outcomes(d, "412", "200") and any("-" in value for value in times)


@rule("A condition whose tag cannot be read is rejected; MinIO ignores it, and so would lose it.")
def _(d):
    tags = [value for name, value in d.operation.request.headers if name.lower().endswith("-match")]
    # An answer to HEAD has no code.
    return d.field == "outcome" and d.ours in ("400 InvalidArgument", "400") and '"' in tags


@rule("MinIO puts the name of a cache into markers, and sends NextMarker without a delimiter.")
def _(d):
    if d.field not in ("NextMarker", "Marker") or "minio_cache" not in str(d.theirs):
        return False
    marker = decoded(d.theirs).partition("[minio_cache")[0]
    return decoded(d.ours) == marker or (d.ours is None and not d.parameter("delimiter"))


@rule("MinIO's listing departs from the model of S3's, and ours does not.")
def _(d):
    return d.field == "their listing"


@rule("Encoded keys may escape more than they must: the decoded texts are the same.")
def _(d):
    return d.parameter("encoding-type") == "url" and decoded(d.ours) == decoded(d.theirs)


def decoded(value):
    """Returns a text or a list of texts without the escapes of URLs."""
    if isinstance(value, list):
        return [decoded(text) for text in value]
    return urllib.parse.unquote_plus(value) if isinstance(value, str) else value


@rule("MinIO omits the XML namespace or has another name for the root; ours are those of S3.")
def _(d):
    roots = ("GetObjectAttributesResponse", "Tagging")
    return d.field == "xml root" and d.ours in [f"{{{NAMESPACE}}}{name}" for name in roots]


@rule("MinIO has no regions of buckets.")
def _(d):
    if d.field == "Buckets":
        with_region = [{**bucket, "BucketRegion": "(present)"} for bucket in d.theirs or []]
        return with_region == d.ours
    return d.field == "x-amz-bucket-region" and d.theirs is None


@rule("MinIO has no website redirects.")
def _(d):
    if "onto itself" in d.operation.notes and d.asked("x-amz-website-redirect-location"):
        return outcomes(d, "200", "400 InvalidRequest")
    return d.field == "x-amz-website-redirect-location" and d.theirs is None


@rule("MinIO reports the parts of an object that was put as a whole, which has none in S3.")
def _(d):
    return d.field == "ObjectParts" and d.ours is None


@rule("MinIO omits the checksums of a copy from its answer.")
def _(d):
    if d.field != "CopyObjectResult" or not d.ours:
        return False
    kept = {name: value for name, value in d.ours.items() if not name.startswith("Checksum")}
    return kept == d.theirs


@rule("MinIO names a key of DeleteObjects once, and leaves the entry of its repetition empty.")
def _(d):
    if d.field != "Deleted" or not d.ours or not d.theirs:
        return False
    return [entry for entry in d.theirs if entry] == unique(d.ours)


def unique(entries):
    """Returns the entries of a list without repetitions."""
    return [entry for nth, entry in enumerate(entries) if entry not in entries[:nth]]


@rule("MinIO does not list after a marker outside the prefix; S3 does.")
def _(d):
    if d.operation.kind != "ListObjects" or not outcomes(d, "", "501 NotImplemented"):
        return d.field == "pages" and d.operation.kind == "ListObjects" and outside(d)
    return outside(d)


def outside(difference):
    """Returns true if the marker of a listing does not begin with the prefix."""
    marker, prefix = difference.parameter("marker"), difference.parameter("prefix")
    return bool(marker) and not marker.startswith(prefix or "")


@rule("MinIO refuses prefixes, markers and keys with the segments `.` and `..`.")
def _(d):
    asked = (d.parameter(name) or "" for name in ("prefix", "marker", "start-after"))
    dots = any(segment in (".", "..") for text in asked for segment in text.split("/"))
    return dots and (d.field == "pages" or outcomes(d, "", "400 XMinioInvalid"))


@rule("MinIO takes encoding-type in any case and ignores other ones; S3 knows `url` only.")
def _(d):
    odd = d.parameter("encoding-type") not in (None, "url")
    return odd and (d.field == "pages" or outcomes(d, "400 InvalidArgument", "200"))


@rule("MinIO takes any text for max-keys; S3 wants an integer of 32 bits.")
def _(d):
    odd = d.parameter("max-keys") in ("", "99999999999")
    return odd and outcomes(d, "400 InvalidArgument", "200")


@rule("MinIO does not repeat empty parameters in the answer.")
def _(d):
    return d.field in ("Delimiter", "StartAfter") and (d.ours, d.theirs) == ("", None)


@rule("MinIO looks at time conditions beside conditions on the tag, which come first (RFC 9110).")
def _(d):
    other = outcomes(d, "20", "304") or outcomes(d, "416", "304")
    return other and bool(d.asked("if-none-match")) and bool(d.asked("if-modified-since"))


@rule("A range whose syntax is not valid is ignored (RFC 9110); MinIO rejects some.")
def _(d):
    odd = ("bytes=3-1", "bytes=18446744073709551616-")
    return d.asked("range") in odd and outcomes(d, "20", "416")


@rule("MinIO tells a weak tag from a strong one also in If-None-Match.")
def _(d):
    if d.asked("x-amz-copy-source-if-none-match").startswith("W/"):
        return outcomes(d, "412", "200")
    return d.asked("if-none-match").startswith("W/") and outcomes(d, "304", "20")


@rule("S3 does not say how it compares weak tags in If-Match; it has no objects with such.")
def _(d):
    asked = (d.asked("if-match"), d.asked("x-amz-copy-source-if-match"))
    return any(tag.startswith("W/") for tag in asked) and outcomes(d, "20", "412")


@rule("The code of S3 for a body without its checksum is BadDigest.")
def _(d):
    return outcomes(d, "400 BadDigest", "400 XAmzContentChecksumMismatch")


@rule("The code of S3 for a checksum header that is no checksum is InvalidRequest.")
def _(d):
    headers = d.operation.request.headers
    sent = any(name in ("x-amz-trailer", *CHECKSUM_HEADERS) for name, _ in headers)
    return sent and outcomes(d, "400 InvalidRequest", "400 InvalidArgument")


@rule("MinIO does not verify the digest of the XML of DeleteObjects.")
def _(d):
    wrong = "wrong digest" in d.operation.notes and d.operation.kind == "DeleteObjects"
    return wrong and outcomes(d, "400 BadDigest", "200")


@rule("S3 does not implement an If-None-Match other than `*` in a write.")
def _(d):
    odd = d.asked("if-none-match") not in ("", "*") and d.operation.kind == "PutObject"
    return odd and outcomes(d, "501 NotImplemented", "")


@rule("The code of S3 for more than ten tags is InvalidTag or BadRequest.")
def _(d):
    return outcomes(d, "400 InvalidTag", "400 BadRequest")


@rule("S3 allows all letters in tags; MinIO only those of ASCII.")
def _(d):
    in_header = "%C3%A4=%C3%A4" in d.asked("x-amz-tagging")
    in_body = "<Key>ä</Key>".encode() in d.operation.request.body
    return (in_header or in_body) and outcomes(d, "200", "400 InvalidTag")


@rule("XML cannot carry the key, so clients ask for encoding-type=url.")
def _(d):
    return "not XML" in d.operation.notes and d.field in ("model", "their listing", "pages")


@rule("MinIO keeps headers without a value, and guesses a content type then.")
def _(d):
    if d.field == "content-type":
        return d.ours == "binary/octet-stream"
    return d.field in OBJECT_HEADERS and d.ours is None and d.theirs == ""


@rule("S3 does not say how it refuses an empty key among others.")
def _(d):
    refused = d.field == "outcome" and d.ours.startswith("400") or d.field in ("Deleted", "Errors")
    return "empty key" in d.operation.notes and refused and not d.operation.writes


@rule("The code of S3 for a key of more than 1024 bytes is KeyTooLongError.")
def _(d):
    if d.operation.source and len(d.operation.source[2]) > 1024:
        return outcomes(d, "400", "400 XMinioInvalidObjectName")
    return outcomes(d, "400 KeyTooLongError", "400 XMinioInvalidObjectName")


@rule("S3 does not say whether the version `null` of an object may be copied onto itself.")
def _(d):
    form = d.operation.source[2] if d.operation.source else ""
    itself = "onto itself" in d.operation.notes
    return itself and "versionId" in form and outcomes(d, "400 InvalidRequest", "200")


@rule("MinIO drops Expires in a copy.")
def _(d):
    return d.field == "expires" and d.theirs is None and "copied" in d.operation.notes


@rule("MinIO computes a CRC64NVME for each copy; ours computes what a call asks for.")
def _(d):
    names = ("x-amz-checksum-crc64nvme", "x-amz-checksum-type", "Checksum")
    return d.field in names and d.ours is None and "copied" in d.operation.notes


@rule("MinIO names the version `null` where S3 names none.")
def _(d):
    return d.field == "x-amz-copy-source-version-id" and d.theirs == "null"


@rule("An empty object has no bytes for a suffix range; MinIO answers with none of them.")
def _(d):
    return d.asked("range").startswith("bytes=-") and outcomes(d, "416", "206")


@rule("S3 does not document parameters without a value where it wants a number or a truth value.")
def _(d):
    odd = d.parameter("fetch-owner") == "" or d.parameter("partNumber") == ""
    good = outcomes(d, "400", "20") or outcomes(d, "400", "304")
    return odd and (d.field == "pages" or good)


@rule("S3 rejects the value of a checksum whose algorithm the call names differently.")
def _(d):
    named = d.asked("x-amz-sdk-checksum-algorithm")
    sent = [name for name, _ in d.operation.request.headers if name in CHECKSUM_HEADERS]
    other = named and [f"x-amz-checksum-{named.lower()}"] != sent
    return bool(other) and outcomes(d, "400 InvalidRequest", "")


@rule("MinIO omits the size of an empty object.")
def _(d):
    return d.field == "ObjectSize" and (d.ours, d.theirs) == (0, None)


@rule("MinIO repeats a max-keys above the most that a page has; S3 answers 1000.")
def _(d):
    return d.field == "MaxKeys" and (d.ours, d.theirs) == (1000, 1001)


@rule("MinIO refuses prefixes with doubled slashes.")
def _(d):
    doubled = "//" in (d.parameter("prefix") or "")
    return doubled and (d.field == "pages" or outcomes(d, "200", "400 XMinioInvalidObjectName"))


@rule("MinIO does not verify the digest of the XML of tags.")
def _(d):
    wrong = "wrong digest" in d.operation.notes and d.operation.kind == "PutObjectTagging"
    return wrong and outcomes(d, "400 BadDigest", "")


@rule("MinIO has other codes for XML that is missing or is of another kind.")
def _(d):
    if not d.operation.request.body:
        return outcomes(d, "400 MissingRequestBodyError", "")
    return outcomes(d, "400 MalformedXML", "500 InternalError")


@rule("MinIO lists a bucket that does not exist if no key can be in the answer.")
def _(d):
    none = d.parameter("max-keys") == "0" or (d.parameter("prefix") or "").startswith("/")
    return none and outcomes(d, "404 NoSuchBucket", "200")


@rule("MinIO takes XML of tags without a set of them for an empty set.")
def _(d):
    return d.operation.request.body == b"<Tagging/>" and outcomes(d, "400 MalformedXML", "200")


@rule("S3 does not say what metadata without a name is.")
def _(d):
    return d.field == "x-amz-meta-"


@rule("MinIO has another code for a list of attributes that is missing.")
def _(d):
    none = d.operation.kind == "GetObjectAttributes" and not d.asked("x-amz-object-attributes")
    return none and outcomes(d, "400 InvalidRequest", "400 InvalidArgument")


@rule("MinIO takes a checksum header without a value for none, and one beside a trailer.")
def _(d):
    sent = [value for name, value in d.operation.request.headers if name in CHECKSUM_HEADERS]
    odd = "" in sent or (sent and d.asked("x-amz-trailer"))
    return bool(odd) and outcomes(d, "400 InvalidRequest", "200")


@rule("A range whose syntax is not valid is ignored, so that it does not contradict partNumber.")
def _(d):
    both = d.parameter("partNumber") is not None and d.asked("range")
    # An answer to HEAD has no code.
    return bool(both) and (outcomes(d, "20", "400 InvalidRequest") or outcomes(d, "20", "400"))


@rule("MinIO counts the header's prefix as a part of the names of metadata.")
def _(d):
    return bool(d.asked("x-amz-meta-long")) and outcomes(d, "200", "400 MetadataTooLarge")


@rule("The code of S3 for a header of tags that is not well-formed is InvalidArgument.")
def _(d):
    return bool(d.asked("x-amz-tagging")) and outcomes(d, "400 InvalidArgument", "400 InvalidTag")


@rule("S3 does not say which status the only part of an empty object has.")
def _(d):
    return d.parameter("partNumber") == "1" and outcomes(d, "200", "206")


@rule("MinIO answers a part number that is not one with its own codes.")
def _(d):
    return d.parameter("partNumber") is not None and d.theirs in ("500 InternalError", "500")


@rule("MinIO does not take spaces in the list of attributes, which SDKs do not send.")
def _(d):
    return ", " in d.asked("x-amz-object-attributes") and outcomes(d, "200", "400 InvalidArgument")


@rule("S3 does not say which headers may have other letters than those of ASCII.")
def _(d):
    has_others = any(not text.isascii() for name, text in d.operation.request.headers if name == "Content-Type")
    return has_others and outcomes(d, "400 InvalidArgument", "200")


@rule("A checksum that is given twice is rejected; MinIO takes one of them.")
def _(d):
    names = [name for name, _ in d.operation.request.headers if name in CHECKSUM_HEADERS]
    return len(names) > len(set(names)) and outcomes(d, "400 InvalidRequest", "200")


@rule("MinIO, as an origin, lists wrongly after a marker that begins with a slash.")
def _(d):
    marker = d.parameter("start-after") or d.parameter("marker") or ""
    return d.field == "model" and "origin" in d.operation.notes and marker.startswith("/")


@rule("S3 keeps any text of the header Expires; MinIO drops one that is no time.")
def _(d):
    return d.field == "expires" and d.theirs is None


@rule("A bucket with an origin cannot be deleted.")
def _(d):
    return d.operation.kind == "DeleteBucket" and outcomes(d, "409 InvalidBucketState", "409 BucketNotEmpty")


# The run.


class Comparison:
    """A run: both sides, the model, and the differences so far."""

    def __init__(self, ours, theirs, seed, run):
        self.ours, self.theirs = ours, theirs
        self.seed = seed
        run = run or f"diff-{seed}-{os.getpid()}-{int(time.time()) % 100000}"
        ours.run = theirs.run = run
        self.generator, self.model = Generator(seed, run), Model()
        self.explained = collections.Counter()
        self.unexplained = collections.Counter()
        # True once our bucket reads through to another server's.
        self.has_origin = False
        # The objects that are copies.
        self.copies = set()
        self.nth = 0

    def begin(self):
        """Makes the buckets and the aliases."""
        generator = self.generator
        for bucket in (generator.plain, generator.odd):
            for side in (self.ours, self.theirs):
                reply = side.send(Request("PUT", bucket))
                # An origin has its bucket already.
                is_made = reply.status == 200 or side.name == "origin"
                assert is_made, f"{side.name}: {reply.outcome()} {reply.body[:300]}"
        for nth, key in enumerate(generator.keys[generator.odd]):
            alias = f"alias-{nth}"
            self.theirs.aliases[(generator.odd, key)] = alias
            self.theirs.keys[alias] = key

    def is_plain(self, operation):
        """Returns true if an operation is on the bucket whose keys every server takes."""
        buckets = [operation.request.bucket, *(operation.source or [operation.request.bucket])[:1]]
        return all(bucket == self.generator.plain for bucket in buckets)

    def go_over(self, ours):
        """Goes on with another server on our side, whose bucket has the same objects."""
        ours.run = self.ours.run
        self.ours, self.has_origin = ours, True
        reply = ours.send(Request("PUT", self.generator.odd))
        assert reply.status == 200, f"{reply.outcome()} {reply.body[:300]}"
        # The reference begins with an empty one, too.
        for key in self.generator.keys[self.generator.odd]:
            self.theirs.send(Request("DELETE", self.generator.odd, key))

    def end(self):
        """Removes the buckets with their objects."""
        for bucket, keys in self.generator.keys.items():
            for side in (self.ours, self.theirs):
                for key in keys:
                    side.send(Request("DELETE", bucket, key))
                side.send(Request("DELETE", bucket))
        for side in (self.ours, self.theirs):
            side.send(Request("DELETE", self.generator.extra))

    def step(self, operation):
        """Carries out one operation on both sides, and compares the answers."""
        self.nth += 1
        self.look_up_times(operation)
        self.note(operation)
        ours, theirs = carry_out(self.ours, operation), carry_out(self.theirs, operation)
        differences = self.differences(operation, ours, theirs)
        if "empty key" in operation.notes:
            differences += self.bucket_differences(operation)
        self.model.learn(operation, ours[0])
        self.learn_tag(operation, ours[0])
        unknown = []
        for difference in differences:
            reason = explanation(difference)
            if reason is None:
                unknown.append(difference)
            else:
                self.explained[reason] += 1
        if unknown and self.ours.name == "ours":
            self.show(operation, unknown, ours, theirs)
        if operation.writes and ours[0].outcome() != theirs[0].outcome():
            self.level(operation)

    def note(self, operation):
        """Notes what the rules have to know about the state of the buckets."""
        place = (operation.request.bucket, operation.request.key)
        if place in self.copies:
            operation.notes.add("copied")
        if self.has_origin:
            operation.notes.add("origin")
        listed = self.model.objects[operation.request.bucket]
        encoded = dict(operation.request.query).get("encoding-type") == "url"
        repeated = [value for _, value in operation.request.query if isinstance(value, str)]
        listing = operation.kind in ("ListObjects", "ListObjectsV2")
        if listing and not encoded and any(set(text) & NOT_XML for text in [*listed, *repeated]):
            operation.notes.add("not XML")

    def bucket_differences(self, operation):
        """Checks that an operation left its bucket, and puts it back."""
        request = Request("HEAD", operation.request.bucket)
        found = [side.send(request).outcome() for side in (self.ours, self.theirs)]
        for side in (self.ours, self.theirs):
            side.send(Request("PUT", operation.request.bucket))
        return [Difference(operation, "its bucket", *found)] if found[0] != found[1] else []

    def look_up_times(self, operation):
        """Looks up the times that the conditions of an operation need, on each side."""
        if not any("{modified}" in text for _, text in operation.request.headers):
            return
        bucket, key = operation.request.bucket, operation.request.key
        if operation.source:
            bucket, key, _ = operation.source
        for side in (self.ours, self.theirs):
            reply = side.send(Request("HEAD", bucket, key))
            side.modified = reply.header("last-modified") or PAST

    def learn_tag(self, operation, reply):
        """Keeps the entity tag of an object that was put, and whether it is a copy."""
        tag = reply.header("etag")
        place = (operation.request.bucket, operation.request.key)
        if operation.kind == "PutObject" and reply.status == 200 and tag:
            self.generator.tags[place] = tag.strip('"')
            self.copies.discard(place)
        if operation.kind == "CopyObject" and reply.status == 200:
            self.copies.add(place)

    def level(self, operation):
        """Makes both sides the same again after a write that only one of them carried out."""
        bucket = operation.request.bucket
        for key in operation.writes:
            for side in (self.ours, self.theirs):
                side.send(Request("DELETE", bucket, key))
            self.model.objects[bucket].discard(key)

    def differences(self, operation, ours, theirs):
        """Returns the differences of the answers to an operation."""
        found = []
        is_listing = operation.kind in ("ListObjects", "ListObjectsV2")
        bucket = operation.request.bucket
        known = is_listing and bucket in (self.generator.plain, self.generator.odd)
        if known and ours[0].status == 200 and not is_as_modelled(self.model, operation, ours):
            expected = pages_of_model(self.model, operation)
            found.append(Difference(operation, "model", pages_of(operation, ours), expected))
        if known and ours[0].status == 200 and theirs[0].status == 200:
            if bucket == self.generator.odd:
                return found
            if not found and not is_as_modelled(self.model, operation, theirs):
                our, their = pages_of(operation, ours), pages_of(operation, theirs)
                return [Difference(operation, "their listing", our, their)]
            if any("model" == difference.field for difference in found):
                # The other fields of a wrong listing differ, too.
                return found
        if len(ours) != len(theirs):
            found.append(Difference(operation, "pages", len(ours), len(theirs)))
        for nth, (our, their) in enumerate(zip(ours, theirs)):
            found += self.page_differences(operation, nth, our, their)
        return found

    def page_differences(self, operation, nth, ours, theirs):
        """Returns the differences of two replies."""
        our = fields_of(self.ours, operation, ours)
        their = fields_of(self.theirs, operation, theirs)
        names = list(dict.fromkeys([*our, *their]))
        if our["outcome"] != their["outcome"]:
            # One answer is about a failure, so the other fields have nothing in common.
            names = ["outcome"]
        differ = [name for name in names if our.get(name) != their.get(name)]
        return [Difference(operation, name, our.get(name), their.get(name), nth) for name in differ]

    def show(self, operation, differences, ours, theirs):
        """Prints the differences of one operation."""
        print(f"\n=== seed {self.seed}, operation {self.nth}")
        for line in operation.shown():
            print(f"  {line}")
        if operation.source:
            print(f"    x-amz-copy-source: {operation.source}")
        for difference in differences:
            page = f" (page {difference.page + 1})" if difference.page else ""
            print(f"  {difference.field}{page}")
            our, their = shown_pair(difference.ours, difference.theirs)
            print(f"      ours:   {our}\n      theirs: {their}")
            self.unexplained[f"{operation.kind}: {difference.field}"] += 1
        nth = differences[0].page
        for side, replies in ((self.ours, ours), (self.theirs, theirs)):
            if nth < len(replies) and replies[nth].status >= 300:
                print(f"  the answer of {side.name}: {excerpt(replies[nth].body)}")


def shown_pair(ours, theirs):
    """Returns two values as texts; of long lists only what differs."""
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) + len(theirs) > 6:
        only = [entry for entry in ours if entry not in theirs]
        other = [entry for entry in theirs if entry not in ours]
        if only or other:
            return (f"{len(ours)} entries, only here: {only}", f"{len(theirs)} entries: {other}")
    return repr(ours), repr(theirs)


def arguments():
    """Returns the arguments of the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, metavar="URL")
    parser.add_argument("--theirs", required=True, metavar="URL")
    parser.add_argument("--seed", type=int, required=True, metavar="N")
    parser.add_argument("--operations", type=int, required=True, metavar="N")
    parser.add_argument("--origin", metavar="URL")
    parser.add_argument("--run", metavar="NAME")
    for name in ("our", "their"):
        parser.add_argument(f"--{name}-key", default="minioadmin", metavar="KEY")
        parser.add_argument(f"--{name}-secret", default="minioadmin", metavar="SECRET")
    return parser.parse_args()


def main():
    """Runs the comparison, and returns the exit code."""
    check_algorithms()
    given = arguments()
    ours = Side("ours", given.ours, given.our_key, given.our_secret)
    theirs = Side("theirs", given.theirs, given.their_key, given.their_secret)
    before = Side("origin", given.origin, given.their_key, given.their_secret) if given.origin else ours
    comparison = Comparison(before, theirs, given.seed, given.run)
    comparison.begin()
    try:
        first = list(comparison.generator.first())
        if given.origin:
            for operation in filter(comparison.is_plain, first):
                comparison.step(operation)
            for _ in range(given.operations // 2):
                operation = comparison.generator.next()
                if comparison.is_plain(operation):
                    comparison.step(operation)
            comparison.go_over(ours)
            comparison.explained.clear()
            first = [operation for operation in first if not comparison.is_plain(operation)]
        for operation in first:
            comparison.step(operation)
        for _ in range(given.operations):
            comparison.step(comparison.generator.next())
    finally:
        comparison.end()
    print(f"\nseed {given.seed}: {given.operations} operations")
    for reason, count in comparison.explained.most_common():
        print(f"  explained {count:5}: {reason}")
    for field, count in comparison.unexplained.most_common():
        print(f"  UNEXPLAINED {count:5}: {field}")
    return 1 if comparison.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
