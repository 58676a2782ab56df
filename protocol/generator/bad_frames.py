# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Frames that are wrong, each with the one error that the order of checks gives: the list, and common parts."""

from __future__ import annotations

from typing import Any

from generator.encoder import Json, tlv

BEFORE: dict[str, Any] = {"limit": 4096, "hello": False}
TOO_LONG, NOT_ZERO, UNKNOWN, BAD_JOB = "frame-too-long", "reserved-not-zero", "unknown-type", "bad-job"
CUT, ORDER, CRITICAL, SIZE = "payload-truncated", "field-order", "unknown-critical-field", "field-size"
TEXT, VALUE, MISSING = "bad-text", "bad-value", "field-missing"
# Fields that are right: mode and image_bytes of SUBMIT; the required ones of HELLO.
MODE, IMAGE = tlv(0x8002, "01"), tlv(0x8003, "0000000000000001")
FIRST, SECOND, FOURTH = tlv(1, "0100"), tlv(2, "00010000"), tlv(4, "00010000")


class BadFrames:
    def __init__(self) -> None:
        self.entries: list[Json] = []

    def header(self, name: str, why: str, hex: str, error: str, **more: Any) -> None:
        self.add("header", name, why, hex, error, **more)

    def payload(self, name: str, why: str, hex: str, error: str, tag: int | None = None, **more: Any) -> None:
        self.add("payload", name, why, hex, error, tag, **more)

    def connection(self, name: str, why: str, hex: str, error: str, **more: Any) -> None:
        self.add("connection", name, why, hex, error, **more)

    def add(
        self,
        level: str,
        name: str,
        why: str,
        hex: str,
        error: str,
        tag: int | None = None,
        *,
        to: str = "worker",
        limit: int = 65536,
        hello: bool = True,
    ) -> None:
        entry = {
            "name": name,
            "why": why,
            "level": level,
            "to": to,
            "frame_limit": limit,
            "after_hello": hello,
            "hex": hex,
        }
        self.entries.append(entry | {"error": error, "job": 0} | ({"field_tag": tag} if tag is not None else {}))
