"""DynamoDB Local on loopback alone. Usage: server DATA PORT

It knows no address to listen at and takes every one of the machine. So it runs in a network
namespace that has nothing but a loopback of its own, and this relays to it:

    127.0.0.1:PORT ──► relay ──► 127.0.0.1:8000 inside ──► java
    (made outside, and taken along: a socket stays in the namespace in which it was made)

This process becomes java, so that a signal to it is one to java. The relay is its child, and ends
when java does: that holds the other end of a pipe.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading

INSIDE = ("127.0.0.1", 8000)
CHUNK = 1 << 16
# Most servers live for seconds, in which Java's second compiler and its concurrent collector take
# more time than they save: a start takes half the processor time without them, and minutes of scans
# a tenth less.
QUICK = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
# As root a namespace of the network alone will do; anybody else needs one of users around it.
WAYS = (["--net"], ["--user", "--map-root-user", "--net"])
REFUSED = """no network namespace can be made here: DynamoDB Local listens at every address, and runs in one only.
Run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1; a container needs CAP_SYS_ADMIN),
or set AFT_SKIP_SERVICES=dynamodb"""


def way():
    """How `unshare` makes a namespace here."""
    for options in WAYS:
        made = subprocess.run(["unshare", *options, "true"], stderr=subprocess.DEVNULL)
        if made.returncode == 0:
            return options
    sys.exit(REFUSED)


def outside(data, port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(512)
    listener.set_inheritable(True)
    this = [sys.executable, os.path.abspath(__file__), "inside", str(listener.fileno()), data]
    os.execvp("unshare", ["unshare", *way(), *this])


def inside(listener, data):
    loopback_up()
    ended, alive = os.pipe()
    if os.fork() == 0:
        os.close(alive)
        threading.Thread(target=relay, args=(socket.socket(fileno=listener),), daemon=True).start()
        os.read(ended, 1)
        os._exit(0)
    os.close(listener)
    os.close(ended)
    os.set_inheritable(alive, True)
    jars = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
    database = os.path.join(data, "database")
    os.makedirs(database, exist_ok=True)
    os.execvp("java", [
        "java", "-Xmx512m", *QUICK, "-Djava.library.path=" + jars, "-Djava.io.tmpdir=" + data, "-cp", jars + "/*",
        "com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
        "-port", str(INSIDE[1]), "-dbPath", database, "-sharedDb", "-disableTelemetry",
    ])


def loopback_up():
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, get_flags, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack("16sh22x", answer)[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh22x", b"lo", flags | up))


def relay(listener):
    while True:
        outer, _ = listener.accept()
        threading.Thread(target=connect, args=(outer,), daemon=True).start()


def connect(outer):
    try:
        inner = socket.create_connection(INSIDE)
    except OSError:
        # Not there yet.
        outer.close()
        return
    for end in (outer, inner):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    there = threading.Thread(target=pump, args=(outer, inner), daemon=True)
    there.start()
    pump(inner, outer)
    there.join()
    outer.close()
    inner.close()


def pump(source, sink):
    """What one end says, to the other; then that it has ended."""
    try:
        while chunk := source.recv(CHUNK):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One end is gone: so is the other.
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


if sys.argv[1:] == ["check"]:
    way()
elif sys.argv[1] == "inside":
    inside(int(sys.argv[2]), sys.argv[3])
else:
    outside(sys.argv[1], int(sys.argv[2]))
