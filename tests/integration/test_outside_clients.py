#!/usr/bin/env python3
"""MessagePack-RPC clients that were not written here, unmodified, against nodes.

Pinned: the npm packages by outside/package-lock.json, installed into the build folder; Debian's
python3-msgpack (the programs in docs/protocol.md), python3-pynvim, ruby-msgpack and ugorji's Go
codec as the distribution has them.
"""

import collections
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import unittest

import cluster
import rpc
from members import Member

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "outside")
BUILD = os.path.join(os.environ.get("SPATE_BUILD", "."), "outside-clients")
GOPATH = "/usr/share/gocode"


def tool(name):
    path = shutil.which(name)
    if path is None:
        cluster.missing(name)
    return path


def run(arguments, **options):
    options.setdefault("timeout", 90)
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{arguments[:3]}: exit {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def npm_install():
    """Installs what the lock names, once per lock."""
    tool("node")
    npm = tool("npm")
    os.makedirs(BUILD, exist_ok=True)
    changed = False
    for name in sorted(os.listdir(HERE)):
        source, target = os.path.join(HERE, name), os.path.join(BUILD, name)
        with open(source, "rb") as one:
            content = one.read()
        old = None
        if os.path.exists(target):
            with open(target, "rb") as other:
                old = other.read()
        if content != old:
            changed = changed or name.endswith(".json")
            shutil.copy(source, target)
    marker = os.path.join(BUILD, "node_modules", ".package-lock.json")
    if changed or not os.path.exists(marker):
        run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=BUILD)


def go_build(name):
    """Builds NAME.go, returns the program."""
    go = tool("go")
    if not os.path.isdir(os.path.join(GOPATH, "src", "github.com", "ugorji", "go", "codec")):
        cluster.missing("golang-github-ugorji-go-codec-dev")
    os.makedirs(BUILD, exist_ok=True)
    program = os.path.join(BUILD, f"{name}-go")
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": GOPATH,
        "GOCACHE": os.path.join(BUILD, "go-cache"),
        "GOFLAGS": "",
    }
    source = os.path.join(HERE, f"{name}.go")
    run([go, "build", "-o", program, source], env=environment, cwd=BUILD)
    return program


class OutsideClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster.Cluster(1)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.node = cls.cluster.nodes[0]

    def expect(self, output, name):
        said = json.loads(output)
        self.assertRegex(said["error"], r"^(Error: )?UNKNOWN_TOPIC: no topic `no-such-topic`")
        self.assertEqual((said["created"], said["offset"], said["count"]), (2, 0, 2))
        first = {"o": 0, "t": 1700000000000, "k": "00ff80", "v": b"as text".hex(), "h": []}
        second = {"o": 1, "t": 1700000000001, "k": None, "v": b"hello".hex()}
        second["h"] = [["source", name.encode().hex()]]
        self.assertEqual(said["records"], [first, second])
        with rpc.Client(self.node.address) as client:
            where = {"topic": name, "partition": 0, "offset": 0}
            seen = client.call("fetch", **where, format="records")["records"]
        self.assertEqual([record["v"] for record in seen], [b"as text", b"hello"])

    def node_client(self, name):
        npm_install()
        arguments = [tool("node"), os.path.join(BUILD, f"{name}.js"), str(self.node.client_port)]
        self.expect(run(arguments, cwd=BUILD), name)

    def test_outside_client_msgpack5rpc(self):
        self.node_client("msgpack5rpc")

    def test_outside_client_msgpack_rpc_lite(self):
        self.node_client("msgpack-rpc-lite")

    def test_outside_client_go_with_ugorji_codec(self):
        program = go_build("ugorji")
        self.expect(run([program, str(self.node.client_port)]), "ugorji")


TOPIC, PARTITIONS = "readings", 6
RECORDS = 300
LINE = re.compile(r"owns( \d)*|read \d \d+ key-\d+ value-\d+ by=[a-z]+|left")


def runtimes():
    """How each client is started."""
    npm_install()
    if importlib.util.find_spec("pynvim") is None:
        cluster.missing("python3-pynvim")
    ruby = tool("/usr/bin/ruby")
    found = subprocess.run([ruby, "-e", 'require "msgpack"'], capture_output=True, check=False)
    if found.returncode != 0:
        cluster.missing("ruby-msgpack")
    return {
        "python": [sys.executable, "-B", os.path.join(HERE, "client.py")],
        "node": [tool("node"), os.path.join(BUILD, "client.js")],
        "go": [go_build("client")],
        "ruby": [ruby, "-W", os.path.join(HERE, "client.rb")],
    }


class Program:
    """A client that runs, and the lines it has printed."""

    def __init__(self, command, *arguments):
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=cluster.die_with_parent,
        )
        self.lines, self.complaints = [], []
        self.threads = [
            threading.Thread(target=self.collect, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.complaints))
        ]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def collect(stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    def wait(self, seconds=60):
        """Waits until it ends by itself; it must have succeeded and complained of nothing."""
        code = self.process.wait(seconds)
        for thread in self.threads:
            thread.join()
        if code != 0 or self.complaints:
            raise AssertionError(f"{self.process.args}: exit {code}: {self.complaints}")

    def close(self):
        self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join()
        self.process.stdout.close()
        self.process.stderr.close()


class OutsideGroupTest(unittest.TestCase):
    """One consumer group whose members share no line of code."""

    def setUp(self):
        self.commands = runtimes()
        self.nodes = cluster.Cluster(3)
        self.nodes.__enter__()
        self.addCleanup(self.nodes.close)
        self.programs = []
        self.addCleanup(self.report)
        self.calls = rpc.Leaders([node.address for node in self.nodes.nodes])
        self.addCleanup(self.calls.close)
        self.calls.call("topic.create", name=TOPIC, partitions=PARTITIONS)
        self.nodes.wait_healthy()
        self.sent = {}  # (partition, offset): what was acknowledged there

    def report(self):
        for _, error in getattr(self._outcome, "errors", []):
            if error is not None:
                self.nodes.report()
                for program in self.programs:
                    ends = program.lines[-5:] + program.complaints[-5:]
                    print(program.process.args[:6], *ends, sep="\n", file=sys.stderr)

    def start(self, name, servers, *arguments):
        program = Program(self.commands[name], servers, *arguments)
        self.programs.append(program)
        self.addCleanup(program.close)
        return program

    def group_and_leader(self):
        """The name of a group, and the node that leads its coordinator and partitions as well."""

        def find():
            about = self.calls.call("metadata", topics=[TOPIC])["topics"][0]["partitions"]
            leaders = {partition["leader"] for partition in about}
            for name in (f"readers-{number}" for number in range(100)):
                leader = self.calls.call("group.find", group=name)["leader"]
                if leader > 0 and leader in leaders:
                    return name, self.nodes.node(leader)
            return None

        return cluster.wait_for("a node that leads both", find)

    def settled(self, group, count):
        """Whether that many members share all partitions, and nothing moves."""
        try:
            about = self.calls.call("group.describe", group=group)
        except rpc.Refused:  # nobody has joined yet
            return False
        shares = [
            sum(len(part["partitions"]) for part in member["owned"]) for member in about["members"]
        ]
        evenly = len(shares) == count and max(shares) - min(shares) <= 1
        return evenly and about["state"] == "stable" and sum(shares) == PARTITIONS

    def produce(self, servers, first, last, meanwhile=None):
        """Each runtime produces its share of the numbers, all at the same time."""
        names = list(self.commands)
        share = (last - first + 1) // len(names)
        programs = {}
        for at, name in enumerate(names):
            begin = first + at * share
            numbers = (str(begin), str(begin + share - 1))
            programs[name] = self.start(name, servers, "produce", TOPIC, *numbers)
        if meanwhile is not None:
            meanwhile(list(programs.values()))
        for name, program in programs.items():
            program.wait()
            self.assertEqual(len(program.lines), share, name)
            for line in program.lines:
                word, partition, offset, number = line.split()
                self.assertEqual(word, "sent")
                place = (int(partition), int(offset))
                self.assertNotIn(place, self.sent, "two records in one place")
                self.sent[place] = f"key-{number} value-{number} by={name}"

    def ends(self):
        where = {"topic": TOPIC, "at": "latest"}
        return {
            number: self.calls.call("offsets", **where, partition=number)["offset"]
            for number in range(PARTITIONS)
        }

    def committed(self, group):
        rows = self.calls.call("group.committed", group=group)["offsets"]
        return {row["partition"]: row["offset"] for row in rows}

    def check_read(self, readers, ends):
        """Every record by one member, once, as it was sent; nothing that nobody sent."""
        seen = collections.Counter()
        content = {}
        for name, reader in readers.items():
            for line in reader.lines:
                self.assertIsNotNone(LINE.fullmatch(line), f"{name} printed: {line}")
                word, *facts = line.split(" ", 3)
                if word == "read":
                    place = (int(facts[0]), int(facts[1]))
                    seen[place] += 1
                    content[place] = facts[2]
        everything = {(number, offset) for number in ends for offset in range(ends[number])}
        self.assertEqual(set(seen), everything)
        self.assertEqual({place: n for place, n in seen.items() if n > 1}, {}, "read twice")
        self.assertEqual({place: content[place] for place in self.sent}, self.sent)
        # Plain records whose outcome was unclear may be stored twice: nothing else may be there.
        self.assertEqual(set(content.values()), set(self.sent.values()))
        print(f"{len(everything) - len(self.sent)} stored twice", end=" ", flush=True)

    def test_outside_clients_of_all_runtimes_share_one_group(self):
        group, victim = self.group_and_leader()
        others = [node.address for node in self.nodes.nodes if node is not victim]
        servers = ",".join([victim.address, *others])
        arguments = (servers, "consume", TOPIC, group)
        readers = {name: self.start(name, *arguments) for name in self.commands}
        cluster.wait_for("all are members", lambda: self.settled(group, len(readers)), 20)

        def kill_leader(producers):
            """Of partitions and of the group, as soon as anything is sent."""
            cluster.wait_for("a record", lambda: any(one.lines for one in producers), 20)
            victim.kill()
            self.assertLess(sum(len(one.lines) for one in producers), RECORDS * 4 // 5)

        self.produce(servers, 1, RECORDS * 4 // 5, kill_leader)
        cluster.wait_for("all is read", lambda: self.committed(group) == self.ends(), 30)
        cluster.wait_for("all are members still", lambda: self.settled(group, len(readers)), 20)
        leaver = readers["python"]
        leaver.process.terminate()
        leaver.wait(20)
        gone = list(leaver.lines)
        cluster.wait_for("the others have all", lambda: self.settled(group, len(readers) - 1), 20)

        self.produce(servers, RECORDS * 4 // 5 + 1, RECORDS)
        cluster.wait_for("all is read", lambda: self.committed(group) == self.ends(), 30)
        for name, reader in readers.items():
            if reader is not leaver:
                reader.process.terminate()
                reader.wait(20)
            self.assertEqual(reader.lines[-1], "left", name)
            self.assertTrue(any(line.startswith("read ") for line in reader.lines), name)
        self.assertEqual(leaver.lines, gone)
        self.assertEqual(len(self.sent), RECORDS)
        self.assertEqual(self.calls.call("group.describe", group=group)["members"], [])
        self.check_read(readers, self.ends())

    def feed(self):
        """A record more in each partition."""
        record = {"k": b"key-0", "v": b"value-0", "h": {"by": b"test"}}
        for number in range(PARTITIONS):
            self.calls.call("produce", topic=TOPIC, partition=number, records=[record])

    def read_all(self, reader):
        """Waits until all is read and committed; each record must have been printed once."""
        ends = self.ends()
        everything = [(number, offset) for number in ends for offset in range(ends[number])]

        def read():
            lines = [line.split() for line in reader.lines if line.startswith("read ")]
            return sorted((int(line[1]), int(line[2])) for line in lines)

        def done():
            return self.committed(reader.group) == ends and len(read()) >= len(everything)

        cluster.wait_for("all is committed", done, 10)
        self.assertEqual(read(), everything)

    def check_gives_up(self, reader):
        """Half of its partitions go to another member, and come back unread."""
        other = Member(reader.servers, reader.group, [TOPIC])
        self.addCleanup(other.close)
        cluster.wait_for("a half", lambda: other.beat() and len(other.owned) == PARTITIONS // 2, 5)
        rest = set(range(PARTITIONS)) - {number for _, number in other.owned}
        owns = " ".join(["owns", *map(str, sorted(rest))])
        cluster.wait_for(owns, lambda: [one for one in reader.lines if "owns" in one][-1] == owns)
        self.feed()
        other.leave()
        self.read_all(reader)

    def test_outside_clients_give_up_and_join_again(self):
        servers = [node.address for node in self.nodes.nodes]
        for name in self.commands:
            with self.subTest(name):
                group = f"alone-{name}"
                # One server alone: the others are those that NOT_LEADER names.
                reader = self.start(name, servers[0], "consume", TOPIC, group)
                reader.servers, reader.group = servers, group
                self.feed()
                self.read_all(reader)
                self.check_gives_up(reader)
                member = self.calls.call("group.describe", group=group)["members"][0]["member"]
                self.calls.call("group.leave", group=group, member=member)
                self.feed()  # it is told that it is unknown, and comes back
                self.read_all(reader)
                reader.process.terminate()
                reader.wait(20)
                self.assertEqual(reader.lines[-1], "left")


if __name__ == "__main__":
    cluster.main()
