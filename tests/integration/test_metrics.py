#!/usr/bin/env python3
"""The HTTP endpoint of real nodes: its format, its numbers, its documentation, and hard use."""

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
import unittest

import cluster
import exposition
import rpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLUSTER_VIEW = ("spate_nodes", "spate_topics", "spate_partitions", "spate_partitions_leaderless",
                "spate_partitions_under_replicated")
SECONDS = 10
AGAIN = 20  # times that a topic is deleted and made again


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as handle:
        return handle.read()


def documented():
    """{metric: (type, labels)} of the tables of docs/metrics.md."""
    found = {}
    for line in read("docs", "metrics.md").splitlines():
        match = re.match(r"\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*)\|", line)
        if match:
            assert match[1] not in found, f"twice in docs/metrics.md: {match[1]}"
            labels = re.sub(r":[^:]*", "", match[3])  # values follow a colon
            found[match[1]] = (match[2], set(re.findall(r"`(\w+)`", labels)))
    return found


def names_in(text):
    """Names of metrics in queries, without the endings of histograms and counts."""
    words = set(re.findall(r"\b((?:spate|process)_[a-z_]+)", text))
    return {re.sub(r"_(bucket|sum|count)$", "", word) for word in words}


class MetricsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(3, ["groups.stalled.after.ms=500"])
        cls.nodes.__enter__()
        cls.addClassCleanup(cls.nodes.__exit__, None, None, None)

    def scrape_all(self, path="/metrics"):
        return [exposition.scrape(node, path) for node in self.nodes.nodes]

    def total(self, name, suffix="", **labels):
        return sum(metrics[name].sum(suffix, **labels) for metrics in self.scrape_all()
                   if name in metrics)

    def wait_total(self, wanted, name, suffix="", **labels):
        """Pages may be half a second old."""
        seen = []

        def reached():
            seen.append(self.total(name, suffix, **labels))
            return seen[-1] == wanted

        try:
            cluster.wait_for(f"{name} of {wanted}", reached, SECONDS, 0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen[-1]}") from None

    def topic(self, name, **fields):
        with rpc.Client(self.nodes.nodes[0].address) as client:
            client.call("topic.create", name=name, **fields)
        self.nodes.wait_healthy()

    def produce(self, topic, count):
        """Records with keys, so that all partitions get some."""
        lines = b"".join(b"%d\t%d\n" % (i, i) for i in range(count))
        self.nodes.spate("produce", topic, "-K", "\\t", input=lines)

    # ---- what the numbers are -------------------------------------------------------------------

    def test_metrics_count_each_record_once(self):
        self.topic("counted", partitions=3)
        before = self.total("spate_produced_records_total")
        self.produce("counted", 10000)
        self.wait_total(10000, "spate_topic_produced_records_total", topic="counted")
        self.assertEqual(self.total("spate_produced_records_total"), before + 10000)
        self.nodes.spate("consume", "counted", "-o", "start", "-e")
        self.wait_total(10000, "spate_topic_fetched_records_total", topic="counted")
        produced = self.total("spate_topic_produced_bytes_total", topic="counted")
        self.assertGreater(produced, 0)
        self.wait_total(produced, "spate_topic_fetched_bytes_total", topic="counted")
        # three replicas of each partition, one of which leads; all bytes on each node's disk
        self.assertEqual(self.total("spate_topic_replicas", topic="counted"), 9)
        self.assertEqual(self.total("spate_topic_leaders", topic="counted"), 3)
        for metrics in self.scrape_all():
            self.assertGreaterEqual(metrics["spate_topic_log_bytes"].value(topic="counted"),
                                    produced)
            self.assertGreaterEqual(metrics["spate_storage_log_bytes"].value(), produced)
            self.assertEqual(metrics["spate_topic_segments"].value(topic="counted"), 3)
        # what leaders sent is what followers got, but for what is on its way
        self.assertGreaterEqual(self.total("spate_replication_sent_bytes_total"), 2 * produced)

    def test_metrics_time_requests_fsyncs_and_commits(self):
        self.topic("timed", partitions=1)
        node = self.nodes.leader("timed")
        before = exposition.scrape(node)
        time.sleep(0.6)  # a page is given again for half a second
        started = time.monotonic()
        with rpc.Client(node.address) as client:
            for i in range(50):
                client.call("produce", topic="timed", partition=0, records=[{"v": b"x"}])
            wall = time.monotonic() - started
            client.call("fetch", topic="timed", partition=0, offset=50, max_wait_ms=700,
                        format="records")
        time.sleep(0.6)
        after = exposition.scrape(node)

        def grown(name, suffix="_count", **labels):
            return after[name].get(suffix, **labels) - before[name].get(suffix, **labels)

        self.assertEqual(grown("spate_request_duration_seconds", method="produce"), 50)
        spent = grown("spate_request_duration_seconds", "_sum", method="produce")
        self.assertGreater(spent, 0)
        self.assertLess(spent, wall)
        self.assertEqual(grown("spate_request_duration_seconds", method="fetch"), 1)
        self.assertLess(grown("spate_request_duration_seconds", "_sum", method="fetch"), 0.5,
                        "the wait for records does not count")
        self.assertGreaterEqual(grown("spate_raft_commit_duration_seconds"), 50)
        self.assertLess(grown("spate_raft_commit_duration_seconds", "_sum"), wall * 2)
        self.assertGreaterEqual(grown("spate_storage_fsync_duration_seconds", log="records"), 1)
        self.assertGreater(grown("spate_loop_delay_seconds"), 5)

    def test_metrics_count_errors_by_their_code(self):
        node = self.nodes.nodes[0]
        with rpc.Client(node.address) as client:
            before = exposition.scrape(node)["spate_request_errors_total"]
            time.sleep(0.6)
            for method, fields in (("produce", {"topic": "none", "partition": 0, "records": b""}),
                                   ("nonsense", {})):
                with self.assertRaises(rpc.Refused):
                    client.call(method, **fields)
            after = exposition.scrape(node)["spate_request_errors_total"]
        unknown = [page.value(code="UNKNOWN_METHOD") for page in (before, after)]
        self.assertEqual(unknown[1] - unknown[0], 1)
        self.assertEqual(sum(after.samples.values()) - sum(before.samples.values()), 2)

    def test_metrics_of_consumer_groups(self):
        self.topic("lagging", partitions=2)
        self.produce("lagging", 1000)
        self.nodes.spate("consume", "lagging", "-g", 'a "group"', "-e")
        self.wait_total(0, "spate_consumer_group_lag_records", group='a "group"', topic="lagging")
        self.produce("lagging", 500)
        self.wait_total(500, "spate_consumer_group_lag_records", group='a "group"', topic="lagging")
        self.assertEqual(self.total("spate_consumer_group_lag_unknown_partitions"), 0)
        self.assertGreaterEqual(self.total("spate_consumer_groups"), 1)
        member = self.nodes.popen("consume", "lagging", "-g", "slow", "--no-commit",
                                  stdout=-3, stderr=-3)
        try:
            self.wait_total(1, "spate_consumer_group_members", group="slow")
            self.wait_total(2, "spate_consumer_group_stalled_partitions", group="slow")
        finally:
            member.kill()
            member.wait()

    def test_metrics_of_partitions_only_when_asked_for(self):
        self.topic("single", partitions=4)
        node = self.nodes.nodes[0]
        self.assertNotIn("spate_partition_leader", exposition.scrape(node))
        self.produce("single", 1000)
        time.sleep(0.6)
        pages = self.scrape_all("/metrics?partitions=1")
        for partition in range(4):
            labels = {"topic": "single", "partition": str(partition)}
            leaders = [page["spate_partition_leader"].value(**labels) for page in pages]
            self.assertEqual(sorted(leaders), [0, 0, 1])
            self.assertEqual(pages[0]["spate_partition_log_start_offset"].value(**labels), 0)
        ends = sum(pages[leader]["spate_partition_high_watermark"].value(
            topic="single", partition=str(partition))
            for partition in range(4) for leader in range(3)
            if pages[leader]["spate_partition_leader"].value(
                topic="single", partition=str(partition)) == 1)
        self.assertEqual(ends, 1000)

    def test_metrics_counters_never_fall_under_load(self):
        self.topic("loaded", partitions=6)
        load = self.nodes.popen("produce", "loaded", "--rate", "20000", stdin=-1, stderr=-3,
                                bufsize=0)
        feeding = threading.Thread(target=lambda: feed(load), daemon=True)
        feeding.start()
        try:
            last = self.scrape_all()
            for _ in range(6):
                time.sleep(0.5)
                now = self.scrape_all()
                for before, after in zip(last, now):
                    self.assert_not_fallen(before, after)
                last = now
        finally:
            load.kill()
            load.wait()
            feeding.join(SECONDS)
            load.stdin.close()
        self.assertGreater(self.total("spate_topic_produced_records_total", topic="loaded"), 10000)

    def assert_not_fallen(self, before, after):
        for name, family in before.items():
            if family.type == "gauge":
                continue
            for key, value in family.samples.items():
                self.assertGreaterEqual(after[name].samples[key], value, key)

    def test_metrics_of_a_topic_made_again_are_of_one_topic(self):
        """While the replicas of the deleted topic still close, those of the new one are open."""
        over = threading.Event()
        found = []

        def look(node):
            while not over.is_set():
                try:
                    exposition.scrape(node, "/metrics?partitions=1")
                except AssertionError as twice:
                    found.append(str(twice))
                    over.set()

        looking = [threading.Thread(target=look, args=(node,)) for node in self.nodes.nodes]
        self.topic("again", partitions=16)
        for thread in looking:
            thread.start()
        try:
            with rpc.Client(self.nodes.nodes[0].address) as client:
                for _ in range(AGAIN):
                    client.call("topic.delete", name="again")
                    client.call("topic.create", name="again", partitions=16, replicas=3)
        finally:
            over.set()
            for thread in looking:
                thread.join(SECONDS)
        self.assertEqual(found, [])
        self.nodes.wait_healthy()
        self.produce("again", 100)
        self.wait_total(100, "spate_topic_produced_records_total", topic="again")

    def test_metrics_agree_on_the_cluster(self):
        self.topic("agreed", partitions=5)

        def agree():
            pages = self.scrape_all()
            return all(len({page[name].value() for page in pages}) == 1 for name in CLUSTER_VIEW)

        cluster.wait_for("nodes that agree", agree, SECONDS, 0.1)
        pages = self.scrape_all()
        self.assertEqual(pages[0]["spate_nodes"].value(), 3)
        self.assertEqual(sum(page["spate_partitions_led"].value() for page in pages),
                         pages[0]["spate_partitions"].value())
        self.assertEqual(pages[1]["spate_peer_up"].samples,
                         {("spate_peer_up", (("peer", "1"),)): 1,
                          ("spate_peer_up", (("peer", "3"),)): 1})

    def test_metrics_of_the_process_are_those_of_the_system(self):
        node = self.nodes.nodes[0]
        metrics = exposition.scrape(node)
        space = os.statvfs(node.data)
        self.assertAlmostEqual(metrics["process_resident_memory_bytes"].value() / 1024,
                               node.rss_kib(), delta=4096)
        self.assertAlmostEqual(metrics["process_open_fds"].value(),
                               len(os.listdir(f"/proc/{node.process.pid}/fd")), delta=8)
        self.assertAlmostEqual(metrics["spate_storage_disk_free_bytes"].value(),
                               space.f_bavail * space.f_frsize, delta=2 << 30)
        self.assertGreater(metrics["spate_storage_disk_size_bytes"].value(),
                           metrics["spate_storage_disk_free_bytes"].value())
        self.assertAlmostEqual(metrics["process_start_time_seconds"].value(), time.time(),
                               delta=600)
        self.assertGreater(metrics["process_cpu_seconds_total"].value(), 0)

    # ---- what is written about them -------------------------------------------------------------

    def all_families(self):
        """Those of all nodes after some use, so that none is without a series."""
        self.topic("described", partitions=1)
        self.produce("described", 10)
        self.nodes.spate("consume", "described", "-g", "describers", "-e")
        families = {}
        for page in self.scrape_all("/metrics?partitions=1"):
            for name, family in page.items():
                if name not in families or family.samples:
                    families[name] = family
        return families

    def test_metrics_are_documented_as_they_are(self):
        table = documented()
        families = self.all_families()
        self.assertEqual(sorted(table), sorted(families))
        for name, (kind, labels) in table.items():
            self.assertEqual(families[name].type, kind, name)
            self.assertTrue(families[name].samples, f"{name} has no series")
            self.assertEqual(families[name].label_names(), labels, name)

    def test_metrics_in_alerts_exist(self):
        used = names_in(read("deploy", "prometheus", "alerts.yml"))
        self.assertGreater(len(used), 10)
        self.assertEqual(used - set(documented()), set())

    def test_metrics_in_the_dashboard_exist(self):
        board = json.loads(read("deploy", "grafana", "dashboard.json"))
        self.assertEqual({"title", "uid", "panels", "templating", "schemaVersion"} - set(board),
                         set())
        places, ids, used = [], [], set()
        for panel in board["panels"]:
            ids.append(panel["id"])
            place = panel["gridPos"]
            self.assertTrue(0 <= place["x"] and place["x"] + place["w"] <= 24, panel["title"])
            places += [(x, y) for x in range(place["x"], place["x"] + place["w"])
                       for y in range(place["y"], place["y"] + place["h"])]
            if panel["type"] == "row":
                continue
            self.assertIn(panel["type"], ("stat", "timeseries"), panel["title"])
            self.assertEqual(panel["datasource"]["type"], "prometheus", panel["title"])
            self.assertIn("unit", panel["fieldConfig"]["defaults"], panel["title"])
            self.assertTrue(panel["targets"], panel["title"])
            self.assertEqual(len({target["refId"] for target in panel["targets"]}),
                             len(panel["targets"]), panel["title"])
            for target in panel["targets"]:
                used |= names_in(target["expr"]) or {target["expr"].split("{")[0]}
        self.assertEqual(len(set(ids)), len(ids), "ids are unique")
        self.assertEqual(len(set(places)), len(places), "panels do not overlap")
        self.assertGreater(len(used), 25)
        self.assertEqual(used - set(documented()) - {"sum(up"}, set())
        variables = [variable["name"] for variable in board["templating"]["list"]]
        self.assertEqual(variables, ["datasource", "job", "instance"])

    # ---- the other pages ------------------------------------------------------------------------

    def test_http_pages_of_a_node_that_is_well(self):
        for node in self.nodes.nodes:
            self.assertEqual(exposition.get(node, "/healthz")[::2], (200, "alive\n"))
            cluster.wait_for("ready", lambda: exposition.get(node, "/readyz")[::2]
                             == (200, "ready\n"), SECONDS, 0.1)
            status, headers, text = exposition.get(node, "/status")
            self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
            told = json.loads(text)
            with rpc.Client(node.address) as client:
                health = client.call("cluster.health")
                cluster_id = client.call("cluster.info")["cluster_id"]
            self.assertEqual(told["health"].keys(), health.keys())
            self.assertEqual((told["node_id"], told["cluster_id"], told["ready"]),
                             (node.number, cluster_id, True))

    def test_http_refuses_what_it_does_not_serve(self):
        node = self.nodes.nodes[0]
        self.assertEqual(exposition.get(node, "/")[0], 404)
        self.assertIn("/metrics", exposition.get(node, "/etc/passwd")[2])
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, headers, _ = exposition.get(node, "/metrics", method)
            self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"), method)
        status, headers, text = exposition.get(node, "/metrics", "HEAD")
        self.assertEqual((status, text), (200, ""))
        self.assertGreater(int(headers["Content-Length"]), 1000)


class HealthTest(unittest.TestCase):
    """One node of three, and what becomes of it."""

    def setUp(self):
        self.nodes = cluster.Cluster(3)
        self.addCleanup(self.nodes.close)
        self.node = self.nodes.nodes[0]

    def pages(self):
        health, ready = (exposition.get(self.node, path) for path in ("/healthz", "/readyz"))
        return health[0], ready[0], ready[2]

    def wait_pages(self, *wanted):
        cluster.wait_for(f"pages {wanted}", lambda: answers(self.pages) == wanted, SECONDS * 2, 0.1)

    def test_http_a_node_without_the_others_is_alive_and_not_ready(self):
        self.node.start()
        self.wait_pages(200, 503, "this node has not caught up with a controller since its start\n")
        self.assertEqual(exposition.scrape(self.node)["spate_ready"].value(), 0)
        told = json.loads(exposition.get(self.node, "/status")[2])
        self.assertEqual((told["ready"], told["cluster_id"], told["controller"]), (False, None, -1))
        for node in self.nodes.nodes[1:]:
            node.start()
        self.nodes.wait_healthy()
        self.wait_pages(200, 200, "ready\n")
        for node in self.nodes.nodes[1:]:
            node.kill()
        cluster.wait_for("a node without a controller", lambda: (answers(self.pages) or ("",) * 3)[
            2].startswith("no controller is known\n"), SECONDS * 2, 0.1)
        self.assertEqual(self.pages()[:2], (200, 503))

    def test_http_address_that_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.node.http_port))
            taken.listen()
            self.node.start()
            self.assertEqual(self.node.wait(), 1)
            self.assertIn(f"EXISTS: listen.http 127.0.0.1:{self.node.http_port}", self.node.trace())
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.node.client_port + 80))
            taken.listen()
            self.node.settings = ["listen.http="]
            self.node.start()
            cluster.wait_for("a warning", lambda: "no metrics: the default address"
                             in self.node.trace(), SECONDS)
            self.assertTrue(self.node.alive)

    def test_http_can_be_switched_off(self):
        self.node.settings = ["listen.http=none"]
        self.node.start()
        cluster.wait_for("a start", lambda: "started" in self.node.trace(), SECONDS)
        self.assertNotIn("http", self.node.trace())
        with self.assertRaises(ConnectionRefusedError):
            exposition.get(self.node, "/healthz")

    def test_http_says_that_it_stops(self):
        for node in self.nodes.nodes:
            node.start()
        self.nodes.wait_healthy()
        leaders = {node: exposition.scrape(node)["spate_raft_leaders"].value()
                   for node in self.nodes.nodes}
        stopping = max(leaders, key=leaders.get)
        others = [node for node in self.nodes.nodes if node is not stopping]
        for node in others:
            node.process.send_signal(signal.SIGSTOP)  # nobody takes over: it waits for them
        exposition.get(stopping, "/readyz")  # an answer that is young enough to be given again
        self.addCleanup(lambda: [node.process.send_signal(signal.SIGCONT) for node in others])
        stopping.process.terminate()
        seen = set()
        while stopping.alive:
            try:
                seen.add(exposition.get(stopping, "/readyz")[2])
            except (OSError, http.client.HTTPException):
                break
            time.sleep(0.05)
        self.assertEqual(stopping.wait(), 0)
        self.assertIn("this node is stopping\n", seen)


def answers(pages):
    try:
        return pages()
    except (OSError, http.client.HTTPException):
        return None


def feed(process):
    try:
        while True:
            process.stdin.write(100 * (b"x" * 99 + b"\n"))
    except (BrokenPipeError, ValueError):
        pass


if __name__ == "__main__":
    cluster.main()
