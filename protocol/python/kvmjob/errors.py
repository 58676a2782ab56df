# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""What can go wrong, each with what a program needs to decide what to do next."""

from __future__ import annotations

from typing import Optional

from .codec import Json

CODES: dict[int, str] = dict(
    enumerate(
        "frame-too-long reserved-not-zero unknown-type bad-job payload-truncated field-order unknown-critical-field "
        "field-size bad-text bad-value field-missing hello-expected version-unsupported handshake-timeout "
        "unexpected-frame bad-offset data-overrun window-exceeded window-overflow too-many-connections internal".split(),
        1,
    )
) | dict(
    enumerate(
        "invalid-field image-too-large image-empty memory-size image-outside-memory entry-outside-memory "
        "image-overlaps-system-area budget-range mode-unavailable too-many-jobs queue-full draining cancelled-upload "
        "image-digest-mismatch snapshot-unknown program-unusable tenant-limit job-unknown run-over detach-unavailable "
        "key-taken".split(),
        64,
    )
)
NUMBERS = {name: code for code, name in CODES.items()}


class KVMJobError(Exception):
    """Everything that this package raises of its own."""


class ConnectError(KVMJobError):
    """There is no worker at that path, or it does not answer."""


class ConnectionLost(KVMJobError):
    """The connection ended before it should have. What became of a job is not known; a detached one goes on."""


class ProtocolError(KVMJobError):
    """The worker sent what PROTOCOL.md does not allow, or this client was about to. The connection is of no more use.

    `code` is the name in section 6 of what was broken.
    """

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(f"{text or 'the wire was broken'}: {code}")
        self.code = code


class Rejection(KVMJobError):
    """What an ERROR frame says."""

    def __init__(self, fields: Json) -> None:
        self.number = int(fields["code"])
        self.code = CODES.get(self.number, f"code-{self.number}")
        self.text = str(fields.get("text", ""))
        self.limit = _number(fields, "limit")
        self.value = _number(fields, "value")
        self.limit_name: Optional[str] = fields.get("limit_name")
        self.retryable = bool(fields.get("retryable", False))
        retry_ns = _number(fields, "retry_ns")
        self.retry_seconds: Optional[float] = None if retry_ns is None else retry_ns / 1e9
        super().__init__(f"{self.code}: {self.text}" if self.text else self.code)


class Refused(Rejection):
    """The worker did not take this job. Nothing of it has run, and the connection goes on.

    `code` names the rule (PROTOCOL.md section 6); `limit`, `value` and `limit_name` tell the bound that was crossed,
    where there is one. With `retryable` the same request can succeed later, in about `retry_seconds` where that can be
    told.
    """


class WorkerError(Rejection):
    """The worker ended the connection, or never began one: `too-many-connections`, say. Jobs that it had accepted still
    end.
    """


class Left(KVMJobError):
    """The worker let go of an attached job before its result: `reason` is asked, told, drain or forgotten."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the job has no result yet: {reason}")
        self.reason = reason


def _number(fields: Json, name: str) -> Optional[int]:
    return int(fields[name]) if name in fields else None
