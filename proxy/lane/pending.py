"""Requests that wait to be served, in the order in which their connection brought them."""

from proxy.steps import Arrival
from proxy.streamed.intake import Intake


class Pending:
    """A request that was read to its end, and whether the connection may live on after its answer.

    `old`: HTTP/1.0, which knows no chunks.
    """

    __slots__ = ("arrival", "keep", "old")
    intake: Intake | None = None
    """Where the body comes in, if it is not held."""

    def __init__(self, arrival: Arrival, keep: bool, old: bool) -> None:
        self.arrival = arrival
        self.keep = keep
        self.old = old


class Streamed(Pending):
    """A request whose body is still to come. `keep` is known at its end."""

    __slots__ = ("intake",)

    def __init__(self, arrival: Arrival, old: bool, intake: Intake) -> None:
        super().__init__(arrival, False, old)
        self.intake = intake
