"""What all exchanges of one upstream share."""

from collections.abc import Callable

from proxy import admission, browsers
from proxy.dialects import table
from proxy.estimates import Estimates
from proxy.lesser import Lesser
from proxy.models import Catalog
from proxy.sse import Fingerprint


class House:
    """One for each upstream.

    `authorization` is the upstream's own key, as a header value; `salt` gives a tenant the salt of its cached prefixes.
    `opened` are the paths that the operator lets pass unmetered, `trusted` the addresses and networks of trusted proxies.
    `enforce`: `on`; `shadow`, refusals are only recorded; `off`, there are none, but for what cannot be metered.
    `unsalted`: paths pass on which tenants share cached prefixes.
    `turns`: requests that take the engine's time are let in one after the other, as there is room.
    """

    __slots__ = (
        "authorization",
        "enforce",
        "epoch",
        "estimates",
        "fingerprint",
        "instance",
        "lesser",
        "models",
        "opened",
        "origins",
        "producer",
        "salt",
        "trusted",
        "turns",
        "unsalted",
    )

    def __init__(
        self,
        instance: str,
        producer: str,
        epoch: str,
        authorization: bytes | None,
        salt: Callable[[str], str],
        models: Catalog,
        fingerprint: Fingerprint,
        opened: dict[bytes, table.Route] | None = None,
        enforce: admission.Enforce = "on",
        trusted: tuple[str, ...] = (),
        unsalted: bool = False,
        turns: bool = False,
    ) -> None:
        self.instance = instance
        self.producer = producer
        self.epoch = epoch
        self.authorization = authorization
        self.salt = salt
        self.models = models
        self.fingerprint = fingerprint
        self.opened = opened if opened is not None else {}
        self.enforce = enforce
        self.trusted = trusted
        self.unsalted = unsalted
        self.turns = turns
        self.origins = browsers.Origins()
        self.estimates = Estimates()
        self.lesser = Lesser()
