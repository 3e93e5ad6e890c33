"""Uses the S3 endpoint as Python programs do, with boto3 as it is.

Goal: programs that use boto3 need no change but the address of the endpoint.

Method: each `check_` function makes the calls of one kind and compares what it gets with what it
sent. A hook below the SDK's repetitions counts how often a call is really sent. If the endpoint
checks signatures, they are tested as well.

Usage: clients.py S3_URL [NATIVE_URL]

Keys are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Longer transactions are tested if there is
the URL of the native API; AFT_TOKEN has a token for it, if it needs one, which must be of the same
credential as the access key. With an https URL the certificate is checked against AWS_CA_BUNDLE;
boto3 frames bodies then, with checksums after them. Needs boto3, and awscrt for CRC32C and
CRC64NVME. The exit code is 0 if everything is right.
"""

import base64
import binascii
import concurrent.futures
import hashlib
import io
import json
import os
import ssl
import sys
import time
import traceback
import urllib.error
import urllib.request
import uuid

import boto3
import boto3.s3.transfer
import botocore.config
import botocore.exceptions

try:
    import awscrt.checksums as crt
except ImportError:
    crt = None

S3_URL = sys.argv[1]
NATIVE_URL = sys.argv[2] if len(sys.argv) > 2 else None
TLS = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
BUCKET = f"py-{uuid.uuid4().hex[:12]}"
KEYS = ["a", "a b", "a+b", "a%41b", "ä/ö", "a//b", "d/", "d/e/f", "&<>\"'", "x=1&y=2?#", "~",
        "…\u0800😀"]
SMALL, LARGE = b"some bytes\n", os.urandom(9_000_000)
CODES_OF_A_LOST_RACE = {"PreconditionFailed", "ConditionalRequestConflict"}


def client(secret=None, token=None, signature="s3v4", **settings):
    """Makes a client; with a token, its calls are parts of that transaction."""
    settings.setdefault("retries", {"mode": "standard", "max_attempts": 3})
    settings.setdefault("s3", {"addressing_style": "path"})
    config = botocore.config.Config(signature_version=signature, **settings)
    key = os.environ["AWS_ACCESS_KEY_ID"] if secret else None
    made = boto3.session.Session().client(
        "s3", endpoint_url=S3_URL, region_name="us-east-1", config=config, aws_access_key_id=key,
        aws_secret_access_key=secret)

    def name_transaction(request, **_):
        request.headers["Aft-Transaction"] = token

    if token:
        made.meta.events.register("before-sign.s3", name_transaction)
    return made


S3 = client()


def fails(code, call, **arguments):
    """Makes a call that must fail with a code or one of several, and returns its answer."""
    codes = code if isinstance(code, set) else {code}
    try:
        answer = call(**arguments)
    except botocore.exceptions.ClientError as error:
        got = error.response["Error"]["Code"]
        assert got in codes, f"{got} instead of {codes}: {error}"
        return error.response
    raise AssertionError(f"the call succeeded instead of failing with {codes}: {answer}")


def get(key, s3=None, **more):
    """Returns the bytes of an object."""
    return (s3 or S3).get_object(Bucket=BUCKET, Key=key, **more)["Body"].read()


def put(key, body=SMALL, s3=None, **more):
    """Writes an object."""
    return (s3 or S3).put_object(Bucket=BUCKET, Key=key, Body=body, **more)


def count_sent(s3):
    """Counts the requests that a client really sends, in a list of their methods."""
    sent = []
    s3.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.method))
    return sent


def check_buckets():
    """Checks the calls on buckets."""
    S3.head_bucket(Bucket=BUCKET)
    assert S3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] is None
    assert BUCKET in [bucket["Name"] for bucket in S3.list_buckets()["Buckets"]]
    fails("BucketAlreadyOwnedByYou", S3.create_bucket, Bucket=BUCKET)
    put("a")
    fails("BucketNotEmpty", S3.delete_bucket, Bucket=BUCKET)
    fails("404", S3.head_bucket, Bucket=BUCKET + "-none")
    fails("NoSuchBucket", S3.list_objects_v2, Bucket=BUCKET + "-none")
    fails("NoSuchBucket", S3.put_object, Bucket=BUCKET + "-none", Key="a", Body=b"")
    fails("NoSuchBucket", S3.get_object, Bucket=BUCKET + "-none", Key="a")


def check_bodies():
    """Checks that bytes, texts, files and streams arrive."""
    for body, whole in [(SMALL, SMALL), (b"", b""), (LARGE, LARGE), (io.BytesIO(LARGE), LARGE)]:
        assert put("body", body)["ETag"] == f'"{hashlib.md5(whole).hexdigest()}"'
        assert get("body") == whole
        head = S3.head_object(Bucket=BUCKET, Key="body")
        assert head["ContentLength"] == len(whole)
    transfer = boto3.s3.transfer.TransferConfig(multipart_threshold=1 << 30)
    S3.upload_fileobj(io.BytesIO(LARGE), BUCKET, "file", Config=transfer)
    got = io.BytesIO()
    # This reads ranges at once, since the file is larger than the threshold.
    S3.download_fileobj(BUCKET, "file", got)
    assert got.getvalue() == LARGE


def checksums():
    """Returns the checksum of `SMALL` for each algorithm that boto3 can compute here."""
    text = {
        "CRC32": binascii.crc32(SMALL).to_bytes(4),
        "SHA1": hashlib.sha1(SMALL).digest(),
        "SHA256": hashlib.sha256(SMALL).digest(),
    }
    if crt:
        text["CRC32C"] = crt.crc32c(SMALL).to_bytes(4)
        text["CRC64NVME"] = crt.crc64nvme(SMALL).to_bytes(8)
    return {name: base64.b64encode(value).decode() for name, value in text.items()}


def check_checksums():
    """Checks that checksums are verified, kept and sent back."""
    for name, value in checksums().items():
        field, key = f"Checksum{name}", f"checksum-{name}"
        assert put(key, ChecksumAlgorithm=name)[field] == value
        assert put(key, io.BytesIO(SMALL), ChecksumAlgorithm=name)[field] == value
        answer = S3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert answer["Body"].read() == SMALL and answer[field] == value
        assert S3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")[field] == value
        about = S3.get_object_attributes(
            Bucket=BUCKET, Key=key, ObjectAttributes=["Checksum", "ETag", "ObjectSize"])
        assert about["Checksum"][field] == value and about["ObjectSize"] == len(SMALL)
        wrong = base64.b64encode(bytes(len(base64.b64decode(value)))).decode()
        fails("BadDigest", put, key=f"{key}-wrong", **{field: wrong})
        fails("404", S3.head_object, Bucket=BUCKET, Key=f"{key}-wrong")
    fails("BadDigest", put, key="md5-wrong", ContentMD5=base64.b64encode(bytes(16)).decode())
    fails("404", S3.head_object, Bucket=BUCKET, Key="md5-wrong")


def check_names():
    """Checks that keys with all sorts of characters are kept, found, listed and copied."""
    for key in KEYS:
        put(f"names/{key}", key.encode())
    for listing in [S3.list_objects_v2, S3.list_objects]:
        listed = [entry["Key"] for entry in listing(Bucket=BUCKET, Prefix="names/")["Contents"]]
        assert listed == [f"names/{key}" for key in sorted(KEYS, key=str.encode)], listed
    for key in KEYS:
        assert get(f"names/{key}") == key.encode()
        source = {"Bucket": BUCKET, "Key": f"names/{key}"}
        S3.copy_object(Bucket=BUCKET, Key=f"copies/{key}", CopySource=source)
        assert get(f"copies/{key}") == key.encode()
    names = [{"Key": f"copies/{key}"} for key in KEYS]
    deleted = S3.delete_objects(Bucket=BUCKET, Delete={"Objects": names})["Deleted"]
    assert {entry["Key"] for entry in deleted} == {entry["Key"] for entry in names}
    assert S3.list_objects_v2(Bucket=BUCKET, Prefix="copies/")["KeyCount"] == 0


def check_attributes():
    """Checks headers, metadata and tags, and their fate in copies."""
    about = {"ContentType": "text/plain; charset=utf-8", "CacheControl": "max-age=5",
             "ContentDisposition": 'attachment; filename="a b"', "ContentLanguage": "de",
             "ContentEncoding": "gzip", "Metadata": {"one": "1", "two": "a b"}}
    put("about", Tagging="k=v&l=a%20b", **about)
    head = S3.head_object(Bucket=BUCKET, Key="about")
    assert {name: head[name] for name in about} == about
    tags = [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "a b"}]
    assert S3.get_object_tagging(Bucket=BUCKET, Key="about")["TagSet"] == tags
    source = {"Bucket": BUCKET, "Key": "about"}
    S3.copy_object(Bucket=BUCKET, Key="kept", CopySource=source)
    assert S3.head_object(Bucket=BUCKET, Key="kept")["Metadata"] == about["Metadata"]
    S3.copy_object(Bucket=BUCKET, Key="about", CopySource=source, Metadata={"three": "3"},
                   MetadataDirective="REPLACE", ContentType="image/png")
    head = S3.head_object(Bucket=BUCKET, Key="about")
    assert head["Metadata"] == {"three": "3"} and head["ContentType"] == "image/png"
    S3.put_object_tagging(Bucket=BUCKET, Key="about", Tagging={"TagSet": tags[:1]})
    assert S3.get_object_tagging(Bucket=BUCKET, Key="about")["TagSet"] == tags[:1]
    S3.delete_object_tagging(Bucket=BUCKET, Key="about")
    assert S3.get_object_tagging(Bucket=BUCKET, Key="about")["TagSet"] == []
    fails("InvalidRequest", S3.copy_object, Bucket=BUCKET, Key="about", CopySource=source)
    fails("MetadataTooLarge", put, key="about", Metadata={"k": "v" * 3_000})


def check_reads():
    """Checks ranges and conditions of reads."""
    tag = put("read", b"0123456789")["ETag"]
    for asked, got in [("bytes=2-4", b"234"), ("bytes=8-", b"89"), ("bytes=-3", b"789"),
                       ("bytes=5-99", b"56789"), ("bytes=1-2,4-5", b"0123456789")]:
        assert get("read", Range=asked) == got, asked
    fails("InvalidRange", S3.get_object, Bucket=BUCKET, Key="read", Range="bytes=10-")
    assert get("read", IfMatch=tag) == get("read", IfNoneMatch='"other"') == b"0123456789"
    fails("304", S3.get_object, Bucket=BUCKET, Key="read", IfNoneMatch=tag)
    fails("PreconditionFailed", S3.get_object, Bucket=BUCKET, Key="read", IfMatch='"other"')
    modified = S3.head_object(Bucket=BUCKET, Key="read")["LastModified"]
    fails("304", S3.get_object, Bucket=BUCKET, Key="read", IfModifiedSince=modified)
    fails("NoSuchKey", S3.get_object, Bucket=BUCKET, Key="none")
    fails("404", S3.head_object, Bucket=BUCKET, Key="none")


def check_listings():
    """Checks pages and delimiters of both listings."""
    keys = [f"list/{group}/{at:02}" for group in "abc" for at in range(9)] + ["list/d"]
    for key in keys:
        put(key, b"")
    for operation in ["list_objects", "list_objects_v2"]:
        pages = S3.get_paginator(operation).paginate(
            Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 4})
        assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys, operation
        pages = S3.get_paginator(operation).paginate(
            Bucket=BUCKET, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 2})
        entries = [entry for page in pages
                   for entry in page.get("CommonPrefixes", []) + page.get("Contents", [])]
        assert [entry.get("Prefix", entry.get("Key")) for entry in entries] == [
            "list/a/", "list/b/", "list/c/", "list/d"], operation


def check_deletions():
    """Checks deletions of many keys, and of none."""
    names = [{"Key": f"many/{at}"} for at in range(1_000)]
    put("many/7")
    assert len(S3.delete_objects(Bucket=BUCKET, Delete={"Objects": names})["Deleted"]) == 1_000
    assert "Deleted" not in S3.delete_objects(
        Bucket=BUCKET, Delete={"Objects": names[:3], "Quiet": True})
    too_many = {"Objects": names + [{"Key": "one more"}]}
    fails("MalformedXML", S3.delete_objects, Bucket=BUCKET, Delete=too_many)
    S3.delete_object(Bucket=BUCKET, Key="many/none")


def check_conditional_writes():
    """Checks conditions of writes, and that a failed one is sent once."""
    counted = client()
    sent = count_sent(counted)
    tag = put("lock", s3=counted, IfNoneMatch="*")["ETag"]
    assert len(sent) == 1
    answer = fails("PreconditionFailed", put, key="lock", s3=counted, IfNoneMatch="*")
    assert len(sent) == 2 and answer["ResponseMetadata"]["RetryAttempts"] == 0
    fails("PreconditionFailed", put, key="lock", s3=counted, IfMatch='"other"')
    assert len(sent) == 3
    fails("NoSuchKey", put, key="no lock", IfMatch=tag)
    new = put("lock", b"other", IfMatch=tag)["ETag"]
    fails("PreconditionFailed", S3.delete_object, Bucket=BUCKET, Key="lock", IfMatch=tag)
    S3.delete_object(Bucket=BUCKET, Key="lock", IfMatch=new)


def race(calls, task):
    """Runs a task several times at once, and returns the number of successes. All others must have
    lost a race."""

    def run(at):
        try:
            task(at)
            return 1
        except botocore.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] in CODES_OF_A_LOST_RACE, error
            return 0

    with concurrent.futures.ThreadPoolExecutor(calls) as pool:
        return sum(pool.map(run, range(calls)))


def check_races():
    """Checks that of conditional writers of one version exactly one wins."""
    for at in range(5):
        key = f"race/{at}"
        assert race(8, lambda by: put(key, str(by).encode(), IfNoneMatch="*")) == 1
        tag = S3.head_object(Bucket=BUCKET, Key=key)["ETag"]
        assert race(8, lambda by: put(key, f"new {by}".encode(), IfMatch=tag)) == 1
    put("sum", b"0")

    def add(_):
        answer = S3.get_object(Bucket=BUCKET, Key="sum")
        put("sum", str(int(answer["Body"].read()) + 1).encode(), IfMatch=answer["ETag"])

    won = sum(race(4, add) for _ in range(10))
    assert int(get("sum")) == won > 0


def request(method, url, body=None, headers=None):
    """Makes a plain HTTP request, and returns the status and the body."""
    asked = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(asked, context=TLS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def presign(operation, key, signature, seconds=60, **more):
    """Returns a presigned URL."""
    return client(signature=signature).generate_presigned_url(
        operation, Params={"Bucket": BUCKET, "Key": key, **more}, ExpiresIn=seconds)


def check_presigned():
    """Checks presigned URLs of both versions."""
    for signature in ["s3v4", "s3"]:
        key = f"presigned/ä {signature}"
        headers = {"Content-Type": "text/plain"}
        url = presign("put_object", key, signature, ContentType="text/plain")
        assert request("PUT", url, SMALL, headers)[0] == 200
        url = presign("get_object", key, signature, ResponseContentType="image/png")
        assert request("GET", url) == (200, SMALL)
        if VERIFIED:
            assert request("GET", url.replace("presigned", "other"))[0] == 403
            assert request("DELETE", url)[0] == 403
            url = presign("get_object", key, signature, seconds=1)
            time.sleep(2)
            assert request("GET", url)[0] == 403


def check_presigned_copy():
    """Checks that the owner of a URL that writes one object cannot read another one with it."""
    put("secret", b"secret")
    for signature in ["s3v4", "s3"]:
        url = presign("put_object", "mine", signature)
        request("PUT", url, b"", {"x-amz-copy-source": f"/{BUCKET}/secret"})
        fails("NoSuchKey", S3.get_object, Bucket=BUCKET, Key="mine")


def check_forms():
    """Checks signed forms, and that their policies hold."""
    form = S3.generate_presigned_post(
        BUCKET, "forms/${filename}", Conditions=[["content-length-range", 1, 100]])
    assert post_form(form, b"x" * 100)[0] == 204
    assert get("forms/f.txt") == b"x" * 100
    if VERIFIED:
        assert post_form(form, b"x" * 101)[0] == 400
        other = {**form, "fields": {**form["fields"], "key": "else"}}
        assert post_form(other, SMALL)[0] in (400, 403)
        wrong = {**form, "fields": {**form["fields"], "x-amz-signature": "0" * 64}}
        assert post_form(wrong, SMALL)[0] == 403
        fails("404", S3.head_object, Bucket=BUCKET, Key="else")


def post_form(form, file):
    """Uploads a file with a form, as a browser does."""
    boundary, parts = uuid.uuid4().hex, []
    for name, value in form["fields"].items():
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode())
    head = 'Content-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n'
    parts.append(head.encode() + file)
    edge = f"--{boundary}\r\n".encode()
    body = b"".join(edge + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return request("POST", form["url"], body, headers)


def check_signatures():
    """Checks that a wrong secret and a call without a signature are rejected."""
    fails("SignatureDoesNotMatch", client(secret="wrong").list_buckets)
    assert request("GET", f"{S3_URL}/{BUCKET}/a")[0] == 403
    assert request("PUT", f"{S3_URL}/{BUCKET}/anonymous", SMALL)[0] == 403
    fails("404", S3.head_object, Bucket=BUCKET, Key="anonymous")


def check_resends():
    """Checks that a resend of a conditional write gets the first answer, and that another write
    with the same ID is not taken for a resend."""
    same, id = client(), str(uuid.uuid4())

    def name_call(params, **_):
        params["context"].setdefault("retries", {})["invocation-id"] = id

    same.meta.events.register("before-call.s3", name_call)
    for _ in range(2):
        put("resent", s3=same, IfNoneMatch="*")
    try:
        put("not resent", s3=same, IfNoneMatch="*")
    except botocore.exceptions.ClientError:
        return
    assert get("not resent") == SMALL


def native(path, **body):
    """Calls the native API."""
    token = os.environ.get("AFT_TOKEN")
    headers = {"Content-Type": "application/json"}
    headers.update({"Authorization": f"Bearer {token}"} if token else {})
    status, answer = request("POST", NATIVE_URL + path, json.dumps(body).encode(), headers)
    assert status < 300, (path, status, answer)
    return json.loads(answer or "{}")


def begin(**settings):
    """Begins a longer transaction, and returns its token."""
    return native("/v1/transactions", **settings)["transaction"]


def traced(token):
    """Makes a client as in a function whose tracing context names a transaction."""
    os.environ["AWS_LAMBDA_FUNCTION_NAME"] = "f"
    os.environ["_X_AMZN_TRACE_ID"] = f"Root=1-5759e988-bd862e3fe1be46a994272793;Txn={token}"
    return client()


def check_transaction():
    """Checks that two clients of a transaction see each other's writes, and that nobody else does
    until it commits."""
    put("old", b"old")
    token = begin()
    one, two = client(token=token), client(token=token)
    put("t/1", b"one", s3=one)
    put("old", b"new", s3=two)
    assert get("t/1", s3=two) == b"one" and get("old", s3=one) == b"new"
    seen = two.list_objects_v2(Bucket=BUCKET, Prefix="t/")["Contents"]
    assert [entry["Key"] for entry in seen] == ["t/1"]
    fails("NoSuchKey", S3.get_object, Bucket=BUCKET, Key="t/1")
    assert S3.list_objects_v2(Bucket=BUCKET, Prefix="t/")["KeyCount"] == 0 and get("old") == b"old"
    native(f"/v1/transactions/{token}/commit")
    assert get("t/1") == b"one" and get("old") == b"new"


def check_trace():
    """Checks that the tracing context of a function names a transaction."""
    token = begin()
    inside = traced(token)
    try:
        put("traced", s3=inside)
        assert get("traced", s3=client(token=token)) == SMALL
    finally:
        del os.environ["_X_AMZN_TRACE_ID"], os.environ["AWS_LAMBDA_FUNCTION_NAME"]
    fails("NoSuchKey", S3.get_object, Bucket=BUCKET, Key="traced")
    native(f"/v1/transactions/{token}/commit")
    assert get("traced") == SMALL


def check_end():
    """Checks that an abort takes everything back, and that the end of a transaction is told once:
    the SDK must not repeat a call in it."""
    token = begin()
    put("gone", s3=client(token=token))
    native(f"/v1/transactions/{token}/abort")
    fails("404", S3.head_object, Bucket=BUCKET, Key="gone")
    late = client(token=token)
    sent = count_sent(late)
    answer = fails("OperationAborted", put, key="gone", s3=late)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 409
    assert answer["ResponseMetadata"]["RetryAttempts"] == 0 and sent == ["PUT"]


def check_expired():
    """Checks that the end of a transaction that has taken too long is told once as well."""
    token = begin(timeout_ms=100)
    time.sleep(0.5)
    late = client(token=token)
    sent = count_sent(late)
    for call in [lambda: put("late", s3=late), lambda: get("old", s3=late)]:
        answer = fails("OperationAborted", call)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 409
        assert answer["ResponseMetadata"]["RetryAttempts"] == 0
    assert sent == ["PUT", "GET"]


def check_committed():
    """Checks that a call that comes after the commit is not told that nothing took effect."""
    token = begin()
    late = client(token=token)
    put("committed", s3=late)
    native(f"/v1/transactions/{token}/commit")
    answer = fails("OperationAborted", put, key="committed", s3=late)
    assert "nothing of the transaction took effect" not in answer["Error"]["Message"]


def check_conditions_in_transactions():
    """Checks that of a conditional write in a transaction and one beside it not both succeed."""
    for settings in [{}, {"isolation": "read_atomic"}, {"isolation": "serializable"}]:
        key = f"both/{settings.get('isolation')}"
        token = begin(**settings)
        won = []
        try:
            put(key, b"in", s3=client(token=token), IfNoneMatch="*")
            put(key, b"beside", IfNoneMatch="*")
            won.append("beside")
            native(f"/v1/transactions/{token}/commit")
            won.append("in")
        except (botocore.exceptions.ClientError, AssertionError):
            pass
        assert len(won) < 2, f"both writes were acknowledged: {settings}"


def empty():
    """Deletes the bucket with its objects."""
    bucket = boto3.session.Session().resource(
        "s3", endpoint_url=S3_URL, region_name="us-east-1").Bucket(BUCKET)
    bucket.objects.all().delete()
    bucket.delete()


def is_verified():
    """Returns true if the endpoint checks signatures."""
    try:
        client(secret="wrong").list_buckets()
        return False
    except botocore.exceptions.ClientError:
        return True


VERIFIED = is_verified()


def passes(check):
    """Runs a check, and returns true if it passes. Prints the reason if it does not."""
    try:
        check()
        return True
    except Exception:
        print(f"FAILED {check.__name__}\n{traceback.format_exc(limit=-2)}", file=sys.stderr)
        return False


def main():
    """Runs all checks."""
    S3.create_bucket(Bucket=BUCKET)
    checks = [check_buckets, check_bodies, check_checksums, check_names, check_attributes,
              check_reads, check_listings, check_deletions, check_conditional_writes, check_races,
              check_presigned, check_forms, check_resends]
    checks += [check_signatures, check_presigned_copy] if VERIFIED else []
    if NATIVE_URL:
        checks += [check_transaction, check_trace, check_end, check_expired, check_committed,
                   check_conditions_in_transactions]
    passed = [passes(check) for check in checks]
    empty()
    print(f"boto3 {boto3.__version__}: {sum(passed)} passed, {len(checks) - sum(passed)} failed; "
          f"signatures {'verified' if VERIFIED else 'not verified'}, "
          f"transactions {'tested' if NATIVE_URL else 'not tested'}")
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
