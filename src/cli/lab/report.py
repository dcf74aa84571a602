"""The report of a run: makes RUN/report.html, one page that needs nothing else, and
RUN/report.json from what the run left behind: check.json, and run.json, nemesis.log and
anomalies.txt as far as they are there. `spate lab` and `jepsen/report RUN` share it.
"""

import html
import json
import math
import os
import sys

WIDTH, LEFT, RIGHT = 1060, 70, 12
PANEL, LANE = 150, 14
COLOURS = ("#3572b0", "#b5562c", "#2f8f5b", "#8a56a8", "#a08b1f", "#b03a5b", "#4a8f99", "#777777")


# ---- what is there ------------------------------------------------------------------------------


def read_json(path):
    with open(path, encoding="utf-8") as handle:
        return json.load(handle)


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""


def read_nemesis(path):
    """Phases as (name, ns), and the ids of faults whose effect was seen."""
    phases, seen = [], set()
    for line in read_text(path).splitlines():
        words = line.split()
        if len(words) < 5 or words[1] != "nemesis" or words[3] != "observed":
            continue
        if words[4] == "phase":
            name = next((word[5:] for word in words if word.startswith("name=")), "")
            phases.append((name, int(words[0])))
        else:
            seen.add(int(words[2]))
    return phases, seen


def quantile(numbers, part):
    if not numbers:
        return None
    numbers = sorted(numbers)
    return numbers[min(len(numbers) - 1, math.ceil(part * len(numbers)) - 1)]


def by_kind(faults, seen):
    rows = {}
    for fault in faults:
        row = rows.setdefault(fault["kind"], {"begun": 0, "seen": 0, "next": [], "without": 0})
        row["begun"] += 1
        row["seen"] += fault["id"] in seen
        row["next"] += fault["next_ack_ms"]
        row["without"] += fault["without_ack"]
    return [
        {
            "kind": kind,
            "begun": row["begun"],
            "observed": row["seen"],
            "partitions": len(row["next"]) + row["without"],
            "next_ack_p50_ms": quantile(row["next"], 0.5),
            "next_ack_p99_ms": quantile(row["next"], 0.99),
            "next_ack_max_ms": max(row["next"], default=None),
            "without_ack": row["without"],
        }
        for kind, row in sorted(rows.items())
    ]


def collect(folder):
    check = read_json(os.path.join(folder, "check.json"))
    try:
        run = read_json(os.path.join(folder, "run.json"))
    except FileNotFoundError:
        run = {}
    phases, seen = read_nemesis(os.path.join(folder, "nemesis.log"))
    begin = check["first_ns"]
    return {
        "verdict": check["verdict"],
        "run": run,
        "seconds": (check["last_ns"] - begin) / 1e9,
        "counts": check["counts"],
        "latency": check["latency"],
        "lag": check.get("lag"),
        "kinds": by_kind(check["faults"], seen),
        "anomalies": [row for row in check["anomalies"] if row["count"]],
        "checked": [row["kind"] for row in check["anomalies"]],
        "gaps": [{**gap, "at_s": (gap["from_ns"] - begin) / 1e9} for gap in check["gaps"]],
        "faults": [
            {
                **fault,
                "observed": fault["id"] in seen,
                "begin_s": (fault["begin_ns"] - begin) / 1e9,
                "end_s": (fault["end_ns"] - begin) / 1e9,
            }
            for fault in check["faults"]
        ],
        "phases": [{"name": name, "at_s": (at - begin) / 1e9} for name, at in phases],
        "point_s": check["point_s"],
        "series": check["series"],
        "first_ns": begin,
    }


# ---- the picture --------------------------------------------------------------------------------


def text(x, y, words, anchor="start", extra=""):
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}'
    return f"<text {place}>{html.escape(words)}</text>"


def nice_step(span, count):
    raw = max(span, 1e-9) / count
    power = 10 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)


class Picture:
    """Panels above each other with one axis of time."""

    def __init__(self, report):
        self.report = report
        self.parts = []
        self.y = 8
        self.points = len(report["series"])
        self.span = max(report["seconds"], self.points * report["point_s"], 1)
        self.kinds = [row["kind"] for row in report["kinds"]]

    def x(self, seconds):
        share = min(max(seconds / self.span, 0), 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def colour(self, kind):
        return COLOURS[self.kinds.index(kind) % len(COLOURS)]

    def shade(self, top, height):
        for fault in self.report["faults"]:
            x = self.x(fault["begin_s"])
            width = max(self.x(fault["end_s"]) - x, 1)
            self.parts.append(
                f'<rect class="fault" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" '
                f'height="{height}" fill="{self.colour(fault["kind"])}"/>'
            )
        for row in self.report["anomalies"]:
            for example in row["examples"]:
                if example["time_ns"]:
                    x = self.x((example["time_ns"] - self.report["first_ns"]) / 1e9)
                    words = html.escape(f"{row['kind']}: {example['text']}")
                    self.parts.append(
                        f'<line class="bad" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" '
                        f'y2="{top + height:.1f}"><title>{words}</title></line>'
                    )

    def line(self, values, place, colour):
        """A line with a hole wherever there is no value."""
        runs, run = [], []
        for i, value in enumerate(values):
            if value is None:
                runs, run = runs + [run], []
            else:
                run.append((self.x((i + 0.5) * self.report["point_s"]), place(value)))
        for run in filter(None, runs + [run]):
            if len(run) == 1:
                run = [run[0], (run[0][0] + 1, run[0][1])]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            self.parts.append(f'<polyline points="{points}" stroke="{colour}"/>')

    def across(self, kind, y):
        ends = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        self.parts.append(f'<line class="{kind}" {ends}/>')

    def panel(self, title, lines, ticks, place):
        """`lines`: (name, values, colour); `place`: the height of a value within the panel."""
        top = self.y + 18
        self.parts.append(text(LEFT, top - 6, title, extra=' class="title"'))
        at = WIDTH - RIGHT
        for name, _, colour in reversed(lines):
            self.parts.append(text(at, top - 6, name, "end", f' fill="{colour}"'))
            at -= 8 * len(name) + 14
        self.shade(top, PANEL)
        for value, words in ticks:
            y = top + place(value)
            self.across("grid", y)
            self.parts.append(text(LEFT - 6, y + 4, words, "end"))
        for _, values, colour in lines:
            self.line(values, lambda value: top + place(value), colour)
        self.y = top + PANEL + 8

    def rates(self):
        series, seconds = self.report["series"], self.report["point_s"]
        names = ("acknowledged", "read", "unknown", "failed")
        colours = ("#2f8f5b", "#3572b0", "#b8860b", "#c0392b")
        lines = [
            (name, [point[name] / seconds for point in series], colour)
            for name, colour in zip(names, colours)
            if name in names[:2] or any(point[name] for point in series)
        ]
        top = max([max(values, default=0) for _, values, _ in lines] + [1])
        step = nice_step(top, 4)
        top = math.ceil(top / step) * step
        ticks = [(n * step, f"{n * step:,.0f}") for n in range(round(top / step) + 1)]
        self.panel("records a second", lines, ticks, lambda value: PANEL * (1 - value / top))

    def latencies(self):
        series = self.report["series"]
        lines = [
            (words, [point[name] if point["acknowledged"] else None for point in series], colour)
            for name, words, colour in (
                ("p50_ms", "median", "#2f8f5b"),
                ("p99_ms", "p99", "#3572b0"),
                ("max_ms", "longest", "#c0392b"),
            )
        ]
        values = [value for _, some, _ in lines for value in some if value]
        low = 10 ** math.floor(math.log10(min(values, default=1)))
        high = 10 ** math.ceil(math.log10(max(values, default=10)))
        high = max(high, low * 10)

        def place(value):
            value = min(max(value, low), high)
            return PANEL * (1 - math.log10(value / low) / math.log10(high / low))

        ticks, value = [], low
        while value <= high:
            ticks.append((value, f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"))
            value *= 10
        self.panel("from sending to acknowledgement", lines, ticks, place)

    def lanes(self):
        top = self.y + 8
        for n, kind in enumerate(self.kinds):
            y = top + n * LANE
            self.parts.append(text(LEFT - 6, y + LANE - 4, kind[:11], "end"))
            for fault in self.report["faults"]:
                if fault["kind"] == kind:
                    x = self.x(fault["begin_s"])
                    width = max(self.x(fault["end_s"]) - x, 2)
                    when = f"{fault['begin_s']:.1f} s to {fault['end_s']:.1f} s"
                    words = html.escape(f"{kind} of {fault['target']}, {when}")
                    self.parts.append(
                        f'<rect x="{x:.1f}" y="{y + 2:.1f}" width="{width:.1f}" '
                        f'height="{LANE - 4}" fill="{self.colour(kind)}">'
                        f"<title>{words}</title></rect>"
                    )
        self.y = top + len(self.kinds) * LANE

    def axis(self):
        y = self.y + 4
        self.across("axis", y)
        step = max(nice_step(self.span, 10), 1)
        for n in range(int(self.span / step) + 1):
            self.parts.append(text(self.x(n * step), y + 15, f"{n * step:g} s", "middle"))
        for phase in self.report["phases"]:
            x = self.x(phase["at_s"])
            self.parts.append(f'<line class="phase" x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{y}"/>')
            self.parts.append(text(x + 3, y + 30, phase["name"], extra=' class="title"'))
        self.y = y + 38

    def svg(self):
        self.rates()
        self.latencies()
        self.lanes()
        self.axis()
        size = f'viewBox="0 0 {WIDTH} {self.y:.0f}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(self.parts)}</svg>'


# ---- the page -----------------------------------------------------------------------------------

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em;
  color: #1b1f24; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
.verdict { padding: .2em .7em; border-radius: .3em; color: #fff }
.valid { background: #2f8f5b } .anomalies { background: #c0392b } .unknown { background: #b8860b }
table { border-collapse: collapse } td, th { padding: .2em .9em .2em 0; text-align: right;
  border-bottom: 1px solid #d8dee4; font-variant-numeric: tabular-nums }
td:first-child, th:first-child { text-align: left }
pre { background: #f6f8fa; padding: .8em; overflow-x: auto; font-size: 12px }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; fill: #57606a }
svg polyline { fill: none; stroke-width: 1.4 } svg .title { fill: #1b1f24; font-weight: 600 }
svg .fault { opacity: .13 } svg .grid { stroke: #d8dee4 } svg .axis { stroke: #57606a }
svg .phase { stroke: #1b1f24; stroke-dasharray: 3 3 } svg .bad { stroke: #c0392b; stroke-width: 2 }
"""


def show(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def table(heads, rows):
    def line(cells, tag):
        some = "".join(f"<{tag}>{html.escape(show(cell))}</{tag}>" for cell in cells)
        return f"<tr>{some}</tr>"

    return "<table>" + line(heads, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def anomalies(report, windows):
    if not report["anomalies"]:
        return f"<p>None of these was found: {', '.join(report['checked'])}.</p>"
    parts = []
    for row in report["anomalies"]:
        examples = "".join(f"<li>{html.escape(e['text'])}</li>" for e in row["examples"])
        words = html.escape(f"{row['kind']}: {row['count']:,}: {row['meaning']}")
        parts.append(f"<h3>{words}</h3><ul>{examples}</ul>")
    if windows:
        lines = f"<pre>{html.escape(windows)}</pre>"
        parts.append(f"<details><summary>What happened around them</summary>{lines}</details>")
    return "".join(parts)


FAULT_HEADS = (
    "kind", "begun", "effect seen", "partitions", "median", "p99", "longest", "none in 60 s",
)  # fmt: skip


def lag_words(lag):
    if lag is None:
        return ""
    words = f"median {lag['p50_ms']:.1f} ms, p99 {lag['p99_ms']:.0f} ms, "
    words += f"most {lag['max_ms']:.0f} ms"
    return f"<p>Readers were behind what was acknowledged by: {words}.</p>"


def page(report, windows):
    counts, latency = report["counts"], report["latency"]
    kinds = [
        (row["kind"], row["begun"], row["observed"], row["partitions"], row["next_ack_p50_ms"],
         row["next_ack_p99_ms"], row["next_ack_max_ms"], row["without_ack"])
        for row in report["kinds"]
    ]  # fmt: skip
    gaps = [(gap["partition"], gap["at_s"], gap["ms"]) for gap in report["gaps"]]
    words = {"valid": "valid", "anomalies": "anomalies found", "unknown": "not decided"}
    run = [(key, json.dumps(value)) for key, value in report["run"].items()]
    return "".join([
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f"<title>Spate under faults: {report['verdict']}</title>",
        f"<style>{STYLE}</style></head><body>",
        f'<h1>Spate under faults <span class="verdict {report["verdict"]}">',
        f"{words[report['verdict']]}</span></h1>",
        f"<p>{counts['acknowledged']:,} records acknowledged in {report['seconds']:,.0f} s, ",
        f"{sum(row['begun'] for row in report['kinds']):,} faults, ",
        f"{sum(row['count'] for row in report['anomalies']):,} anomalies. ",
        f"From sending to acknowledgement: median {latency['p50_ms']:.1f} ms, ",
        f"p99 {latency['p99_ms']:.0f} ms, longest {latency['max_ms']:.0f} ms.</p>",
        lag_words(report["lag"]),
        Picture(report).svg(),
        "<h2>Anomalies</h2>", anomalies(report, windows),
        "<h2>Faults</h2><p>Next acknowledgement: in each partition that the fault may have hit, ",
        "from its begin to the first acknowledgement of a record sent after it, in ms.</p>",
        table(FAULT_HEADS, kinds),
        "<h2>Longest times without an acknowledgement</h2>",
        table(("partition", "at, s", "ms"), gaps),
        "<h2>Counts</h2>",
        table(("", ""), [(key.replace("_", " "), value) for key, value in counts.items()]),
        "<h2>The run</h2>", table(("", ""), run) if run else "<p>No run.json.</p>",
        "</body></html>\n",
    ])  # fmt: skip


def make(folder):
    """Writes both files; returns the verdict. OSError, ValueError, KeyError."""
    report = collect(folder)
    windows = read_text(os.path.join(folder, "anomalies.txt"))
    with open(os.path.join(folder, "report.html"), "w", encoding="utf-8") as handle:
        handle.write(page(report, windows))
    with open(os.path.join(folder, "report.json"), "w", encoding="utf-8") as handle:
        json.dump(report, handle, indent=1)
        handle.write("\n")
    return report["verdict"]


def main():
    """Exit code 0: the verdict is `valid`; 1: it is not; 2: the run cannot be read."""
    if len(sys.argv) != 2:
        print("usage: report RUN", file=sys.stderr)
        return 2
    try:
        verdict = make(sys.argv[1])
    except (OSError, ValueError, KeyError) as wrong:
        print(f"report: {sys.argv[1]}: {wrong}", file=sys.stderr)
        return 2
    print(os.path.join(sys.argv[1], "report.html"))
    return 0 if verdict == "valid" else 1
