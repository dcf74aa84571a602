"""The second client port, and a node id from the host name.

Clients of listen.outside are told other addresses than those of listen.client, in every answer that
names a node; otherwise nothing differs.
"""

import os
import subprocess
import unittest

import rpc
from cluster import SPATED, Cluster, free_port, main, wait_for

INSIDE_NAMES = {1: "node-one.invalid", 2: "node-two.invalid", 3: "node-three.invalid"}


class OutsidePortTest(unittest.TestCase):
    """Names that do not resolve are told inside: whoever got one of them outside would fail."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.outside = {}
        for node in cls.cluster.nodes:
            cls.outside[node.number] = f"127.0.0.1:{free_port()}"
            node.settings += [
                f"advertise.client={INSIDE_NAMES[node.number]}:{node.client_port}",
                f"listen.outside={cls.outside[node.number]}",
                f"advertise.outside={cls.outside[node.number]}",
            ]
        cls.inside = {
            node.number: f"{INSIDE_NAMES[node.number]}:{node.client_port}"
            for node in cls.cluster.nodes
        }
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.close)
        cls.cluster.servers = ",".join(cls.outside.values())
        cls.cluster.spate("topic", "create", "t", "-p", "6", "-r", "3")

    def ask(self, address, method, **fields):
        with rpc.Client(address) as client:
            return client.call(method, **fields)

    def test_outside_every_answer_names_the_addresses_of_its_own_port(self):
        for told, address in (
            (self.inside, self.cluster.nodes[0].address),
            (self.outside, self.outside[1]),
        ):
            metadata = self.ask(address, "metadata", topics=["t"])
            self.assertEqual({n["id"]: n["address"] for n in metadata["nodes"]}, told)
            info = self.ask(address, "cluster.info")
            self.assertEqual({n["id"]: n["address"] for n in info["nodes"]}, told)
            for partition in metadata["topics"][0]["partitions"]:
                self.assertEqual(partition["leader_address"], told[partition["leader"]])
            for partition in self.ask(address, "topic.describe", name="t")["partitions"]:
                self.assertEqual(partition["leader_address"], told[partition["leader"]])

            def find(address=address):
                return self.ask(address, "group.find", group="g").get("leader_address")

            found = wait_for("a coordinator", find)
            self.assertIn(found, told.values())

    def test_outside_not_leader_names_the_address_of_its_own_port(self):
        leader = self.cluster.leader("t")
        other = next(node for node in self.cluster.nodes if node is not leader)
        for told, address in (
            (self.inside, other.address),
            (self.outside, self.outside[other.number]),
        ):
            with self.assertRaises(rpc.Refused) as refused:
                self.ask(address, "produce", topic="t", partition=0, records=[{"v": b"x"}])
            words = f"NOT_LEADER: {leader.number} {told[leader.number]} "
            self.assertIn(words, str(refused.exception))

    def test_outside_client_works_through_the_outside_port_alone(self):
        text = "".join(f"{i}\n" for i in range(1000)).encode()
        self.cluster.spate("produce", "t", input=text)
        got = self.cluster.spate("consume", "t", "-o", "start", "-e")
        self.assertEqual(sorted(got.split()), sorted(text.split()))


class BoundTest(unittest.TestCase):
    def test_outside_connections_count_against_the_one_bound(self):
        cluster = Cluster(1, settings=["limits.connections=4"])
        outside = f"127.0.0.1:{free_port()}"
        cluster.nodes[0].settings.append(f"listen.outside={outside}")
        with cluster:
            addresses = [outside, cluster.nodes[0].address] * 2
            clients = []

            def connect(address):
                client = rpc.Client(address)
                try:
                    client.call("ping")
                except (EOFError, OSError):
                    client.close()
                    return False
                clients.append(client)
                return True

            for address in addresses:  # the end of the last look at health may take a moment
                wait_for("a connection", lambda address=address: connect(address))
            for address in addresses[:2]:
                self.assertFalse(connect(address))
            clients.pop(0).close()
            wait_for("room at the other port", lambda: connect(cluster.nodes[0].address))
            for client in clients:
                client.close()
            self.assertEqual(cluster.nodes[0].stop()[0], 0)


class HostNameTest(unittest.TestCase):
    def check(self, host):
        script = f"hostname {host} && exec {SPATED} --check-config"
        privileges = [] if os.getuid() == 0 else ["--map-root-user"]
        return subprocess.run(
            ["unshare", "--uts", *privileges, "sh", "-c", script],
            env={**os.environ, "SPATE_NODE_NODE_ID": "from-hostname"},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_hostname_number_plus_one_is_the_node_id(self):
        done = self.check("spate-2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("node.id: 3\n", done.stdout)

    def test_hostname_without_number_is_refused(self):
        done = self.check("spate")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("host whose name ends in one", done.stderr)


if __name__ == "__main__":
    main()
