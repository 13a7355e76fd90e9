"""The side of one request that limits see: what it asks of them, what they granted, what it used of that in the end."""

from contracts.events import UsageData
from proxy.dialects.base import Call, Takes
from proxy.dialects.takes import rewritten
from proxy.house import House
from proxy.ports import Amounts, Demand, Denial, Grant, Principal
from proxy.reserve import Reservation, reserve


class Limited:
    """One request of somebody who is held to limits, or whose answers have a cap.

    `grant`: what was reserved and not ended yet. `instead`: the model that answers in place of the one asked for.
    """

    __slots__ = (
        "_call",
        "_house",
        "_model",
        "_passed",
        "_request_id",
        "_reservation",
        "_takes",
        "_tenant",
        "_who",
        "demand",
        "grant",
        "instead",
        "tightest",
    )

    def __init__(
        self,
        house: House,
        request_id: str,
        who: Principal,
        call: Call,
        takes: Takes,
        passed: int,
        model: str | None,
    ) -> None:
        """`passed`: bytes of the body that vLLM has already. Raises BadRequestError."""
        self._house = house
        self._request_id = request_id
        self._who = who
        self._tenant = who.key.tenant
        self._call = call
        self._takes = takes
        self._passed = passed
        self._model = model
        self.instead: str | None = None
        self.grant: Grant | None = None
        self.tightest: Grant | None = None
        """The grant again, for the answer's headers, also when it has ended."""
        self._reservation: Reservation = self._reserve()
        self.demand = self._demand()

    @property
    def refused(self) -> str | None:
        """Return why it cannot be held to its limits at all."""
        return self._reservation.refused

    def degrade(self, denial: Denial) -> bool:
        """Return whether another model answers although a limit denies it; `demand` then asks for that one.

        The limit that says so is not asked again: it is used up, and the model that it names is not counted against it.
        """
        held, takes, models = denial.held, self._takes, self._house.models
        if held is None or held.limit.when_reached != "degrade" or self._call.free or takes.sound or not takes.bounded:
            return False
        other = held.limit.degrade_to
        if other is None or other not in models.by_name or not any(each is held for each in self._who.limits):
            return False
        self._who = self._house.lesser.without(self._who, held)
        self._model = self.instead = other
        self._reservation = self._reserve()
        self.demand = self._demand()
        return True

    def body(self) -> bytes:
        """Return the request's body with the cap and the model that it is to have."""
        cap = self._reservation.cap
        if cap is None and self.instead is None:
            return self._call.body
        return rewritten(self._takes, self._call.body, cap, self.instead)

    def used(self, usage: UsageData) -> Amounts:
        """Return what a request used that was sent.

        What was not counted is nothing, where vLLM failed. Where the client left before anything was counted it is what was
        expected: else whoever leaves in time would never reach a limit.
        """
        given, made = usage.input_tokens, usage.output_tokens
        if usage.accuracy != "exact" and usage.outcome == "client_closed":
            expected = self._reservation.estimate
            given = expected.input if given is None else given
            made = expected.output if made is None else made
        return Amounts(given or 0, made or 0)

    def learn(self, usage: UsageData) -> None:
        """Learn from what was counted what the next such request probably takes."""
        if usage.outcome != "completed" or usage.accuracy != "exact":
            return
        size, estimates = self._reservation.size, self._house.estimates
        if usage.input_tokens is not None and size.text and not (size.opaque or size.media):
            prompts = usage.inputs or 1
            estimates.learn_prompt(self._model, size.text, max(0, usage.input_tokens - size.ids), prompts)
        if usage.output_tokens is not None and self._reservation.guessed:
            estimates.learn_answer(self._tenant, self._model, usage.output_tokens / (usage.choices or 1))

    def _reserve(self) -> Reservation:
        house, model = self._house, self._model
        context = house.models.contexts.get(model) if model is not None else None
        return reserve(self._takes, self._call, self._passed, model, context, self._who, house.estimates)

    def _demand(self) -> Demand:
        wanted = self._reservation
        return Demand(self._request_id, self._who, self._model, wanted.bound, wanted.estimate)
