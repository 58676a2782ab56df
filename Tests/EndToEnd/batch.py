#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Submits jobs over one connection and checks the worker's side of the conversation with protocol/conversation.py.

    batch.py SOCKET [--jobs N] [--image HEX] [--wall-ms N] [--steps N] [--label TEXT] [--when TYPE:K --run COMMAND]

Every job is the same image in mode real16; the default is HLT. When the K-th frame of TYPE came from the worker, the shell
COMMAND is started beside the conversation. When a GOAWAY comes, one more job is submitted, which the worker must refuse.

Prints one line of JSON and exits 0 if every accepted job got its RESULT and the worker kept to the protocol, else 1.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "protocol" / "python"))
from kvmjob.codec import END, FIRST_FRAME_LIMIT, Frame, Reader, WireError, encode  # noqa: E402
from kvmjob.conversation import Conversation  # noqa: E402

REAL16 = 1
OUTCOMES = (
    "halted exited faulted triple-fault unemulatable steps-exhausted cpu-time-exhausted wall-time-exhausted exits-exhausted "
    "output-exhausted memory-exhausted cancelled wait-expired host-error snapshot-taken"
).split()
CANCELLERS = {1: "client", 2: "disconnect", 3: "drain"}
SILENCE = 20  # seconds until a silent worker counts as dead


def outcome(result: Frame) -> str:
    name = OUTCOMES[result.fields["outcome"] - 1]
    return f"{name} by {CANCELLERS[result.fields['canceller']]}" if "canceller" in result.fields else name


class Batch:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SILENCE)
        self.conversation = Conversation()
        self.submitted = 0
        self.answered: set[int] = set()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.refusals: collections.Counter[int] = collections.Counter()
        self.accepted: set[int] = set()
        self.seen: collections.Counter[str] = collections.Counter()
        self.goaway: int | None = None
        self.side: subprocess.Popen[bytes] | None = None

    def send(self, *frames: Frame) -> None:
        for frame in frames:
            self.conversation.take("client", frame)
        self.socket.sendall(b"".join(map(encode, frames)))

    def submit(self) -> None:
        self.submitted += 1
        job, image = self.submitted, self.options.image
        fields = {"label": self.options.label, "mode": REAL16, "image_bytes": str(len(image) // 2)}
        fields["wall_budget"] = str(self.options.wall_ms * 1_000_000)
        fields["memory_bytes"] = str(1 << 20)
        if self.options.steps:
            fields["step_budget"] = str(self.options.steps)
        self.send(
            Frame("SUBMIT", job, 0, fields),
            Frame("IMAGE", job, END, {"channel": 0, "offset": "0"}, bytes.fromhex(image)),
        )

    def take(self, frame: Frame) -> None:
        self.conversation.take("worker", frame)
        self.seen[str(frame.type)] += 1
        if self.options.run and self.options.when == f"{frame.type}:{self.seen[str(frame.type)]}":
            self.side = subprocess.Popen(self.options.run, shell=True)
        if frame.type == "HELLO":
            hello = {"version": {"major": 1, "minor": 0}, "frame_limit": FIRST_FRAME_LIMIT, "window": 65536}
            self.send(Frame("HELLO", 0, 0, hello))
            for _ in range(self.options.jobs):
                self.submit()
        elif frame.type == "ACCEPTED":
            self.accepted.add(frame.job)
        elif frame.type == "RESULT":
            self.answered.add(frame.job)
            self.outcomes[outcome(frame)] += 1
        elif frame.type == "ERROR" and frame.job:
            self.refusals[frame.fields["code"]] += 1
        elif frame.type == "ERROR":
            raise WireError(f"fatal error {frame.fields}")
        elif frame.type == "GOAWAY":
            self.goaway = frame.fields["reason"]
            self.submit()

    def converse(self) -> None:
        self.socket.connect(self.options.socket)
        reader = Reader()
        while not self.is_over():
            data = self.socket.recv(65536)
            if not data:
                return
            reader.feed(data)
            for frame in reader.frames():
                self.take(frame)

    def is_over(self) -> bool:
        return self.submitted > 0 and not self.conversation.open_jobs()

    def report(self) -> dict[str, object]:
        return {
            "submitted": self.submitted,
            "accepted": len(self.accepted),
            "unanswered": sorted(self.accepted - self.answered),
            "outcomes": dict(self.outcomes),
            "refusals": dict(self.refusals),
            "goaway": self.goaway,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("socket")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--image", default="f4", help="hexadecimal; ebfe is an endless loop")
    parser.add_argument("--wall-ms", type=int, default=10_000)
    parser.add_argument("--steps", type=int, help="step budget; default none")
    parser.add_argument("--label", default="batch.py")
    parser.add_argument("--when", help="such as RESULT:10")
    parser.add_argument("--run")
    batch = Batch(parser.parse_args())
    problem = None
    try:
        batch.converse()
    except (WireError, OSError) as error:
        problem = f"{type(error).__name__}: {error}"
    side = batch.side.wait(SILENCE) if batch.side else 0
    report = batch.report() | {"problem": problem, "run_status": side}
    print(json.dumps(report, sort_keys=True))
    return 1 if problem or side or report["unanswered"] or not batch.accepted else 0


if __name__ == "__main__":
    sys.exit(main())
