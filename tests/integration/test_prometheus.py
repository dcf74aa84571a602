#!/usr/bin/env python3
"""A real Prometheus watches three nodes with all alert rules loaded: one fires when a node dies,
and clears when it is back.

The rules are those of deploy/prometheus/alerts.yml but for their times: who waits two minutes
before it says something waits two seconds here.
"""

import json
import os
import re
import shutil
import subprocess
import unittest
import urllib.parse
import urllib.request

import cluster
import rpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = os.path.join(ROOT, "deploy", "prometheus", "alerts.yml")
WAIT_SECONDS = 2  # of every rule, in place of its own
SECONDS = 40


class Prometheus:
    def __init__(self, directory, nodes):
        self.directory = directory
        self.port = cluster.free_port()
        self.write("alerts.yml", hasten(open(RULES, encoding="utf-8").read()))
        targets = ", ".join(f'"127.0.0.1:{node.http_port}"' for node in nodes)
        self.write("prometheus.yml", f"""
global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: spate
    static_configs:
      - targets: [{targets}]
""")
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
        with open(os.path.join(self.directory, "prometheus.log"), encoding="utf-8") as handle:
            return handle.read()

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


class PrometheusTest(unittest.TestCase):
    def setUp(self):
        if shutil.which("prometheus") is None:
            cluster.missing("prometheus")
        self.nodes = cluster.Cluster(3)
        self.nodes.__enter__()
        self.addCleanup(self.nodes.__exit__, None, None, None)
        self.prometheus = Prometheus(self.nodes.directory, self.nodes.nodes)
        self.addCleanup(self.prometheus.close)
        cluster.wait_for("Prometheus to be ready", self.prometheus.ready, SECONDS, 0.2)

    def wait_alert(self, name, firing):
        cluster.wait_for(f"{name} {'firing' if firing else 'cleared'}",
                         lambda: (name in self.prometheus.alerts("firing")) == firing, SECONDS, 0.2)

    def test_prometheus_alert_fires_when_a_node_dies_and_clears_when_it_is_back(self):
        with rpc.Client(self.nodes.nodes[0].address) as client:
            client.call("topic.create", name="watched", partitions=6, replicas=3)
        self.nodes.wait_healthy()
        self.nodes.spate("produce", "watched", input=b"".join(b"%d\n" % i for i in range(1000)))

        cluster.wait_for("three targets that answer",
                         lambda: self.prometheus.query('sum(up{job="spate"})') == {"{}": 3.0},
                         SECONDS, 0.2)
        loaded = [rule for group in self.prometheus.ask("/api/v1/rules")["groups"]
                  for rule in group["rules"]]
        self.assertEqual(len(loaded), open(RULES, encoding="utf-8").read().count("- alert:"))
        cluster.wait_for("every rule evaluated well", lambda: all(
            rule["health"] == "ok" for group in self.prometheus.ask("/api/v1/rules")["groups"]
            for rule in group["rules"]), SECONDS, 0.2)
        cluster.wait_for(
            "all records counted", lambda: self.prometheus.query(
                'sum(spate_topic_produced_records_total{topic="watched"})') == {"{}": 1000.0},
            SECONDS, 0.2)
        cluster.wait_for("no alert while all is well",
                         lambda: self.prometheus.alerts("firing") <= {"SpateDiskNearlyFull",
                                                                      "SpateDiskFull",
                                                                      "SpateDiskFullSoon"},
                         SECONDS, 0.2)

        victim = self.nodes.node(3)
        victim.kill()
        self.wait_alert("SpatePartitionsUnderReplicated", True)
        self.wait_alert("SpateNodeDown", True)
        self.wait_alert("SpateNodeUnreachable", True)
        down = self.prometheus.query('ALERTS{alertname="SpateNodeDown",alertstate="firing"}')
        self.assertEqual(len(down), 1)
        self.assertIn(f"127.0.0.1:{victim.http_port}", next(iter(down)))

        victim.start()
        self.nodes.wait_healthy()
        for name in ("SpatePartitionsUnderReplicated", "SpateNodeDown", "SpateNodeUnreachable"):
            self.wait_alert(name, False)
        self.assertNotIn("err=", self.prometheus.words(), "Prometheus has nothing to complain of")


if __name__ == "__main__":
    cluster.main()
