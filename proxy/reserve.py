"""How much is to be reserved for a request: at most, and probably; and how long its answers may be at most. Pure."""

from typing import Final

from contracts.limits import INPUT_WEIGHT, OUTPUT_WEIGHT, Held
from proxy.dialects.base import Call, Takes
from proxy.dialects.takes import Size, measure
from proxy.estimates import Estimates
from proxy.ports import Amounts, Principal

CAP: Final = 4_096
"""Tokens of an answer where a strict limit of tokens holds, and neither client nor plan says how long it may be."""
CONTEXT: Final = 32_768
"""A model's context where vLLM does not say how long that is."""
_TOKENS: Final = frozenset({"input_tokens", "output_tokens", "total_tokens", "weighted_tokens", "cost"})


class Reservation:
    """What a request asks for. `cap`: what is to be written into it as the most of one answer; None: what it says holds.

    `refused`: why it cannot be held to what its sender is held to. `size`: what was learned from its body.
    """

    __slots__ = ("bound", "cap", "estimate", "guessed", "refused", "size")

    def __init__(self, size: Size) -> None:
        self.size = size
        self.bound = self.estimate = Amounts(0, 0)
        self.cap: int | None = None
        self.guessed = False
        """The client does not say how long an answer may be: its length can be learned from."""
        self.refused: str | None = None


def reserve(
    takes: Takes, call: Call, passed: int, model: str | None, context: int | None, who: Principal, estimates: Estimates
) -> Reservation:
    """Say what a request may take. `passed`: see `measure`. Raises BadRequestError."""
    if call.free:
        return Reservation(Size())
    strict = _strict(who.limits, model)
    size = measure(takes, call, passed)
    found = Reservation(size)
    if not takes.bounded:
        if strict:
            found.refused = (
                "Nothing bounds how many tokens this request takes, and a strict limit of tokens applies to it. "
                "Limits with the precision `expected` let it pass."
            )
        found.estimate = found.bound = Amounts(0, estimates.answer(who.key.tenant, model))
        return found
    if takes.sound and not call.stream:  # its usage is in seconds
        return found
    longest = context if context is not None else CONTEXT
    at_most = longest * size.spans
    bytes_say = size.text + size.ids + estimates.template(model) * call.inputs
    given = max(bytes_say, at_most if size.opaque else 0)
    if context is not None:
        given = at_most if size.opaque else min(given, at_most)
    probably = min(estimates.prompt(model, size.text, size.ids, size.media), given)
    if takes.sound:
        found.bound, found.estimate = Amounts(given, given), Amounts(probably, probably)
    elif not takes.caps:
        found.bound, found.estimate = (Amounts(each, takes.each * call.inputs) for each in (given, probably))
    else:
        _answers(found, given, probably, call, who, model, longest, strict, estimates)
    return found


def _answers(
    found: Reservation,
    given: int,
    probably: int,
    call: Call,
    who: Principal,
    model: str | None,
    longest: int,
    strict: list[Held],
    estimates: Estimates,
) -> None:
    """Bound the answers of a request that generates, by what it says or by what it is to say."""
    asked, cap = found.size.asked, who.max_tokens
    if asked is None:
        found.guessed = True
        if cap is None and strict:
            cap = min(CAP, *(_room(held, given) // call.choices for held in strict))
        most = longest if cap is None else max(1, min(cap, longest))
        found.cap = most if cap is not None else None
        likely = estimates.answer(who.key.tenant, model)
    else:
        most = likely = asked if cap is None else min(asked, cap)
        found.cap = most if most < asked else None
    most = min(most, longest)
    found.bound = Amounts(given, most * call.choices)
    found.estimate = Amounts(probably, min(likely, most) * call.choices)


def _strict(limits: tuple[Held, ...], model: str | None) -> list[Held]:
    """Return the limits of tokens that must never be exceeded by a request for this model."""
    found = []
    for held in limits:
        limit = held.limit
        if limit.precision == "strict" and limit.meter in _TOKENS and limit.mode == "enforce":
            of = limit.model
            if of is None or of == model:
                found.append(held)
    return found


def _room(held: Held, given: int) -> int:
    """Return how many tokens the answers may have beside such a prompt, if nothing else took of the limit."""
    meter, amount = held.limit.meter, held.limit.amount
    if meter == "output_tokens":
        return amount
    if meter == "total_tokens":
        return amount - given
    if meter == "weighted_tokens":
        return (amount - INPUT_WEIGHT * given) // OUTPUT_WEIGHT
    return CAP
