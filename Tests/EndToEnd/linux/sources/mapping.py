# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""A file that is written through a mapping."""

import mmap

with open("made.bin", "w+b") as file:
    file.write(bytes(8192))
    file.flush()
    with mmap.mmap(file.fileno(), 8192) as mapped:
        mapped[4096:4100] = b"text"
        print(mapped.find(b"text"), len(mapped))
with open("made.bin", "rb") as file:
    print(file.read().strip(b"\0"))
