# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Ends by an exception that nobody catches, after one that something does."""

import traceback


class Trouble(Exception):
    pass


def deeper(n: int) -> int:
    return deeper(n + 1) + 1


try:
    deeper(0)
except RecursionError as error:
    print(type(error).__name__, error)
try:
    {}["missing"]
except KeyError:
    print(traceback.format_exc().splitlines()[-1])
try:
    int("x")
except ValueError as error:
    raise Trouble("nobody catches this") from error
