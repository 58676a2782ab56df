# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""What frames may follow what on a connection: PROTOCOL.md sections 3 and 7, seen from both ends at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from decoder import END, FIRST_FRAME_LIMIT, LARGEST_CREDIT, MESSAGES, NUMBERS, Frame, Json, require


@dataclass
class Job:
    image_bytes: int
    has_input: bool
    can_pause: bool
    # of the image: awaited, offered by its digest, or (from a snapshot, or of a job that is attached to) none
    upload: str
    layers: list[int] | None = None  # of a program: their bytes
    is_detached: bool = False
    state: str = "submitted"  # accepted, started, paused, ended, refused; attaching, attached
    image: int = 0
    image_ended: bool = False
    input: int = 0
    input_ended: bool = False
    output: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0, 3: 0, 4: 0, 5: 0})
    granted: dict[str, int] = field(default_factory=lambda: {"client": 0, "worker": 0})
    used: dict[str, int] = field(default_factory=lambda: {"client": 0, "worker": 0})


OTHER = {"client": "worker", "worker": "client"}
# A worker's message for a job: the states it may find the job in, the state it leaves it in (None: as it was).
STEPS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "ACCEPTED": (("submitted",), "accepted"),
    "STARTED": (("accepted",), "started"),
    "OUTPUT": (("started", "attached"), None),
    "WANT_IMAGE": (("submitted",), "submitted"),
    "PAUSED": (("started",), "paused"),
    "RESULT": (("accepted", "started", "paused", "attached"), "ended"),
    "ATTACHED": (("attaching",), "attached"),
    "LEFT": (("attaching", "attached"), "ended"),
    "ERROR": (("submitted", "attaching"), "refused"),
}


REQUESTS = 16
# The list of an ANSWER, and what its records rise by.
LISTS = {2: ("tenant_list", "user"), 3: ("job_list", "id"), 5: ("detached_list", "id")}


def answers(answer: Frame, request: Frame) -> bool:
    """Whether one frame is what can be answered to the other."""
    said, asked = answer.fields, request.fields
    if (request.type, answer.type) == ("STOP", "STOPPED"):
        sizes = [(len(said.get(a, [])), len(asked.get(b, []))) for a, b in [("jobs", "jobs"), ("forgotten", "forget")]]
        return all(a == b for a, b in sizes)
    if (request.type, answer.type) != ("QUERY", "ANSWER") or said["what"] != asked["what"]:
        return False
    if said["what"] not in LISTS:
        return True
    name, key = LISTS[said["what"]]
    if not said[name]:
        return not said["more"]
    return "after" not in asked or int(said[name][0][key]) > int(asked["after"])


class Conversation:
    """Both ends of a connection: `take` raises what the receiver of a frame would answer to its sender."""

    def __init__(self) -> None:
        self.hello: dict[str, dict[str, Json]] = {}
        self.failed: set[str] = set()  # who has sent a fatal ERROR, and reads nothing any more
        self.jobs: dict[int, Job] = {}
        self.requests: list[Frame] = []  # QUERY and STOP without an answer

    def frame_limit(self, receiver: str) -> int:
        return int(self.hello[receiver]["frame_limit"]) if receiver in self.hello else FIRST_FRAME_LIMIT

    def take(self, sender: str, frame: Frame) -> None:
        if OTHER[sender] in self.failed:
            return
        if frame.type == "ERROR" and frame.job == 0 and (sender == "worker" or sender in self.hello):
            self.failed.add(sender)
        elif sender not in self.hello:
            self.greet(sender, frame)
        elif isinstance(frame.type, str):
            require(frame.type != "HELLO", "unexpected-frame")
            require(sender[0] in MESSAGES[NUMBERS[frame.type]].senders, "unexpected-frame")
            if frame.job:
                self.take_job(sender, frame)
            elif frame.type in ("QUERY", "STOP"):
                self.requests.append(frame)
                require(len(self.requests) <= REQUESTS, "window-exceeded")
            elif frame.type in ("ANSWER", "STOPPED"):
                require(bool(self.requests) and answers(frame, self.requests.pop(0)), "unexpected-frame")

    def greet(self, sender: str, frame: Frame) -> None:
        require(frame.type == "HELLO", "hello-expected")
        require(frame.fields["version"]["major"] == 1, "version-unsupported")
        self.hello[sender] = frame.fields

    def take_job(self, sender: str, frame: Frame) -> None:
        fields = frame.fields
        if frame.type in ("SUBMIT", "ATTACH"):
            require(frame.job > max(self.jobs, default=0), "bad-job")
        if frame.type == "ATTACH":
            job = self.jobs[frame.job] = Job(0, False, False, "none", state="attaching")
            job.output |= {row["channel"]: int(row["offset"]) for row in fields.get("offsets", [])}
            return
        if frame.type == "SUBMIT":
            offered = "image_digest" in fields or "program" in fields
            upload = "none" if "from" in fields else "offered" if offered else "awaited"
            size, has_input = int(fields.get("image_bytes", 0)), fields.get("input", False)
            layers = [int(layer["bytes"]) for layer in fields.get("layers", [])] if "program" in fields else None
            detach = fields.get("detach", False)
            self.jobs[frame.job] = Job(size, has_input, fields.get("pause", False), upload, layers, detach)
            return
        require(frame.job in self.jobs, "unexpected-frame")
        job = self.jobs[frame.job]
        if frame.type == "WINDOW":
            self.take_window(OTHER[sender], job, frame.fields["credit"])
        elif sender == "worker":
            self.take_answer(str(frame.type), job, frame)
        elif frame.type == "IMAGE" and job.state not in ("refused", "ended"):
            self.take_image(job, frame)
        elif frame.type == "INPUT" and job.state not in ("refused", "ended"):
            self.take_input(job, frame)
        elif frame.type == "EXTEND" and job.state not in ("refused", "ended"):
            require(job.state == "paused", "unexpected-frame")
            job.state = "started"
        elif frame.type == "LEAVE" and job.state not in ("refused", "ended"):
            require(job.state in ("attaching", "attached"), "unexpected-frame")
        else:
            require(frame.type != "ERROR", "unexpected-frame")  # refusing is the worker's

    def take_window(self, data_sender: str, job: Job, credit: int) -> None:
        if job.state not in ("refused", "ended"):
            job.granted[data_sender] += credit
            require(self.credit(data_sender, job) <= LARGEST_CREDIT, "window-overflow")

    def credit(self, data_sender: str, job: Job) -> int:
        first = self.hello.get(OTHER[data_sender], {}).get("window", 0)
        return int(first) + job.granted[data_sender] - job.used[data_sender]

    def spend(self, data_sender: str, job: Job, count: int) -> None:
        job.used[data_sender] += count
        require(self.credit(data_sender, job) >= 0, "window-exceeded")

    def take_image(self, job: Job, frame: Frame) -> None:
        require(not job.image_ended and job.upload == "awaited", "unexpected-frame")
        require(int(frame.fields["offset"]) == job.image, "bad-offset")
        job.image += len(frame.fields["bytes"]) // 2
        job.image_ended = frame.flags & END != 0
        require(job.image <= job.image_bytes, "data-overrun")
        require(not job.image_ended or job.image == job.image_bytes, "payload-truncated")

    def take_input(self, job: Job, frame: Frame) -> None:
        require(job.has_input and not job.input_ended, "unexpected-frame")
        require(int(frame.fields["offset"]) == job.input, "bad-offset")
        count = len(frame.fields["bytes"]) // 2
        self.spend("client", job, count)
        job.input += count
        job.input_ended = frame.flags & END != 0

    def take_answer(self, name: str, job: Job, frame: Frame) -> None:
        before, after = STEPS[name]
        if name == "OUTPUT" and frame.fields["channel"] == 4 and job.state == "paused":
            before, after = ("paused",), "paused"  # its end is near
        require(job.state in before, "unexpected-frame")
        require(name != "ACCEPTED" or job.image_ended or job.upload != "awaited", "unexpected-frame")
        if name == "ACCEPTED" and job.is_detached:
            require(job.input_ended or not job.has_input, "unexpected-frame")
            after = "ended"
        if name == "WANT_IMAGE":
            require(job.upload == "offered", "unexpected-frame")
            self.take_demand(job, frame.fields.get("layers"))
            job.upload = "awaited"
        require(name != "PAUSED" or job.can_pause, "unexpected-frame")
        job.state = after or job.state
        if name == "OUTPUT":
            channel, count = frame.fields["channel"], len(frame.fields["bytes"]) // 2
            require(int(frame.fields["offset"]) == job.output[channel], "bad-offset")
            job.output[channel] += count
            self.spend("worker", job, count)

    def take_demand(self, job: Job, wanted: int | None) -> None:
        """Which layers of a program will come; of an image nothing is said."""
        if job.layers is None:
            require(wanted is None, "bad-value")
            return
        require(wanted is not None, "field-missing")
        require(wanted >> len(job.layers) == 0, "bad-value")
        job.image_bytes = sum(size for place, size in enumerate(job.layers) if wanted >> place & 1)

    def open_jobs(self) -> list[int]:
        over = {"refused", "ended"} | ({"attaching", "attached"} if "worker" in self.failed else set())
        return [number for number, job in self.jobs.items() if job.state not in over]
