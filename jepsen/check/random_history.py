"""Small random histories: what clients of a right cluster would write, then a few numbers of it
changed, lines lost or put elsewhere."""

import random

from twin_compact import keyed

PARTITIONS = 2


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.time = 1000
        self.lines = {client: [] for client in (1, 2, 3, 4, 5, 9)}
        self.log = [[] for _ in range(PARTITIONS)]
        self.next = {}
        self.operation = 0
        self.positions = {}
        self.owner = [None] * PARTITIONS
        self.committed = [-1] * PARTITIONS
        self.generation = 1
        self.start = [0] * PARTITIONS
        self.keys = 0  # of each client, when the topic is compacted
        self.slow = 1
        self.gone = set()  # records that compaction has removed

    def compact_topic(self):
        """The topic is a compacted one; sometimes readers take longer than tombstones stay."""
        self.keys = self.random.choice((1, 2, 4))
        self.slow = self.random.choice((1, 20000, 200000))

    def say(self, client, operation, text):
        self.time += self.slow * self.random.randrange(1, 5)
        self.lines[client].append(f"{self.time} {client} {operation} {text}")

    def number(self):
        self.operation += 1
        return self.operation

    def send(self):
        client = self.random.choice((1, 2))
        partition = self.random.randrange(PARTITIONS)
        count = self.random.randrange(1, 5)
        first = self.next.get((client, partition), 0)
        self.next[client, partition] = first + count
        number = self.number()
        self.say(client, number, f"invoke send p={partition} v={first}+{count}")
        if self.random.random() < 0.3:
            self.something()
        while count > 0:
            part = self.random.randrange(1, count + 1)
            self.report(client, number, partition, first, part)
            first, count = first + part, count - part

    def report(self, client, number, partition, first, part):
        chance = self.random.random()
        log = self.log[partition]
        words = f"send p={partition} v={first}+{part}"
        if chance < 0.75:
            offset = len(log)
            new = [(client, first + n) for n in range(part)]
            if self.random.random() < 0.03:  # it is put before what is there
                offset = self.random.randrange(len(log) + 1)
            log[offset:offset] = new
            self.say(client, number, f"ok {words} o={offset}")
        elif chance < 0.85:
            self.say(client, number, f"fail {words} e=BUSY")
        else:
            if self.random.random() < 0.5:
                log += [(client, first + n) for n in range(part)]
            if self.random.random() < 0.5:
                self.say(client, number, f"info {words} e=TIMEOUT")

    def runs(self, partition, start, count):
        words = []
        for offset in range(start, start + count):
            client, sequence = self.log[partition][offset]
            if (client, partition, sequence) in self.gone:
                continue
            words.append(f"{offset}/{client}:{sequence}+1")
        if len(words) > 2 and self.random.random() < 0.05:
            del words[self.random.randrange(len(words))]
        return ",".join(words)

    def poll(self, client, partition, mark=""):
        at = self.positions.get((client, partition), 0)
        at = max(0, at + self.random.choices((-1, 0, 1), (3, 94, 3))[0])
        if at < self.start[partition]:
            at = self.start[partition]
            if self.random.random() < 0.97:
                self.say(client, self.number(), f"ok skipped p={partition} o={at}")
        count = min(len(self.log[partition]) - at, self.random.randrange(1, 6))
        if count > 0:
            hw = len(self.log[partition]) - 2 * (self.random.random() < 0.03)
            runs = self.runs(partition, at, count)
            words = f"ok poll p={partition} hw={max(hw, 0)}{mark} r={runs}"
            if runs:
                self.say(client, self.number(), words)
            self.positions[client, partition] = at + count

    def read(self):
        client = self.random.choice((1, 2, 3))
        partition = self.random.randrange(PARTITIONS)
        if self.random.random() < 0.2:
            at = self.random.choice((-2, self.random.randrange(len(self.log[partition]) + 1)))
            self.positions[client, partition] = max(at, 0)
            self.say(client, self.number(), f"ok assign p={partition} o={at}")
        self.poll(client, partition)

    def member(self):
        partition = self.random.randrange(PARTITIONS)
        owner = self.owner[partition]
        if owner is None or self.random.random() < 0.1:
            if owner is not None:
                self.say(owner, self.number(), f"ok revoked p={partition}")
            owner = self.owner[partition] = self.random.choice((4, 5))
            self.generation += 1
            self.say(owner, self.number(), f"ok assigned p={partition}")
            self.say(owner, self.number(), f"ok owns p={partition} gen={self.generation}")
            if self.random.random() < 0.1:
                other = 9 - owner
                self.say(other, self.number(), f"ok owns p={partition} gen={self.generation}")
            at = max(self.committed[partition], 0)
            self.positions[owner, partition] = max(at - (self.random.random() < 0.2), 0)
        self.poll(owner, partition, " group=1")
        if self.random.random() < 0.5 and self.positions.get((owner, partition), 0) > 0:
            number, at = self.number(), self.positions[owner, partition]
            self.say(owner, number, f"invoke commit p={partition} o={at}")
            if self.random.random() < 0.8:
                self.say(owner, number, f"ok commit p={partition} o={at} e=OK")
                self.committed[partition] = max(self.committed[partition], at)

    def look(self):
        partition, number = self.random.randrange(PARTITIONS), self.number()
        if self.random.random() < 0.5:
            self.say(9, number, f"invoke offsets p={partition}")
            self.say(9, number, f"ok offsets p={partition} end={len(self.log[partition])}")
        else:
            self.say(9, number, f"invoke committed p={partition}")
            at = self.committed[partition]
            at = at if self.random.random() < 0.9 else -1
            self.say(9, number, f"ok committed p={partition} o={at}")

    def administer(self):
        name, number = f"side-{self.number()}", self.number()
        self.say(9, number, f"invoke create topic={name}")
        self.say(9, number, f"ok create topic={name} e=OK")
        number = self.number()
        self.say(9, number, f"invoke delete topic={name}")
        outcome = "fail" if self.random.random() < 0.03 else "ok"
        self.say(9, number, f"{outcome} delete topic={name} e=OK")

    def truncate(self):
        partition, number = self.random.randrange(PARTITIONS), self.number()
        at = self.random.randrange(len(self.log[partition]) + 1)
        self.say(9, number, f"invoke truncate p={partition} o={at}")
        chance = self.random.random()
        if chance < 0.9:  # else it is not known
            outcome = "ok" if chance < 0.8 else "fail"
            self.say(9, number, f"{outcome} truncate p={partition} o={at} e=OK")
        if chance < 0.8 or chance > 0.95:
            self.start[partition] = max(at, self.start[partition])

    def compact(self):
        """Records that a later one has replaced go, and tombstones; seldom one that must stay."""
        partition = self.random.randrange(PARTITIONS)
        latest = {}
        for offset, (client, sequence) in enumerate(self.log[partition]):
            number, _ = keyed((client, ("t", partition), sequence), self.keys)
            latest[client, number] = offset
        for offset, (client, sequence) in enumerate(self.log[partition]):
            number, tombstone = keyed((client, ("t", partition), sequence), self.keys)
            replaced = latest[client, number] > offset
            chance = 0.8 if replaced else 0.3 if tombstone else 0.01
            if self.random.random() < chance:
                self.gone.add((client, partition, sequence))

    def something(self):
        self.random.choice((self.read, self.read, self.member, self.look))()

    def finish(self):
        for partition in range(PARTITIONS):
            self.say(9, self.number(), f"ok assign p={partition} o=-2")
            start, end = self.start[partition], len(self.log[partition])
            while max(self.positions.get((9, partition), 0), start) < end:
                self.poll(9, partition, " final=1")
            if self.random.random() < 0.95:
                keep = f" keep={max(end - start, 0)}" if self.random.random() < 0.1 else ""
                words = f"final p={partition} from={start} end={end}{keep}"
                self.say(9, self.number(), f"ok {words}")

    def spoil(self):
        """One number, outcome or line is not what it should be."""
        client = self.random.choice([c for c, lines in self.lines.items() if lines])
        lines = self.lines[client]
        at = self.random.randrange(len(lines))  # the first one says who it is
        chance = self.random.random()
        if chance < 0.1 and at > 0:
            del lines[at]
        elif chance < 0.2:
            lines[at] = lines[at].replace(" ok ", " fail ", 1)
        elif chance < 0.25:
            words = f"ok bad p={self.random.randrange(PARTITIONS)} o={self.random.randrange(6)}"
            self.say(client, self.number(), f"{words} why=bytes")
        else:
            lines[at] = self.other_number(lines[at])

    def other_number(self, line):
        places = [i for i in range(len(line)) if line[i].isdigit() and not line[i - 1].isdigit()]
        places = [i for i in places if line[:i].count(" ") not in (1, 2)]  # names stay
        begin = self.random.choice(places)
        end = begin
        while end < len(line) and line[end].isdigit():
            end += 1
        by = self.random.choice((-3, -2, -1, 1, 2, 3, 20) if begin else (-200, -50, -9, 9, 50))
        return line[:begin] + str(max(0, int(line[begin:end]) + by)) + line[end:]


def make(seed):
    """Lines of each client."""
    maker = Maker(seed)
    words = "ok start topic=t workload=any group=g commit=hand"
    if seed % 4 == 0:
        maker.compact_topic()
        words += f" keys={maker.keys} delete_ms={maker.random.choice((0, 1, 1, 10))}"
    for client in maker.lines:
        maker.say(client, 0, words)
    actions = (maker.send, maker.send, maker.read, maker.member, maker.look, maker.administer)
    if seed % 3 == 0:
        actions += (maker.truncate,)
    if seed % 4 == 0:
        actions += (maker.compact, maker.send, maker.read)
    for _ in range(maker.random.randrange(4, 25)):
        maker.random.choice(actions)()
    maker.finish()
    for _ in range(maker.random.choice((0, 0, 1, 1, 2, 4))):
        maker.spoil()
    return maker.lines
