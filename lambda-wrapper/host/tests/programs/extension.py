#!/usr/bin/env python3
"""An external extension of Lambda, which writes down its events. Only the standard library."""

import http.client
import json
import os
import sys
import time

CONNECTION = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])


def call(method, path, headers, body=None):
    CONNECTION.request(method, '/2020-01-01/extension/' + path, body, headers)
    answer = CONNECTION.getresponse()
    return answer, answer.read()


def log(line):
    with open(os.environ['EXTENSION_LOG'], 'a') as file:
        file.write(line + '\n')


def main():
    if 'EXTENSION_EXITS' in os.environ:
        sys.exit(5)
    name = {'Lambda-Extension-Name': os.path.basename(sys.argv[0])}
    events = os.environ.get('EXTENSION_EVENTS', 'INVOKE SHUTDOWN').split()
    answer, body = call('POST', 'register', name, json.dumps({'events': events}))
    if answer.status != 200:
        log(f"register {answer.status} {json.loads(body)['errorType']}")
        sys.exit(6)
    log(f"register {answer.status} {json.loads(body)['functionName']}")
    me = {'Lambda-Extension-Identifier': answer.getheader('Lambda-Extension-Identifier')}
    while True:
        event = json.loads(call('GET', 'event/next', me)[1])
        log(' '.join([event['eventType'], event.get('requestId') or event['shutdownReason']]))
        if event['eventType'] == 'SHUTDOWN':
            while 'EXTENSION_IS_STUBBORN' in os.environ:
                time.sleep(60)
            return


main()
