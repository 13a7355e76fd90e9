"""What a request holds of its limits. Plain data: it inherits from a class that is not compiled."""

from proxy.limits.ways import Way
from proxy.ports import Grant


class Reserved(Grant):
    """A grant, and what it reserved on each part of its way; -1: nothing was taken there (a limit in shadow, an outage)."""

    __slots__ = ("at", "needs", "serial", "way")

    def __init__(self, way: Way, needs: list[int], serial: int, at: int) -> None:
        super().__init__()
        self.way, self.needs, self.serial, self.at = way, needs, serial, at
