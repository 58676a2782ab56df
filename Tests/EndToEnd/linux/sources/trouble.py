# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Ends by an exception that nobody catches, after one that something does."""

import asyncio
import contextlib
import traceback


class Trouble(Exception):
    pass


async def wait(n: int) -> int:
    await asyncio.sleep(0.001 * n)
    return n * n


async def everything() -> list[int]:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.sleep(10), 0.002)
    return await asyncio.gather(*map(wait, range(5)))


def deeper(n: int) -> int:
    return deeper(n + 1) + 1


try:
    deeper(0)
except RecursionError as error:
    print(type(error).__name__, error)
print(asyncio.run(everything()))
try:
    {}["missing"]
except KeyError:
    print(traceback.format_exc().splitlines()[-1])
try:
    int("x")
except ValueError as error:
    raise Trouble("nobody catches this") from error
