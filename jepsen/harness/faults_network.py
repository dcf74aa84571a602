"""Faults of links: cut in every shape, slow, lossy, and bytes that change on the way.

Links are directed pairs of ports of the switch; port 0 is the clients. What is seen are the
switch's own counts of frames that it dropped, delayed, repeated or changed on them.
"""

from .nemesis import LEADER, MAJORITY, MINORITY, ONE, RECOVERING, Nemesis
from .network import CLIENTS


def between(some, others):
    return [(a, b) for a in some for b in others if a != b]


def both_ways(some, others):
    return between(some, others) + between(others, some)


class Links(Nemesis):
    """What the faults of links share: they hold for a while, and frames were hit meanwhile."""

    claims = False
    aims = (LEADER, ONE, RECOVERING, MINORITY, MAJORITY)
    evidence = ()  # which counts of the switch

    def numbers(self):
        return [node.number for node in self.cluster.nodes]

    def strike_links(self, aim, target, links, **facts):
        network = self.run_.network
        kinds = dict.fromkeys(links)
        before = network.counts(kinds)
        led = self.led(target)
        fault = self.log.begin(self.kind, target, self.seed, aim=aim, links=len(links), **facts)
        network.put(fault, links)
        self.hold()
        after = network.counts(kinds)
        seen = {name: after[name] - before[name] for name in self.evidence}
        if any(seen.values()):
            now = self.run_.view.epochs(led)
            changed = sum(now[place] > epoch for place, epoch in led.items())
            self.log.saw(fault, epochs_changed=changed, **seen)
        network.remove(fault)
        self.log.end(fault)


class Partition(Links):
    """Links cut: halves, one way, a node from all or from clients, a bridge, a ring. Seen: frames
    dropped."""

    kind = "partition"
    evidence = ("dropped",)

    def shapes(self, target):
        """{name: links} of the shapes that this target can be part of."""
        everybody = self.numbers()
        rest = [number for number in everybody if number not in target]
        ring = self.random.sample(everybody, len(everybody))
        one = target[0]
        others = [number for number in everybody if number != one]
        half = self.random.sample(others, len(others) // 2)
        other_half = [number for number in others if number not in half]
        shapes = {
            "halves": both_ways(target, rest),  # the target on one side
            "one-way-in": between(rest, target),  # it speaks and hears nothing
            "one-way-out": between(target, rest),  # it hears and is not heard
            "isolated": both_ways(target, rest + [CLIENTS]),  # from its clients as well
            "clients": both_ways(target, [CLIENTS]),  # from its clients alone
            "clients-one-way": between(target, [CLIENTS]),  # requests arrive, answers do not
            "bridge": both_ways(half, other_half),  # one node sees both halves
            "pair": both_ways([one], [self.random.choice(others)]),
        }
        if len(everybody) >= 5:  # each node sees its two neighbours only
            near = {(ring[i - 1], ring[i]) for i in range(len(ring))}
            near |= {(b, a) for a, b in near}
            shapes["ring"] = [link for link in between(everybody, everybody) if link not in near]
        return {name: links for name, links in shapes.items() if links}

    def strike(self, aim, target):
        shapes = self.shapes(target)
        name = self.random.choice(sorted(shapes))
        links = {link: {"cut": 1} for link in shapes[name]}
        self.strike_links(aim, target, links, shape=name)


class SlowLinks(Links):
    """Delay and jitter to and from some nodes, sometimes one way. Seen: frames delayed."""

    kind = "slow-links"
    evidence = ("delayed",)

    def strike(self, aim, target):
        delay_us = self.random.choice([2_000, 20_000, 100_000, 400_000])
        what = {"delay_us": delay_us, "jitter_us": self.random.choice([0, delay_us])}
        pairs = both_ways(target, self.numbers() + [CLIENTS])
        if self.random.random() < 0.3:  # one way only
            pairs = between(target, self.numbers() + [CLIENTS])
        self.strike_links(aim, target, dict.fromkeys(pairs, what), **what)


class LossyLinks(Links):
    """Frames lost, repeated, overtaking each other. Seen: such frames."""

    kind = "lossy-links"
    evidence = ("dropped", "duplicated", "reordered")

    def strike(self, aim, target):
        what = {
            "loss_ppm": self.random.choice([10_000, 50_000, 200_000]),
            "dup_ppm": self.random.choice([0, 50_000, 300_000]),
            "reorder_ppm": self.random.choice([0, 100_000, 300_000]),
            "delay_us": 1_000,
        }
        pairs = both_ways(target, self.numbers() + [CLIENTS])
        self.strike_links(aim, target, dict.fromkeys(pairs, what), **what)


class CorruptLinks(Links):
    """Bits that flip in what nodes send each other, past the checksum of TCP. Clients' links carry
    no checksum of their own but that of batches, so they are left alone."""

    kind = "corrupt-links"
    evidence = ("corrupted",)

    def strike(self, aim, target):
        what = {"corrupt_ppm": self.random.choice([1_000, 10_000, 100_000])}
        pairs = both_ways(target, self.numbers())
        self.strike_links(aim, target, dict.fromkeys(pairs, what), **what)


class CutConnections(Links):
    """Connections that end in the middle of a message: its first bytes arrive, then a reset."""

    kind = "cut-connections"
    evidence = ("reset",)

    def strike(self, aim, target):
        what = {"reset_ppm": self.random.choice([1_000, 10_000, 100_000])}
        pairs = both_ways(target, self.numbers() + [CLIENTS])
        self.strike_links(aim, target, dict.fromkeys(pairs, what), **what)


class LateReplies(Links):
    """Requests arrive at once and are acknowledged by the kernel, what the node answers comes late:
    clients give up and ask again while the first request is being done."""

    kind = "late-replies"
    evidence = ("delayed",)

    def strike(self, aim, target):
        what = {"data_delay_us": self.random.choice([50_000, 500_000, 2_000_000])}
        others = self.random.choice([[CLIENTS], self.numbers()])
        self.strike_links(aim, target, dict.fromkeys(between(target, others), what), **what)


STREAMS = [Partition, SlowLinks, LossyLinks, CorruptLinks, CutConnections, LateReplies]
