"""What a program says to the cluster and is told: read off its connections in passing.

A batch is known by its bytes from the checksum on, which nobody changes on the way. A tap never
holds anything up: when it cannot follow a connection it says so and looks at it no longer.
"""

import hashlib
import time

import rpc

HEADER = 17  # bytes of a RecordBatch before its checksum
SIZE_MAX = 32 * 1024 * 1024
INTERESTING = ("produce", "group.commit")


class Sent:
    """A produce request: one batch, or plain records."""

    def __init__(self, topic, partition, records, now):
        self.topic, self.partition, self.sent = topic, partition, now
        self.done, self.offset, self.error = None, None, None
        self.plain = None
        self.count = 0
        if isinstance(records, bytes) and len(records) >= 61:
            self.identity = hashlib.sha1(records[HEADER:]).digest()
            self.count = int.from_bytes(records[57:61], "big")
        elif isinstance(records, list):
            self.identity = None
            self.plain = [(as_bytes(r.get("k")), as_bytes(r.get("v"))) for r in records]
            self.count = len(records)


def as_bytes(value):
    return value.encode() if isinstance(value, str) else value


class Journal:
    """All that went by."""

    def __init__(self):
        self.sent = []
        self.commits = []  # (time, group, topic, partition, offset), acknowledged
        self.given_up = 0  # connections that could not be followed
        self.requests = 0


class Tap:
    """One connection."""

    def __init__(self, journal):
        self.journal = journal
        self.data = {"up": bytearray(), "down": bytearray()}
        self.open = {}
        self.dead = False

    def feed(self, direction, chunk):
        if self.dead:
            return
        data = self.data[direction]
        data += chunk
        try:
            at = 0
            while at < len(data):
                message, end = rpc.unpack(data, at)
                self.take(direction, message)
                at = end
        except rpc.Incomplete:
            pass
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            self.give_up()
            return
        del data[:at]
        if len(data) > SIZE_MAX:
            self.give_up()

    def give_up(self):
        self.dead = True
        self.journal.given_up += 1
        self.data = {"up": bytearray(), "down": bytearray()}

    def take(self, direction, message):
        now = time.monotonic()
        if direction == "up" and message[0] == 0:
            _, msgid, method, params = message
            fields = params[0] if params else {}
            self.journal.requests += 1
            if method == "produce":
                row = Sent(fields["topic"], fields["partition"], fields["records"], now)
                self.journal.sent.append(row)
                self.open[msgid] = row
            elif method == "group.commit":
                self.open[msgid] = fields
        elif direction == "down" and message[0] == 1:
            _, msgid, error, result = message
            row = self.open.pop(msgid, None)
            if isinstance(row, Sent):
                row.done, row.error = now, error
                row.offset = result["offset"] if error is None else None
            elif row is not None and error is None:
                for entry in row["offsets"]:
                    where = (row["group"], entry["topic"], entry["partition"])
                    self.journal.commits.append((now, *where, entry["offset"]))
