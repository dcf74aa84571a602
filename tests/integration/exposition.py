"""Prometheus' text format, read strictly; and a node's pages by HTTP.

    metrics = exposition.scrape(node)
    metrics["spate_nodes"].value()
    metrics["spate_topic_replicas"].value(topic="t")
"""

import http.client
import math
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)\Z')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|\Z)')
SUFFIXES = ("_bucket", "_sum", "_count")
TYPES = ("counter", "gauge", "histogram")


class Family:
    def __init__(self, name, text):
        self.name = name
        self.help = text
        self.type = None
        self.samples = {}  # (name, labels as sorted pairs) -> value

    def value(self, suffix="", **labels):
        return self.samples[(self.name + suffix, tuple(sorted(labels.items())))]

    def get(self, suffix="", **labels):
        return self.samples.get((self.name + suffix, tuple(sorted(labels.items()))), 0)

    def sum(self, suffix="", **labels):
        """Of all samples that have these labels, whatever others."""
        wanted = set(labels.items())
        return sum(value for (name, pairs), value in self.samples.items()
                   if name == self.name + suffix and wanted <= set(pairs))

    def label_names(self):
        return {key for _, pairs in self.samples for key, _ in pairs} - {"le"}


def unescape(text):
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), text)


def parse_labels(text, line):
    labels = {}
    at = 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"labels: {line!r}"
        assert match[1] not in labels, f"label twice: {line!r}"
        labels[match[1]] = unescape(match[2])
        at = match.end()
        assert match[3] == "" or at < len(text), f"a comma at the end: {line!r}"
    return labels


def family_name(name, families):
    """The family that a sample belongs to."""
    for family in families.values():
        if name == family.name and family.type != "histogram":
            return family.name
        if family.type == "histogram" and name in [family.name + end for end in SUFFIXES]:
            return family.name
    raise AssertionError(f"{name} belongs to no family")


def check_histogram(family):
    """Buckets are cumulative, end with +Inf, and agree with the count."""
    series = {}
    for (name, pairs), value in family.samples.items():
        if name.endswith("_bucket"):
            labels = dict(pairs)
            bound = float(labels.pop("le").replace("+Inf", "inf"))
            series.setdefault(tuple(sorted(labels.items())), []).append((bound, value))
    for labels, buckets in series.items():
        bounds = [bound for bound, _ in buckets]
        counts = [count for _, count in buckets]
        assert bounds == sorted(set(bounds)), f"{family.name}{labels}: bounds {bounds}"
        assert counts == sorted(counts), f"{family.name}{labels}: not cumulative {counts}"
        assert math.isinf(bounds[-1]), f"{family.name}{labels}: no +Inf"
        assert counts[-1] == family.value("_count", **dict(labels)), f"{family.name}{labels}: count"
        total = family.value("_sum", **dict(labels))
        assert (total == 0) <= (counts[0] == counts[-1]), f"{family.name}{labels}: sum {total}"


def parse(text):
    """{family name: Family}; AssertionError on whatever the format does not allow."""
    families = {}
    current = None
    assert text.endswith("\n"), "the last line has no end"
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            assert NAME.match(name), line
            assert name not in families, f"HELP twice: {name}"
            assert words.strip() == words and words, f"help: {line!r}"
            current = families[name] = Family(name, words)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert current is not None and name == current.name, f"TYPE without its HELP: {line!r}"
            assert current.type is None, f"TYPE twice: {name}"
            assert kind in TYPES, line
            assert not current.samples, f"TYPE behind samples: {name}"
            current.type = kind
        else:
            match = SAMPLE.match(line)
            assert match, f"no sample: {line!r}"
            name, labels, value = match[1], parse_labels(match[2] or "", line), float(match[3])
            assert current is not None and family_name(name, {current.name: current}), line
            key = (name, tuple(sorted(labels.items())))
            assert key not in current.samples, f"sample twice: {line!r}"
            assert value >= 0 and not math.isnan(value), line
            current.samples[key] = value
    for family in families.values():
        assert family.type is not None, f"no TYPE: {family.name}"
        is_total = family.name.endswith("_total")
        assert is_total == (family.type == "counter"), f"{family.name} is a {family.type}"
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
            check_histogram(family)
    return families


def get(node, path, method="GET", timeout=10):
    """(status, headers, text) of a page of a node."""
    connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def scrape(node, path="/metrics"):
    status, headers, text = get(node, path)
    assert status == 200, (status, text)
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", headers
    return parse(text)
