#!/usr/bin/env python3
"""The files of deploy/ that other programs read: Kubernetes, compose, Prometheus, Grafana, YAML.

Called as `test_manifests.py ROOT BUILD`. Kubernetes' objects are rendered by `kubectl kustomize`
and checked field by field against the models of python3-kubernetes. No image of Prometheus or
Grafana can be pulled here, so what they read is checked against the fields that their documentation
names.
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import yaml

import grafana_model
import kube_model

ROOT, BUILD = (os.path.abspath(path) for path in sys.argv[1:3])
DEPLOY = os.path.join(ROOT, "deploy")
SPATED = os.path.join(BUILD, "bin", "spated")
SPATE = os.path.join(BUILD, "bin", "spate")
OVERLAYS = {"overlays/three": 3, "overlays/five": 5, "base": 3}
OWN_HOST_NAME = ["unshare", "--uts", *([] if os.getuid() == 0 else ["--map-root-user"])]
FILE_ENDINGS = ("c", "h", "md", "log", "py", "txt", "yaml", "json")
USAGE = 2  # exit code of both programs


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def example():
    return run(SPATED, "--example").stdout


def load(*path):
    with open(os.path.join(DEPLOY, *path), encoding="utf-8") as handle:
        return yaml.safe_load(handle)


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as handle:
        return handle.read()


def sources(*endings):
    """The files of the product and its documents with these endings, as the root sees them."""
    for folder in ("docs", "deploy", "src", "cluster"):
        for place, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in sorted(names):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(place, name), ROOT)
    yield "README.md"


def dashboard():
    with open(os.path.join(DEPLOY, "grafana", "dashboard.json"), encoding="utf-8") as handle:
        return json.load(handle)


def missing(what):
    if os.environ.get("CI") == "true":
        raise AssertionError(f"{what} is missing, and with CI=true nothing may be skipped")
    raise unittest.SkipTest(f"{what} is missing")


# ---- Kubernetes ---------------------------------------------------------------------------------


def for_old_kustomize(folder):
    """The same files for Debian's kubectl 1.20: it names directories and patches otherwise."""
    for place, _, names in os.walk(folder):
        if "kustomization.yaml" not in names:
            continue
        path = os.path.join(place, "kustomization.yaml")
        with open(path, encoding="utf-8") as handle:
            content = yaml.safe_load(handle)
        if not content["resources"][0].endswith(".yaml"):
            content["bases"] = content.pop("resources")
        if "patches" in content:
            content["patchesStrategicMerge"] = [item["path"] for item in content.pop("patches")]
        with open(path, "w", encoding="utf-8") as handle:
            yaml.safe_dump(content, handle)


def render(overlay):
    kubectl = shutil.which(os.environ.get("SPATE_KUBECTL", "kubectl"))
    if kubectl is None:
        missing("kubectl")
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.path.join(scratch, "kubernetes")
        shutil.copytree(os.path.join(DEPLOY, "kubernetes"), folder)
        done = run(kubectl, "kustomize", os.path.join(folder, overlay))
        version = run(kubectl, "version", "--client").stdout
        if done.returncode != 0 and "Kustomize" not in version:
            for_old_kustomize(folder)
            done = run(kubectl, "kustomize", os.path.join(folder, overlay))
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f"{overlay}: {done.stderr}")
    return list(yaml.safe_load_all(done.stdout))


def one(documents, kind, name=None):
    found = [
        item for item in documents
        if item["kind"] == kind and name in (None, item["metadata"]["name"])
    ]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} objects {kind} {name or ''}")
    return found[0]


def misspelt(value, path=()):
    """Every copy of an object in which one field's name has a letter too many."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            for where, changed in misspelt(item, (*path, number)):
                yield where, [*value[:number], changed, *value[number + 1:]]
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), {name + "x" * (name == key): it for name, it in value.items()}
            for where, changed in misspelt(item, (*path, key)):
                yield where, {**value, key: changed}


FREE_NAMES = {"labels", "annotations", "matchLabels", "selector", "data", "requests", "limits"}


class KubernetesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = {overlay: render(overlay) for overlay in OVERLAYS}

    def each(self):
        for overlay, documents in self.rendered.items():
            with self.subTest(overlay):
                yield overlay, documents

    def test_kubernetes_every_field_exists_and_has_its_type(self):
        for _, documents in self.each():
            kinds = {document["kind"] for document in documents}
            self.assertEqual(kinds, {
                "ConfigMap", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "Service",
                "ServiceAccount", "StatefulSet",
            })
            for document in documents:
                kube_model.read(document)
                if document["kind"] != "Namespace":
                    self.assertEqual(document["metadata"]["namespace"], "spate")

    def test_kubernetes_each_misspelt_field_is_refused(self):
        tried = 0
        for document in self.rendered["base"]:
            for path, changed in misspelt(document):
                names = [part for part in path[:-1] if isinstance(part, str)]
                free = names and names[-1] in FREE_NAMES and names != ["spec", "selector"]
                if free or (names == ["spec", "selector"] and document["kind"] == "Service"):
                    continue  # names of the user's own
                with self.assertRaises(kube_model.Wrong, msg=f"{document['kind']} {path}"):
                    kube_model.read(changed)
                tried += 1
        self.assertGreater(tried, 200)

    def test_kubernetes_wrong_types_and_missing_fields_are_refused(self):
        stateful = one(self.rendered["base"], "StatefulSet")
        for change in (
            lambda spec: spec.update(replicas="3"),
            lambda spec: spec.pop("selector"),
            lambda spec: spec["template"]["spec"].update(automountServiceAccountToken="no"),
            lambda spec: spec["template"]["spec"].update(containers={}),
            lambda spec: spec["template"]["spec"]["containers"][0].pop("name"),
            lambda spec: spec["template"]["spec"]["containers"][0].update(args=["--id", 1]),
        ):
            changed = copy.deepcopy(stateful)
            change(changed["spec"])
            with self.assertRaises(kube_model.Wrong):
                kube_model.read(changed)

    def test_kubernetes_objects_name_each_other_rightly(self):
        for _, documents in self.each():
            spec = one(documents, "StatefulSet")["spec"]
            labels = spec["template"]["metadata"]["labels"]
            pod = spec["template"]["spec"]
            container = pod["containers"][0]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            self.assertEqual(spec["selector"]["matchLabels"], labels)
            peers = one(documents, "Service", spec["serviceName"])["spec"]
            self.assertEqual(peers["clusterIP"], "None")
            self.assertTrue(peers["publishNotReadyAddresses"])
            one(documents, "ServiceAccount", pod["serviceAccountName"])
            for document in documents:
                if document["kind"] == "Service":
                    self.assertEqual(document["spec"]["selector"], labels)
                    for port in document["spec"]["ports"]:
                        self.assertEqual(ports[port["targetPort"]], port["port"])
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                self.assertIn(container[probe]["httpGet"]["port"], ports)
            budget = one(documents, "PodDisruptionBudget")["spec"]
            self.assertEqual(budget, {"selector": {"matchLabels": labels}, "maxUnavailable": 1})
            policy = one(documents, "NetworkPolicy")["spec"]
            self.assertEqual(policy["podSelector"]["matchLabels"], labels)
            for rule in policy["ingress"]:
                self.assertLessEqual({port["port"] for port in rule["ports"]}, set(ports))
            names = {volume["name"] for volume in pod["volumes"]}
            names |= {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
            self.assertEqual({mount["name"] for mount in container["volumeMounts"]}, names)
            one(documents, "ConfigMap", pod["volumes"][0]["configMap"]["name"])

    def test_kubernetes_pods_are_unprivileged_and_apart(self):
        for _, documents in self.each():
            pod = one(documents, "StatefulSet")["spec"]["template"]["spec"]
            container = pod["containers"][0]
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertEqual(container["securityContext"], {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            })
            apart = pod["affinity"]["podAntiAffinity"]
            self.assertEqual(
                apart["requiredDuringSchedulingIgnoredDuringExecution"][0]["topologyKey"],
                "kubernetes.io/hostname",
            )
            self.assertEqual(
                pod["topologySpreadConstraints"][0]["topologyKey"], "topology.kubernetes.io/zone"
            )
            start, live = container["startupProbe"], container["livenessProbe"]
            self.assertGreaterEqual(start["failureThreshold"] * start["periodSeconds"], 600)
            self.assertGreaterEqual(live["failureThreshold"] * live["periodSeconds"], 120)
            self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/readyz")
            self.assertEqual(live["httpGet"]["path"], "/healthz")

    def pod_environment(self, container, ordinal):
        """What Kubernetes would make of the container's `env`."""
        known = {"metadata.name": f"spate-{ordinal}", "metadata.namespace": "spate"}
        made = {}
        for entry in container["env"]:
            if "value" in entry:
                made[entry["name"]] = re.sub(
                    r"\$\((\w+)\)", lambda found: made[found[1]], entry["value"]
                )
            else:
                path = entry["valueFrom"]["fieldRef"]["fieldPath"]
                made[entry["name"]] = known.get(path, f"zone-{ordinal}")
        return made

    def test_kubernetes_settings_are_those_of_a_node(self):
        for overlay, documents in self.each():
            container = one(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
            self.assertEqual(one(documents, "StatefulSet")["spec"]["replicas"], OVERLAYS[overlay])
            settings = one(documents, "ConfigMap")["data"]["spated.yaml"]
            for ordinal in range(OVERLAYS[overlay]):
                made = self.pod_environment(container, ordinal)
                with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
                    config.write(settings)
                    config.flush()
                    check = f"{SPATED} --check-config --config {config.name}"
                    done = run(
                        *OWN_HOST_NAME, "sh", "-c",
                        f"hostname spate-{ordinal} && exec {check}",
                        env={**os.environ, **made},
                    )
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(f"node.id: {ordinal + 1}\n", done.stdout)
                self.assertIn(
                    f"advertise.client: spate-{ordinal}.spate-peers.spate.svc:7700\n", done.stdout
                )
                self.assertIn(f"rack: zone-{ordinal}\n", done.stdout)
                seeds = made["SPATE_NODE_CLUSTER_SEEDS"].split(",")
                self.assertEqual(
                    seeds,
                    [f"{n + 1}@spate-{n}.spate-peers:7701" for n in range(OVERLAYS[overlay])],
                )

    def test_kubernetes_pre_stop_is_a_command_that_spate_has(self):
        for _, documents in self.each():
            container = one(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
            command = container["lifecycle"]["preStop"]["exec"]["command"]
            self.assertEqual(command[0], "spate")
            words = [re.sub(r"^\d+s$", "200ms", word) for word in command[1:]]
            done = run(SPATE, *words[:-1], "127.0.0.1:1")
            self.assertNotIn(done.returncode, (0, USAGE), done.stderr)


# ---- compose, Prometheus, Grafana, the example --------------------------------------------------


# What docker-compose 1.29 and compose v2 both know, of what is used. The first takes a file without
# `version` for one of the Compose specification; the second calls `version` obsolete.
COMPOSE_KEYS = {"services", "networks", "volumes"}
SERVICE_KEYS = {"image", "build", "restart", "read_only", "cap_drop", "security_opt",
                "stop_grace_period", "ulimits", "container_name", "hostname", "environment",
                "ports", "volumes", "profiles", "command", "depends_on"}


class ComposeTest(unittest.TestCase):
    compose = load("compose.yaml")
    nodes = ("spate-1", "spate-2", "spate-3")

    def test_compose_file_is_for_both_generations(self):
        top = {key for key in self.compose if not key.startswith("x-")}
        self.assertLessEqual(top, COMPOSE_KEYS)
        for service in self.compose["services"].values():
            self.assertLessEqual(set(service), SERVICE_KEYS)
            self.assertLessEqual(set(service.get("build", {})), {"context", "dockerfile"})
            self.assertIsInstance(service.get("depends_on", []), list)

    def test_compose_nodes_differ_in_their_names_alone(self):
        published = {"spate-1": "7700", "spate-2": "7800", "spate-3": "7900"}
        for number, name in enumerate(self.nodes, 1):
            service = self.compose["services"][name]
            made = service["environment"]
            self.assertEqual(made["SPATE_NODE_NODE_ID"], str(number))
            self.assertEqual(made["SPATE_NODE_ADVERTISE_CLIENT"], f"{name}:7700")
            self.assertTrue(made["SPATE_NODE_ADVERTISE_OUTSIDE"].endswith(":" + published[name]))
            self.assertEqual(
                service["ports"], ["${SPATE_BIND:-127.0.0.1}:" + published[name] + ":7710"]
            )
            self.assertEqual(service["volumes"], [f"{name}:/var/lib/spate"])
            self.assertTrue(service["read_only"])
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertNotIn("privileged", service)

    def test_compose_metrics_are_reachable_and_mounted_files_exist(self):
        for name in self.nodes:
            made = self.compose["services"][name]["environment"]
            self.assertEqual(made.get("SPATE_NODE_LISTEN_HTTP"), "0.0.0.0:7780")
        for service in ("prometheus", "grafana"):
            for volume in self.compose["services"][service]["volumes"]:
                source = volume.split(":")[0]
                if source.startswith("./"):
                    self.assertTrue(os.path.isfile(os.path.join(DEPLOY, source)), source)

    def test_compose_monitoring_is_optional(self):
        for name, service in self.compose["services"].items():
            profiles = None if name in self.nodes else ["monitoring"]
            self.assertEqual(service.get("profiles"), profiles)

    def test_prometheus_scrapes_every_node(self):
        config = load("docker", "prometheus.yml")
        self.assertLessEqual(set(config), {"global", "rule_files", "scrape_configs", "alerting"})
        job = config["scrape_configs"][0]
        self.assertLessEqual(set(job), {"job_name", "static_configs", "metrics_path"})
        targets = job["static_configs"][0]["targets"]
        self.assertEqual(targets, [f"{name}:7780" for name in self.nodes])

    def test_grafana_finds_its_source_and_its_dashboard(self):
        sources = load("docker", "grafana", "datasources.yaml")
        self.assertEqual(set(sources), {"apiVersion", "datasources"})
        for source in sources["datasources"]:
            self.assertLessEqual(
                set(source), {"name", "type", "access", "url", "isDefault", "editable", "uid"}
            )
            self.assertEqual(source["url"], "http://prometheus:9090")
        providers = load("docker", "grafana", "dashboards.yaml")
        self.assertEqual(set(providers), {"apiVersion", "providers"})
        path = providers["providers"][0]["options"]["path"]
        volumes = self.compose["services"]["grafana"]["volumes"]
        self.assertTrue(any(volume.split(":")[1].startswith(path + "/") for volume in volumes))

    def test_grafana_dashboard_every_field_exists_and_has_its_type(self):
        board = dashboard()
        self.assertLessEqual({"uid", "title", "panels", "schemaVersion"}, set(board))
        self.assertGreater(len(board["panels"]), 30)
        grafana_model.read(board)

    def test_grafana_dashboard_each_misspelt_field_is_refused(self):
        board = dashboard()
        one_of_each = {panel["type"]: panel for panel in board["panels"]}
        self.assertEqual(set(one_of_each), {"row", "stat", "timeseries"})
        tried = 0
        for path, changed in misspelt({**board, "panels": list(one_of_each.values())}):
            with self.assertRaises(grafana_model.Wrong, msg=str(path)):
                grafana_model.read(changed)
            tried += 1
        self.assertGreater(tried, 100)


class ExampleTest(unittest.TestCase):
    def test_example_file_holds_every_key_as_the_program_tells_it(self):
        with open(os.path.join(DEPLOY, "spated.yaml"), encoding="utf-8") as handle:
            text = handle.read()
        self.assertTrue(
            text.endswith("\n\n" + example()),
            "deploy/spated.yaml is out of date: deploy/update-example BUILD brings it up to date",
        )

    def test_example_file_is_accepted(self):
        done = run(SPATED, "--check-config", "--config", os.path.join(DEPLOY, "spated.yaml"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("data.dir: /var/lib/spate\n", done.stdout)

    def test_keys_that_documents_and_programs_name_exist(self):
        keys = set(re.findall(r"^#([a-z.]+):", example(), re.MULTILINE))
        self.assertGreater(len(keys), 20)
        sections = "|".join(sorted({key.split(".")[0] for key in keys}))
        name = re.compile(rf"(?<![\w./-])(?:{sections})(?:\.[a-z]+)+(?![\w/(])")
        methods = set(re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", read("docs", "protocol.md"), re.M))
        named = set()
        for path in sources(".md", ".yaml", ".c"):
            text = read(path)
            if path.endswith(".c"):  # what it says
                text = " ".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', text))
            for word in name.findall(text):
                ending = word.rpartition(".")[2]
                if word not in methods and ending not in FILE_ENDINGS:
                    self.assertIn(word, keys, path)
                    named.add(word)
        self.assertEqual(named, {key for key in keys if "." in key})


if __name__ == "__main__":
    result = unittest.main(argv=sys.argv[:1], verbosity=2, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
