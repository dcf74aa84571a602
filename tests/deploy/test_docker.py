#!/usr/bin/env python3
"""The image and the cluster of deploy/compose.yaml, with a real Docker engine.

Called by tests/deploy/with-docker as `test_docker.py ROOT BUILD BASE`: BASE is an archive of the
base image that deploy/docker/base-image has made; or, with SPATE_IMAGE_ARCHIVE, that file's image
is tested. The engine and the network are this test's own, so the published ports are the file's.
"""

import datetime
import json
import os
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

import compose
from compose import IMAGE, SERVERS, Compose, docker, inspect, run
from compose import await_that as wait_for

ROOT, BUILD, BASE = (os.path.abspath(path) for path in sys.argv[1:4])
SPATE = os.path.join(BUILD, "bin", "spate")
IMAGE_BYTES_MAX = 16 * 1000 * 1000
FIRST_ACK_SECONDS_MAX = 3.0
RECORDS = 100_000
RATE = 5_000  # records per second while the faults last
KEPT = 10_000  # so many of the last records flow slowly until the faults are over


spate = None  # runs the program; set by setUpModule
cluster = None


def started_at(name):
    """When the engine started the container, in seconds."""
    text = inspect(name)["State"]["StartedAt"]
    moment = datetime.datetime.strptime(text[:19] + "+0000", "%Y-%m-%dT%H:%M:%S%z")
    return moment.timestamp() + float("0." + text[20:].rstrip("Z"))


def answers(page):
    try:
        with urllib.request.urlopen(page, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


class Stream:
    """RECORDS lines into a producer: it outlasts the faults, however slow the machine is."""

    def __init__(self):
        self.lines = [f"{number}\tvalue of {number}" for number in range(RECORDS)]
        self.faults_over = threading.Event()
        self.producer = subprocess.Popen(
            [SPATE, "produce", "orders", "-K", "\\t"],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "SPATE_SERVERS": SERVERS},
        )
        self.feeder = threading.Thread(target=self.feed)
        self.feeder.start()

    def feed(self):
        at, pause = 0, 0.1
        while at < RECORDS:
            size = round(RATE * pause)
            if self.faults_over.is_set():
                size, pause = RECORDS, 0
            elif at >= RECORDS - KEPT:
                size = 10
            part = self.lines[at:at + size]
            try:
                self.producer.stdin.write("\n".join(part) + "\n")
                self.producer.stdin.flush()
            except BrokenPipeError:
                return  # it has ended: its exit code tells
            at += len(part)
            self.faults_over.wait(pause)

    def finish(self):
        """The exit code of the producer, and what it said."""
        self.faults_over.set()
        self.feeder.join(120)
        _, words = self.producer.communicate(timeout=120)
        return self.producer.returncode, words

    def close(self):
        self.producer.kill()
        self.finish()


def setUpModule():
    global cluster, spate
    cluster = Compose(ROOT, BUILD)
    spate = cluster.spate
    unittest.addModuleCleanup(cluster.close)
    print(f"image built in {cluster.prepare_image(BASE):.1f} s", file=sys.stderr)


class ImageTest(unittest.TestCase):
    def test_image_is_small_unprivileged_and_labelled(self):
        image = inspect(IMAGE)
        config = image["Config"]
        print(f"image: {image['Size'] / 1e6:.1f} MB", file=sys.stderr)
        self.assertLess(image["Size"], IMAGE_BYTES_MAX)
        self.assertEqual(config["User"], "7700:7700")
        self.assertEqual(config["StopSignal"], "SIGTERM")
        self.assertEqual(config["Entrypoint"], ["spated"])
        self.assertEqual(config["Healthcheck"]["Test"][:3], ["CMD", "spate", "ping"])
        self.assertEqual(list(config["Volumes"]), ["/var/lib/spate"])
        labels = config["Labels"]
        version = spate("--version").stdout.split()[-1]
        self.assertEqual(labels["org.opencontainers.image.title"], "spate")
        self.assertEqual(labels["org.opencontainers.image.version"], version)

    def test_image_holds_the_programs_and_their_libraries_only(self):
        name = docker("create", IMAGE)
        self.addCleanup(docker, "rm", "-v", name)
        listing = run("sh", "-c", f"docker export {name} | tar -t").stdout.split()
        made_by_docker = {".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"}
        files = {
            path for path in listing
            if not path.endswith("/") and not path.startswith(("dev/", "proc/", "sys/"))
        } - made_by_docker
        programs = {"usr/bin/spated", "usr/bin/spate"}
        settings = {"etc/passwd", "etc/group", "etc/nsswitch.conf"}
        self.assertLessEqual(programs | settings, files)
        for path in files - programs - settings:
            self.assertRegex(path, r"^(usr/)?lib(64)?/.*\.so\.\d+$")

    def test_container_alone_acknowledges_within_three_seconds_and_stops_cleanly(self):
        asked = time.time()
        docker(
            "run", "-d", "--name", "alone", "--read-only", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "-p", "127.0.0.1:7700:7700", IMAGE,
        )
        self.addCleanup(docker, "rm", "-f", "-v", "alone")
        servers = "127.0.0.1:7700"
        spate("topic", "create", "t", "-r", "1", servers=servers)
        spate("produce", "t", input="first\n", servers=servers)
        acked = time.time()
        took = acked - started_at("alone")
        print(
            f"container start to first ack: {took:.2f} s, {acked - asked:.2f} s with docker run",
            file=sys.stderr,
        )
        self.assertLess(took, FIRST_ACK_SECONDS_MAX)
        read = spate("consume", "t", "-o", "start", "-e", servers=servers).stdout
        self.assertEqual(read, "first\n")
        with open(f"/proc/{inspect('alone')['State']['Pid']}/status", encoding="ascii") as status:
            facts = dict(line.split(":", 1) for line in status)
        self.assertEqual(facts["Uid"].split(), ["7700"] * 4)
        self.assertEqual(int(facts["CapEff"], 16), 0)
        self.assertEqual(facts["Seccomp"].strip(), "2")
        docker("stop", "-t", "10", "alone")
        self.assertEqual(inspect("alone")["State"]["ExitCode"], 0)
        docker("start", "alone")
        wait_for("the record after a restart", lambda: "first" in spate(
            "consume", "t", "-o", "start", "-e", servers=servers, ok=False).stdout)

    def test_container_with_a_wrong_setting_says_which(self):
        done = run("docker", "run", "--rm", "-e", "SPATE_NODE_NODE_IDD=1", IMAGE, ok=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("SPATE_NODE_NODE_IDD", done.stderr)


class ComposeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(cluster.down)
        cluster.up()
        spate("topic", "create", "first", "-r", "3")
        spate("produce", "first", input="x\n")
        took = time.time() - max(started_at(f"spate-{number}") for number in (1, 2, 3))
        print(f"last container start to first ack of three: {took:.2f} s", file=sys.stderr)
        wait_for("a healthy cluster", cluster.healthy)

    # ---- the faults, and their ends -------------------------------------------------------------

    def has_records(self):
        described = spate("topic", "describe", "orders", "--json", ok=False)
        return described.returncode == 0 and any(
            partition.get("high_watermark", 0) > 0
            for partition in json.loads(described.stdout)["partitions"]
        )

    def kill(self, name):
        compose.kill(name)

    def pause(self, name):
        compose.pause(name)
        time.sleep(1.0)  # longer than the election timeout: others lead meanwhile
        compose.unpause(name)

    def disconnect(self, name):
        compose.disconnect(name)
        time.sleep(1.0)
        compose.connect(name)

    def test_compose_every_record_survives_kill_pause_and_disconnect(self):
        spate("topic", "create", "orders", "-p", "3", "-r", "3")
        wait_for("a healthy cluster", cluster.healthy)
        stream = Stream()
        self.addCleanup(stream.close)
        wait_for("the stream runs", self.has_records)
        for fault in (self.kill, self.pause, self.disconnect):
            name = cluster.leader_container("orders")
            started = time.monotonic()
            fault(name)
            wait_for(f"healed after {fault.__name__}", cluster.healthy)
            took = time.monotonic() - started
            print(f"{fault.__name__} {name}: healed after {took:.1f} s", file=sys.stderr)
        self.assertIsNone(stream.producer.poll(), "the stream was over before the faults were")
        code, words = stream.finish()
        self.assertEqual(code, 0, words)
        got = spate("consume", "orders", "-o", "start", "-e", "-f", "%k\\t%v\\n").stdout
        self.assertEqual(len(got.splitlines()), RECORDS)
        self.assertEqual(sorted(got.splitlines()), sorted(stream.lines))

    def test_compose_clients_inside_are_told_the_names_inside(self):
        told = docker(
            "run", "--rm", "--network", "spate", "--entrypoint", "spate", IMAGE,
            "cluster", "info", "--json", "-s", "spate-2:7700",
        )
        self.assertEqual(
            sorted(node["address"] for node in json.loads(told)["nodes"]),
            ["spate-1:7700", "spate-2:7700", "spate-3:7700"],
        )
        told = json.loads(spate("cluster", "info", "--json").stdout)
        self.assertEqual(
            sorted(node["address"] for node in told["nodes"]), sorted(SERVERS.split(","))
        )

    def test_compose_containers_become_healthy_for_docker(self):
        for number in (1, 2, 3):
            wait_for(
                f"health of spate-{number}",
                lambda number=number: inspect(f"spate-{number}")["State"]["Health"]["Status"]
                == "healthy",
            )

    def test_compose_nodes_say_that_they_are_ready(self):
        for number in (1, 2, 3):
            networks = inspect(f"spate-{number}")["NetworkSettings"]["Networks"]
            page = f"http://{networks['spate']['IPAddress']}:7780/readyz"
            wait_for(page, lambda page=page: answers(page))

    def test_compose_stop_hands_over_and_ends_cleanly(self):
        name = cluster.leader_container("first")
        docker("stop", name)
        self.assertEqual(inspect(name)["State"]["ExitCode"], 0)
        trace = run("docker", "logs", name).stderr
        self.assertIn("node: stopped", trace)
        self.assertNotEqual(cluster.leader_container("first"), name)
        docker("start", name)
        wait_for("a healthy cluster", cluster.healthy)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
