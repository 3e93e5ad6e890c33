"""A worker for queues and streams, as people write them: it does the task of each record, one after
the other, and fails where a task says so. It takes batches of any size, and knows nothing of
transactions."""

import base64
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
        return []


def append(key, value):
    s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(read(key) + [value]).encode())


def task_of(record):
    if "kinesis" in record:
        return json.loads(base64.b64decode(record["kinesis"]["data"]))
    if "dynamodb" in record:
        return json.loads(record["dynamodb"]["NewImage"]["task"]["S"])
    return json.loads(record["body"])


def name_of(record):
    for part, name in (("kinesis", "sequenceNumber"), ("dynamodb", "SequenceNumber")):
        if part in record:
            return record[part][name]
    return record["messageId"]


def work(task):
    """Does a task, and returns false if it has to come again."""
    print("runs", task["id"], flush=True)
    append("begun", task["id"])
    time.sleep(task.get("seconds", 0))
    trouble = task.get("trouble")
    if trouble is not None and not os.path.exists(task["healed"]):
        if trouble == "raise":
            raise ValueError("cannot do " + task["id"])
        if trouble == "exit":
            os._exit(5)
        return False
    append("done", task["id"])
    if "reached" in task:
        open(task["reached"], "w").close()
        while not os.path.exists(task["go"]):
            time.sleep(0.01)
    return True


def handler(event, context):
    if "Records" not in event:
        return [read("begun"), read("done")]
    print("records", len(event["Records"]), flush=True)
    failed = [record for record in event["Records"] if not work(task_of(record))]
    return {"batchItemFailures": [{"itemIdentifier": name_of(record)} for record in failed]}
