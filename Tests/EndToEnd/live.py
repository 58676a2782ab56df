# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""What the end-to-end programs in Python share: a kvmjobd of their own, clients that need not behave, and checks."""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import os
import pathlib
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "protocol" / "python"))
from kvmjob.codec import DATA_HEADER, END, Frame, Reader, WireError, encode  # noqa: E402
from kvmjob.conversation import Conversation  # noqa: E402

PATIENCE = 20.0  # seconds until what was waited for counts as never coming
FRAME_LIMIT = 131072  # of a worker, and of these clients
REAL16, PROTECTED32, LONG64, USER64 = 1, 2, 3, 4
HALTED, EXITED, WALL_TIME_EXHAUSTED, CANCELLED = 1, 2, 8, 12
REGISTERS = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()


def error_codes() -> dict[str, int]:
    """The codes of ERROR by name, as PROTOCOL.md section 6 lists them."""
    page = (REPOSITORY / "protocol" / "PROTOCOL.md").read_text()
    section = page.split("\n## 6.")[1].split("\n## 7.")[0]
    return {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", section, re.MULTILINE)}


CODES = error_codes()


class Checks:
    """One line for each thing that holds or does not, and a sum at the end."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def that(self, what: str, holds: bool, seen: object = "") -> bool:
        self.passed, self.failed = self.passed + holds, self.failed + (not holds)
        note = f" ({seen})" if seen != "" else ""
        print(f"{'ok  ' if holds else 'FAIL'} {what}{note}", flush=True)
        return holds

    def equal(self, what: str, seen: object, wanted: object) -> bool:
        same = seen == wanted
        return self.that(what, same, "" if same else f"is {seen!r:.400}, wanted {wanted!r:.400}")

    def finish(self) -> int:
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


# The program under test


@dataclass
class Programs:
    """Where the programs are that a script needs."""

    kvmjobd: str
    kvmjob: str
    guest_images: str
    folder: pathlib.Path = field(default_factory=pathlib.Path)

    @classmethod
    def from_arguments(cls, description: str | None) -> Programs:
        """Leaves with status 77 where nothing can be tested."""
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        for name in ("kvmjobd", "kvmjob", "guest-images"):
            default = str(REPOSITORY / ".build" / "debug" / name)
            parser.add_argument(name.replace("-", "_"), nargs="?", default=default, metavar=name.upper())
        found = cls(**{name: os.path.abspath(path) for name, path in vars(parser.parse_args()).items()})
        for program in (found.kvmjobd, found.kvmjob, found.guest_images):
            if not os.access(program, os.X_OK):
                did_not_run(f"there is no {program} (swift build)")
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            did_not_run("/dev/kvm cannot be opened")
        return found

    def write_guests(self, folder: str) -> dict[str, bytes]:
        """The guest programs by name; their files are in the folder."""
        self.folder = pathlib.Path(folder)
        subprocess.run([self.guest_images, folder], check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)
        return {file.stem: file.read_bytes() for file in self.folder.glob("*.bin")}


def did_not_run(reason: str) -> None:
    print(f"\n*** {pathlib.Path(sys.argv[0]).name} DID NOT RUN: {reason} ***\n", file=sys.stderr)
    sys.exit(77)


class LiveWorker:
    """A kvmjobd that listens at a path of its own. As a context it is drained at the end, which must go well."""

    def __init__(self, programs: Programs, *options: str, descriptors: int | None = None) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="kvmjob-")
        self.path = f"{self.folder.name}/kvmjobd.sock"
        self.log: list[str] = []
        self.ready = threading.Event()

        def limit_descriptors() -> None:
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        command = [programs.kvmjobd, "--socket", self.path, "--log-target", "stderr", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=limit_descriptors)
        self.listener = threading.Thread(target=self.read_log)
        self.listener.start()
        if not self.ready.wait(PATIENCE) or self.process.poll() is not None:
            self.process.kill()
            raise RuntimeError(f"kvmjobd did not start: {self.log}")

    def read_log(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log.append(line)
            if "event=worker-ready" in line:
                self.ready.set()
        self.ready.set()

    def status(self, name: str) -> int:
        """A figure of /proc/PID/status, such as VmRSS in KiB."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def links(self) -> list[str]:
        """What each of its descriptors is."""
        links = []
        for file in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                links.append(os.readlink(file))
        return links

    def descriptors(self) -> int:
        """Its descriptors without those of machines, of which a worker keeps some."""
        return sum("kvm-v" not in link for link in self.links())

    def machines(self) -> int:
        """The virtual machines that it has, running, kept, or not destroyed yet."""
        return sum(link == "anon_inode:kvm-vm" for link in self.links())

    def settled_memory(self, most: int) -> int:
        """Resident memory in KiB once it is at most so much, or when patience ends: without jobs, machines give theirs back."""
        patience = time.monotonic() + PATIENCE
        while (resident := self.status("VmRSS")) > most and time.monotonic() < patience:
            time.sleep(0.1)
        return resident

    def reset_peak(self) -> int:
        """Lets the peak of resident memory begin anew; returns what is resident now, in KiB."""
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.status("VmRSS")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.listener.join(PATIENCE)
            self.folder.cleanup()

    def __enter__(self) -> LiveWorker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()


# Clients


class Silence(Exception):
    """What was waited for did not come in time, or the connection ended before it."""


@dataclass
class Job:
    """What a worker said of one job."""

    image: bytes | None = None  # what is sent when the worker asks for it
    wanted: bool = False
    accepted: bool = False
    started: bool = False
    paused: bool = False
    output: bytearray = field(default_factory=bytearray)
    result: dict[str, Any] | None = None
    refusal: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        return self.result is not None or self.refusal is not None

    @property
    def outcome(self) -> int | None:
        return self.result["outcome"] if self.result else None

    @property
    def refused(self) -> int | None:
        return self.refusal["code"] if self.refusal else None

    @property
    def registers(self) -> dict[str, int]:
        return dict(zip(REGISTERS, map(int, (self.result or {}).get("registers", []))))


class Client:
    """One connection. It writes and reads at the same time, and only inside `until`: whoever wants to be a client that
    does not read calls nothing. With `checked`, protocol/conversation.py judges both ends."""

    def __init__(self, path: str, window: int = 65536, greet: bool = True, checked: bool = False) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        # Not settimeout(): a Unix socket that does not block fails with EAGAIN when the backlog is full.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE), 0))
        self.socket.connect(path)
        self.socket.setblocking(False)
        self.reader = Reader(FRAME_LIMIT)
        self.conversation = Conversation() if checked else None
        self.outgoing = bytearray()
        self.hello: dict[str, Any] | None = None
        self.fatal: dict[str, Any] | None = None
        self.goaway: dict[str, Any] | None = None
        self.closed = False
        self.pongs: list[str] = []
        self.jobs: dict[int, Job] = {}
        if greet:
            version = {"major": 1, "minor": 0}
            self.send(Frame("HELLO", 0, 0, {"version": version, "frame_limit": FRAME_LIMIT, "window": window}))
        if checked:
            self.greeted()  # before that a client does not know how much input the worker takes

    def greeted(self) -> None:
        self.until(lambda: self.hello is not None, "HELLO")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # What is to be sent

    def send(self, *frames: Frame) -> None:
        for frame in frames:
            if self.conversation:
                self.conversation.take("client", frame)
            self.outgoing += encode(frame)

    def submit_frame(self, job: int, mode: int, image_bytes: int, **fields: Any) -> Frame:
        self.jobs[job] = Job()
        named = {"label": "end-to-end", "mode": mode, "image_bytes": str(image_bytes), "memory_bytes": str(16 << 20)}
        return Frame("SUBMIT", job, 0, named | fields)

    def submit(self, image: bytes, mode: int = REAL16, stdin: bytes | None = None, **fields: Any) -> Job:
        """Sends a whole job, its input before its image, and returns what will become of it."""
        number = max(self.jobs, default=0) + 1
        if stdin is not None:
            fields["input"] = True
        self.send(self.submit_frame(number, mode, len(image), **fields))
        if stdin is not None:
            self.send(*data_frames("INPUT", number, stdin))
        self.send(*data_frames("IMAGE", number, image))
        return self.jobs[number]

    def offer(self, image: bytes, digest: bytes | None = None, mode: int = REAL16, **fields: Any) -> Job:
        """Names an image by its digest, and sends it if the worker asks for it. Another digest than its own is a lie."""
        number = max(self.jobs, default=0) + 1
        digest = digest or hashlib.sha256(image).digest()
        self.send(self.submit_frame(number, mode, len(image), image_digest=digest.hex(), **fields))
        self.jobs[number].image = image
        return self.jobs[number]

    def add(self, image: bytes) -> Job:
        """The classic example, 2 + 2."""
        return self.submit(image, registers=[{"register": 0, "value": 2}, {"register": 1, "value": 2}])

    # What comes back

    def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Writes and reads until the condition holds, or else raises Silence."""
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0 or self.closed:
                when = "before the end" if self.closed else f"within {seconds:.1f} s"
                raise Silence(f"no {what} {when}: {self.fatal}")
            self.step(left)

    def finish(self, *jobs: Job, seconds: float = PATIENCE) -> None:
        self.until(lambda: all(job.over for job in jobs), "end of the jobs", seconds)

    def until_closed(self, seconds: float = PATIENCE) -> None:
        self.until(lambda: self.closed, "end of the connection", seconds)

    def step(self, seconds: float) -> None:
        """Waits until the socket can be read or has room, and does what can be done."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN | (select.POLLOUT if self.outgoing else 0))
        for _, events in poll.poll(seconds * 1000):
            if events & select.POLLOUT:
                self.write()
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self.read()

    def write(self) -> bool:
        """Writes as much as the socket takes now; whether that was anything."""
        try:
            count = self.socket.send(self.outgoing[: 1 << 20])
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
            self.outgoing.clear()  # the worker reads no more; what it said can still be read
            return False
        del self.outgoing[:count]
        return True

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionResetError:  # closed with unread bytes, after everything that it sent
            data = b""
        self.closed = not data
        self.reader.feed(data)
        for frame in self.reader.frames():
            if self.conversation:
                self.conversation.take("worker", frame)
            self.take(frame)

    def take(self, frame: Frame) -> None:
        job = self.jobs.get(frame.job, Job())
        match frame.type:
            case "HELLO":
                self.hello = frame.fields
            case "GOAWAY":
                self.goaway = frame.fields
            case "PONG":
                self.pongs.append(frame.data.hex())
            case "ERROR" if frame.job == 0:
                self.fatal = frame.fields
            case "ERROR":
                job.refusal = frame.fields
            case "WANT_IMAGE":
                job.wanted = True
                if job.image is not None:
                    self.send(*data_frames("IMAGE", frame.job, job.image))
            case "ACCEPTED":
                job.accepted = True
            case "STARTED":
                job.started = True
            case "PAUSED":
                job.paused = True
            case "OUTPUT":
                job.output += frame.data
            case "RESULT":
                job.result = frame.fields

    @property
    def worker_pid(self) -> int:
        """Of the process that listens at the other end, as the kernel tells it."""
        return struct.unpack("3i", self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def data_frames(name: str, job: int, data: bytes) -> list[Frame]:
    """A whole stream, END on its last frame."""
    most = FRAME_LIMIT - DATA_HEADER.size
    starts = range(0, max(len(data), 1), most)

    def piece(at: int) -> Frame:
        fields = {"channel": 0, "offset": at}
        return Frame(name, job, END if at + most >= len(data) else 0, fields, data[at : at + most])

    return [piece(at) for at in starts]


def raise_descriptor_limit() -> None:
    """As many descriptors as this process may have; its children inherit that."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
