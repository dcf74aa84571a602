"""A consumer of a group for the tests, in the words of docs/protocol.md."""

import time

import rpc


def pairs(parts):
    """{(topic, partition)} of an answer's [{topic, partitions}]."""
    return {(part["topic"], number) for part in parts for number in part["partitions"]}


def parts(owned):
    topics = {}
    for topic, number in sorted(owned):
        topics.setdefault(topic, []).append(number)
    return [{"topic": topic, "partitions": numbers} for topic, numbers in topics.items()]


class Member:
    """A consumer as docs/protocol.md tells one to be: it reads what is assigned, gives up what is
    revoked, and says what it owns."""

    def __init__(self, servers, group, topics, **fields):
        self.calls = rpc.Leaders(servers)
        self.group = group
        self.fields = {"session_ms": 3000, "topics": list(topics), **fields}
        self.id, self.owned, self.generation = None, set(), 0
        self.lost = []  # what was ever taken away
        self.take(self.calls.call("group.join", group=group, **self.fields))

    def take(self, answer):
        self.id, self.generation = answer["member"], answer["generation"]
        assigned = pairs(answer["assigned"])
        self.lost += sorted(self.owned - assigned)
        self.owned, self.pending = assigned, pairs(answer["pending"])
        self.state = answer["state"]
        return answer

    def beat(self, **fields):
        return self.take(
            self.calls.call(
                "group.heartbeat",
                group=self.group,
                member=self.id,
                generation=self.generation,
                owned=parts(self.owned),
                **fields,
            )
        )

    def commit(self, offset, partitions=None, **fields):
        fields = {"member": self.id, "generation": self.generation, **fields}
        chosen = sorted(self.owned) if partitions is None else partitions
        offsets = [{"topic": t, "partition": p, "offset": offset} for t, p in chosen]
        return self.calls.call("group.commit", group=self.group, offsets=offsets, **fields)

    def leave(self):
        self.calls.call("group.leave", group=self.group, member=self.id)

    def close(self):
        self.calls.close()


def settle(members, seconds=5.0):
    """All heartbeat until nothing moves any more."""
    deadline = time.monotonic() + seconds
    while True:
        for member in members:
            member.beat()
        generations = {member.generation for member in members}
        if len(generations) == 1 and all(member.state == "stable" for member in members):
            return
        assert time.monotonic() < deadline, [(m.id, m.state, m.generation) for m in members]
