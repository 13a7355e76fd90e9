from proxy import lesser
from proxy.lesser import Lesser
from tests.proxy.fakes import held, holding


def test_somebody_without_a_limit_is_made_once() -> None:
    """Limits keep what they know of a principal under the object itself."""
    one, other = held("requests", 1), held("total_tokens", 1)
    who, same = holding(one, other), holding(one, other)
    known = Lesser()
    assert known.without(who, one).limits == (other,)
    assert known.without(who, one) is known.without(who, one)
    assert known.without(who, one) is not known.without(same, one)
    assert known.without(who, other).limits == (one,)


def test_they_are_bounded() -> None:
    known, limit = Lesser(), held("requests", 1)
    for _ in range(lesser.KEPT + 5):
        known.without(holding(limit), limit)
    assert len(known._known) == lesser.KEPT
