"""What the second checker says of compacted logs: a part of twin.py."""

KEYS_MAX = 1024
BITS = (1 << 64) - 1


def keyed(value, keys):
    """(number of the key, whether it is a tombstone) of a record in a compacted topic."""
    client, (_, partition), sequence = value
    x = ((client << 40 ^ partition << 32 ^ sequence) + 0x9E3779B97F4A7C15) & BITS
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & BITS
    x = (x ^ x >> 27) * 0x94D049BB133111EB & BITS
    x ^= x >> 31
    number = min((x & 0xFFFF) % keys, (x >> 16 & 0xFFFF) % keys)
    return number, (x >> 32 & 0xFF) < 51


class Compacted:
    """Rules of compacted logs; the history, logs and findings are those of Twin."""

    def standing(self, key, offset):
        """What was seen first at an offset, and was sent."""
        value = self.log[key].get(offset, [None])[0]
        return value if value in self.send_of else None

    def is_tombstone(self, value):
        return keyed(value, self.history.keys[value[1]])[1]

    def later(self, value, offset):
        """(what was stored behind `offset` with the same key, what may have been): none of the
        latter was ever seen."""
        keys = self.history.keys[value[1]]
        same = [
            other
            for other in self.send_of
            if other[:2] == value[:2] and keyed(other, keys)[0] == keyed(value, keys)[0]
        ]
        log = self.log[value[1]]
        stored = [self.standing(value[1], at) for at in log if at > offset]
        ghosts = [
            other
            for other in same
            if self.send_of[other].outcome == "info"
            and not self.places[other]
            and other[2] > value[2]
        ]
        return [other for other in same if other in stored], ghosts

    def is_replaced(self, value, offset, time):
        stored, ghosts = self.later(value, offset)
        return any(self.send_of[other].invoked < time for other in stored + ghosts)

    def must_be_given(self, key, offset, time):
        value = self.standing(key, offset)
        if value is None or self.is_tombstone(value):
            return False
        return not self.is_replaced(value, offset, time)

    def may_be_missing(self, value):
        if value[1] not in self.history.keys:
            return False
        stored, ghosts = self.later(value, max(self.places[value]))
        return bool(self.is_tombstone(value) or stored or any(map(self.is_tombstone, ghosts)))

    def check_compact(self):
        """Each pass of a reader: newer and newer records of a key, and the tombstone behind a value
        that was seen."""
        seen, begun, position = {}, {}, {}
        for row in self.history.sequence:
            if isinstance(row, dict):
                reader = (row["client"], row["key"])
                if row["what"] in ("assign", "unassign", "assigned", "revoked", "lost"):
                    seen[reader] = []
                    begun[reader] = row["invoked"] if row["what"] == "assign" else None
                    position[reader] = None
                if row["what"] == "final" and row["key"] in self.history.keys:
                    place = (begun.get(reader), position.get(reader), row["b"])
                    self.check_gap(row["client"], row["key"], row["done"], seen.get(reader), place)
                continue
            reader = (row.client, row.key)
            if row.key not in self.history.keys:
                continue
            records = seen.setdefault(reader, [])
            for offset, value in row.pairs:
                place = (begun.get(reader), position.get(reader), offset)
                self.check_gap(row.client, row.key, row.time, records, place)
                self.check_version(records, value)
                records.append((offset, value))
                position[reader] = offset + 1

    def name(self, value):
        return value[0], keyed(value, self.history.keys[value[1]])[0]

    def check_version(self, records, value):
        if value not in self.send_of or self.send_of[value].outcome != "ok":
            return
        before = [v for _, v in records if self.name(v) == self.name(value)]
        ok = [v for v in before if v in self.send_of and self.send_of[v].outcome == "ok"]
        self.found["stale-value"] += any(v[2] > value[2] for v in ok)

    def check_gap(self, client, key, time, records, place):
        begun, start, end = place
        sure = self.history.delete_ms.get(client, 0) * 750000
        if begun is None or start is None or time - begun >= sure:
            return
        for offset in range(start, end):
            tombstone = self.standing(key, offset)
            if tombstone is None or not self.is_tombstone(tombstone):
                continue
            before = [r for r in records if self.name(r[1]) == self.name(tombstone)]
            if before and before[-1][0] < offset and not self.is_tombstone(before[-1][1]):
                self.found["deleted-back"] += not self.is_replaced(tombstone, offset, time)
