# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Linux programs: frames right and wrong, and conversations (sections 3.6, 3.10, 3.13, 3.14 and 4)."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from generator.bad_frames import IMAGE, MODE, SIZE, TEXT, VALUE, BadFrames
from generator.encoder import Json, data, message, tlv, wire
from generator.right_reports import RightFrames
from generator.script import Conversations, cancelled, grant, halted, refusal
from generator.values import CODE_WINDOW, HI_DIGEST, KIB, MIB, MOST32, MOST64, MOST_SYSTEM, SNAPSHOT_NAME

BASE, TOOLS = bytes(range(12)), b"tools"  # no archives: what they hold is nothing to the wire
BASE_LAYER = (sha256(BASE).hexdigest(), len(BASE))
TOOLS_LAYER = (sha256(TOOLS).hexdigest(), len(TOOLS))
HELLO = b"/bin/hello".hex()


def program(job: int, **fields: Any) -> Json:
    """SUBMIT of a program."""
    layers = fields.get("layers", [BASE_LAYER])
    usual = {"mode": 5, "image_bytes": sum(size for _, size in layers), "memory_bytes": 16 * MIB, "program": HELLO}
    made = usual | {"arguments": [b"hello"], "layers": layers} | fields
    return message("SUBMIT", job, **{name: value for name, value in made.items() if value is not None})


def want(job: int, layers: int) -> Json:
    return message("WANT_IMAGE", job, layers=layers)


def exited(job: int, code: int = 0, **fields: Any) -> Json:
    return message("RESULT", job, outcome=2, code=code, system_calls=7, peak_bytes=128 * KIB, **fields)


# Right frames.


def programs(frames: RightFrames) -> None:
    """SUBMIT, WANT_IMAGE, OUTPUT and RESULT of programs."""
    frames.add("submit-program-minimum", "path, arguments and one layer", program(12, memory_bytes=None))
    frames.add(
        "submit-program-typical",
        "every field of a program; strings are bytes, of any kind but zero",
        program(
            12,
            label="sort",
            memory_bytes=256 * MIB,
            wall_budget=10**10,
            input=True,
            snapshot=(1, 0),
            arguments=[b"sort", b"-k", b"2", b"\xff\xfe", b""],
            environment=[b"PATH=/bin", b"LANG=C.UTF-8"],
            layers=[BASE_LAYER, TOOLS_LAYER],
            clock=2,
            seed=42,
            scratch_bytes=64 * MIB,
        ),
    )
    many = program(
        MOST32,
        program="2f" + "61" * 4094,
        arguments=[b"a"] * 3000 + [b""] * 1096,
        environment=[],
        layers=[(sha256(bytes([i])).hexdigest(), MOST64 >> 5) for i in range(16)],
        clock=1,
        seed=MOST64,
        scratch_bytes=MOST64,
    )
    frames.add(
        "submit-program-many",
        "the longest path, as many arguments as there can be, 16 layers, and a list without entries",
        many | {"frame_limit": 65536},
    )
    frames.add(
        "submit-program-any",
        "what the codec takes and the worker refuses: another mode, registers, a layer twice and without bytes",
        program(12, mode=1, registers=[(0, 1)], layers=[(HI_DIGEST, 0), (HI_DIGEST, 0)], arguments=None),
    )
    frames.add("want-image-layers", "the layers at the places 0 and 2", want(1, 5))
    frames.add("want-image-layers-most", "all that there could ever be", want(1, MOST32))
    frames.add(
        "output-standard-error", "channel 2: a program's standard error", data("OUTPUT", 2, 0, b"oops\n", channel=2)
    )
    frames.add("result-program", "a program that exited", exited(1, 3))
    frames.add(
        "result-program-unknown-calls",
        "it made system calls that nothing serves",
        exited(1, 1, unknown_calls=[101, 165, MOST32]),
    )
    frames.add(
        "result-program-killed", "a signal ended it, of which the code tells too: 128 + 6", exited(1, 134, signal=6)
    )
    frames.add(
        "result-program-faulted",
        "an exception became a signal, and its place is known",
        message(
            "RESULT",
            1,
            outcome=3,
            vector=14,
            error_code=4,
            address=0x18,
            rip=0x401136,
            signal=11,
            system_calls=40,
            place="main+0x14",
            peak_bytes=2 * MIB,
            code_window=CODE_WINDOW,
        ),
    )
    everything: dict[str, Any] = {
        "outcome": 14,
        "text": "€" * 170 + "..",
        "queue_ns": MOST64,
        "wall_ns": MOST64,
        "exits": [MOST64 - i for i in range(5)],
        "output_bytes": MOST64,
        "unclaimed_port_writes": MOST64,
        "dropped_memory_writes": MOST64,
        "registers": [MOST64 - i for i in range(18)],
        "system": MOST_SYSTEM,
        "cpu_ns": MOST64,
        "touched_bytes": MOST64,
        "cause_vector": 255,
        "cause_error_code": MOST32,
        "cause_address": MOST64,
        "code_window": (MOST64, bytes(range(128))),
        "stack_window": (MOST64, bytes(i % 256 for i in range(512))),
        "exit_log": [(1 + i % 9, 255, MOST32, MOST64, MOST64 - 1, MOST64 - i) for i in range(32)],
        "fpu": bytes(i % 251 for i in range(512)).hex(),
        "signal": 64,
        "system_calls": MOST64,
        "unknown_calls": [MOST32 - 63 + i for i in range(64)],
        "place": "ü" * 128,
        "peak_bytes": MOST64,
    }
    made = message("RESULT", MOST32, **everything)
    assert int(made["hex"][:8], 16) <= 4096  # section 3.13
    frames.add("result-program-everything", "every field that a program's can have at its most: it fits", made)


# Wrong frames.


def wrong_programs(bad: BadFrames) -> None:
    """Fields of programs that are too long, too many or no strings."""
    for length in [0, 4096]:
        bad.payload(f"size-program-{length}", "1 to 4095 bytes", submit(tlv(0x801D, "61" * length)), SIZE, 0x801D)
    for name, value in [("first", "0061"), ("last", "6100"), ("alone", "00")]:
        bad.payload(f"value-program-zero-{name}", "a path has no zeros", submit(tlv(0x801D, value)), VALUE, 0x801D)
    for name, tag in [("arguments", 0x801E), ("environment", 0x801F)]:
        bad.payload(f"value-{name}-open", "a zero is behind each string", submit(tlv(tag, "610062")), VALUE, tag)
        bad.payload(f"value-{name}-open-alone", "also behind the only one", submit(tlv(tag, "61")), VALUE, tag)
        bad.payload(f"value-{name}-4097", "one string too many", submit(tlv(tag, "00" * 4097)), VALUE, tag)
    for length in [1, 32, 39, 41, 17 * 40]:
        bad.payload(
            f"size-layers-{length}", "at most 16 entries of 40 bytes", submit(tlv(0x8020, "00" * length)), SIZE, 0x8020
        )
    for value in ["00", "03", "ff"]:
        bad.payload(f"value-clock-{value}", "clocks are 1 and 2", submit(tlv(0x8021, value)), VALUE, 0x8021)
    bad.payload("value-want-image-none", "at least one layer", wire(0x25, 1, tlv(1, "00" * 4)), VALUE, 1, to="client")
    for length in [1, 3, 6, 65 * 4]:
        bad.payload(
            f"size-unknown-calls-{length}",
            "at most 64 numbers of 4 bytes",
            result(tlv(36, "01" * length)),
            SIZE,
            36,
            to="client",
        )
    for name, numbers in {"twice": [7, 7], "fall": [7, 6], "fall-last": [1, 2, 0]}.items():
        value = "".join(f"{number:08x}" for number in numbers)
        bad.payload(f"value-unknown-calls-{name}", "they rise", result(tlv(36, value)), VALUE, 36, to="client")
    for value in ["00", "41", "ff"]:
        bad.payload(f"value-signal-{value}", "signals are 1 to 64", result(tlv(34, value)), VALUE, 34, to="client")
    bad.payload("size-place", "257 bytes", result(tlv(37, "61" * 257)), SIZE, 37, to="client")
    bad.payload("text-place", "not UTF-8", result(tlv(37, "ff")), TEXT, 37, to="client")


def submit(*fields: str) -> str:
    return wire(0x10, 1, MODE, IMAGE, *fields)


def result(*fields: str) -> str:
    return wire(0x23, 1, tlv(1, "01"), *fields)


# Conversations.


def program_talks(talks: Conversations) -> None:
    """Programs, and layers by digest."""
    both = [BASE_LAYER, TOOLS_LAYER]
    s = talks.script("program", "a program whose two layers come in frames that end anywhere, with both its streams")
    s.client(program(1, layers=both)).worker(want(1, 3))
    whole = BASE + TOOLS
    s.client(data("IMAGE", 1, 0, whole[:5]), data("IMAGE", 1, 5, whole[5:14]), data("IMAGE", 1, 14, whole[14:]))
    s.client(data("IMAGE", 1, len(whole), b"", end=True)).accept(1).start(1)
    s.worker(data("OUTPUT", 1, 0, b"out"), data("OUTPUT", 1, 0, b"err", channel=2), data("OUTPUT", 1, 3, b"more"))
    s.worker(exited(1, 3))

    s = talks.script("program-known", "the layers that the worker has do not come: none of them, and then one of two")
    s.client(program(1)).worker(want(1, 1)).client(data("IMAGE", 1, 0, BASE, end=True)).accept(1).start(1)
    s.worker(exited(1)).client(program(2)).accept(2).start(2).worker(exited(2))
    s.client(program(3, layers=both)).worker(want(3, 2)).client(data("IMAGE", 3, 0, TOOLS, end=True)).accept(3)
    s.start(3).worker(exited(3))

    s = talks.script("program-mismatch", "bytes that do not have their layer's digest: a refusal, and none is kept")
    for job, came in [(1, BASE + b"loot!"), (2, b"x" + BASE[1:] + TOOLS), (3, TOOLS + BASE)]:
        s.client(program(job, layers=both)).worker(want(job, 3)).client(data("IMAGE", job, 0, came, end=True))
        s.worker(refusal(job, 77))
    s.client(program(4, layers=both)).worker(want(4, 3)).client(data("IMAGE", 4, 0, whole, end=True)).accept(4)
    s.start(4).worker(exited(4))

    s = talks.script("program-input", "standard input, from right after SUBMIT on", input_window=4)
    s.client(program(1, input=True), data("INPUT", 1, 0, b"abc")).worker(want(1, 1))
    s.client(data("IMAGE", 1, 0, BASE, end=True)).accept(1).start(1).worker(grant(1, 3))
    s.client(data("INPUT", 1, 3, b"", end=True)).worker(exited(1))

    s = talks.script("program-snapshot", "a program is kept when it is ready, and goes on in jobs from there")
    s.client(program(1, snapshot=(1, 0))).worker(want(1, 1)).client(data("IMAGE", 1, 0, BASE, end=True)).accept(1)
    s.start(1).worker(message("RESULT", 1, outcome=15, snapshot=SNAPSHOT_NAME, system_calls=900, peak_bytes=8 * MIB))
    s.client(message("SUBMIT", 2, mode=0, image_bytes=0, **{"from": SNAPSHOT_NAME}, input=True))
    s.accept(2).start(2).worker(exited(2))

    s = talks.script("program-unusable", "what execve would say is told when the layers are there")
    s.client(program(1, program=b"/bin/none".hex())).worker(want(1, 1)).client(data("IMAGE", 1, 0, BASE, end=True))
    s.worker(refusal(1, 79)).client(program(2, arguments=[b"a"])).worker(refusal(2, 79)).run(3).worker(halted(3))

    program_refusals(talks)


def program_refusals(talks: Conversations) -> None:
    s = talks.script("program-refusals", "what a program excludes, what it needs, and what others cannot have of it")
    most = MOST64 // 2 + 1
    cases: list[tuple[Json, int]] = [
        (program(1, load_address=0), 64),
        (program(2, entry_point=0), 64),
        (program(3, registers=[(0, 1)]), 64),
        (program(4, step_budget=1000), 64),
        (program(5, port_writes=True), 64),
        (program(6, meter=1), 64),
        (program(7, pause=True), 64),
        (program(8, report=16), 64),
        (program(9, segments=[(0, (0, 0xFFFF, 0, 0x9B))]), 64),
        (program(10, tables=[(0, (0, 0))]), 64),
        (program(11, controls=[(0, 1)]), 64),
        (program(12, pieces=[(0, 12)]), 64),
        (program(13, dumps=[(0, 1)]), 64),
        (program(14, trace=True), 64),
        (program(15, deterministic=True), 64),
        (program(16, image_digest=HI_DIGEST), 64),
        (program(17, snapshot=(2, 5)), 64),
        (program(18, snapshot=(3, 0x401000)), 64),
        (program(19, program=None), 64),
        (program(20, arguments=None), 64),
        (program(21, layers=[]), 64),
        (program(22, layers=[BASE_LAYER, TOOLS_LAYER, BASE_LAYER]), 64),
        (program(23, layers=[BASE_LAYER, (HI_DIGEST, 0)]), 64),
        (program(24, layers=[(HI_DIGEST, most), (SNAPSHOT_NAME, most)], image_bytes=0), 64),
        (program(25, image_bytes=13), 64),
        (program(26, arguments=[b"a"] * 2000, environment=[b"b"] * 2097), 64),
        (program(27, mode=4), 64),
        (program(28, mode=1, program=None, arguments=None, layers=[], image_bytes=9, seed=1), 64),
        (program(29, mode=0, image_bytes=0, memory_bytes=None, layers=[], arguments=None, **{"from": SNAPSHOT_NAME}), 64),
        (program(30, layers=[(HI_DIGEST, 64 * MIB), TOOLS_LAYER]), 65),
        (program(31, memory_bytes=4097), 67),
        (program(32, wall_budget=0), 71),
        (program(33, board=0), 64),
        (program(34, rom=False), 64),
        (program(35, vcpus=2), 64),
        (program(36, turn=1), 64),
    ]
    for job, (made, code) in enumerate(cases, 1):
        s.client(made).worker(refusal(job, code))
    s.run(40).worker(halted(40))


def wrong_program_talks(talks: Conversations) -> None:
    """WANT_IMAGE and IMAGE of programs where they may not be."""
    both = [BASE_LAYER, TOOLS_LAYER]
    talks.script("want-image-no-layers", "which layers of the program?").client(program(1)).worker(
        message("WANT_IMAGE", 1)
    ).wrong("field-missing")
    talks.script("want-image-beyond", "the program has two layers").client(program(1, layers=both)).worker(
        want(1, 4)
    ).wrong("bad-value")
    talks.script("want-image-beyond-most", "the last of 32").client(program(1, layers=both)).worker(
        want(1, 1 << 31)
    ).wrong("bad-value")
    talks.script("want-image-layers-of-image", "an image has no layers").client(
        message("SUBMIT", 1, mode=1, image_bytes=9, image_digest=HI_DIGEST)
    ).worker(want(1, 1)).wrong("bad-value")
    talks.script("want-image-program-twice", "the layers are asked for once").client(program(1)).worker(
        want(1, 1), want(1, 1)
    ).wrong("unexpected-frame")
    s = talks.script("program-unasked", "IMAGE of a program all of whose layers the worker has")
    s.client(program(1)).accept(1).client(data("IMAGE", 1, 0, BASE, end=True)).wrong("unexpected-frame")
    s.worker(cancelled(1, 2))
    talks.script("program-overrun", "also a layer that was not asked for").client(program(1, layers=both)).worker(
        want(1, 2)
    ).client(data("IMAGE", 1, 0, BASE + TOOLS, end=True)).wrong("data-overrun")
    talks.script("program-ends-early", "the second layer is cut short").client(program(1, layers=both)).worker(
        want(1, 3)
    ).client(data("IMAGE", 1, 0, BASE + TOOLS[:4], end=True)).wrong("payload-truncated")
    talks.script("program-accepted-wanted", "ACCEPTED before the layers are complete").client(program(1)).worker(
        want(1, 1)
    ).accept(1).wrong("unexpected-frame")
