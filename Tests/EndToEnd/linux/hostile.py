# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Programs that attack. Each must end as it says here; after each, one that behaves is served by the same worker."""

from __future__ import annotations

import pathlib
import re
import shutil
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from live import Checks

from . import mutations
from .running import Program, Ran, Stage
from .workshop import Workshop

BUDGET = 124  # kvmjob's status for a program that a budget has ended
SIGNALS = range(128 + 1, 128 + 32)
MEBIBYTE = 1 << 20
CACHE = 32  # MiB that the worker keeps of images, of the files in them, and of programs that are ready to start
WORKER = ("--image-cache", f"{CACHE}MiB")
# KiB that may stay resident when all is over, on top of what a worker has that has run one program: its caches, which may be
# full then, and what the allocator keeps.
WORTH_OF_ALL = (3 * CACHE + 64) << 10


@dataclass(frozen=True)
class Attack:
    name: str
    """Its file in attacks/, and the mode."""
    options: str = ""
    """Of `kvmjob run`."""
    statuses: tuple[int, ...] = (0,)
    says: str = ""
    """What kvmjob or the program must say: a pattern."""
    never: str = r"(?!)"
    """What must not be anywhere in the output."""
    budget: float = 20.0
    """Seconds in which it must be over, of the client's clock."""


MEMORY = "--memory 64MiB"

# A wall time of 10 s is the bound of what should end by itself; what ends by a budget has one below it.
ATTACKS = [
    Attack(
        "bombs forks",
        says=r"forks: 0, then E[A-Z]+\nvforks: -1, then E[A-Z]+\nclones without.*: -1, then E[A-Z]+\nexecs: 0, then E",
    ),
    Attack("bombs threads", MEMORY, says=r"threads: [1-9]\d*, then EAGAIN"),
    Attack("bombs spinning", "--cpu-time 200ms", (BUDGET,), "out of processor time"),
    Attack("bombs locks", "--cpu-time 200ms", (BUDGET,), "out of processor time"),
    Attack("bombs heap", MEMORY, says=r"MiB written: \d+, then ENOMEM"),
    Attack("bombs promises", MEMORY, says=r"MiB allocated: \d+, then ENOMEM"),
    Attack("bombs mapped", MEMORY, (0, 137, 139, BUDGET), r"then ENOMEM|out of memory"),
    Attack("bombs broken", MEMORY, says=r"MiB of break: \d+, then ENOMEM"),
    Attack("bombs stack", MEMORY, (139,), "segmentation fault"),
    Attack("bombs mappings", MEMORY, says=r"mappings: \d+, then ENOMEM\nsmall mappings: \d+, then ENOMEM"),
    Attack("bombs tables", MEMORY, (0, 137, 139, BUDGET), r"then ENOMEM|out of memory"),
    Attack("bombs flood", "--output-limit 1MiB", (BUDGET,), "too much output"),
    Attack("bombs flood", "--wall-time 300ms --output-limit 1GiB", (BUDGET,), "out of time|too much output"),
    Attack("bombs floods", "--output-limit 1KiB", (BUDGET,), "too much output"),
    Attack("bombs loop", "--cpu-time 100ms", (BUDGET,), "out of processor time"),
    Attack("bombs loop", "--wall-time 200ms", (BUDGET,), "out of time"),
    Attack("bombs calls", "--cpu-time 200ms", (BUDGET,), "out of processor time"),
    Attack("bombs faults", f"--cpu-time 200ms {MEMORY}", (BUDGET,), "out of processor time"),
    Attack("bombs raises", "--cpu-time 200ms", (BUDGET,), "out of processor time"),
    Attack("bombs faulty", "--cpu-time 200ms", (BUDGET, 139), "out of processor time|segmentation fault"),
    Attack("bombs sleeps", "--wall-time 200ms", (BUDGET,), "out of time"),
    Attack("bombs deadlock", "--wall-time 200ms", (BUDGET,), "out of time"),
    Attack(
        "bombs descriptors",
        says=r"files open: \d+, then EMFILE\ncopies: \d+, then EMFILE\npipes: \d+, then E[MN]FILE\n"
        r"epolls: \d+, then EMFILE\nmemory files: \d+, then E",
    ),
    Attack("bombs pipes", "--scratch 8MiB", says=r"bytes in pipes: \d+, then E"),
    Attack(
        "bombs scratch",
        "--scratch 8MiB",
        says=r"MiB in a file: [1-8], then (ENOSPC|0)\nat the end of a file: -1, then E.*\n"
        r"a long file: (0, then nothing|-1, then E.*)\nroom ahead: -1, then E.*\nMiB in a memory file: [0-8], then (E|0)",
    ),
    Attack(
        "bombs names",
        "--scratch 1MiB --cpu-time 15s",
        says=r"empty files: \d+, then E.*\ndirectories in each other: \d+, then E.*\n"
        r"where we are.*\nlong links: \d+, then E",
    ),
    Attack("bombs timers", says=r"timers: \d+, then E.*\nqueued signals: \d+, then E.*\nwatched: \d+, then E"),
    Attack("bombs rings", says=r"a ring: -1, then E(LOOP|INVAL)\nitself: -1, then EINVAL"),
    Attack(
        "area",
        says=r"(?s)\A(7ffffff\w+ (r--|rw-|r-x)\n)+getcwd there: [01]\n.*mmap over it: 0\n",
        never=r"rwx|-w|7ffffff0[0-6]000",
    ),
    Attack(
        "privileged",
        "--cpu-time 10s",
        says=r"(?s)\nthrough\n",
        never=(
            r"(?m)^(hlt|cli|sti|mov (to|from) [cd]r\d|clts|lgdt|lidt|lldt|ltr|lmsw|invlpg|invd|"
            r"wbinvd|wrmsr|rdmsr|vmlaunch|vmrun|xsetbv|rsm|swapgs|"
            r"int 0|int 8|int 14|int 18|insb|outsb|(in al from|out al to) the trap port):.* signal 0$"
        ),
    ),
    Attack(
        "games",
        "--cpu-time 15s",
        says=r"code that changes itself: 250050\nand rights in turn: 269950\n(?s:.*)through\n",
        never="ran without the right to",
    ),
    Attack("pointers", "--cpu-time 15s", says=r"\d{5} tried, through"),
    Attack("games frames", "--cpu-time 1s", (0, BUDGET, *SIGNALS)),
]

EVERY_BYTE = 0x100 + 0x155  # of the system-call page; each third of the shared object, as attacks/jumps.c counts them
JUMPS_AT_ONCE = 4  # processes
JUMPS_OF_ONE = 56  # bytes that a process begins with


@dataclass
class Arena:
    checks: Checks
    stage: Stage
    workshop: Workshop
    hello: Program = field(init=False)

    def __post_init__(self) -> None:
        self.hello = Program("hello", (self.workshop.path("hello-static"), "again"), b"\x07")
        self.wanted = self.stage.native(self.hello)

    def run(self, name: str, *arguments: str, options: str = "", files: tuple[str, ...] = ()) -> Ran:
        words = name.split()
        command = (self.workshop.path(words[0]), *words[1:], *arguments)
        return self.stage.guest(Program(name, command, files=files, options=tuple(options.split())))

    def serves(self, name: str) -> None:
        """A program that behaves is served, by the process that was started."""
        begin = time.monotonic()
        ran = self.stage.guest(self.hello)
        good = (ran.stdout, ran.status) == (self.wanted.stdout, self.wanted.status)
        alive = self.stage.worker.process.poll() is None
        seen = (
            f"in {(time.monotonic() - begin) * 1000:.0f} ms"
            if good
            else f"status {ran.status}, {(ran.stderr + ran.told)[-300:]!r}"
        )
        self.checks.that(f"{name}: then another program is served", good and alive, seen)


def attack(checks: Checks, stage: Stage, workshop: Workshop, only: re.Pattern[str]) -> None:
    arena = Arena(checks, stage, workshop)
    arena.serves("before all attacks")
    resident = stage.worker.status("VmRSS")
    for each in ATTACKS:
        if only.search(each.name):
            judge(arena, each)
    campaigns: list[Callable[[Arena], None]] = [escapes, races, jumps, giants, elf_mutations]
    for campaign in campaigns:
        name = campaign.__name__.replace("_", " ")
        if only.search(name):
            begin = time.monotonic()
            campaign(arena)
            print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
            arena.serves(name)
    grown = stage.worker.settled_memory(resident + WORTH_OF_ALL) - resident
    checks.that("all attacks together leave little in memory", grown <= WORTH_OF_ALL, f"{grown:+,} KiB on {resident:,}")


def judge(arena: Arena, each: Attack) -> None:
    ran = arena.run(each.name, options=f"--wall-time 20s {each.options}")
    said = (ran.stdout[-MEBIBYTE:] + ran.stderr + ran.told).decode(errors="replace")
    problems = []
    if ran.status not in each.statuses:
        problems.append(f"status {ran.status}")
    if not re.search(each.says, said):
        problems.append(f"does not say {each.says!r}")
    if found := re.search(each.never, said):
        problems.append(f"says {found[0]!r}")
    if ran.seconds > each.budget:
        problems.append(f"took {ran.seconds:.1f} s")
    name = f"{each.name} {each.options}".strip()
    seen = f"{'; '.join(problems)}: {said[-700:]!r}" if problems else f"status {ran.status}, {ran.seconds:.1f} s"
    arena.checks.that(f"{name}: ends as it must", not problems, seen)
    arena.serves(name)


def escapes(arena: Arena) -> None:
    """A file that is on this machine and in no guest, and what this machine's own files say."""
    marker = "a-secret-of-this-machine-4711"
    folder = arena.stage.elsewhere / "outside"
    folder.mkdir()
    (folder / "secret").write_text(marker)
    secret = str(folder / "secret")
    paths = [
        secret,
        str(folder),
        "/etc/shadow",
        "/etc/hostname",
        "/etc/machine-id",
        "/root",
        "/proc/1/environ",
        "/proc/1/cmdline",
        "/proc/1/maps",
        "/proc/2/status",
        "/proc/kcore",
        "/proc/kallsyms",
        "/proc/mounts",
        "/proc/net/tcp",
        "/proc/self/mem",
        "/proc/self/environ",
        "/proc/sys/kernel/hostname",
        "/sys/class",
        "/dev/mem",
        "/dev/kvm",
        "/dev/kmsg",
        "/dev/sda",
        "/dev/port",
        "/dev/pts/0",
        "/dev/shm",
        arena.stage.worker.path,
        "/run/kvmjob/kvmjobd.sock",
    ]
    ran = arena.run("escapes", *paths)
    said = (ran.stdout + ran.stderr).decode(errors="replace")
    secrets = [
        marker,
        socket.gethostname(),
        *lines_of("/etc/shadow"),
        *lines_of("/etc/machine-id"),
        *lines_of("/proc/cmdline"),
    ]
    seen = [text for text in secrets if len(text) > 3 and text in said]
    tries = re.search(r"^(\d+) tries$", said, re.MULTILINE)
    arena.checks.that(
        "escapes: all ways out were tried",
        ran.status == 0 and tries is not None and int(tries[1]) > 10000,
        tries[0] if tries else f"status {ran.status}, {said[-500:]!r}",
    )
    arena.checks.equal("escapes: nothing of this machine is seen", seen, [])
    # The program may create what has such a name; what it has not created must not be there.
    not_here = r"(?!creat )[\w ]+ [^ :]*(/dev/(mem|kvm|kmsg|sda|port)|/proc/k\w+|/proc/2/\w+|/sys/class): "
    reached = [line for line in said.splitlines() if re.match(not_here, line)]
    arena.checks.equal("escapes: no device and no process of this machine is there", reached[:5], [])
    allowed = {"kill a parent"}
    called = [line for line in said.splitlines() if line.startswith("call ") and line[5:].split(":")[0] not in allowed]
    arena.checks.equal("escapes: no call that reaches the machine succeeds", called, [])
    arena.checks.equal("escapes: the marker is as it was", (folder / "secret").read_text(), marker)
    arena.checks.equal("escapes: and so is its folder", [file.name for file in folder.iterdir()], ["secret"])
    hidden = arena.run("escapes", "/secret/secret", files=(f"/secret={folder}",)).stdout
    arena.checks.that(
        "escapes: what is brought is found by the same ways",
        hidden.count(marker.encode()) > 10,
        hidden.count(marker.encode()),
    )


def lines_of(path: str) -> list[str]:
    try:
        return pathlib.Path(path).read_text().split("\n")
    except OSError:  # it is not everybody's to read, or is not here
        return []


def races(arena: Arena) -> None:
    """Links that change while they are followed."""
    ran = arena.run("races", "/etc/shadow", options="--cpu-time 15s")
    arena.checks.equal(
        "races: every look-up is of one moment", (ran.stdout, ran.status), (b"all tried 1, strange 0\n", 0)
    )


def jumps(arena: Arena) -> None:
    """Every byte of the code that is there besides the program's."""
    step = JUMPS_OF_ONE
    with ThreadPoolExecutor(JUMPS_AT_ONCE) as pool:
        parts = list(
            pool.map(
                lambda first: jump_through(arena, first, min(first + step, EVERY_BYTE)), range(0, EVERY_BYTE, step)
            )
        )
    statuses: dict[int, int] = {}
    for part in parts:
        for status in part:
            statuses[status] = statuses.get(status, 0) + 1
    named = {0, BUDGET, *range(0, 100), *SIGNALS}
    arena.checks.that(
        f"jumps to {EVERY_BYTE} bytes: each run ends by itself, by a signal or a budget",
        set(statuses) <= named,
        statuses,
    )


def jump_through(arena: Arena, first: int, last: int) -> list[int]:
    """The statuses of the processes that it took."""
    statuses = []
    while first < last:
        ran = arena.run("jumps", str(first), str(last), options="--cpu-time 600ms --wall-time 6s --output-limit 1MiB")
        statuses.append(ran.status)
        if b"through" in ran.stdout and ran.status == 0:
            break
        reached = [int(word) for word in re.findall(rb"^\d{1,4}$", ran.stdout, re.MULTILINE)]
        first = max([first, *(n for n in reached if first <= n < last)]) + 1
    return statuses


def giants(arena: Arena) -> None:
    """Arguments and variables, as many and as long as there can be, and beyond."""
    hello = arena.workshop.path("hello-static")
    for name, arguments, variables in [
        ("many arguments", ("x",) * 2000, 0),
        ("too many arguments", ("x",) * 4200, 0),
        ("long ones", ("y" * 30000,) * 3, 0),
        ("one too long", ("z" * 125000,), 0),
        ("empty ones", ("",) * 1000, 0),
        ("many variables", (), 1000),
        ("every byte", (bytes(range(1, 128)).decode() + "é",), 0),
    ]:
        environment = tuple((f"N{n}", str(n)) for n in range(variables))
        program = Program(name, (hello, *arguments), environment=environment)
        ran = arena.stage.guest(program)
        if "too" in name:
            good = ran.status in (125, 126, 64) and bool(ran.told or ran.stderr.startswith(b"Error: "))
            arena.checks.that(
                f"giants: {name}: refused", good, f"status {ran.status}, {(ran.stderr + ran.told)[:200]!r}"
            )
        else:
            native = arena.stage.native(program)
            same = (ran.stdout, ran.stderr, ran.status) == (native.stdout, native.stderr, native.status)
            arena.checks.that(
                f"giants: {name}: as it is natively",
                same,
                "" if same else f"status {ran.status}, {(ran.stderr + ran.told)[:200]!r}",
            )


def elf_mutations(arena: Arena) -> None:
    """Programs with headers that are wrong somewhere."""
    folder = arena.stage.elsewhere / "mutations"
    folder.mkdir()
    files = mutations.write(pathlib.Path(arena.workshop.path("hello-static")), folder)

    def one(file: pathlib.Path) -> Ran:
        # As a file of the root, so that it is the worker that reads it.
        return arena.stage.guest(
            Program(
                file.name,
                (f"/m/{file.name}",),
                files=(f"/m/{file.name}={file}",),
                options=("--cpu-time", "1s", "--memory", "32MiB"),
            )
        )

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(one, files))
    shutil.rmtree(folder)
    # 127 is glibc's own, for a thread's storage that is larger than all memory.
    named = {0, 3, 126, 127, BUDGET, *SIGNALS}
    wrong = [
        (file.name, ran.status, (ran.stderr + ran.told)[-200:])
        for file, ran in zip(files, runs)
        if ran.status not in named
    ]
    statuses = {status: sum(ran.status == status for ran in runs) for status in sorted({ran.status for ran in runs})}
    arena.checks.that(
        f"{len(files)} ELF mutations: each ends in a named outcome or is refused",
        not wrong,
        wrong[:3] if wrong else statuses,
    )
    silent = [file.name for file, ran in zip(files, runs) if ran.status == 126 and not ran.told]
    arena.checks.equal("ELF mutations: each refusal says why", silent, [])
    arena.checks.that(
        "ELF mutations: some are refused, some run", statuses.get(126, 0) > 20 and statuses.get(3, 0) > 20, statuses
    )
