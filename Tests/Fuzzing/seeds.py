#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Writes the inputs that fuzz-launch begins with: one right image of each format, and some that are wrong in one field.

    seeds.py FOLDER

An input is eight bytes of options (format, memory, command line, modules, their length, padding), then the image.
"""

from __future__ import annotations

import pathlib
import struct
import sys

MASK = 0xFFFFFFFF
FORMATS = "recognise flat boot-sector rom elf multiboot pvh linux".split()


def elf(bits: int, segments: list[tuple[int, int, int, int, bytes]], entry: int, head: bytes = b"") -> bytes:
    """Segments: p_type, p_paddr, p_vaddr, p_memsz beyond the bytes, bytes. `head` comes behind the program headers."""
    header, entry_size = (52, 32) if bits == 32 else (64, 56)
    offset = header + entry_size * len(segments) + len(head)
    table, body = b"", b""
    for kind, physical, virtual, zeros, data in segments:
        place, size, memory = offset + len(body), len(data), len(data) + zeros
        if bits == 32:
            table += struct.pack("<8I", kind, place, virtual, physical, size, memory & MASK, 7, 4)
        else:
            table += struct.pack("<2I6Q", kind, 7, place, virtual, physical, size, memory & (1 << 64) - 1, 4)
        body += data
    ident = b"\x7fELF" + bytes([1 if bits == 32 else 2, 1, 1]) + bytes(9)
    if bits == 32:
        fields = struct.pack("<2H5I6H", 2, 3, 1, entry, header, 0, 0, header, entry_size, len(segments), 0, 0, 0)
    else:
        fields = struct.pack("<2HI3QI6H", 2, 62, 1, entry, header, 0, 0, header, entry_size, len(segments), 0, 0, 0)
    return ident + fields + table + head + body


def multiboot(flags: int, *addresses: int) -> bytes:
    return struct.pack("<3I", 0x1BADB002, flags, -(0x1BADB002 + flags) & MASK) + struct.pack(f"<{len(addresses)}I", *addresses)


def note(entry: bytes, name: bytes = b"Xen\0", kind: int = 18) -> bytes:
    return struct.pack("<3I", len(name), len(entry), kind) + name + entry


def linux(version: int = 0x20F, xloadflags: int = 1, preferred: int = 0x1000000, size: int = 0x20000) -> bytes:
    image = bytearray(1024 + 1024)
    struct.pack_into("<BHI", image, 0x1F1, 1, 0, 64)
    struct.pack_into("<H", image, 0x1FE, 0xAA55)
    image[0x200:0x202] = b"\xeb\x6a"
    struct.pack_into("<4sHIHH", image, 0x202, b"HdrS", version, 0, 0, 0x180)
    struct.pack_into("<BB", image, 0x210, 0, 1)
    struct.pack_into("<IIBBHI", image, 0x22C, 0x7FFFFFFF, 0x200000, 1, 21, xloadflags, 2047)
    struct.pack_into("<QI", image, 0x258, preferred, size)
    image[0x380:0x388] = b"6.1.0 x\0"
    return bytes(image)


def images() -> dict[str, tuple[str, bytes]]:
    code = b"\xf4\xeb\xfd\x90"
    low, high = 0x100000, 0xC0000000
    kludge = multiboot(0x10003, low, low, 0, low + 0x2000, low + 32)
    sixteen = b"\xea\x5b\xe0\x00\xf0" + b"06/23/99\0\xfc\0"
    return {
        "flat": ("recognise", code),
        "sector": ("recognise", code + bytes(506) + b"\x55\xaa"),
        "rom": ("recognise", sixteen),
        "elf32": ("recognise", elf(32, [(1, low, low, 0x100, code)], low)),
        "elf64": ("recognise", elf(64, [(1, low, low, 0x100, code), (1, low + 0x1000, low + 0x1000, 8, code)], low)),
        "elf64-high": ("recognise", elf(64, [(1, low, 0xFFFFFFFF80000000, 0, code)], 0xFFFFFFFF80000002)),
        "elf32-full": ("recognise", elf(32, [(1, 0x1000, 0x1000, 0x9F000, code)], 0x1000)),
        "elf64-overlap": ("elf", elf(64, [(1, low, low, 8, code), (1, low + 4, low + 4, 0, code)], low)),
        "elf64-wrap": ("elf", elf(64, [(1, (1 << 64) - 4, low, 8, code)], low)),
        "elf64-endless": ("elf", elf(64, [(1, low, low, -5, code)], low)),
        "elf32-many": ("elf", elf(32, [(1, low + i * 16, low + i * 16, 0, code[:1]) for i in range(60)], low)),
        "multiboot": ("recognise", elf(32, [(1, low, low, 0x40, multiboot(3) + code)], low + 12)),
        "multiboot64": ("recognise", elf(64, [(1, low, low, 0x40, code)], low, head=multiboot(3))),
        "multiboot-kludge": ("recognise", kludge + code),
        "multiboot-video": ("multiboot", multiboot(7) + code),
        "pvh": ("recognise", elf(64, [(1, low, low, 0x40, code), (4, 0, 0, 0, note(struct.pack("<Q", low)))], low)),
        "pvh32": ("recognise", elf(32, [(1, low, low, 0x40, code), (4, 0, 0, 0, note(struct.pack("<I", low)))], low)),
        "pvh-two": ("pvh", elf(32, [(1, high, low, 0, code), (4, 0, 0, 0, note(b"", b"", 1) + note(bytes(4)))], low)),
        "linux": ("recognise", linux()),
        "linux-low": ("linux", linux(preferred=0x100000, size=0x1000)),
        "linux-old": ("linux", linux(version=0x20B)),
        "linux-32": ("linux", linux(xloadflags=0)),
    }


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (form, image) in images().items():
        for index, (memory, text, modules) in enumerate([(0, 0, 0), (3, 2, 2)]):
            padding = 1 if name == "rom" else 0
            options = bytes([FORMATS.index(form), memory, text, modules, 1, padding, 0, 0])
            (folder / f"{name}-{index}").write_bytes(options + image)


if __name__ == "__main__":
    main()
