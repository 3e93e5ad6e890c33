"""Takes an order: one piece less in stock, and a receipt. It fails between the two if the event
says so.

Nothing here knows of transactions."""

import json

import boto3

s3 = boto3.client("s3")


def handler(event, context):
    try:
        left = json.loads(s3.get_object(Bucket="shop", Key="stock")["Body"].read())
    except s3.exceptions.NoSuchKey:
        left = 5
    if "order" not in event:
        receipts = s3.list_objects_v2(Bucket="shop", Prefix="receipts/").get("Contents", [])
        return {"left": left, "receipts": [each["Key"] for each in receipts]}
    s3.put_object(Bucket="shop", Key="stock", Body=json.dumps(left - 1))
    if event.get("fail"):
        raise RuntimeError("failed between the stock and the receipt")
    s3.put_object(Bucket="shop", Key="receipts/" + event["order"], Body=json.dumps(left - 1))
    return {"left": left - 1}
