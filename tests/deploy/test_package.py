#!/usr/bin/env python3
"""The Debian package in a clean machine that has booted: installed, used, removed, purged.

Called by tests/deploy/with-systemd as `test_package.py ROOT`. The steps follow each other, as the
life of an installation does.
"""

import os
import subprocess
import sys
import time
import unittest

ROOT = os.path.abspath(sys.argv[1])
MACHINE = os.environ["SPATE_MACHINE"].split()
EXPOSURE_MAX = 2.0  # of systemd-analyze security: 0 is best, most services have 9
RECORDS = 2000


def run(*command, ok=True, **options):
    done = subprocess.run(
        [*MACHINE, *command], capture_output=True, text=True, timeout=120, check=False, **options
    )
    if ok and done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def shell(text, **options):
    return run("sh", "-c", text, **options)


def show(name):
    return run("systemctl", "show", "-P", name, "spated").stdout.strip()


def wait_for(what, condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def journal():
    return run("journalctl", "-u", "spated", "--no-pager").stdout


def answers():
    return run("spate", "cluster", "health", "--timeout", "1s", ok=False).returncode == 0


def consumed():
    return sorted(run("spate", "consume", "t", "-o", "start", "-e").stdout.split())


class PackageTest(unittest.TestCase):
    written = sorted(f"record-{number}" for number in range(RECORDS))

    def test_1_contents_are_where_debian_wants_them(self):
        listing = shell("dpkg-deb -c /packages/spate_*.deb").stdout.splitlines()
        for line in listing:
            rights, owner, *_, path = line.split()
            self.assertEqual(owner, "root/root", line)
            self.assertRegex(path, r"^\./((usr|etc)(/.*)?)?$")
            self.assertNotIn("w", rights[4:], line)
        paths = {line.split()[-1] for line in listing}
        for path in (
            "usr/bin/spated", "usr/bin/spate", "usr/lib/systemd/system/spated.service",
            "etc/spate/spated.yaml", "usr/share/man/man1/spate.1", "usr/share/doc/spate/copyright",
        ):
            self.assertIn("./" + path, paths)
        for script in ("postinst", "prerm", "postrm"):
            with open(os.path.join(ROOT, "deploy", "debian", script), "rb") as text:
                run("sh", "-n", stdin=text)

    def test_2_installation_creates_the_user_and_starts_the_service(self):
        shell("dpkg -i /packages/*.deb")
        self.assertIn("spate", run("id", "spate").stdout)
        self.assertEqual(run("systemctl", "is-enabled", "spated").stdout.strip(), "enabled")
        wait_for("the service", answers)
        self.assertEqual(show("ActiveState"), "active")
        rights = run("stat", "-c", "%a %U %G", "/var/lib/spate").stdout.split()
        self.assertEqual(rights, ["700", "spate", "spate"])

    def test_3_service_is_used_confined_and_traces_to_the_journal(self):
        run("spate", "topic", "create", "t", "-r", "1")
        run("spate", "produce", "t", input="\n".join(self.written) + "\n")
        self.assertEqual(consumed(), self.written)
        status = run("cat", f"/proc/{show('MainPID')}/status").stdout
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        self.assertEqual(int(facts["CapBnd"], 16), 0)
        self.assertEqual(facts["NoNewPrivs"], "1")
        self.assertEqual(facts["Seccomp"], "2")
        owner = run("stat", "-c", "%U", f"/proc/{show('MainPID')}").stdout.strip()
        self.assertEqual(owner, "spate")
        self.assertIn("node: started", journal())
        units = run("systemd-analyze", "verify", "spated.service", ok=False).stderr.splitlines()
        # The base image is made without manual pages.
        self.assertEqual([line for line in units if "man spate(1)" not in line], [])
        words = run("systemd-analyze", "security", "--no-pager", "spated").stdout.splitlines()[-1]
        self.assertLess(float(words.split("spated.service: ")[1].split()[0]), EXPOSURE_MAX, words)

    def test_4_killed_node_is_started_again_with_its_records(self):
        run("systemctl", "kill", "-s", "KILL", "spated")
        wait_for("the restart", lambda: show("NRestarts") == "1" and answers())
        self.assertEqual(consumed(), self.written)

    def test_5_wrong_configuration_is_told_and_not_tried_again(self):
        shell("echo node.idd: 2 >>/etc/spate/spated.yaml; systemctl restart spated", ok=False)
        wait_for("the end", lambda: show("ActiveState") == "failed")
        self.assertEqual(show("ExecMainStatus"), "2")
        self.assertIn("no key `node.idd`: did you mean `node.id`?", journal())
        shell("sed -i '$d' /etc/spate/spated.yaml; systemctl restart spated")
        wait_for("the service", answers)

    def test_6_upgrade_keeps_settings_and_restarts(self):
        shell("echo 'trace.level: debug' >>/etc/spate/spated.yaml")
        before = show("MainPID")
        shell("dpkg -i --force-confold /packages/spate_*.deb")
        wait_for("the service", answers)
        self.assertNotEqual(show("MainPID"), before)
        self.assertIn("trace.level: debug", run("cat", "/etc/spate/spated.yaml").stdout)
        self.assertEqual(consumed(), self.written)

    def test_7_removal_stops_cleanly_and_installed_again_it_has_its_records(self):
        before = journal().count("node: stopped")
        run("dpkg", "-r", "spate")
        self.assertEqual(journal().count("node: stopped"), before + 1)
        self.assertNotEqual(run("test", "-e", "/usr/bin/spated", ok=False).returncode, 0)
        run("test", "-s", "/etc/spate/spated.yaml")
        shell("dpkg -i /packages/spate_*.deb")
        wait_for("the service", answers)
        self.assertEqual(run("systemctl", "is-enabled", "spated").stdout.strip(), "enabled")
        self.assertEqual(consumed(), self.written)

    def test_8_purge_keeps_the_records_and_says_so(self):
        done = run("dpkg", "-P", "spate")
        self.assertIn("/var/lib/spate is kept", done.stderr)
        self.assertNotEqual(run("test", "-e", "/etc/spate", ok=False).returncode, 0)
        run("test", "-s", "/var/lib/spate/meta.a")
        run("id", "spate")
        self.assertEqual(show("LoadState"), "not-found")
        links = shell("find /etc/systemd /var/lib/systemd -name '*spated*'").stdout
        self.assertEqual(links, "")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, failfast=True)
