# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Archives of a program's files, made of what is at hand and not of a directory tree."""

from __future__ import annotations

import io
import os
import pathlib
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class File:
    """A file by its content."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


Content = Union[bytes, str, File, Link, "os.PathLike[str]"]


def archive(files: Mapping[str, Content]) -> bytes:
    """A tar archive of files by their paths in the guest: bytes, text, a path here (whose mode is kept), a File or a
    Link.

    The folders that the paths need are in it. The same files give the same bytes, and so the same digest, which a
    worker may still know: there are no times and no owners in it.
    """
    entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    for path in sorted(files):
        name = path.strip("/")
        for parent in reversed(pathlib.PurePosixPath(name).parents):
            if str(parent) != ".":
                entries.setdefault(str(parent), (entry(str(parent), tarfile.DIRTYPE, 0o755), b""))
        entries[name] = member(name, files[path])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries.values():
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, content: Content) -> tuple[tarfile.TarInfo, bytes]:
    if isinstance(content, Link):
        info = entry(name, tarfile.SYMTYPE, 0o777)
        info.linkname = content.target
        return info, b""
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes):
        content = File(content)
    if not isinstance(content, File):
        here = pathlib.Path(content)
        content = File(here.read_bytes(), here.stat().st_mode & 0o777)
    info = entry(name, tarfile.REGTYPE, content.mode)
    info.size = len(content.data)
    return info, content.data


def entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, mode
    return info
