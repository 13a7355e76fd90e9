"""Logs hold no key and no secret, also when somebody logs one."""

from hypothesis import given
from hypothesis import strategies as st

from contracts import ids, keys, logs


@given(before=st.text(alphabet="abc .:", max_size=10), after=st.sampled_from(["", " and more", "\n"]))
def test_our_keys_are_blanked_wherever_they_stand(before, after):
    token = keys.create(ids.new_id("key", 1))
    entry = logs.guard(None, "info", {"event": f"{before} {token}{after}"})
    assert token not in entry["event"]


def test_secret_names_are_blanked():
    entry = logs.guard(None, "info", {"event": "x", "authorization": "abc", "Prompt": "private", "count": 3})
    assert entry == {"event": "x", "authorization": "***", "Prompt": "***", "count": 3}


def test_bearer_tokens_are_blanked():
    assert "abc.def" not in logs.guard(None, "info", {"event": "header was Bearer abc.def"})["event"]
