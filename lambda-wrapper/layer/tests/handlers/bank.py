"""A bank whose accounts are objects. Its handlers know nothing of transactions: they read, compute
and write, one object after the other, and fail wherever the event says so."""

import json
import os
import time

import boto3

s3 = boto3.client("s3", region_name="us-east-1")
BUCKET = "bank"


def read(account):
    return int(s3.get_object(Bucket=BUCKET, Key="accounts/" + account)["Body"].read())


def write(account, balance):
    s3.put_object(Bucket=BUCKET, Key="accounts/" + account, Body=str(balance).encode())


def trouble(event, place):
    """Fails at this place, if the event says so: each delivery of a request has the same event, so
    chance decides whether this one fails."""
    kind = event.get(place)
    if kind is None or os.urandom(1)[0] % 3 == 0:
        return
    if kind == "raise":
        raise RuntimeError("failed " + place)
    if kind == "exit":
        os._exit(9)
    if kind == "hang":
        time.sleep(30)
    if kind == "wait":
        time.sleep(0.5)


def handler(event, context):
    if event["action"] == "open":
        for account in event["accounts"]:
            write(account, event["balance"])
        return "open"
    if event["action"] == "audit":
        return {account: read(account) for account in event["accounts"]}
    if event["action"] == "receipt":
        try:
            return json.loads(s3.get_object(Bucket=BUCKET, Key="receipts/" + event["id"])["Body"].read())
        except s3.exceptions.NoSuchKey:
            return None
    giver, taker, amount = event["from"], event["to"], event["amount"]
    left, right = read(giver), read(taker)
    trouble(event, "before")
    write(giver, left - amount)
    trouble(event, "between")
    write(taker, right + amount)
    s3.put_object(Bucket=BUCKET, Key="receipts/" + event["id"], Body=json.dumps([giver, taker, amount]).encode())
    trouble(event, "after")
    return {"moved": amount, "id": event["id"]}
