"""A runtime without any library, which does what each event asks for."""

import base64
import http.client
import json
import os

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
S3 = os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://")
VERSION = "/2018-06-01/runtime/invocation/"
CONNECTION = http.client.HTTPConnection(API)


def call(method, path, body=None, headers=None):
    CONNECTION.request(method, path, body, headers or {})
    answer = CONNECTION.getresponse()
    return answer, answer.read()


def s3(method, key, body=None):
    connection = http.client.HTTPConnection(S3)
    connection.request(method, "/shop/" + key, body)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def stream(path, pieces, fails):
    """Answers with a stream, and with fields behind it if it fails."""
    CONNECTION.putrequest("POST", path)
    CONNECTION.putheader("Content-Type", "application/octet-stream")
    CONNECTION.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    CONNECTION.putheader("Transfer-Encoding", "chunked")
    if fails:
        CONNECTION.putheader("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body")
    CONNECTION.endheaders()
    for piece in pieces:
        CONNECTION.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    CONNECTION.send(b"0\r\n")
    if fails:
        document = base64.b64encode(json.dumps({"errorType": "Late", "errorMessage": "late"}).encode())
        CONNECTION.send(b"Lambda-Runtime-Function-Error-Type: Function.Late\r\n")
        CONNECTION.send(b"Lambda-Runtime-Function-Error-Body: " + document + b"\r\n")
    CONNECTION.send(b"\r\n")
    answer = CONNECTION.getresponse()
    answer.read()
    return answer.status


# A write before the first event belongs to no transaction.
AT_START = s3("PUT", "at-start", b"x")
while True:
    answer, body = call("GET", VERSION + "next")
    event = json.loads(body)
    if "Records" in event:
        (record,) = event["Records"]
        event = json.loads(record["body"])
    path = VERSION + answer.getheader("Lambda-Runtime-Aws-Request-Id")
    status = None
    if event["action"] == "headers":
        result = {name.lower(): value for name, value in answer.getheaders()}
    elif event["action"] == "show":
        result = None
        print("headers", json.dumps({name.lower(): value for name, value in answer.getheaders()}), flush=True)
    elif event["action"] == "silent":
        s3("PUT", "silent", b"x")
        continue
    elif event["action"] == "start":
        result = AT_START
    elif event["action"] == "ping":
        other, text = call("GET", "/2018-06-01/ping", headers={"X-Odd": "1"})
        result = [other.status, text.decode()]
    elif event["action"] == "stream":
        s3("PUT", "streamed", b"x")
        pieces = [bytes([index % 251]) * 65536 for index in range(event["pieces"])]
        status = stream(path + "/response", pieces, event.get("fails"))
        continue
    elif event["action"] == "read":
        result = s3("GET", event["key"])
    elif event["action"] == "twice":
        s3("PUT", "twice", b"x")
        call("POST", path + "/response", b'"one"', {"Content-Type": "application/json"})
        # A second response, and a write between the response and the next event.
        late = s3("PUT", "between", b"x")
        second, _ = call("POST", path + "/response", b'"two"')
        print("late", late[0], "second", second.status, flush=True)
        continue
    else:
        result = None
    call("POST", path + "/response", json.dumps(result).encode(), {"Content-Type": "application/json"})
