#!/usr/bin/env python3
"""A real Prometheus watches the cluster that deploy/quickstart has started, with all alert rules
loaded: they fire when a node is killed, and clear when it is back.

Its configuration and rules are those of deploy/prometheus but for ports and times: who waits two
minutes before it says something waits two seconds here.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

import cluster
import quickstart

FOLDER = os.path.join(quickstart.ROOT, "deploy", "prometheus")
RULES = os.path.join(FOLDER, "alerts.yml")
WAIT_SECONDS = 2  # of every rule, in place of its own
SECONDS = 40
LINES = 600  # as many records stream through the quickstart
DISK = {"SpateDiskNearlyFull", "SpateDiskFull", "SpateDiskFullSoon"}  # this machine's own


def read(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


class Prometheus:
    def __init__(self, directory, nodes):
        """`nodes`: the quickstart whose nodes it watches."""
        self.directory = directory
        self.port = cluster.free_port()
        self.write("alerts.yml", hasten(read(RULES)))
        self.write("prometheus.yml", aim(read(os.path.join(FOLDER, "prometheus.yml")), nodes))
        self.log = open(os.path.join(directory, "prometheus.log"), "wb")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={directory}/prometheus.yml",
             f"--storage.tsdb.path={directory}/tsdb",
             f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            preexec_fn=cluster.die_with_parent)

    def write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as handle:
            handle.write(text)

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def words(self):
        return read(os.path.join(self.directory, "prometheus.log"))

    def ask(self, path, **fields):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(fields)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]

    def ready(self):
        try:
            return urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def query(self, expression):
        """{labels as text: value}"""
        return {json.dumps(sample["metric"], sort_keys=True): float(sample["value"][1])
                for sample in self.ask("/api/v1/query", query=expression)["result"]}

    def alerts(self, state):
        return {alert["labels"]["alertname"] for alert in self.ask("/api/v1/alerts")["alerts"]
                if alert["state"] == state}


def hasten(rules):
    hastened, count = re.subn(r"(?m)^( +for:) \w+$", rf"\1 {WAIT_SECONDS}s", rules)
    assert count == len(re.findall(r"(?m)^ +- alert:", rules)), "each alert has its `for`"
    return hastened


def aim(configuration, nodes):
    """The configuration with the ports of these nodes, asked every second."""
    for node in quickstart.NODES:
        target = f"127.0.0.1:{7780 + 100 * (node - 1)}"
        assert configuration.count(target) == 1, f"{target} is not a target"
        configuration = configuration.replace(target, f"127.0.0.1:{nodes.http_port(node)}")
    configuration, count = re.subn(r"(?m)^(  \w+_interval:) 15s$", r"\1 1s", configuration)
    assert count == 2, "scrapes and evaluates every 15 s"
    return configuration


class PrometheusTest(unittest.TestCase):
    def setUp(self):
        if shutil.which("prometheus") is None:
            cluster.missing("prometheus")
        directory = tempfile.mkdtemp(prefix="spate-test-")
        self.nodes = quickstart.Quickstart(directory)
        self.addCleanup(self.nodes.close)
        os.mkdir(f"{directory}/prometheus")
        self.prometheus = Prometheus(f"{directory}/prometheus", self.nodes)
        self.addCleanup(self.prometheus.close)
        cluster.wait_for("Prometheus to be ready", self.prometheus.ready, SECONDS, 0.2)
        with open(f"{directory}/input", "w", encoding="utf-8") as handle:
            handle.write("".join(f"line {number}\n" for number in range(LINES)))
        self.words = self.nodes.run(f"{directory}/input")

    def wait_alert(self, name, firing):
        cluster.wait_for(f"{name} {'firing' if firing else 'cleared'}",
                         lambda: (name in self.prometheus.alerts("firing")) == firing, SECONDS, 0.2)

    def wait_value(self, expression, value):
        cluster.wait_for(f"{expression} == {value}",
                         lambda: self.prometheus.query(expression) == {"{}": float(value)},
                         SECONDS, 0.2)

    def check_rules(self):
        loaded = [rule for group in self.prometheus.ask("/api/v1/rules")["groups"]
                  for rule in group["rules"]]
        self.assertEqual(len(loaded), read(RULES).count("- alert:"))
        cluster.wait_for("every rule evaluated well", lambda: all(
            rule["health"] == "ok" for group in self.prometheus.ask("/api/v1/rules")["groups"]
            for rule in group["rules"]), SECONDS, 0.2)

    def test_prometheus_alert_fires_when_a_node_dies_and_clears_when_it_is_back(self):
        self.assertIn("every byte", self.words)
        kill = self.nodes.told(self.words, "kill -9 ")
        again = self.nodes.told(self.words, "deploy/quickstart start")
        spate = self.nodes.told(self.words, "export ") + " && spate"
        self.nodes.shell(
            f"{spate} topic create watched -p 6 -r 3 && seq 1000 | spate produce watched")

        self.wait_value('sum(up{job="spate"})', 3)
        self.check_rules()
        self.wait_value('sum(spate_topic_produced_records_total{topic="watched"})', 1000)
        cluster.wait_for("no alert while all is well",
                         lambda: self.prometheus.alerts("firing") <= DISK, SECONDS, 0.2)

        killed = time.monotonic()
        self.nodes.shell(kill)
        self.wait_alert("SpatePartitionsUnderReplicated", True)
        fired = time.monotonic()
        self.wait_alert("SpateNodeDown", True)
        self.wait_alert("SpateNodeUnreachable", True)
        down = self.prometheus.query('ALERTS{alertname="SpateNodeDown",alertstate="firing"}')
        self.assertEqual(len(down), 1)
        self.assertIn(f"127.0.0.1:{self.nodes.http_port(3)}", next(iter(down)))

        self.assertEqual(self.nodes.shell(again), "cluster: started node 3, healthy\n")
        back = time.monotonic()
        for name in ("SpatePartitionsUnderReplicated", "SpateNodeDown", "SpateNodeUnreachable"):
            self.wait_alert(name, False)
        print(f"under-replicated: fires {fired - killed:.1f} s after the kill (rules that wait "
              f"{WAIT_SECONDS} s), clears {time.monotonic() - back:.1f} s after the node is back")
        self.assertNotIn("err=", self.prometheus.words(), "Prometheus has nothing to complain of")


if __name__ == "__main__":
    cluster.main()
