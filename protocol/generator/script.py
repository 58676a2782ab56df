# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Conversations as a list of steps."""

from __future__ import annotations

from typing import Any

from generator.encoder import Json, data, message
from generator.values import CLIENT_HELLO, HI, LOOP, MIB, SECOND, WORKER_HELLO


class Script:
    """Steps in an order in which both ends may have seen them."""

    def __init__(self, name: str, why: str) -> None:
        self.name, self.why = name, why
        self.steps: list[Json] = []
        self.expect: Json = "ok"

    def client(self, *frames: Json) -> Script:
        return self.add("client", frames)

    def worker(self, *frames: Json) -> Script:
        return self.add("worker", frames)

    def add(self, sender: str, frames: tuple[Json, ...]) -> Script:
        self.steps += [
            {"from": sender, "hex": f["hex"]} | ({"decoded": f["decoded"]} if "decoded" in f else {}) for f in frames
        ]
        return self

    def hello(self, window: int = 65536, input_window: int = 65536) -> Script:
        self.worker(message("HELLO", **(WORKER_HELLO | {"window": input_window})))
        return self.client(message("HELLO", **(CLIENT_HELLO | {"window": window})))

    def upload(self, job: int, image: bytes = HI, **fields: Any) -> Script:
        self.client(message("SUBMIT", job, **({"mode": 1, "image_bytes": len(image)} | fields)))
        return self.client(data("IMAGE", job, 0, image, end=True))

    def accept(self, job: int, position: int = 0) -> Script:
        return self.worker(message("ACCEPTED", job, queue_position=position))

    def start(self, job: int) -> Script:
        return self.worker(message("STARTED", job, queue_ns=41_000, wall_budget=10 * SECOND, memory_bytes=16 * MIB))

    def run(self, job: int, image: bytes = HI, **fields: Any) -> Script:
        return self.upload(job, image, **fields).accept(job).start(job)

    def pause(self, job: int, **fields: Any) -> Script:
        """A job that runs and is paused after 1000 steps."""
        return self.run(job, LOOP, step_budget=1000, pause=True, **fields).worker(paused(job))

    def wrong(self, error: str) -> Script:
        """The last step is wrong. Its receiver answers with a fatal ERROR."""
        self.expect = {"error": error, "at_step": len(self.steps) - 1}
        codes = [
            "",
            "frame-too-long",
            "reserved-not-zero",
            "unknown-type",
            "bad-job",
            "payload-truncated",
            "field-order",
            "unknown-critical-field",
            "field-size",
            "bad-text",
            "bad-value",
            "field-missing",
            "hello-expected",
            "version-unsupported",
            "handshake-timeout",
            "unexpected-frame",
            "bad-offset",
            "data-overrun",
            "window-exceeded",
            "window-overflow",
        ]
        kind = bytes.fromhex(self.steps[-1]["hex"])[4]
        if error == "hello-expected" and self.steps[-1]["from"] == "worker":
            return self  # the client's own first frame would have to be HELLO
        answer = message("ERROR", code=codes.index(error), frame_type=kind)
        return self.worker(answer) if self.steps[-1]["from"] == "client" else self.client(answer)


class Conversations:
    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.scripts: list[Script] = []

    def bare(self, name: str, why: str) -> Script:
        """From the first byte on."""
        self.scripts.append(Script(self.prefix + name, why))
        return self.scripts[-1]

    def script(self, name: str, why: str, **hello: int) -> Script:
        """From after both HELLOs on."""
        return self.bare(name, why).hello(**hello)


DONE = message(
    "RESULT", 1, outcome=1, meter=1, steps=5, queue_ns=41_000, wall_ns=1_250_000, exits=[2, 0, 5, 0, 1], output_bytes=2
)


def steps_exhausted(job: int, limit: int = 1000) -> Json:
    return message("RESULT", job, outcome=6, limit=limit, used=limit, meter=1, steps=limit)


def paused(job: int, steps: int = 1000) -> Json:
    return message("PAUSED", job, steps=steps, keep_ns=60 * SECOND)


def extend(job: int, steps: int) -> Json:
    return message("EXTEND", job, steps=steps)


def halted(job: int) -> Json:
    return message("RESULT", job, outcome=1)


def cancelled(job: int, canceller: int = 1) -> Json:
    return message("RESULT", job, outcome=12, canceller=canceller)


def refusal(job: int, code: int, **more: Any) -> Json:
    return message("ERROR", job, code=code, frame_type=0x10, **more)


def grant(job: int, credit: int) -> Json:
    return message("WINDOW", job, credit=credit)
