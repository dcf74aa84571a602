"""Strict reading of Kubernetes objects: every field against the models of python3-kubernetes.

`read(document)` builds the client's own object of a manifest's kind. An unknown field, a value of
another type and a missing field that is required are errors, each with its path.
"""

import re

import kubernetes.client

SCALARS = {"str": str, "int": int, "bool": bool, "float": (int, float)}


class Wrong(Exception):
    pass


def read(document):
    kind = document.get("kind", "?")
    model = getattr(kubernetes.client, "V1" + kind, None)
    if model is None:
        raise Wrong(f"{kind}: no such kind")
    group, _, version = document.get("apiVersion", "").rpartition("/")
    if version != "v1" or group not in ("", "apps", "policy", "networking.k8s.io"):
        raise Wrong(f"{kind}: apiVersion {document.get('apiVersion')}")
    return read_object(document, model, kind)


def read_object(value, model, path):
    if not isinstance(value, dict):
        raise Wrong(f"{path}: must be an object, not {value!r}")
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    fields = {}
    for key, item in value.items():
        if key not in names:
            raise Wrong(f"{path}.{key}: no such field of {model.__name__}")
        fields[names[key]] = read_value(item, model.openapi_types[names[key]], f"{path}.{key}")
    try:
        return model(**fields)
    except ValueError as error:
        raise Wrong(f"{path}: {error}") from error


def read_value(value, kind, path):
    if value is None:
        raise Wrong(f"{path}: is empty")
    if kind == "object":
        return value  # a number or a text, as ports and quantities of a budget
    if kind in SCALARS:
        if not isinstance(value, SCALARS[kind]) or (kind != "bool" and isinstance(value, bool)):
            raise Wrong(f"{path}: must be {kind}, not {value!r}")
        return value
    listed = re.fullmatch(r"list\[(.*)\]", kind)
    if listed:
        if not isinstance(value, list):
            raise Wrong(f"{path}: must be a list, not {value!r}")
        return [read_value(item, listed[1], f"{path}[{n}]") for n, item in enumerate(value)]
    mapped = re.fullmatch(r"dict\(str, (.*)\)", kind)
    if mapped:
        if not isinstance(value, dict):
            raise Wrong(f"{path}: must be a map, not {value!r}")
        return {key: read_value(item, mapped[1], f"{path}.{key}") for key, item in value.items()}
    model = getattr(kubernetes.client, kind, None)
    if model is None:
        raise Wrong(f"{path}: a {kind} is not expected here")
    return read_object(value, model, path)
