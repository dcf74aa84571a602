#!/usr/bin/python3
"""A producer and a group consumer on the MessagePack-RPC of Debian's python3-pynvim, as it is.

client.py SERVERS produce TOPIC FIRST LAST    numbered records, spread over the partitions
client.py SERVERS consume TOPIC GROUP         a member of the group, until SIGTERM
"""
import signal
import sys
import threading
import time

from pynvim.msgpack_rpc.async_session import AsyncSession
from pynvim.msgpack_rpc.event_loop import EventLoop
from pynvim.msgpack_rpc.msgpack_stream import MsgpackStream
from pynvim.msgpack_rpc.session import Session

AGAIN = "NOT_LEADER LEADER_UNKNOWN LEADER_CHANGED NOT_READY BUSY STOPPED".split()
servers = sys.argv[1].split(",")
sessions, leaders = {}, {}  # by address; addresses by what they lead, a partition or a group
stop = threading.Event()
# A loop of this library whose connection was refused complains when it is collected.
sys.unraisablehook = lambda _: None


class Refused(Exception):
    """The text of an error."""


def session(address):
    if address not in sessions:
        host, port = address.rsplit(":", 1)
        stream = MsgpackStream(EventLoop("tcp", host, int(port)))
        sessions[address] = Session(AsyncSession(stream))
        sessions[address].error_wrapper = Refused
    return sessions[address]


def call(what, method, **fields):
    while True:
        address = leaders.pop(what, servers[0])
        try:
            result = session(address).request(method, fields)
            leaders[what] = address
            return result
        except OSError:
            sessions.pop(address, None)
            code, facts = "UNREACHABLE", ""
        except Refused as refused:
            code, facts = str(refused).split(": ", 1)
            if code not in AGAIN:
                raise
        if code == "NOT_LEADER":
            leaders[what] = facts.split()[1]  # the address that it names
        else:
            servers.append(servers.pop(0))
        time.sleep(0.02)


def produce(topic, first, last):
    count = len(call(None, "metadata", topics=[topic])["topics"][0]["partitions"])
    for n in range(int(first), int(last) + 1):
        record = {"k": b"key-%d" % n, "v": b"value-%d" % n, "h": [["by", b"python"]]}
        where = {"topic": topic, "partition": n % count}
        stored = call((topic, n % count), "produce", **where, records=[record])
        print("sent", n % count, stored["offset"], n, flush=True)


def read(topic, at):
    """Reads on in each partition of `at` and moves its position; returns whether there was any."""
    before = dict(at)
    for n in at:
        where = {"topic": topic, "partition": n, "offset": at[n], "max_bytes": 65536}
        for record in call((topic, n), "fetch", **where, format="records")["records"]:
            key, value = record["k"].decode(), record["v"].decode()
            headers = [f"{name}={text.decode()}" for name, text in record["h"]]
            print("read", n, record["o"], key, value, *headers, flush=True)
            at[n] = record["o"] + 1
    return at != before


def consume(topic, group):
    me, at, busy, unsaved = None, {}, False, False
    while me or not stop.is_set():
        try:
            if me is None:
                me, at = call(group, "group.join", group=group, topics=[topic]), {}
            else:  # which gives up what was revoked: it is in `at` no more, and committed
                wait = {"max_wait_ms": 0 if busy else 200}
                owned = [{"topic": topic, "partitions": list(at)}]
                me = call(group, "group.heartbeat", **who, owned=owned, **wait)
            who = {"group": group, "member": me["member"], "generation": me["generation"]}
            assigned = [n for part in me["assigned"] for n in part["partitions"]]
            if set(assigned) != set(at):
                print("owns", *sorted(assigned), flush=True)
                rows = call(group, "group.committed", group=group, topics=[topic])["offsets"]
                start = {row["partition"]: row["offset"] for row in rows}
                at = {n: at.get(n, start.get(n, 0)) for n in assigned}
            busy = read(topic, at)
            unsaved = unsaved or busy
            if unsaved:
                offsets = [{"topic": topic, "partition": n, "offset": at[n]} for n in at]
                call(group, "group.commit", **who, offsets=offsets)
                unsaved = False
            if stop.is_set():
                call(group, "group.leave", group=group, member=me["member"])
                me = None
        except Refused as refused:
            if str(refused).startswith("UNKNOWN_MEMBER:"):
                me = None  # joins again
            elif not str(refused).startswith("GROUP_FENCED:"):
                raise  # when fenced, the next heartbeat tells what was lost
    print("left", flush=True)


# Signals are for the main thread alone, where this library would take them for itself.
signal.signal(signal.SIGTERM, lambda *_: stop.set())
what = {"produce": produce, "consume": consume}[sys.argv[2]]
work = threading.Thread(target=what, args=sys.argv[3:])
work.start()
work.join()
