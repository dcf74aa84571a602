"""A world of its own for a run: process, mount and network namespaces that end with it.

The process that was started stays outside, as a supervisor: it forwards SIGINT and SIGTERM and
waits. Its child is the first process of a new process namespace: when it ends, for whatever reason,
the kernel kills every process of the run, unmounts its filesystems and removes its networks. What
the kernel does not remove are control groups: their names carry the supervisor's pid, and
`remove_leftovers` takes those away whose supervisor is gone.
"""

import ctypes
import os
import signal
import subprocess
import sys
import traceback

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

PREFIX = "spate-jepsen-"
RUNTIME = "/run/jepsen"  # sockets and small files, in a tmpfs that only the run sees

_libc = ctypes.CDLL(None, use_errno=True)


class Missing(Exception):
    """This machine lacks something that a run needs: it fails, it is never skipped."""


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise Missing(f"{what}: {os.strerror(number)}")


def setns(descriptor):
    """Moves this thread into a network namespace."""
    _check(_libc.setns(descriptor, CLONE_NEWNET), "setns")


def command(*words, check=True):
    """Runs a system tool to its end and returns its output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise Missing(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def as_root():
    """Runs the program again through sudo when it is not root: namespaces need it."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
    if os.geteuid() == 0:
        return
    kept = [f"{name}={os.environ[name]}" for name in ("PATH", "SPATE_BIN") if name in os.environ]
    words = ["sudo", "-n", "env", *kept, sys.executable, "-B", *sys.argv]
    try:
        os.execvp("sudo", words)
    except OSError:
        sys.exit("jepsen: root or sudo is needed for network namespaces and FUSE")


def require():
    """Names at once all that this machine lacks."""
    missing = [path for path in ("/dev/net/tun", "/dev/fuse") if not os.path.exists(path)]
    for tool in ("ip", "mount", "nsenter"):
        if not any(os.access(f"{place}/{tool}", os.X_OK) for place in os.get_exec_path()):
            missing.append(tool)
    if missing:
        raise Missing("this machine lacks " + ", ".join(missing))


def _supervise(child):
    """Outside: forwards signals, waits, returns the exit code."""

    def forward(number, _frame):
        try:
            os.kill(child, number)
        except ProcessLookupError:
            pass

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, forward)
    _, status = os.waitpid(child, 0)
    remove_cgroups(str(os.getpid()))
    return os.waitstatus_to_exitcode(status)


def _furnish():
    """Inside: private mounts, /proc of the new process namespace, an empty /run, loopback."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    # In a chroot there is no mount at "/", but then all must be private already.
    command("mount", "--make-rprivate", "/", check=False)
    with open("/proc/self/mountinfo", encoding="utf-8") as handle:
        if any(" shared:" in line for line in handle):
            raise Missing("mounts of the run would be seen outside")
    command("mount", "-t", "proc", "proc", "/proc")
    command("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    os.mkdir(RUNTIME)
    command("ip", "link", "set", "lo", "up")


def run(main):
    """Calls main(owner) in a world of its own and exits with what it returns. `owner` is the pid
    of the supervisor, unique on this machine while the run lasts."""
    as_root()
    try:
        require()
    except Missing as missing:
        sys.exit(f"jepsen: {missing}")
    owner = str(os.getpid())
    flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    _check(_libc.unshare(flags), "no namespaces of its own")
    sys.stdout.flush()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until somebody can make something of it
    child = os.fork()
    if child != 0:
        # Sub-processes would land in the namespace of the child: none are started here.
        sys.exit(_supervise(child))
    # ^C reaches the whole process group of a terminal; the supervisor alone forwards it.
    os.setpgid(0, 0)
    code = 1
    try:
        _furnish()
        code = main(owner)
    except Missing as missing:
        print(f"jepsen: {missing}", file=sys.stderr)
    except BaseException:  # the process must not return into the caller's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# ---- control groups -----------------------------------------------------------------------------


def cgroup_parents():
    """The hierarchies in which a run may own groups: {controller: folder}, version 1 or 2."""
    base = "/sys/fs/cgroup"
    if os.path.exists(f"{base}/cgroup.controllers"):
        return {"unified": base}
    return {name: f"{base}/{name}" for name in ("cpu", "memory") if os.path.isdir(f"{base}/{name}")}


def remove_cgroups(owner):
    for parent in cgroup_parents().values():
        for name in sorted(os.listdir(parent), reverse=True):
            if name.startswith(f"{PREFIX}{owner}-"):
                try:
                    os.rmdir(f"{parent}/{name}")
                except OSError:
                    pass  # not empty: a process of it is still ending


def remove_leftovers():
    """Removes what runs left behind whose supervisor is gone. Returns the names."""
    removed = []
    for parent in cgroup_parents().values():
        for name in os.listdir(parent):
            owner = name[len(PREFIX) :].split("-")[0] if name.startswith(PREFIX) else ""
            if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                remove_cgroups(owner)
                removed.append(name)
    return removed
