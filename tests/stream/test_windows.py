from datetime import timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from stream.windows import Window, chunks, touched
from tests.stream.factory import NOON, Producer


@given(st.lists(st.tuples(st.sampled_from(["ten_a", "ten_b"]), st.integers(-300, 300))))
def test_every_event_is_in_one_touched_window(places: list[tuple[str, int]]) -> None:
    producer = Producer()
    windows = touched(producer.usage(tenant, NOON + timedelta(seconds=seconds)) for tenant, seconds in places)
    assert sorted(set(windows)) == windows
    for tenant, seconds in places:
        moment = NOON + timedelta(seconds=seconds)
        holding = [w for w in windows if w.tenant == tenant and w.minute <= moment < w.minute + timedelta(minutes=1)]
        assert len(holding) == 1
    assert len(windows) <= len(places)


def test_windows_are_in_utc_whatever_the_zone_of_the_event() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert touched([Producer().usage(at=elsewhere)]) == [Window("ten_a", NOON)]


def test_a_refused_request_belongs_to_the_minute_of_its_arrival() -> None:
    assert touched([Producer().request(admitted_at=None)]) == [Window("ten_a", NOON)]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_chunks(items: list[int], size: int) -> None:
    parts = list(chunks(items, size))
    assert [item for part in parts for item in part] == items
    assert all(0 < len(part) <= size for part in parts)
