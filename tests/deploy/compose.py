"""The cluster of deploy/compose.yaml in a Docker engine that tests/deploy/with-docker has started,
and the faults that an engine can do to its containers. Used by test_docker.py, which looks at the
image and the file, and by jepsen/run --form docker."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

from waiting import wait_for  # noqa: E402 # after the path is set

ENDS = ("127.0.0.1:7700", "127.0.0.1:7800", "127.0.0.1:7900")  # published, of node 1, 2, 3
SERVERS = ",".join(ENDS)
IMAGE = "spate:latest"
HEALTHY_SECONDS = 30.0
PAUSE_SECONDS = 0.05


def run(*command, ok=True, seconds=300, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, **options
    )
    if ok and done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def docker(*arguments, **options):
    return run("docker", *arguments, **options).stdout.strip()


def inspect(name):
    return json.loads(docker("inspect", name))[0]


def await_that(what, condition, seconds=HEALTHY_SECONDS):
    return wait_for(what, condition, seconds, PAUSE_SECONDS)


# ---- faults of a container -----------------------------------------------------------------------


def kill(name):
    """The process dies by itself, as far as the engine knows: it is started again."""
    before = inspect(name)["RestartCount"]
    os.kill(inspect(name)["State"]["Pid"], 9)
    await_that("the restart", lambda: inspect(name)["RestartCount"] > before)


def pause(name):
    docker("pause", name)


def unpause(name):
    docker("unpause", name)


def disconnect(name):
    docker("network", "disconnect", "spate", name)


def connect(name):
    docker("network", "connect", "spate", name)


# ---- the cluster ---------------------------------------------------------------------------------


class Compose:
    """`root` is the source tree, `build` the directory whose spate and spated are used."""

    def __init__(self, root, build):
        self.root = root
        self.build = build
        self.program = os.path.join(build, "bin", "spate")
        self.words = ["docker-compose", "-f", os.path.join(root, "deploy", "compose.yaml")]
        # docker-compose looks at the files of this directory only; the engine's client at none.
        self.settings = os.environ["DOCKER_CONFIG"] = tempfile.mkdtemp()
        # The hard limit of this machine may be lower than what the file asks for.
        limit = run("sh", "-c", "ulimit -Hn").stdout.strip()
        if limit != "unlimited" and int(limit) < 65536:
            os.environ["SPATE_NOFILE"] = limit

    def close(self):
        shutil.rmtree(self.settings)

    def prepare_image(self, base):
        """Builds the image on the base image in this archive; or takes the one that
        SPATE_IMAGE_ARCHIVE names. Returns the seconds that it took to build."""
        archive = os.environ.get("SPATE_IMAGE_ARCHIVE")
        if archive:  # of an image that was built otherwise
            docker("load", "-i", archive)
            return 0.0
        with open(base, "rb") as archive:
            subprocess.run(
                ["docker", "import", "-", "debian:bookworm-slim"],
                stdin=archive, stdout=subprocess.DEVNULL, check=True,
            )  # fmt: skip
        image = os.path.join(self.root, "build", "image")
        os.makedirs(os.path.dirname(image), exist_ok=True)
        run(os.path.join(self.root, "deploy", "docker", "collect"), self.build, image)
        started = time.monotonic()
        run(
            "docker", "build", "-f", os.path.join(self.root, "deploy", "Dockerfile"),
            "--build-arg", "PROGRAMS=ready", "-t", IMAGE, self.root,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )  # fmt: skip
        return time.monotonic() - started

    def up(self):
        run(*self.words, "up", "-d", "--no-build")

    def down(self):
        run(*self.words, "down", "-v", "-t", "0", ok=False)

    def spate(self, *arguments, servers=SERVERS, **options):
        own = {n: value for n, value in os.environ.items() if not n.startswith("SPATE_")}
        environment = {**own, "SPATE_SERVERS": servers, "LC_ALL": "C.UTF-8"}
        return run(self.program, *arguments, env=environment, **options)

    def healthy(self):
        done = self.spate("cluster", "health", "--timeout", "2s", ok=False)
        return done.returncode == 0

    def leader_container(self, topic):
        """The container whose node leads the first partition."""

        def find():
            done = self.spate("topic", "describe", topic, "--json", "--timeout", "2s", ok=False)
            if done.returncode != 0:
                return None
            leader = json.loads(done.stdout)["partitions"][0]["leader"]
            return f"spate-{leader}" if leader > 0 else None

        return await_that(f"a leader of {topic}", find)
