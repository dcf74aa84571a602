#!/usr/bin/env python3
"""The files for Prometheus, judged by its own promtool. Called as test_alerts.py ROOT."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = sys.argv[1]
FOLDER = os.path.join(ROOT, "deploy", "prometheus")
SKIPPED = 77


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as handle:
        return handle.read()


def promtool(*arguments, folder=FOLDER):
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True,
                          timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


class AlertsTest(unittest.TestCase):
    def test_alerts_configuration_is_one_for_prometheus(self):
        code, words = promtool("check", "config", "prometheus.yml")
        self.assertEqual(code, 0, words)
        self.assertIn("1 rule files found", words)

    def test_alerts_configuration_of_the_containers_is_one_for_prometheus(self):
        with tempfile.TemporaryDirectory() as folder:  # as deploy/compose.yaml mounts them
            shutil.copy(os.path.join(ROOT, "deploy", "docker", "prometheus.yml"), folder)
            shutil.copy(os.path.join(FOLDER, "alerts.yml"), folder)
            code, words = promtool("check", "config", "prometheus.yml", folder=folder)
        self.assertEqual(code, 0, words)
        self.assertIn("1 rule files found", words)

    def test_alerts_pass_their_unit_tests(self):
        code, words = promtool("test", "rules", "alerts_test.yml")
        self.assertEqual(code, 0, words)
        self.assertIn("SUCCESS", words)

    def test_alerts_have_a_unit_test_each(self):
        alerts = re.findall(r"- alert: (\w+)", read(FOLDER, "alerts.yml"))
        tests = read(FOLDER, "alerts_test.yml")
        self.assertGreaterEqual(len(alerts), 20)
        self.assertEqual([name for name in alerts if not re.search(rf"\b{name}\b", tests)], [])

    def test_alerts_watch_the_nodes_of_the_quickstart(self):
        above = int(re.search(r"http_port\(\).*?\+ (\d+)", read(ROOT, "deploy", "quickstart"),
                              re.DOTALL)[1])
        targets = re.findall(r"- 127\.0\.0\.1:(\d+)", read(FOLDER, "prometheus.yml"))
        self.assertEqual([int(port) for port in targets],
                         [7700 + 100 * node + above for node in range(3)])


if __name__ == "__main__":
    if shutil.which("promtool") is None:
        print("promtool is missing: install Debian's prometheus, or run tests/run")
        sys.exit(1 if os.environ.get("CI") == "true" else SKIPPED)
    unittest.main(argv=sys.argv[:1], verbosity=2)
