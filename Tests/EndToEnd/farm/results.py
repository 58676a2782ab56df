#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Batches of Linux programs that tell who they are, and whether their results are whole.

results.py make COUNT MILLISECONDS  a manifest: each job sleeps, and prints its own number (number.c)
results.py check COUNT FILE         FILE has one result of each, with the right output; none is lost, none doubled
"""

import base64
import json
import sys


def make(count, milliseconds):
    for number in range(count):
        print(json.dumps({"label": f"n{number}", "program": ["./number", milliseconds, str(number)]}))


def check(count, path):
    seen, ids = {}, set()
    for row in open(path, encoding="utf-8"):
        result = json.loads(row)
        if result["outcome"] != "exited" or result["code"] != 0:
            sys.exit(f"not what a program that ended well says: {row[:300]}")
        if result["job_id"] in ids or result["label"] in seen:
            sys.exit(f"twice: {result['job_id']} {result['label']}")
        ids.add(result["job_id"])
        seen[result["label"]] = base64.b64decode(result["output_base64"]).decode()
    wrong = [n for n in range(count) if seen.get(f"n{n}") != f"number {n}\n"]
    if wrong or len(seen) != count:
        sys.exit(f"{len(seen)} results of {count}; lost or wrong: {wrong[:10]}")
    print(f"{count} results, each once")


if sys.argv[1] == "make":
    make(int(sys.argv[2]), sys.argv[3])
else:
    check(int(sys.argv[2]), sys.argv[3])
