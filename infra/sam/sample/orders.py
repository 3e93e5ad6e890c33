"""Takes orders: each takes one piece from a stock and leaves a receipt.

Plain code over S3, in two writes: without the layer, a function that is run twice takes two pieces,
and one that dies between the writes takes a piece and leaves no receipt.
"""

import json
import os

import boto3

s3 = boto3.client("s3")
BUCKET = os.environ["BUCKET"]


def read(key):
    """Returns the object, or None if there is none."""
    try:
        return json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        return None


def write(key, value):
    s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(value).encode())


def take(order):
    """Takes one piece for an order such as {"id": "17", "item": "tea"}."""
    stock = f"stock/{order['item']}"
    left = (read(stock) or {"left": 0})["left"]
    if left == 0:
        receipt = {"item": order["item"], "sold": False}
    else:
        write(stock, {"left": left - 1})
        receipt = {"item": order["item"], "sold": True}
    write(f"orders/{order['id']}", receipt)
    return receipt


def handler(event, context):
    if "Records" in event:
        for record in event["Records"]:
            take(json.loads(record["body"]))
        return {"batchItemFailures": []}
    # By hand: {"fill": "tea", "left": 5} or {"look": "tea"}.
    if "fill" in event:
        write(f"stock/{event['fill']}", {"left": event["left"]})
        return {"left": event["left"]}
    orders = s3.list_objects_v2(Bucket=BUCKET, Prefix="orders/").get("Contents", [])
    stock = read(f"stock/{event['look']}") if "look" in event else None
    return {"stock": stock, "orders": [order["Key"] for order in orders]}
