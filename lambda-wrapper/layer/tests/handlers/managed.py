"""Handlers for managed instances: workers are processes, and each runs an invocation beside those
of the others. Some calls carry the trace ID, as those of SDKs do, and others carry nothing."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import boto3
import botocore.exceptions

BUCKET = "shop"
s3 = boto3.client("s3", region_name="us-east-1")
silent = boto3.client("s3", region_name="us-east-1")


def drop_trace_id(request, **_):
    del request.headers["X-Amzn-Trace-Id"]


silent.meta.events.register("before-send.s3", drop_trace_id)

# A program that writes an object over a connection of its own, and knows nothing of AWS.
CHILD = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1])
connection.request("PUT", sys.argv[2], sys.argv[3])
sys.exit(connection.getresponse().status != 200)
"""


def put(client, key, body):
    client.put_object(Bucket=BUCKET, Key=key, Body=body.encode())


def get(client, key):
    try:
        return client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    except client.exceptions.NoSuchKey:
        return None


def put_by_url(key, body):
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key})
    urllib.request.urlopen(urllib.request.Request(url, body.encode(), method="PUT")).read()


def put_by_child(key, body):
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://")
    subprocess.run([sys.executable, "-c", CHILD, endpoint, f"/{BUCKET}/{key}", body], check=True)


def attempt(write):
    """Writes, and returns what became of it."""
    try:
        write()
    except botocore.exceptions.ClientError as why:
        return why.response["Error"]["Code"]
    except urllib.error.HTTPError as why:
        return f"{why.code}"
    return "written"


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)


def meet(event):
    """Waits until as many invocations run as the event says."""
    if "meet" in event:
        open(os.path.join(event["meet"], event["id"]), "w").close()
        while len(os.listdir(event["meet"])) < event["count"]:
            time.sleep(0.01)


def write(event):
    """Writes one object in each way, and reads them without a trace ID."""
    meet(event)
    id = event["id"]
    ways = {"sdk": lambda *of: put(s3, *of), "silent": lambda *of: put(silent, *of), "url": put_by_url}
    if event.get("child"):
        ways["child"] = put_by_child
    for way, of_way in ways.items():
        of_way(f"{way}/{id}", id)
        time.sleep(0.002)
    for way in ways:
        found = get(silent, f"{way}/{id}")
        if found != id:
            raise RuntimeError(f"{way}/{id} is {found}")
    if event.get("fail"):
        raise ValueError("as the event says")
    return {"pid": os.getpid(), "ways": len(ways)}


def pause(event):
    """Writes, waits for a file, and writes again in each way."""
    id = event["id"]
    put(s3, "first/" + id, id)
    with open(event["reached"], "w") as file:
        file.write(str(os.getpid()))
    wait_for(event["go"])
    ways = {"sdk": lambda *of: put(s3, *of), "silent": lambda *of: put(silent, *of), "url": put_by_url}
    late = {way: attempt(lambda: of_way(f"{way}/{id}", id)) for way, of_way in ways.items()}
    print("after the pause", id, json.dumps(late), flush=True)
    return late


def leak(event):
    """Leaves a thread behind, which writes after the response."""

    def late():
        wait_for(event["go"])
        became = [attempt(lambda: put(client, "late", "x")) for client in (s3, silent)]
        print("left behind", json.dumps(became), flush=True)

    threading.Thread(target=late).start()
    return os.getpid()


def count(event):
    """Reads a number, waits until all deliveries have, and writes the next one."""
    number = int(get(s3, "number") or 0)
    meet({**event, "id": f"{event['id']}-{os.getpid()}"})
    put(s3, "number", str(number + 1))
    return {"number": number + 1, "pid": os.getpid()}


ACTIONS = {
    "count": count,
    "endpoint": lambda event: os.environ["AWS_ENDPOINT_URL_S3"],
    "exit": lambda event: (put(s3, "exit", "x"), os._exit(3)),
    "get": lambda event: get(s3, event["key"]),
    "leak": leak,
    "pause": pause,
    "pid": lambda event: os.getpid(),
    "write": write,
}


def work(records):
    """Does the task of each record of a queue, and names those that failed."""
    failed = []
    for record in records:
        try:
            write(json.loads(record["body"]))
        except ValueError:
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def handler(event, context):
    if "Records" in event:
        return work(event["Records"])
    return ACTIONS[event["action"]](event)
