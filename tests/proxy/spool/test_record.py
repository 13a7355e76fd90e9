from hypothesis import given
from hypothesis import strategies as st

from proxy.spool import record
from proxy.spool.record import Kind

PARTS = st.tuples(
    st.sampled_from([Kind.REQUEST, Kind.USAGE, Kind.OPEN, Kind.HEADER, Kind.ADMITTED]),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=255),
    st.binary(max_size=600),
    st.binary(max_size=3000),
)


def parts_of(found: record.Record) -> tuple[int, int, bytes, bytes, bytes]:
    return found.kind, found.sequence, found.request_id, found.tenant, found.body


@given(PARTS, st.binary(max_size=50), st.binary(max_size=50))
def test_a_record_reads_back_wherever_it_stands(parts, before, after):
    data = before + record.encode(*parts) + after
    found = record.read(data, len(before))
    assert found is not None
    assert parts_of(found) == parts
    assert found.end == len(data) - len(after)


@given(PARTS, st.data())
def test_a_record_cut_anywhere_is_none(parts, data):
    whole = record.encode(*parts)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert record.read(whole[:cut], 0) is None
    torn = record.read(whole[:cut] + bytes(len(whole) - cut), 0)
    assert torn is None or parts_of(torn) == parts  # what was cut off may have been zeros


@given(PARTS, st.data())
def test_a_record_with_one_flipped_bit_is_none(parts, data):
    whole = bytearray(record.encode(*parts))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    assert record.read(bytes(whole), 0) is None


def test_zeros_and_nothing_are_no_record():
    assert record.read(bytes(100), 0) is None
    assert record.read(b"", 0) is None


@given(st.lists(PARTS, max_size=5), st.integers(record.OVERHEAD, 5000))
def test_a_scan_skips_padding_and_stops_at_the_end(parts, gap):
    padded = b"".join(record.encode(*each) + record.padding(gap) + bytes(gap - record.OVERHEAD) for each in parts)
    end = record.encode(Kind.END, 0, b"", b"", b"")
    found = list(record.scan(padded + end + record.encode(Kind.OPEN, 0, b"a", b"b", b"c")))
    assert [parts_of(each) for each in found if each.kind not in (Kind.PAD, Kind.END)] == parts
    assert found[-1].kind == Kind.END
