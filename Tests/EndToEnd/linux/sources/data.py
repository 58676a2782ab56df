# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Data: json, hashlib, re, random, dataclasses, collections, struct, decimal and their like."""

import base64
import bisect
import collections
import csv
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import io
import itertools
import json
import math
import pprint
import random
import re
import statistics
import string
import struct
import sys
import textwrap
import typing
import uuid
import zlib

print(json.dumps(json.loads('{"b": [1, 2.5, null, true], "a": "\\u00e9\\n"}'), sort_keys=True, indent=1))
for name in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b"):
    print(name, hashlib.new(name, b"text" * 1000).hexdigest())
print(re.sub(r"(\w+)@(\w+)\.com", r"\2 at \1", "ann@example.com, bob@test.com"), re.findall(r"(?i)\bq\w*", "Quick quiz"))
chance = random.Random(7)
print(chance.random(), chance.sample(range(100), 5), chance.gauss(0, 1), chance.choices("abc", k=4))


@dataclasses.dataclass(order=True, frozen=True)
class Point:
    x: int
    y: float = 0.5
    tags: list[str] = dataclasses.field(default_factory=list, compare=False)


class Colour(enum.Enum):
    RED = enum.auto()
    GREEN = enum.auto()


print(sorted([Point(2), Point(1, 3.0, ["a"])]), dataclasses.asdict(Point(1)), list(Colour), Colour["RED"].value)
print(collections.Counter("mississippi").most_common(2), collections.OrderedDict(a=1), collections.deque([1, 2], 1))
print(struct.pack("<IhQ", 1, -2, 3).hex(), zlib.crc32(b"text"), len(zlib.compress(b"a" * 10000)), base64.b64encode(b"x" * 7))
print(decimal.Decimal(1) / 7, fractions.Fraction(3, 9), math.isqrt(10**20), 2**200, f"{math.pi:.15f}", statistics.stdev([1, 2, 4]))
print(datetime.datetime.fromtimestamp(10**9, datetime.timezone.utc).isoformat(), datetime.timedelta(days=1.5))
print(list(itertools.permutations("abc", 2))[:3], functools.reduce(lambda a, b: a * b, range(1, 20)), bisect.bisect([1, 3, 5], 3))
print(textwrap.fill(string.ascii_letters * 3, 40), uuid.UUID(int=7), sys.maxsize)
table = io.StringIO()
csv.writer(table).writerows([["a", "b c"], [1, 'quo"te']])
pprint.pprint([table.getvalue(), {"wide": list(range(30))}])
print({name: len(name) for name in sorted(set("one two three".split()))}, hash((1, 2)), typing.Optional[int])
