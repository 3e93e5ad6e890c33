"""A tiny runtime of Lambda, which does what each event asks for. Only the standard library.

On a managed instance it forks as many workers as invocations may run at once, as AWS's own does."""

import base64
import http.client
import json
import os
import signal
import sys
import threading
import time

VERSION = '/2018-06-01/runtime/'
CONNECTION = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])


def call(method, path, body=None, headers=None, **options):
    CONNECTION.request(method, VERSION + path, body, headers or {}, **options)
    answer = CONNECTION.getresponse()
    return answer, answer.read()


def append(path, line):
    """Appends a line in one write."""
    with open(path, 'a') as file:
        file.write(line + '\n')


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)


def count_forever(path):
    """Counts in a file, behind the handler's back."""
    count = 0
    while True:
        count += 1
        with open(path + '.new', 'w') as file:
            file.write(str(count))
        os.replace(path + '.new', path)
        time.sleep(0.001)


def handle(event, headers):
    """Returns the answer to an event, or raises the error that it asks for."""
    if 'log' in event:
        append(event['log'], headers['lambda-runtime-aws-request-id'])
    if 'print' in event:
        print(event['print'], flush=True)
    if 'count' in event:
        threading.Thread(target=count_forever, args=[event['count']], daemon=True).start()
    if 'wait' in event:
        wait_for(event['wait'])
    if 'exit' in event:
        os._exit(event['exit'])
    if 'fail_below' in event:
        with open(event['log']) as file:
            attempts = len(file.readlines())
        if attempts < event['fail_below']:
            raise ValueError(f'attempt {attempts}')
    if 'fail' in event:
        raise ValueError(event['fail'])
    if 'bytes' in event:
        # A string in JSON has two quotes.
        return 'x' * (event['bytes'] - 2)
    return {'event': event, 'headers': headers, 'pid': os.getpid(), 'variables': dict(os.environ)}


def chunks(pieces, trailers):
    """Returns a chunked body by hand: http.client sends no trailers."""
    body = b''.join(b'%x\r\n%s\r\n' % (len(piece), piece) for piece in pieces) + b'0\r\n'
    return body + b''.join(b'%s: %s\r\n' % trailer for trailer in trailers) + b'\r\n'


def stream(event, path, headers):
    """Answers with a stream of pieces, and with an error behind them if the event asks for it."""
    trailers = []
    if 'broken' in event:
        document = json.dumps({'errorType': 'Late', 'errorMessage': event['broken']}).encode()
        trailers = [
            (b'Lambda-Runtime-Function-Error-Type', b'Function.Late'),
            (b'Lambda-Runtime-Function-Error-Body', base64.b64encode(document)),
        ]
    CONNECTION.putrequest('POST', VERSION + path)
    for name, value in headers.items():
        CONNECTION.putheader(name, value)
    CONNECTION.putheader('Content-Type', 'text/plain')
    CONNECTION.putheader('Lambda-Runtime-Function-Response-Mode', 'streaming')
    CONNECTION.putheader('Transfer-Encoding', 'chunked')
    if trailers:
        CONNECTION.putheader('Trailer', ', '.join(name.decode() for name, _ in trailers))
    CONNECTION.endheaders()
    CONNECTION.send(chunks([piece.encode() for piece in event['stream']], trailers))
    answer = CONNECTION.getresponse()
    answer.read()
    return answer


def start():
    """Fails in its start, if the variables ask for it."""
    log = os.environ.get('INIT_LOG')
    if log:
        append(log, 'init')
        with open(log) as file:
            starts = len(file.readlines())
        if starts <= int(os.environ.get('INIT_EXITS', '0')):
            sys.exit(7)
    if 'INIT_ERROR' in os.environ:
        document = {'errorType': 'Runtime.ImportModuleError', 'errorMessage': os.environ['INIT_ERROR']}
        call('POST', 'init/error', json.dumps(document))
        sys.exit(1)
    if 'TERM_LOG' in os.environ:
        signal.signal(signal.SIGTERM, terminated)


def terminated(*_):
    append(os.environ['TERM_LOG'], 'runtime SIGTERM')
    os._exit(0)


def main():
    start()
    workers = int(os.environ.get('AWS_LAMBDA_MAX_CONCURRENCY', '0'))
    for _ in range(workers):
        # Each worker makes a connection of its own, with its first call.
        if os.fork() == 0:
            work()
    for _ in range(workers):
        os.wait()
    if workers == 0:
        work()


def work():
    while True:
        answer, body = call('GET', 'invocation/next')
        headers = {name.lower(): value for name, value in answer.getheaders()}
        event = json.loads(body)
        path = 'invocation/' + headers['lambda-runtime-aws-request-id']
        echo = {'Lambda-Runtime-Invocation-Id': headers['lambda-runtime-invocation-id']}
        try:
            result = json.dumps(handle(event, headers))
        except ValueError as error:
            document = {'errorType': 'ValueError', 'errorMessage': str(error), 'stackTrace': []}
            echo['Lambda-Runtime-Function-Error-Type'] = 'Function.Unknown'
            answer, body = call('POST', path + '/error', json.dumps(document), echo)
        else:
            if 'stream' in event:
                answer = stream(event, path + '/response', echo)
            else:
                answer, body = call('POST', path + '/response', result, echo)
        if 'status' in event:
            append(event['status'], str(answer.status))


main()
