"""Strict reading of a dashboard for Grafana: every field with its type, as Grafana 11.3.1 names it.

The names and types are those of the package @grafana/schema 11.3.1 (Dashboard, Panel, RowPanel, the
options and fields of the panels `stat` and `timeseries`), as far as the dashboard uses them; and of
the queries of the data source `prometheus`. `read(board)` raises Wrong with the path of a field
that does not exist there, or whose value is of another type.
"""

# A type is a class, a set of the values that are allowed, a list with the type of its items, a dict
# of fields, or a tuple of alternatives. EMPTY is for lists of what is not used here.
EMPTY = []
SOURCE = {"type": {"prometheus"}, "uid": str}
GRID = {"h": int, "w": int, "x": int, "y": int}
TARGET = {"refId": str, "datasource": SOURCE, "expr": str, "legendFormat": str, "range": bool}

FIELD = {
    "unit": str,
    "min": (int, float),
    "max": (int, float),
    "color": {"mode": {"thresholds", "palette-classic", "fixed"}},
    "thresholds": {
        "mode": {"absolute", "percentage"},
        "steps": [{"color": str, "value": (int, float, None)}],
    },
}
LINES = {
    "drawStyle": {"line", "bars", "points"},
    "lineWidth": int,
    "fillOpacity": int,
    "showPoints": {"auto", "never", "always"},
    "spanNulls": bool,
    "stacking": {"mode": {"none", "normal", "percent"}},
}
PANEL = {
    "id": int,
    "title": str,
    "description": str,
    "gridPos": GRID,
    "datasource": SOURCE,
    "targets": [TARGET],
}
PANELS = {
    "row": {
        "id": int, "type": {"row"}, "title": str, "collapsed": bool, "gridPos": GRID,
        "panels": EMPTY,
    },
    "stat": {
        **PANEL,
        "type": {"stat"},
        "fieldConfig": {"defaults": FIELD, "overrides": EMPTY},
        "options": {
            "colorMode": {"value", "background", "background_solid", "none"},
            "graphMode": {"none", "line", "area"},
            "reduceOptions": {"calcs": [str], "fields": str, "values": bool},
        },
    },
    "timeseries": {
        **PANEL,
        "type": {"timeseries"},
        "fieldConfig": {"defaults": {**FIELD, "custom": LINES}, "overrides": EMPTY},
        "options": {
            "legend": {
                "displayMode": {"list", "table", "hidden"},
                "placement": {"bottom", "right"},
                "showLegend": bool,
            },
            "tooltip": {"mode": {"single", "multi", "none"}, "sort": {"asc", "desc", "none"}},
        },
    },
}
VARIABLE = {
    "name": str,
    "label": str,
    "type": {"datasource", "query"},
    "datasource": SOURCE,
    "query": (str, {"query": str, "refId": str}),
    "definition": str,
    "hide": {0, 1, 2},
    "refresh": {0, 1, 2},
    "regex": str,
    "sort": {0, 1, 2, 3, 4, 5, 6},
    "multi": bool,
    "includeAll": bool,
    "allValue": str,
    "current": {"text": (str, [str]), "value": (str, [str])},
    "options": EMPTY,
}
DASHBOARD = {
    "uid": str,
    "title": str,
    "tags": [str],
    "editable": bool,
    "schemaVersion": int,
    "version": int,
    "timezone": {"browser", "utc"},
    "refresh": str,
    "time": {"from": str, "to": str},
    "graphTooltip": {0, 1, 2},
    "annotations": {"list": EMPTY},
    "links": EMPTY,
    "templating": {"list": [VARIABLE]},
}


class Wrong(Exception):
    pass


def read(board):
    read_value({**board, "panels": []}, {**DASHBOARD, "panels": EMPTY}, "dashboard")
    for number, panel in enumerate(board.get("panels", [])):
        path = f"dashboard.panels[{number}]"
        kind = PANELS.get(panel.get("type"))
        if kind is None:
            raise Wrong(f"{path}.type: {panel.get('type')!r}")
        if "title" not in panel or "gridPos" not in panel:
            raise Wrong(f"{path}: has no title or no place")
        read_value(panel, kind, path)


def read_value(value, kind, path):
    if isinstance(kind, tuple):
        read_alternative(value, kind, path)
    elif isinstance(kind, dict):
        read_fields(value, kind, path)
    elif isinstance(kind, list):
        if not isinstance(value, list) or (value and not kind):
            raise Wrong(f"{path}: must be a list, not {value!r}")
        for number, item in enumerate(value):
            read_value(item, kind[0], f"{path}[{number}]")
    elif isinstance(kind, set):
        if isinstance(value, (bool, list, dict)) or value not in kind:
            raise Wrong(f"{path}: must be one of {sorted(kind)}, not {value!r}")
    elif kind is None:
        if value is not None:
            raise Wrong(f"{path}: must be null, not {value!r}")
    elif not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise Wrong(f"{path}: must be {kind.__name__}, not {value!r}")


def read_alternative(value, kinds, path):
    for kind in kinds:
        try:
            read_value(value, kind, path)
            return
        except Wrong:
            pass
    raise Wrong(f"{path}: {value!r} is none of what is allowed")


def read_fields(value, fields, path):
    if not isinstance(value, dict):
        raise Wrong(f"{path}: must be an object, not {value!r}")
    for key, item in value.items():
        if key not in fields:
            raise Wrong(f"{path}.{key}: no such field")
        read_value(item, fields[key], f"{path}.{key}")
