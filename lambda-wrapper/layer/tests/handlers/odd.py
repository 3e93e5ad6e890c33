"""Handlers that do what real ones do by mistake, or seldom."""

import hashlib
import io
import json
import os
import threading
import time

import boto3
import botocore.exceptions

s3 = boto3.client("s3", region_name="us-east-1")
BUCKET = "shop"


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)


def handler(event, context):
    return ACTIONS[event["action"]](event)


def put(event):
    s3.put_object(Bucket=BUCKET, Key=event["key"], Body=event.get("body", "").encode())
    return "put"


def get(event):
    try:
        return s3.get_object(Bucket=BUCKET, Key=event["key"])["Body"].read().decode()
    except s3.exceptions.NoSuchKey:
        return None


def echo(event):
    """Writes a key, and answers with as many bytes as the event says."""
    put(event)
    digest = hashlib.sha256(event.get("padding", "").encode()).hexdigest()
    return {"digest": digest, "padding": "x" * event["bytes"]}


def leak(event):
    """Leaves a thread behind, which writes after the response."""

    def late():
        time.sleep(0.3)
        try:
            put({"key": "late"})
        except Exception as why:
            print("the late write failed:", why, flush=True)

    threading.Thread(target=late).start()
    return "answered"


def two_puts(event):
    """Writes an empty object, and another one on the same connection."""
    start = time.monotonic()
    put({"key": "empty"})
    put({"key": "full", "body": "full"})
    return time.monotonic() - start


def pause(event):
    """Writes, waits for a file that the test makes, and writes again."""
    put({"key": "first", "body": event["id"]})
    open(event["reached"], "w").close()
    wait_for(event["go"])
    put({"key": "second", "body": event["id"]})
    return event["id"]


def pause_and_change(event):
    """Reads a key, waits for a file that the test makes, and writes the key."""
    before = get(event) or ""
    open(event["reached"], "w").close()
    wait_for(event["go"])
    put({"key": event["key"], "body": before + "1"})
    return before


def presign(event):
    return s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "a"})


def change(event):
    """Reads a key, and writes it."""
    put({"key": event["key"], "body": (get(event) or "") + "1"})


def upload(event):
    """Uploads in parts, as boto3 does from 8 MiB on."""
    s3.upload_fileobj(io.BytesIO(b"p" * (9 << 20)), BUCKET, event["key"])
    return s3.head_object(Bucket=BUCKET, Key=event["key"])["ContentLength"]


def claim(event):
    """Writes an object only if there is none, as locks do."""
    try:
        s3.put_object(Bucket=BUCKET, Key=event["key"], Body=event["id"].encode(), IfNoneMatch="*")
    except botocore.exceptions.ClientError as why:
        return why.response["Error"]["Code"]
    return "claimed"


def report(event):
    """Lists objects, reads them, and writes what they come to: a report builder."""
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="in/").get("Contents", [])
    parts = [get({"key": each["Key"]}) for each in listed]
    put({"key": "report", "body": "+".join(parts)})
    return parts


def nothing(event):
    return None


ACTIONS = {
    "change": change,
    "nothing": nothing,
    "upload": upload,
    "claim": claim,
    "report": report,
    "put": put,
    "get": get,
    "echo": echo,
    "leak": leak,
    "two_puts": two_puts,
    "pause": pause,
    "pause_and_change": pause_and_change,
    "presign": presign,
}
