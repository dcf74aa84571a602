"""The other form of the cluster: containers of deploy/compose.yaml in a Docker engine of the test's
own (tests/deploy/with-docker), with the faults that an engine can do to them. Clients are outside,
at the published ports; histories, checks and the comparison of replicas are the same."""

import os
import shutil
import subprocess
import sys
import threading

from .cluster import Cluster, Member
from .nemesis import LEADER, ONE, Nemesis
from .faults_process import ClientKill, partitions
from .run import Run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPLOY = os.path.join(ROOT, "tests", "deploy")
sys.path.append(DEPLOY)

import compose  # noqa: E402 # after the path is set

NODES = 3  # that the file has
FORM_SECONDS = 60
STOP_SECONDS = "15"


class Running:
    """Stands for the process of a node: the engine starts it again whenever it ends."""

    @staticmethod
    def poll():
        return None


class Container(Member):
    alive = True
    recovering = False
    excused = 0

    def __init__(self, folder, number):
        super().__init__(number, compose.ENDS[number - 1])
        self.name = f"spate-{number}"
        self.data = os.path.join(folder, "nodes", str(number), "data")
        self.claimed = threading.Lock()
        self.process = Running
        os.makedirs(os.path.dirname(self.data))

    def state(self):
        return compose.inspect(self.name)["State"]

    def mend(self):
        state = compose.inspect(self.name)
        if state["State"]["Paused"]:
            compose.unpause(self.name)
        if "spate" not in state["NetworkSettings"]["Networks"]:
            compose.connect(self.name)
        if not state["State"]["Running"]:
            compose.docker("start", self.name)

    def stop(self):
        """SIGTERM. Returns the exit code."""
        compose.docker("stop", "-t", STOP_SECONDS, self.name)
        return self.state()["ExitCode"]

    def keep(self):
        """Copies what the stopped node has stored and said into the run's folder."""
        volume = compose.inspect(self.name)["Mounts"][0]["Source"]
        shutil.copytree(volume, self.data)
        with open(os.path.join(os.path.dirname(self.data), "trace.log"), "wb") as handle:
            subprocess.run(["docker", "logs", self.name], stdout=handle, stderr=handle, check=True)


class Containers(Cluster):
    def __init__(self, folder, binaries):
        self.folder = folder
        self.binaries = binaries
        self.begin([Container(folder, number + 1) for number in range(NODES)], [])

    def enter(self):
        return []

    def restart(self, number):
        self.node(number).mend()

    def resume_all(self):
        pass  # `down` ends the paused ones, too

    def close(self):
        pass  # the run takes the containers down


# ---- faults -------------------------------------------------------------------------------------


class Kill(Nemesis):
    """SIGKILL to the first process of a container; the engine starts it again. Seen: its count of
    restarts."""

    kind = "kill"
    aims = (LEADER, ONE)

    def strike(self, aim, target):
        before = self.led(target)
        facts = {"aim": aim, "partitions": partitions(before)}
        fault = self.log.begin(self.kind, target, self.seed, **facts)
        compose.kill(self.cluster.node(target[0]).name)
        self.log.saw(fault, restarted=1)
        self.saw_election(fault, before)
        self.log.end(fault)


class Held(Nemesis):
    """A fault that lasts: begun, seen in what the engine says, and undone."""

    aims = (LEADER, ONE)

    def begin_on(self, node):
        raise NotImplementedError

    def is_seen(self, node):
        raise NotImplementedError

    def strike(self, aim, target):
        before = self.led(target)
        node = self.cluster.node(target[0])
        facts = {"aim": aim, "partitions": partitions(before)}
        fault = self.log.begin(self.kind, target, self.seed, **facts)
        self.begin_on(node)
        self.hold()
        if self.is_seen(node):
            self.log.saw(fault)
        self.saw_election(fault, before, counts=False)
        node.mend()
        self.log.end(fault)


class Pause(Held):
    """The container is frozen. Seen: the engine says so."""

    kind = "pause"

    def begin_on(self, node):
        compose.pause(node.name)

    def is_seen(self, node):
        return node.state()["Paused"]


class Disconnect(Held):
    """The container loses its network, with its published port. Seen: it has none."""

    kind = "disconnect"

    def begin_on(self, node):
        compose.disconnect(node.name)

    def is_seen(self, node):
        return "spate" not in compose.inspect(node.name)["NetworkSettings"]["Networks"]


class Stop(Held):
    """The container is stopped in order, and started. Seen: exit code 0."""

    kind = "stop"

    def begin_on(self, node):
        code = node.stop()
        if code != 0:
            self.cluster.fail(f"node {node.number} ended with {code} after docker stop")

    def is_seen(self, node):
        state = node.state()
        return not state["Running"] and state["ExitCode"] == 0


STREAMS = {stream.kind: stream for stream in (Kill, Pause, Disconnect, Stop, ClientKill)}


# ---- the run ------------------------------------------------------------------------------------


class ContainerRun(Run):
    streams = STREAMS

    def __init__(self, owner, options):
        super().__init__(owner, options)
        self.settings = {}
        self.compose = compose.Compose(ROOT, os.path.dirname(self.binaries))

    def build(self):
        self.compose.prepare_image(base_of(self.options))
        self.compose.up()
        self.cluster = Containers(self.folder, self.binaries)
        took = self.cluster.wait_healthy(FORM_SECONDS)
        if took is None:
            raise RuntimeError(f"the cluster did not form: {self.cluster.health()}")
        self.facts["formed_s"] = round(took, 2)
        self.create_topics()

    def count_compaction(self):
        """Metrics of containers are not reachable from here."""

    def mend(self):
        for node in self.cluster.nodes:
            node.mend()

    def read_all(self):
        super().read_all()
        for node in self.cluster.nodes:
            node.keep()

    def close(self):
        super().close()
        self.compose.down()
        self.compose.close()


def base_of(options):
    return os.path.join(os.path.dirname(options.bin), "deploy", "base.tar.gz")


def inside_engine(options, arguments):
    """Runs the program again beside an engine, unless that is so already."""
    if "SPATE_DOCKER_VERSION" in os.environ:
        return
    base = base_of(options)
    subprocess.run([os.path.join(DEPLOY, "make-base"), base], check=True)
    program = os.path.join(DEPLOY, "with-docker")
    words = [program, os.path.join(os.path.dirname(base), "jepsen-docker")]
    os.execv(program, [*words, sys.executable, "-B", *arguments])
