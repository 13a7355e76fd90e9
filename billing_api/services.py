"""What every request of a process shares."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from billing_api.db import Database
from billing_api.projection.repair import Projector
from billing_api.settings import ApiSettings
from billing_api.usage.ledger import Ledger
from contracts.clock import Clock


@dataclass(frozen=True)
class Services:
    """The parts that a request works with; `clock` tells the time."""

    settings: ApiSettings
    database: Database
    projector: Projector
    ledger: Ledger
    registry: CollectorRegistry
    clock: Clock
