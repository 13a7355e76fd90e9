"""Which proxy these tests run: the sources, or, with `make test-compiled`, what `make compiled` made of them."""

import os

from proxy import exchange, sse
from proxy.lane import client
from proxy.spool import spool


def test_what_runs_is_what_was_asked_for() -> None:
    wanted = ".so" if os.environ.get("WEIGHBRIDGE_TEST_COMPILED") else ".py"
    assert {str(module.__file__)[-3:] for module in (client, exchange, spool, sse)} == {wanted}
