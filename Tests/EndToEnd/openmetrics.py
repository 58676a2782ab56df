#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Reads OpenMetrics 1.0 text on standard input, strictly, and says what is wrong with it.

    openmetrics.py [NAME[{LABEL="VALUE",...}]...]      prints the values of these samples, one a line

What prometheus_client makes of the text counts too, where that is installed. Written from the specification, and stricter than it: no
timestamps, no exemplars, a HELP for each family, and no type that the older text format does not know, which node_exporter reads.
"""

import re
import sys

LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
SAMPLE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? ([0-9]+(?:\.[0-9]+)?)")
ABOUT = re.compile(r"# (TYPE|UNIT|HELP) ([a-zA-Z_:][a-zA-Z0-9_:]*) ((?:[^\\\n]|\\[\\n\"])+)")
SUFFIXES = {"gauge": [""], "counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}


class Family:
    def __init__(self, name: str):
        self.name, self.about, self.samples = name, {}, []


def read(text: str) -> list[Family]:
    """The families of a text; asserts all that one line can be wrong in, and the order of lines."""
    assert text.endswith("# EOF\n"), "the text does not end with # EOF and a newline"
    families: list[Family] = []
    for line in text.split("\n")[:-2]:
        if about := ABOUT.fullmatch(line):
            key, name, value = about.groups()
            if not families or families[-1].name != name:
                assert name not in [family.name for family in families], f"{name} comes in two pieces"
                families.append(Family(name))
            assert key not in families[-1].about, f"a second {key} of {name}"
            assert not families[-1].samples, f"{key} of {name} stands behind its samples"
            families[-1].about[key] = value
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, f"no sample and no # TYPE, UNIT or HELP: {line!r}"
        assert families, f"a sample of nothing: {line!r}"
        labels = re.findall(LABEL, sample[2] or "")
        assert len({name for name, _ in labels}) == len(labels), f"a label twice: {line!r}"
        families[-1].samples.append((sample[1], dict(labels), sample[len(sample.groups())]))
    return families


def check(family: Family) -> None:
    """A family by itself."""
    kind = family.about.get("TYPE")
    assert kind in SUFFIXES, f"{family.name} is a {kind}"
    assert family.about.get("HELP"), f"{family.name} has no HELP"
    unit = family.about.get("UNIT")
    assert unit is None or family.name.endswith("_" + unit), f"{family.name} does not end with its unit {unit}"
    assert not family.name.endswith(("_total", "_bucket", "_count", "_sum", "_created", "_info")), f"{family.name}: reserved"
    for unit_name in ("seconds", "bytes"):
        assert not family.name.endswith("_" + unit_name) or unit == unit_name, f"{family.name} says no UNIT"
    names = [family.name + suffix for suffix in SUFFIXES[kind]]
    seen = set()
    for name, labels, _ in family.samples:
        assert name in names, f"{name} in the {kind} {family.name}"
        key = (name, tuple(sorted(labels.items())))
        assert key not in seen, f"{name} {labels} twice"
        seen.add(key)
    if kind == "histogram":
        check_histogram(family)


def check_histogram(family: Family) -> None:
    buckets = [(labels["le"], int(value)) for name, labels, value in family.samples if name.endswith("_bucket")]
    assert buckets[-1][0] == "+Inf", f"{family.name} has no last bucket"
    bounds = [float(bound) for bound, _ in buckets]
    for bound, _ in buckets[:-1]:
        assert bound == repr(float(bound)), f"le={bound!r} is not written as OpenMetrics wants it"
    assert bounds == sorted(set(bounds)), f"{family.name}: bounds do not rise: {bounds}"
    counts = [count for _, count in buckets]
    assert counts == sorted(counts), f"{family.name} is not cumulative: {counts}"
    others = {name: value for name, _, value in family.samples if not name.endswith("_bucket")}
    assert int(others[family.name + "_count"]) == counts[-1], f"{family.name}: count is not the last bucket"
    assert set(others) == {family.name + "_count", family.name + "_sum"}


def check_by_another(text: str) -> None:
    """By the parser that others use, where it is there."""
    try:
        from prometheus_client.openmetrics import parser
    except ImportError:
        return
    families = list(parser.text_string_to_metric_families(text))
    assert families, "prometheus_client finds nothing"
    print(f"prometheus_client reads {len(families)} families", file=sys.stderr)


def main() -> None:
    text = sys.stdin.buffer.read().decode("utf-8")
    families = read(text)
    for family in families:
        check(family)
    check_by_another(text)
    values = {}
    for family in families:
        for name, labels, value in family.samples:
            text_labels = ",".join(f'{key}="{content}"' for key, content in labels.items())
            values[name + (f"{{{text_labels}}}" if labels else "")] = value
    for wanted in sys.argv[1:]:
        print(values.get(wanted, "missing"))


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"openmetrics: {error}")
