"""Bodies survive compression, and broken ones are told from whole ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.clickhouse import codecs

ENCODINGS = ("lz4", "zstd", "gzip", "deflate")


@given(parts=st.lists(st.binary(min_size=1, max_size=500), min_size=1, max_size=4), encoding=st.sampled_from(ENCODINGS))
def test_frames_in_a_row_are_one_body(parts, encoding):
    body = b"".join(codecs.compress(part, encoding) for part in parts)
    assert codecs.decompress(body, encoding) == b"".join(parts)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_cut_or_broken_body_is_refused(encoding):
    whole = codecs.compress(b"words " * 100, encoding)
    for broken in (whole[:-5], b"no frame at all", whole[:3]):
        with pytest.raises(codecs.CodecError):
            codecs.decompress(broken, encoding)


def test_an_unknown_encoding_is_refused_and_none_is_none():
    with pytest.raises(codecs.CodecError, match="snappy"):
        codecs.decompress(b"x", "snappy")
    assert codecs.decompress(b"x", "") == codecs.decompress(b"x", "identity") == b"x"


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [("gzip, deflate", "gzip"), ("lz4,zstd,br", "lz4"), ("zstd;q=0.5", "zstd"), ("br", None), ("", None)],
)
def test_an_answer_is_compressed_as_the_client_can_read_it(accepted, chosen):
    assert codecs.choose(accepted) == chosen
