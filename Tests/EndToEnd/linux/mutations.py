# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""ELF files that are wrong in one or a few places of their headers, or cut short; the same ones on each run."""

from __future__ import annotations

import pathlib
import random
import struct

COUNT = 300
HEADER_BYTES, ENTRY_BYTES = 64, 56
# Fields of the file's header and of a program header: offset and length.
HEADER = {
    "class": (4, 1),
    "data": (5, 1),
    "version": (6, 1),
    "abi": (7, 1),
    "type": (16, 2),
    "machine": (18, 2),
    "entry": (24, 8),
    "phoff": (32, 8),
    "shoff": (40, 8),
    "ehsize": (52, 2),
    "phentsize": (54, 2),
    "phnum": (56, 2),
    "shnum": (60, 2),
    "shstrndx": (62, 2),
}
ENTRY = {
    "type": (0, 4),
    "flags": (4, 4),
    "offset": (8, 8),
    "vaddr": (16, 8),
    "filesz": (32, 8),
    "memsz": (40, 8),
    "align": (48, 8),
}


def write(original: pathlib.Path, folder: pathlib.Path) -> list[pathlib.Path]:
    image = original.read_bytes()
    chance = random.Random(1970)
    files = []
    for number in range(COUNT):
        path = folder / f"mutation-{number:03}"
        path.write_bytes(mutated(image, chance))
        path.chmod(0o755)
        files.append(path)
    return files


def mutated(image: bytes, chance: random.Random) -> bytes:
    changed = bytearray(image)
    kind = chance.randrange(20)
    if kind == 0:
        return bytes(changed[: chance.choice([0, 1, 4, 63, 64, 100, 64 + 56, len(image) // 2, len(image) - 1])])
    if kind < 4:  # any bytes of the headers
        for _ in range(chance.randrange(1, 6)):
            changed[chance.randrange(4, 0x300)] = chance.randrange(256)
        return bytes(changed)
    entries = struct.unpack_from("<H", image, 56)[0]
    for _ in range(chance.randrange(1, 3)):
        if chance.random() < 0.35:
            base, (offset, length) = 0, chance.choice(list(HEADER.values()))
        else:
            base, (offset, length) = HEADER_BYTES + ENTRY_BYTES * chance.randrange(entries), chance.choice(
                list(ENTRY.values())
            )
        old = int.from_bytes(changed[base + offset : base + offset + length], "little")
        value = interesting(old, length * 8, len(image), chance)
        changed[base + offset : base + offset + length] = value.to_bytes(length, "little")
    return bytes(changed)


def interesting(old: int, bits: int, size: int, chance: random.Random) -> int:
    values = [
        0,
        1,
        2,
        3,
        6,
        7,
        old + 1,
        old - 1,
        old ^ (1 << chance.randrange(bits)),
        old * 2,
        old + 0x1000,
        old + 0x10,
        size,
        size - 1,
        (1 << bits) - 1,
        1 << (bits - 1),
        (1 << (bits - 1)) - 1,
        chance.getrandbits(bits),
        0x7FFFFFF00000,
        0x800000000000,
        0x7FFFFFFFF000,
        1 << 40,
        0xFFF,
        0x6474E551,
    ]
    return chance.choice(values) % (1 << bits)
