"""A runtime without any library, on a managed instance: its workers are threads of one process, as
those of Node and Java are."""

import http.client
import json
import os
import threading

VERSION = "/2018-06-01/runtime/invocation/"
COUNT = int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"])
MEETING = threading.Barrier(COUNT)


def s3(method, key, body=None, headers=None):
    connection = http.client.HTTPConnection(os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://"))
    connection.request(method, "/shop/" + key, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def handle(event, trace_id):
    key = event["key"]
    if event["action"] == "read":
        return s3("GET", key)
    if event["action"] == "alone":
        return s3("PUT", "alone/" + key, key)
    # Every thread runs an invocation from here to the end.
    MEETING.wait()
    named = s3("PUT", "named/" + key, key, {"X-Amzn-Trace-Id": trace_id})
    unnamed = s3("PUT", "unnamed/" + key, key)
    seen = s3("GET", "named/" + key, None, {"X-Amzn-Trace-Id": trace_id})
    unseen = s3("GET", "named/" + key)
    MEETING.wait()
    return [named, unnamed, seen, unseen]


def work():
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        connection.request("GET", VERSION + "next")
        answer = connection.getresponse()
        event = json.loads(answer.read())
        result = handle(event, answer.getheader("Lambda-Runtime-Trace-Id"))
        path = VERSION + answer.getheader("Lambda-Runtime-Aws-Request-Id") + "/response"
        body, kind = json.dumps(result).encode(), {"Content-Type": "application/json"}
        connection.request("POST", path, body, kind)
        connection.getresponse().read()


for _ in range(COUNT):
    threading.Thread(target=work).start()
