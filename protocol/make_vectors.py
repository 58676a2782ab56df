#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Writes the test vectors: `python3 protocol/make_vectors.py protocol/vectors`.

The bytes come from generator/encoder.py, which was written from PROTOCOL.md and shares nothing with python/kvmjob.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from generator.digests import digests
from generator.encoder import Json
from generator.record_streams import record_streams
from generator.right_frames import right_frames
from generator.right_talks import right_conversations
from generator.script import Script
from generator.wrong_frames import wrong_frames
from generator.wrong_talks import wrong_conversations


def lines(entry: Json, indent: str) -> str:
    rows = [f"{indent} {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
    return f"{indent}{{\n" + ",\n".join(rows) + f"\n{indent}}}"


def listing(entries: list[Json], indent: str = " ") -> str:
    return "[\n" + ",\n".join(lines(entry, indent) for entry in entries) + f"\n{indent[1:]}]"


def conversation(script: Script) -> str:
    rest = {"name": script.name, "why": script.why, "expect": script.expect}
    rows = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in rest.items()]
    return "{\n" + ",\n".join(rows) + ',\n "steps": ' + listing(script.steps, "  ") + "\n}\n"


def files() -> dict[str, str]:
    """Every vector file by its path under vectors/."""
    lists = {
        "frames.json": right_frames(),
        "bad.json": wrong_frames(),
        "records.json": record_streams(),
        "digests.json": digests(),
    }
    out = {path: listing(entries) + "\n" for path, entries in lists.items()}
    for script in right_conversations() + wrong_conversations():
        path = f"transcripts/{script.name}.json"
        assert path not in out, path
        out[path] = conversation(script)
    return out


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for path, content in files().items():
        target = Path(sys.argv[1]) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
