# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""A connection without a socket: bytes and wishes in, events and bytes out. Both clients are this, and a way to wait.

The rules of the wire are conversation.py's, which judges every frame in both directions: what the worker may not send
raises ProtocolError, and what this client may not send never gets to the worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional, Union

from . import messages
from .codec import DATA_HEADER, END, HEADER, Frame, Reader, WireError, encode
from .conversation import Conversation
from .errors import ConnectionLost, KVMJobError, Left, ProtocolError, Refused, WorkerError
from .errors import NUMBERS as ERROR_NUMBERS
from .messages import Fields
from .model import (
    Acceptance, Attachment, Channel, Chunk, Image, JobSpec, Pause, Program, Result, Start, WorkerTerms,
)  # fmt: skip

FRAME_LIMIT = 131_072  # bytes of payload that this client takes
WINDOW = 262_144  # bytes of output of a job that wait here at most, unless told otherwise
HANDSHAKE_SECONDS = 5.0
VERSION = "0.1.0"  # that of the worker which it is released with
SOFTWARE = f"kvmjob-python {VERSION}"
BATCH = 262_144  # bytes that are handed out for sending at once, give or take a frame


News = Union[Acceptance, Attachment, Start, Chunk, Pause, Result, KVMJobError]
LEFT = {1: "asked", 2: "told", 3: "drain", 4: "forgotten"}


@dataclass(frozen=True)
class Happening:
    """Something that the worker told of a job."""

    job: int
    what: News


@dataclass(frozen=True)
class Greeted:
    """The worker's HELLO."""

    terms: WorkerTerms


@dataclass(frozen=True)
class Answered:
    """The answer to the oldest request without one: the fields of ANSWER or STOPPED."""

    fields: Fields


@dataclass(frozen=True)
class Ponged:
    """The answer to a ping."""

    data: bytes


@dataclass(frozen=True)
class Leaving:
    """The worker accepts no more jobs: GOAWAY, or (with an error) a fatal ERROR. What it accepted still ends."""

    reason: str
    error: Optional[WorkerError] = None


Event = Union[Happening, Greeted, Answered, Ponged, Leaving]


@dataclass
class Upload:
    """What is on its way to the worker for one job."""

    sources: Sequence[bytes]  # an image, or a program's layers
    is_program: bool
    is_detached: bool = False
    typed: deque[bytes] = field(default_factory=deque)
    typed_end: bool = True  # whether all input is in `typed`
    typed_sent: int = 0
    holds_image: bool = False  # until the input's end is sent
    image: deque[memoryview] = field(default_factory=deque)  # what is still to be sent, once it is wanted
    image_sent: int = 0
    consumed: int = 0  # bytes of output that credit was not given back for

    @property
    def waiting(self) -> int:
        """Bytes of input that the worker has no room for yet."""
        return sum(map(len, self.typed))


class Core:
    """One end of one connection."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self.terms: Optional[WorkerTerms] = None
        self.leaving: Optional[Leaving] = None
        self.failure: Optional[KVMJobError] = None  # why the connection is over
        self._reader = Reader(FRAME_LIMIT)
        self._rules = Conversation()
        self._uploads: dict[int, Upload] = {}
        self._outgoing: deque[bytes] = deque()
        self._highest = 0
        version = {"major": 1, "minor": 0}
        hello = {"version": version, "frame_limit": FRAME_LIMIT, "software": SOFTWARE, "window": window}
        self._send(Frame("HELLO", 0, 0, hello))

    # Wishes

    def submit(self, spec: JobSpec, typed: Optional[bytes] = None, more: bool = False) -> int:
        """Begins a submission and returns the job's number. With `more`, further input comes by `write`."""
        return self._submit(spec, typed, more, {})

    def detach(self, spec: JobSpec, typed: Optional[bytes] = None, key: Optional[str] = None) -> int:
        """Begins to hand a job over, whose end here is its acceptance."""
        return self._submit(spec, typed, False, {"detach": True} | ({"key": key} if key else {}))

    def attach(self, fields: Fields) -> int:
        """Asks for a detached job, which has a number of its own here."""
        return self._begin("ATTACH", fields, Upload([], False))

    def leave(self, job: int) -> None:
        """Lets go of a job that was attached to."""
        if job in self._uploads:
            self._send(Frame("LEAVE", job))

    def _submit(self, spec: JobSpec, typed: Optional[bytes], more: bool, detachment: Fields) -> int:
        has_input = typed is not None or more
        fields = messages.submission(spec, has_input) | detachment
        upload = self._upload(spec)
        if typed:
            upload.typed.append(typed)
        upload.typed_end = not more
        upload.is_detached = bool(detachment)
        upload.holds_image = has_input and spec.deterministic
        return self._begin("SUBMIT", fields, upload)

    def write(self, job: int, data: bytes) -> None:
        """Adds to a job's input. It waits here until the worker has room: see `unwritten`."""
        upload = self._uploads.get(job)
        if upload is None:
            return  # the job has ended: so has its need for input
        if upload.typed_end:
            raise ValueError("this job's input has ended")
        if data:
            upload.typed.append(bytes(data))

    def end_input(self, job: int) -> None:
        if job in self._uploads:
            self._uploads[job].typed_end = True

    def unwritten(self, job: int) -> int:
        """Bytes of input that wait here; 0 for a job that has ended."""
        return self._uploads[job].waiting if job in self._uploads else 0

    def consumed(self, job: int, count: int) -> None:
        """Tells that so many bytes of output have been taken: in time the worker may send as many more."""
        upload = self._uploads.get(job)
        if upload is None:
            return
        upload.consumed += count
        if upload.consumed and upload.consumed * 2 >= self.window:
            self._send(Frame("WINDOW", job, 0, {"credit": upload.consumed}))
            upload.consumed = 0

    def cancel(self, job: int) -> None:
        """Asks the worker to end the job. Its result still comes, unless its image was not complete."""
        if job in self._uploads:
            self._send(Frame("CANCEL", job))
            self._uploads[job].image.clear()
            self._uploads[job].typed.clear()

    def extend(self, job: int, steps: int) -> None:
        """Lets a paused job go on. ProtocolError if it is not paused; nothing if it has ended."""
        if job in self._uploads:
            self._send(Frame("EXTEND", job, 0, {"steps": steps}))

    def ping(self, data: bytes) -> None:
        self._send(Frame("PING", 0, 0, {}, data))

    def query(self, what: int, after: Optional[int] = None) -> None:
        self._send(Frame("QUERY", 0, 0, {"what": what} | ({} if after is None else {"after": after})))

    def stop(self, fields: Fields) -> None:
        self._send(Frame("STOP", 0, 0, fields))

    # Bytes

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes from the worker tell. If they break the protocol, `failure` is set behind what was told
        before, and the connection is to be closed once what is to be sent is sent.
        """
        events: list[Event] = []
        if self.failure:
            return events
        self._reader.feed(data)
        try:
            for frame in self._reader.frames():
                self._rules.take("worker", frame)
                if isinstance(frame.type, str):
                    events += self._told(frame)
        except WireError as error:
            self._fail(error)
        return events

    def receive_end(self) -> KVMJobError:
        """The worker has closed the connection: why what is still awaited does not come."""
        if self.failure is None:
            told = self.leaving.error if self.leaving else None
            self.failure = told or ConnectionLost("the worker has closed the connection")
        self._uploads.clear()
        return self.failure

    def data_to_send(self) -> bytes:
        """The next bytes for the worker, at most about a quarter of a MiB; empty when there is nothing to send now."""
        parts, size = [], 0
        while size < BATCH and (part := self._next_part()):
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    @property
    def has_data_to_send(self) -> bool:
        return bool(self._outgoing) or any(map(self._is_ready, self._uploads))

    # What is sent

    def _upload(self, spec: JobSpec) -> Upload:
        if isinstance(spec.start, Program):
            return Upload(spec.start.layers, True)
        return Upload([spec.start.data] if isinstance(spec.start, Image) else [], False)

    def _begin(self, message: str, fields: Fields, upload: Upload) -> int:
        if self.leaving and self.leaving.error:
            raise self.leaving.error
        job = self._highest + 1
        self._send(Frame(message, job, 0, fields))
        self._highest = job
        self._uploads[job] = upload
        if self._rules.jobs[job].upload == "awaited":
            self._want(upload, upload.sources)
        return job

    def _want(self, upload: Upload, sources: Sequence[bytes]) -> None:
        upload.image.extend(memoryview(source) for source in sources)

    def _send(self, frame: Frame) -> None:
        if self.failure:
            raise self.failure
        data, limit = encode(frame), self._rules.frame_limit("worker")
        if len(data) - HEADER.size > limit:
            size = len(data) - HEADER.size
            raise ProtocolError("frame-too-long", f"{frame.type} would have {size} bytes, the worker takes {limit}")
        try:
            self._rules.take("client", frame)
        except WireError as error:
            raise ProtocolError(error.code, f"this client cannot send {frame.type} now") from None
        self._outgoing.append(data)

    def _next_part(self) -> bytes:
        if not self._outgoing:
            ready = next(filter(self._is_ready, self._uploads), None)
            if ready is None:
                return b""
            self._advance(ready)
        return self._outgoing.popleft()

    def _credit(self, job: int) -> int:
        """Bytes of input that the worker takes now."""
        return self._rules.credit("client", self._rules.jobs[job]) if self.terms else 0

    def _has_input(self, job: int) -> bool:
        rules, upload = self._rules.jobs[job], self._uploads[job]
        if not rules.has_input or rules.input_ended:
            return False
        return self._credit(job) > 0 if upload.typed else upload.typed_end and self.terms is not None

    def _has_image(self, job: int) -> bool:
        rules, upload = self._rules.jobs[job], self._uploads[job]
        # A worker that gives no more credit before the image is there would never see its end.
        held = upload.holds_image and not rules.input_ended and self._credit(job) > 0
        return bool(upload.image) and self.terms is not None and not held

    def _is_ready(self, job: int) -> bool:
        return self._has_input(job) or self._has_image(job)

    def _advance(self, job: int) -> None:
        """Puts one frame of a job's input or image in line, input first."""
        upload = self._uploads[job]
        most = self._rules.frame_limit("worker") - DATA_HEADER.size
        if self._has_input(job):
            data = self._piece_of_input(upload, min(most, self._credit(job)))
            end = upload.typed_end and not upload.typed
            self._send(Frame("INPUT", job, END if end else 0, {"channel": 0, "offset": upload.typed_sent}, data))
            upload.typed_sent += len(data)
        else:
            piece = upload.image[0][:most]
            rest = upload.image[0][most:]
            upload.image.popleft()
            if rest:
                upload.image.appendleft(rest)
            offset, flags = upload.image_sent, 0 if upload.image else END
            self._send(Frame("IMAGE", job, flags, {"channel": 0, "offset": offset}, bytes(piece)))
            upload.image_sent += len(piece)
        # The next frame is another job's, so that a large image holds up nobody.
        self._uploads[job] = self._uploads.pop(job)

    @staticmethod
    def _piece_of_input(upload: Upload, most: int) -> bytes:
        if not upload.typed:
            return b""
        data = upload.typed.popleft()
        if len(data) > most:
            upload.typed.appendleft(data[most:])
        return data[:most]

    # What is told

    def _told(self, frame: Frame) -> list[Event]:
        if frame.job:
            return self._told_of_job(frame)
        fields = frame.fields
        if frame.type == "HELLO":
            self.terms = messages.terms(fields)
            return [Greeted(self.terms)]
        if frame.type == "PING":
            self._send(Frame("PONG", 0, 0, {}, frame.data))
        if frame.type == "PONG":
            return [Ponged(frame.data)]
        if frame.type in ("ANSWER", "STOPPED"):
            return [Answered(fields)]
        if frame.type in ("GOAWAY", "ERROR"):
            is_error = frame.type == "ERROR"
            reason = "error" if is_error else {1: "drain", 2: "idle"}[fields["reason"]]
            self.leaving = Leaving(reason, WorkerError(fields) if is_error else None)
            return [self.leaving]
        return []

    def _told_of_job(self, frame: Frame) -> list[Event]:
        job, fields = frame.job, frame.fields
        if frame.type == "OUTPUT":
            return [Happening(job, Chunk(Channel(fields["channel"]), int(fields["offset"]), frame.data))]
        if frame.type == "WANT_IMAGE":
            upload = self._uploads[job]
            wanted = fields.get("layers", 1)
            self._want(upload, [source for place, source in enumerate(upload.sources) if wanted >> place & 1])
            return []
        if frame.type == "ACCEPTED":
            self._uploads[job].sources = ()  # they are no longer needed here
            accepted = messages.acceptance(fields)
            return [self._ended(job, accepted) if self._uploads[job].is_detached else Happening(job, accepted)]
        if frame.type == "ATTACHED":
            return [Happening(job, messages.attachment(fields))]
        if frame.type == "LEFT":
            return [self._ended(job, Left(LEFT[fields["reason"]]))]
        if frame.type == "STARTED":
            return [Happening(job, messages.start(fields))]
        if frame.type == "PAUSED":
            return [Happening(job, messages.pause(fields))]
        if frame.type == "RESULT":
            return [self._ended(job, messages.result(fields))]
        if frame.type == "ERROR":
            return [self._ended(job, Refused(fields))]
        return []

    def _ended(self, job: int, what: News) -> Event:
        self._uploads.pop(job, None)
        self._rules.forget(job)
        return Happening(job, what)

    def _fail(self, error: WireError) -> None:
        """Tells the worker, as far as it still listens, and lets nothing more be sent."""
        fields = {"code": ERROR_NUMBERS[error.code]} | ({} if error.tag is None else {"field_tag": error.tag})
        self._outgoing.append(encode(Frame("ERROR", 0, 0, fields)))
        self._uploads.clear()
        self.failure = ProtocolError(error.code, "the worker broke the protocol")
