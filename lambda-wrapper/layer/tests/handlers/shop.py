"""A handler as people write them: an order takes one piece from a stock and leaves a receipt. It
knows nothing of transactions."""

import json
import os
import time

import boto3

s3 = boto3.client("s3", region_name="us-east-1")
BUCKET = "shop"


def read(key):
    try:
        return json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        return None


def write(key, value):
    s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(value).encode())


def handler(event, context):
    action = event["action"]
    if action == "order":
        stock = read("stock") or {"left": 0}
        write("stock", {"left": stock["left"] - 1})
        if event.get("fail") == "between":
            raise RuntimeError("failed half-way")
        if event.get("fail") == "exit":
            os._exit(7)
        if event.get("fail") == "hang":
            time.sleep(60)
        write("orders/" + event["id"], {"left": stock["left"] - 1})
        return {"left": stock["left"] - 1}
    if action == "fill":
        write("stock", {"left": event["left"]})
        return {"left": event["left"]}
    if action == "look":
        listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="orders/").get("Contents", [])
        return {"stock": read("stock"), "orders": [each["Key"] for each in listed]}
    raise ValueError(action)
