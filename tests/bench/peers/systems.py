"""Three nodes each of Spate and of what it is compared with, on loopback, data in one directory.

A system has: name, title, durability (what an acknowledgement means), pids(), version(), start(),
close() and run(shape, seconds, warmup), which returns the figures of `spate bench --json` or of
peer_load. Programs are ended by their pid, and die with the process that started them.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

import cluster

NODES = 3
START_SECONDS = 120
FIGURES = (
    "records_per_s", "mb_per_s", "p50_ms", "p99_ms", "server_cpu_s_per_million",
    "client_cpu_s_per_million", "cpu_s_per_gb",
)


def wait_until(what, happened, processes, seconds=START_SECONDS):
    end = time.monotonic() + seconds
    while not happened():
        if any(process.poll() is not None for process in processes):
            raise RuntimeError(f"{what}: a process has ended")
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not in {seconds} s")
        time.sleep(0.2)


def write_file(path, text, mode=0o600):
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)
    os.chmod(path, mode)


class Spate:
    name = "spate"
    title = "Spate"
    durability = "fdatasync on 2 of 3 nodes before each acknowledgement"

    def __init__(self, build):
        self.nodes = cluster.Cluster(NODES)
        self.build = build

    def start(self):
        self.nodes.__enter__()

    def version(self):
        return self.nodes.spate("version").decode().split("\n", 1)[0]

    def pids(self):
        return [node.process.pid for node in self.nodes.nodes]

    def close(self):
        self.nodes.close()

    def bench(self, kind, shape, *words):
        result = self.nodes.spate_json("bench", kind, "-q", "-s", str(shape.size), *words)
        if result["failed"]:
            raise RuntimeError(f"spate bench {kind}: {result['failed']} records failed")
        return result

    def run(self, shape, seconds, warmup):
        pids = ",".join(str(pid) for pid in self.pids())
        timed = ["-d", f"{int(seconds * 1000)}ms", "--server-pids", pids]
        topic = ["-p", "1", "--replicas", str(NODES)]
        if shape.count:
            self.bench("produce", shape, "-t", "compare", "-n", str(shape.count), "-w", "0", *topic)
            result = self.bench("consume", shape, "-t", "compare", *timed)
            self.nodes.spate("topic", "delete", "compare", "--yes")
            return result
        words = ["-i", str(shape.window), "-w", f"{int(warmup * 1000)}ms", *timed, *topic]
        if shape.rate:
            words += ["-r", str(shape.rate)]
        patient = shape.rate == 0 and shape.window > 1  # throughput: the library may collect
        return self.bench("produce" if patient else "latency", shape, *words)


class Peer:
    """What both peers have in common: peer_load, and processes."""

    def __init__(self, build, program):
        self.program = program
        self.load = os.path.join(build, "tests/peer_load")
        self.processes = []
        self.directory = None

    def unfit(self):
        """Why this program cannot be measured, or None."""
        return None

    def start(self):
        self.directory = tempfile.mkdtemp(prefix=f"spate-compare-{self.name}-")
        self.ports = [cluster.free_port() for _ in range(NODES)]
        self.start_nodes()

    def spawn(self, arguments, environment=None, trace="out"):
        with open(os.path.join(self.directory, trace), "ab") as handle:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=handle, stderr=handle,
                env={**os.environ, **(environment or {})}, preexec_fn=cluster.die_with_parent,
            )
        self.processes.append(process)
        return process

    def pids(self):
        return [process.pid for process in self.processes]

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    def run(self, shape, seconds, warmup):
        settings = {
            "size": shape.size, "window": shape.window, "burst": self.burst(shape),
            "rate": shape.rate, "count": shape.count, "seconds": seconds, "warmup": warmup,
        }
        done = subprocess.run(
            [
                self.load, self.name, "consume" if shape.count else "produce",
                ",".join(str(port) for port in self.ports),
                ",".join(str(pid) for pid in self.pids()),
                *(f"{key}={value}" for key, value in settings.items()),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.title}: {done.stderr.decode()}")
        result = json.loads(done.stdout)
        if result["failed"]:
            raise RuntimeError(f"{self.title}: {result['failed']} failed: {done.stderr.decode()}")
        return result


class Nats(Peer):
    name = "nats"
    title = "JetStream"
    durability = "each of 3 replicas fsyncs before it counts (sync_interval: always)"
    program_name = "nats-server"
    how_to_get = "apt-get install nats-server (2.10 or later)"

    def burst(self, shape):
        """Each record is a message of its own; so many are made before the socket is looked at."""
        return min(16, shape.window)

    def version(self):
        done = subprocess.run([self.program, "--version"], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().split()[-1]

    def unfit(self):
        major, minor = self.version().lstrip("v").split(".")[:2]
        if (int(major), int(minor)) < (2, 10):
            return f"{self.program} {self.version()} does not know sync_interval: always"
        return None

    def start_nodes(self):
        routes = [cluster.free_port() for _ in range(NODES)]
        self.watch = [cluster.free_port() for _ in range(NODES)]
        urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        for i in range(NODES):
            path = os.path.join(self.directory, f"n{i + 1}.conf")
            data = os.path.join(self.directory, f"data{i + 1}")
            write_file(path, "\n".join([
                f"server_name: n{i + 1}", "host: 127.0.0.1", f"port: {self.ports[i]}",
                f'http: "127.0.0.1:{self.watch[i]}"', "max_payload: 8MB", "max_pending: 256MB",
                f'jetstream {{ store_dir: "{data}", max_file_store: 40GB',
                "  max_memory_store: 1GB, sync_interval: always }",
                f"cluster {{ name: compare, host: 127.0.0.1, port: {routes[i]}",
                f"  routes: [{urls}] }}", "",
            ]))
            self.spawn([self.program, "-c", path], trace=f"trace{i + 1}")
        wait_until("JetStream", self.healthy, self.processes)

    def healthy(self):
        for port in self.watch:
            try:
                url = f"http://127.0.0.1:{port}/healthz"
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status != 200:
                        return False
            except OSError:
                return False
        return True


class Rabbit(Peer):
    name = "rabbit"
    title = "RabbitMQ streams"
    durability = "in memory of 2 of 3 nodes: streams never fsync"
    program_name = "rabbitmq-server"
    how_to_get = "apt-get install rabbitmq-server"
    burst_bytes = 160 * 1024

    def burst(self, shape):
        """Records of one publish frame: the batches that its clients make."""
        if shape.rate or shape.window == 1:
            return 1
        return max(1, min(100, self.burst_bytes // shape.size, shape.window))

    def version(self):
        control = os.path.join(os.path.dirname(self.program), "rabbitmqctl")
        done = subprocess.run(
            [control, "version"], stdout=subprocess.PIPE, check=True,
            env={**os.environ, **self.environment(1)},
        )
        return done.stdout.decode().strip().split("\n")[-1]

    def environment(self, number):
        there = os.path.join(self.directory, f"r{number}")
        return {
            "RUNNING_UNDER_SYSTEMD": "true",  # the node takes the place of its shell script
            "HOME": self.directory, "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self.epmd), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"r{number}@localhost", "RABBITMQ_MNESIA_BASE": there + "-data",
            "RABBITMQ_LOG_BASE": there + "-log", "RABBITMQ_CONFIG_FILE": there,
            "RABBITMQ_ENABLED_PLUGINS_FILE": os.path.join(self.directory, "plugins"),
            "RABBITMQ_DIST_PORT": str(self.between[number - 1]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def start_nodes(self):
        self.epmd = cluster.free_port()
        self.between = [cluster.free_port() for _ in range(NODES)]
        queues = [cluster.free_port() for _ in range(NODES)]
        write_file(os.path.join(self.directory, ".erlang.cookie"), "COMPARE", 0o400)
        write_file(os.path.join(self.directory, "plugins"), "[rabbitmq_stream].\n")
        self.port_mapper = self.spawn(["epmd", "-address", "127.0.0.1", "-port", str(self.epmd)])
        for i in range(NODES):
            write_file(os.path.join(self.directory, f"r{i + 1}.conf"), "\n".join([
                f"listeners.tcp.1 = 127.0.0.1:{queues[i]}",
                f"stream.listeners.tcp.1 = 127.0.0.1:{self.ports[i]}",
                "loopback_users = none",
                "cluster_formation.peer_discovery_backend = classic_config",
                *(f"cluster_formation.classic_config.nodes.{j} = r{j}@localhost"
                  for j in range(1, NODES + 1)),
                "cluster_formation.randomized_startup_delay_range.min = 0",
                "cluster_formation.randomized_startup_delay_range.max = 1",
                "disk_free_limit.absolute = 1GB", "",
            ]))
            self.spawn([self.program], self.environment(i + 1), f"trace{i + 1}")
            if i == 0:  # the first one forms the cluster, the others find it
                wait_until("RabbitMQ", lambda: self.started(1), self.processes)
        for number in range(2, NODES + 1):
            wait_until("RabbitMQ", lambda number=number: self.started(number), self.processes)

    def started(self, number):
        folder = os.path.join(self.directory, f"r{number}-log")
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as handle:
                if "Server startup complete" in handle.read():
                    return True
        return False

    def pids(self):
        return [p.pid for p in self.processes if p is not self.port_mapper]


PEERS = {"nats": Nats, "rabbitmq": Rabbit}


def find_program(kind, given=None):
    """The server's program, or None."""
    if given is not None:
        return given if os.access(given, os.X_OK) else None
    if kind is Rabbit:  # the program itself, not the wrapper that becomes another user
        inner = "/usr/lib/rabbitmq/bin/rabbitmq-server"
        if os.access(inner, os.X_OK):
            return inner
    return shutil.which(kind.program_name, path=os.environ.get("PATH", "") + ":/usr/sbin")
