"""How much of a limit a request takes: by the limit's meter, before (bound or estimate) and after (what was used). Pure."""

from typing import Final

from contracts.limits import Held, weighted
from proxy.ports import Amounts

REQUESTS: Final = 0
CONCURRENCY: Final = 1
INPUT: Final = 2
OUTPUT: Final = 3
TOTAL: Final = 4
WEIGHTED: Final = 5
COST: Final = 6
METERS: Final[dict[str, int]] = {
    "requests": REQUESTS,
    "concurrency": CONCURRENCY,
    "input_tokens": INPUT,
    "output_tokens": OUTPUT,
    "total_tokens": TOTAL,
    "weighted_tokens": WEIGHTED,
    "cost": COST,
}
TOKENS: Final = frozenset({INPUT, OUTPUT, TOTAL, WEIGHTED})


def of(meter: int, amounts: Amounts) -> int:
    """Return what the amounts are on a meter. A cost that is not known is 0 here: only the ledger can say it."""
    if meter <= CONCURRENCY:
        return 1
    if meter == TOTAL:
        return amounts.input + amounts.output
    if meter == INPUT:
        return amounts.input
    if meter == OUTPUT:
        return amounts.output
    if meter == WEIGHTED:
        return weighted(amounts.input, amounts.output)
    return amounts.cost or 0


def applies(held: Held, model: str | None) -> bool:
    """Say whether a request for that model is held to this limit."""
    return held.limit.model is None or held.limit.model == model
