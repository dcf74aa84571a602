#!/usr/bin/env python3
"""MessagePack-RPC clients that were not written here, unmodified, against a node.

Pinned: the npm packages by outside/package-lock.json, installed into the build folder; Debian's
python3-msgpack (the program in docs/protocol.md) and ugorji's Go codec as the distribution has
them.
"""

import json
import os
import shutil
import subprocess
import unittest

import cluster
import rpc

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
        go = tool("go")
        if not os.path.isdir(os.path.join(GOPATH, "src", "github.com", "ugorji", "go", "codec")):
            cluster.missing("golang-github-ugorji-go-codec-dev")
        os.makedirs(BUILD, exist_ok=True)
        program = os.path.join(BUILD, "client-go")
        environment = {
            **os.environ,
            "GO111MODULE": "off",
            "GOPATH": GOPATH,
            "GOCACHE": os.path.join(BUILD, "go-cache"),
            "GOFLAGS": "",
        }
        source = os.path.join(HERE, "client.go")
        run([go, "build", "-o", program, source], env=environment, cwd=BUILD)
        self.expect(run([program, str(self.node.client_port)]), "ugorji")


if __name__ == "__main__":
    cluster.main()
