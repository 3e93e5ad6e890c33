"""Transfers under a request ID by processes of Python: with Powertools on DynamoDB, or over AFT.

    python transfers.py prepare  '{...}'     makes the tables and the accounts of Powertools
    python transfers.py measure  '{...}'     runs a load, checks it, and prints `result {...}`

Each worker is a process of its own that makes one transfer after the other, like a function whose
container is warm. A request that fails is sent again under its ID, as a queue would do.
"""

import collections
import json
import multiprocessing
import random
import sys
import time

# The sample that is sent again at the end: every 23rd request of each worker, and at most 10.
AGAIN_EVERY = 23
AGAIN_MAX = 10
SENDINGS_MAX = 5
PAUSE_S = 0.1
# Keys in one call of AFT: as many as DynamoDB accepts in one.
PAGE = 100
# Longer than a worker needs to get ready, or to finish its last request.
PATIENCE_S = 120


class Context:
    """The context of an invocation, as Lambda passes it; Powertools reads the remaining time."""

    function_name = "transfers"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:transfers"
    aws_request_id = "unused"

    @staticmethod
    def get_remaining_time_in_millis():
        return 30_000


def dynamodb(given):
    import boto3

    return boto3.client(
        "dynamodb", endpoint_url=given["endpoint"], region_name=given["region"],
        aws_access_key_id=given["access_key"], aws_secret_access_key=given["secret_key"])


def account(number):
    return f"{number:04d}"


class Powertools:
    """The function with Powertools: a record before and after, and two conditional updates."""

    def __init__(self, given):
        from aws_lambda_powertools.utilities.idempotency import (
            DynamoDBPersistenceLayer, IdempotencyConfig, idempotent)

        self.given = given
        self.client = client = dynamodb(given)
        table = given["accounts_table"]
        layer = DynamoDBPersistenceLayer(table_name=given["records_table"], boto3_client=client)
        config = IdempotencyConfig(event_key_jmespath="request_id", raise_on_no_idempotency_key=True)

        @idempotent(persistence_store=layer, config=config)
        def handler(event, context):
            amount = {":amount": {"N": str(event["amount"])}, ":one": {"N": "1"}}
            left = client.update_item(
                TableName=table, Key={"id": {"S": event["from"]}}, ReturnValues="UPDATED_NEW",
                UpdateExpression="SET balance = balance - :amount, moves = moves + :one",
                ConditionExpression="balance >= :amount", ExpressionAttributeValues=amount)
            client.update_item(
                TableName=table, Key={"id": {"S": event["to"]}},
                UpdateExpression="SET balance = balance + :amount, moves = moves + :one",
                ConditionExpression="attribute_exists(id)", ExpressionAttributeValues=amount)
            return {"left": int(left["Attributes"]["balance"]["N"])}

        self.handler = handler

    def transfer(self, event):
        return json.dumps(self.handler(event, Context())), 1

    def total(self):
        balance = moves = 0
        for page in self.client.get_paginator("scan").paginate(
                TableName=self.given["accounts_table"], ConsistentRead=True):
            for item in page["Items"]:
                balance += int(item["balance"]["N"])
                moves += int(item["moves"]["N"])
        return balance, moves


class Aft:
    """The same function over AFT: one transaction that has the request's ID."""

    def __init__(self, given):
        sys.path.insert(0, given["client"])
        import aft_client

        self.module = aft_client
        self.given = given
        self.client = aft_client.Client(given["url"])

    def held(self, value):
        return json.loads(value.bytes) if value else {"balance": self.given["opening"], "moves": 0}

    def transfer(self, event):
        source, target = self.given["prefix"] + event["from"], self.given["prefix"] + event["to"]

        def function(t):
            one, other = self.held(t.get(source)), self.held(t.get(target))
            if one["balance"] < event["amount"]:
                raise ValueError("not enough")
            left = one["balance"] - event["amount"]
            t.put(source, json.dumps({"balance": left, "moves": one["moves"] + 1}))
            t.put(target, json.dumps(
                {"balance": other["balance"] + event["amount"], "moves": other["moves"] + 1}))
            return json.dumps({"left": left})

        ran = self.client.run(
            event["request_id"], function, isolation=self.given["isolation"], reads=[source, target])
        return ran.result.decode(), ran.attempts

    def total(self):
        balance = moves = 0
        for first in range(0, self.given["accounts"], PAGE):
            keys = [self.given["prefix"] + account(number) for number in range(first, first + PAGE)]
            gets = [self.module.Op.get(key) for key in keys]
            for read in self.client.execute(None, gets, isolation=self.given["isolation"]).reads:
                held = self.held(read.value)
                balance += held["balance"]
                moves += held["moves"]
        return balance, moves


BANKS = {"powertools": Powertools, "aft": Aft}


def send(bank, event, errors):
    """Sends a request until it is acknowledged; returns its answer and the attempts, or None."""
    for sending in range(SENDINGS_MAX):
        try:
            answer, attempts = bank.transfer(event)
            return answer, attempts + sending
        except Exception as why:
            errors[type(why).__name__] += 1
            time.sleep(PAUSE_S)
    return None


def work(given, number, barrier, results):
    try:
        results.put(worked(given, number, barrier))
    except BaseException as why:
        barrier.abort()
        results.put(f"{type(why).__name__}: {why}")
        raise


def worked(given, number, barrier):
    draw = random.Random(f"{given['seed']}-{number}")
    bank, errors, sample = BANKS[given["bank"]](given), collections.Counter(), []
    acknowledged = attempts = nth = 0
    latencies = []
    barrier.wait(PATIENCE_S)
    start = time.monotonic() + given["warm_up_s"]
    end = start + given["time_s"]
    while time.monotonic() < end:
        nth += 1
        source, target = draw.sample(range(given["accounts"]), 2)
        event = {"request_id": f"{given['run']}-{number}-{nth}", "from": account(source),
                 "to": account(target), "amount": draw.randint(1, 9)}
        began = time.monotonic()
        answered = send(bank, event, errors)
        ended = time.monotonic()
        if answered is None:
            continue
        answer, tries = answered
        acknowledged += 1
        if start <= ended < end:
            latencies.append(ended - began)
            attempts += tries
        if nth % AGAIN_EVERY == 1 and len(sample) < AGAIN_MAX:
            sample.append((event, answer))
    # Wait for all workers, so that no worker's sample runs during another's measurement.
    barrier.wait(PATIENCE_S)
    repeated = 0
    for event, answer in sample:
        again = send(bank, event, errors)
        repeated += again is None or again[0] != answer
    return acknowledged, attempts, latencies, dict(errors), repeated


def quantile_ms(sorted_latencies, share):
    if not sorted_latencies:
        return 0.0
    at = min(len(sorted_latencies) - 1, int(share * len(sorted_latencies)))
    return sorted_latencies[at] * 1e3


def measure(given):
    bank = BANKS[given["bank"]](given)
    before = bank.total()
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(given["workers"]), context.Queue()
    workers = [context.Process(target=work, args=(given, number, barrier, results), daemon=True)
               for number in range(given["workers"])]
    for worker in workers:
        worker.start()
    patience = PATIENCE_S + given["warm_up_s"] + given["time_s"]
    acknowledged = attempts = repeated = 0
    latencies, errors = [], collections.Counter()
    for _ in workers:
        result = results.get(timeout=patience)
        if isinstance(result, str):
            sys.exit(f"a worker failed: {result}")
        acknowledged += result[0]
        attempts += result[1]
        latencies += result[2]
        errors.update(result[3])
        repeated += result[4]
    for worker in workers:
        worker.join()
    after = bank.total()
    latencies.sort()
    print("result " + json.dumps({
        "transactions": len(latencies), "attempts": attempts,
        "transactions_per_s": len(latencies) / given["time_s"],
        "p50_ms": quantile_ms(latencies, 0.5), "p99_ms": quantile_ms(latencies, 0.99),
        "errors": dict(errors), "acknowledged": acknowledged, "answered_again": repeated,
        "before": {"balance": before[0], "moves": before[1]},
        "after": {"balance": after[0], "moves": after[1]}}), flush=True)


def prepare(given):
    client = dynamodb(given)
    for table in (given["accounts_table"], given["records_table"]):
        client.create_table(
            TableName=table, BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}])
    for first in range(0, given["accounts"], 25):
        puts = [{"PutRequest": {"Item": {
            "id": {"S": account(number)}, "balance": {"N": str(given["opening"])}, "moves": {"N": "0"}}}}
            for number in range(first, first + 25)]
        left = {given["accounts_table"]: puts}
        while left:
            left = client.batch_write_item(RequestItems=left)["UnprocessedItems"]
    print("result {}", flush=True)


if __name__ == "__main__":
    {"prepare": prepare, "measure": measure}[sys.argv[1]](json.loads(sys.argv[2]))
