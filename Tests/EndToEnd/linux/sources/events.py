# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""An event loop: timers, tasks that wait for each other, work in threads, and a timeout."""

import asyncio
import contextlib


async def wait(n: int) -> int:
    await asyncio.sleep(0.001 * n)
    return n * n


async def everything() -> list[int]:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.sleep(10), 0.002)
    return await asyncio.gather(*map(wait, range(5)))


async def main() -> None:
    print(await everything())
    print(await asyncio.to_thread(sum, range(1000)))


asyncio.run(main())
