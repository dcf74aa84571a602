"""The cluster that deploy/quickstart starts, with the programs under test.

    quickstart = Quickstart(directory)   # a checkout of its own, on ports of its own
    quickstart.run(FILE)                 # what it prints
    quickstart.close()

Its nodes run on when the script has ended. Whoever dies without `close` leaves none behind: a
process that waits for the end of this one stops them and removes the directory.
"""

import os
import re
import shutil
import subprocess

import cluster

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NODES = (1, 2, 3)
PORTS_ABOVE = [100 * (node - 1) + part for node in NODES for part in (0, 1, 80)][1:]
GUARD = 'cat >/dev/null; "$0/deploy/quickstart" stop; [ -n "$SPATE_KEEP" ] || rm -rf "$0"'


class Quickstart:
    def __init__(self, directory):
        self.directory = directory
        self.port = cluster.free_port(PORTS_ABOVE)
        self.environment = {**os.environ, "QUICKSTART_PORT": str(self.port),
                            "PATH": f"{directory}/stub:{os.environ['PATH']}"}
        shutil.copytree(os.path.join(ROOT, "deploy"), f"{directory}/deploy")
        os.makedirs(f"{directory}/build/bin")
        for program in (cluster.SPATED, cluster.SPATE):
            shutil.copy(program, f"{directory}/build/bin")
        os.mkdir(f"{directory}/stub")
        with open(f"{directory}/stub/cmake", "w", encoding="utf-8") as handle:
            handle.write("#!/bin/sh\n")  # all is built
        os.chmod(f"{directory}/stub/cmake", 0o755)
        self.guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, directory], stdin=subprocess.PIPE, env=self.environment,
            stdout=subprocess.DEVNULL, start_new_session=True)

    def close(self):
        self.guard.stdin.close()
        self.guard.wait(60)

    def client_port(self, node):
        return self.port + 100 * (node - 1)

    def http_port(self, node):
        return self.client_port(node) + 80

    def shell(self, command):
        """What a user types in the checkout; it must succeed."""
        done = subprocess.run(
            ["/bin/bash", "-c", command], cwd=self.directory, env=self.environment, timeout=120,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False)
        assert done.returncode == 0, f"{command}: exit {done.returncode}: {done.stdout}"
        return done.stdout

    def variables(self):
        """What the script tells to export."""
        servers = ",".join(f"127.0.0.1:{self.client_port(node)}" for node in NODES)
        return f"export PATH=$PWD/build/bin:$PATH SPATE_SERVERS={servers}"

    def pid(self, node):
        with open(f"{self.directory}/.quickstart/node{node}/pid", encoding="ascii") as handle:
            return int(handle.read())

    def run(self, file):
        return self.shell(f"deploy/quickstart '{file}'")

    @staticmethod
    def told(text, pattern):
        """The command that the script tells its user: the line that matches, without remarks."""
        lines = [line for line in text.splitlines() if re.match(rf"  {pattern}", line)]
        assert len(lines) == 1, f"{pattern} is told {len(lines)} times: {text}"
        return re.split(r"  +", lines[0].strip())[0]
