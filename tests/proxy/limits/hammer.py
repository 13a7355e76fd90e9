"""A process that hammers one key: `python -m tests.proxy.limits.hammer REDIS NAME SECONDS AMOUNT WINDOW TOKENS SETTLE`.

Prints, for each request it let in, the microseconds of the machine's clock before and after it was, and the tokens it used.
"""

import asyncio
import sys
import time

from contracts.clock import utc_now
from proxy.limits.limiter import RedisLimits
from proxy.limits.store import RedisStore
from proxy.ports import Amounts, Grant
from tests.proxy.limits.people import demand, held, limit, principal


def micros() -> int:
    """Return what the clock shows that Redis looks at too."""
    return time.time_ns() // 1000


async def main() -> None:
    address, name, seconds, amount, window, tokens, used = sys.argv[1:]
    store = RedisStore(address)
    limits = RedisLimits(store, name)
    who = principal(*held(limit(window=window, amount=int(amount))))
    upkeep = asyncio.create_task(limits.run())
    while not await limits.upkeep.asked():
        await asyncio.sleep(0.05)
    until = time.monotonic() + float(seconds)
    lines = []
    while time.monotonic() < until:
        asked, now, before = demand(who, int(tokens)), utc_now(), micros()
        answer = limits.take(asked, now)
        if answer is None:
            answer = await limits.wait(asked, now)
        if isinstance(answer, Grant):
            lines.append(f"admitted {before} {micros()} {used}")
            limits.settle(answer, Amounts(int(used), 0), now)
        await asyncio.sleep(0.001)
    upkeep.cancel()
    await asyncio.wait([upkeep])
    await store.close()
    print("\n".join(lines))


if __name__ == "__main__":
    asyncio.run(main())
