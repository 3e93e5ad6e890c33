"""The handlers whose time is measured."""

import os

BODY = os.urandom(4096)
CLIENT = None


def noop(event, context):
    return None


def put(event, context):
    global CLIENT
    if CLIENT is None:
        import boto3

        CLIENT = boto3.client("s3", region_name="us-east-1")
    CLIENT.put_object(Bucket="bench", Key=event["key"], Body=BODY)
