from contracts import endpoints
from proxy.dialects import table


def test_a_path_is_listed_once() -> None:
    paths = [route.path for route in table.ROUTES]
    assert len(paths) == len(set(paths))
    assert table.find(b"/no/such/path") is None


def test_metered_paths_need_a_key() -> None:
    assert all(route.key for route in table.ROUTES if route.dialect is not None)
    assert {route.path for route in table.ROUTES if not route.key} == {"/health", "/ping"}


def test_paths_are_matched_as_written() -> None:
    chat = table.find(b"/v1/chat/completions?x=1")
    assert chat is not None
    route, parameter = chat
    assert (route.path, parameter) == ("/v1/chat/completions", None)
    for target in (
        b"/v1/chat/completions/",
        b"/V1/chat/completions",
        b"http://h/v1/chat/completions",
        b"*",
        b"",
        b"/v1/chat/completions#x",
    ):
        assert table.find(target) is None


def test_keys_may_name_every_path_that_needs_one_and_no_other():
    named = [route.path for route in table.ROUTES if route.key and not route.own]  # where it stands any key may ask
    assert list(endpoints.KNOWN) == named
