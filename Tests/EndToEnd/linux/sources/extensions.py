# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""What is written in C and brings libraries of its own: ctypes, sqlite3, lzma, bz2, ssl's hashes, mmap, multibyte codecs."""

import array
import bz2
import ctypes
import gzip
import lzma
import mmap
import pickle
import sqlite3
import unicodedata
import xml.etree.ElementTree

text = b"some text " * 5000
for module in (bz2, gzip, lzma):
    packed = module.compress(text)
    print(module.__name__, module.decompress(packed) == text, len(packed) < 500)
database = sqlite3.connect(":memory:")
database.executescript("create table t (a, b); insert into t values (1, 'one'), (2, 'two');")
print(database.execute("select sum(a), group_concat(b) from t").fetchall())
print(ctypes.CDLL(None).abs(-5), ctypes.sizeof(ctypes.c_long), ctypes.cast(ctypes.c_char_p(b"abc"), ctypes.c_void_p).value > 0)
with mmap.mmap(-1, 4096) as mapped:
    mapped[:3] = b"abc"
    print(mapped[:4])
print("日本語".encode("shift_jis"), unicodedata.name("é"), unicodedata.normalize("NFD", "é").encode())
print(xml.etree.ElementTree.fromstring("<a><b c='d'>e</b></a>")[0].attrib, array.array("d", [1, 2]).tobytes().hex())
print(pickle.loads(pickle.dumps({"a": [1, (2, 3)]})))
