# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Builds the package for pip (PEP 517) with the standard library: a wheel of pure Python is an archive of its files and
three more.

So that an installation needs nothing from the network, and works on machines that have none.
"""

from __future__ import annotations

import base64
import hashlib
import io
import pathlib
import re
import tarfile
import zipfile
from typing import Optional

HERE = pathlib.Path(__file__).resolve().parent
NAME = "kvmjob"
VERSION = re.findall(r'^VERSION = "(.+)"', (HERE / NAME / "core.py").read_text(), re.MULTILINE)[0]
EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same files are the same wheel


def metadata() -> str:
    return f"""\
Metadata-Version: 2.1
Name: {NAME}
Version: {VERSION}
Summary: Runs guest images and Linux programs on a kvmjob worker, each in a virtual machine of its own.
License: Apache-2.0
Requires-Python: >=3.9
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

{(HERE / "README.md").read_text()}"""


def sources() -> list[pathlib.Path]:
    return sorted([*(HERE / NAME).glob("*.py"), HERE / NAME / "py.typed"])


def record(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def build_wheel(
    wheel_directory: str, config_settings: Optional[object] = None, metadata_directory: Optional[str] = None
) -> str:
    folder = f"{NAME}-{VERSION}.dist-info"
    files = {str(path.relative_to(HERE)): path.read_bytes() for path in sources()}
    files[f"{folder}/METADATA"] = metadata().encode()
    files[f"{folder}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: kvmjob\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    listing = "".join(record(name, data) for name, data in files.items()) + f"{folder}/RECORD,,\n"
    files[f"{folder}/RECORD"] = listing.encode()
    name = f"{NAME}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data)
    return name


def build_sdist(sdist_directory: str, config_settings: Optional[object] = None) -> str:
    folder = f"{NAME}-{VERSION}"
    paths = [*sources(), HERE / "build_backend.py", HERE / "pyproject.toml", HERE / "README.md"]
    files = {str(path.relative_to(HERE)): path.read_bytes() for path in paths}
    files["PKG-INFO"] = metadata().encode()
    with tarfile.open(pathlib.Path(sdist_directory) / f"{folder}.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as out:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    return f"{folder}.tar.gz"
