"""What the data folder remembers, and who owns it."""

import stat

import msgspec
import pytest

from embedded import ports
from embedded.folder import DataFolder, Demo, FolderBrokenError, FolderInUseError


def test_secrets_are_made_once_and_readable_by_the_owner_alone(tmp_path):
    with DataFolder(tmp_path / "data") as folder:
        first = folder.secrets()
    with DataFolder(tmp_path / "data") as folder:
        assert folder.secrets() == first
    with DataFolder(tmp_path / "other") as folder:
        assert folder.secrets() != first
    assert min(len(first.api_token), len(first.key_pepper)) >= 32
    for file in (tmp_path / "data").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_ports_stay_the_same_while_they_are_free(tmp_path):
    with DataFolder(tmp_path) as folder:
        first = folder.ports(["a", "b"])
        assert len(set(first.values())) == 2
        assert folder.ports(["a", "b", "c"]) | first == folder.ports(["a", "b", "c"])
        with ports.listen(first["a"]):
            second = folder.ports(["a", "b"])
        assert second["a"] != first["a"]
        assert second["b"] == first["b"]


def test_a_folder_has_one_owner(tmp_path):
    with DataFolder(tmp_path), pytest.raises(FolderInUseError, match="process id"):
        DataFolder(tmp_path)
    with DataFolder(tmp_path):
        pass


def test_endpoints_are_private_whole_and_gone_when_nothing_runs(tmp_path):
    with DataFolder(tmp_path) as folder:
        folder.announce({"api": "http://127.0.0.1:1"})
        file = tmp_path / "endpoints.json"
        assert msgspec.json.decode(file.read_bytes()) == {"api": "http://127.0.0.1:1"}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        folder.withdraw()
        folder.withdraw()
        assert not file.exists()


def test_the_demo_is_remembered(tmp_path):
    with DataFolder(tmp_path) as folder:
        assert folder.demo() is None
        folder.remember_demo(Demo(tenant="ten_1", key="wb_1"))
        assert folder.demo() == Demo(tenant="ten_1", key="wb_1")


def test_a_broken_file_is_named_and_not_replaced(tmp_path):
    (tmp_path / "secrets.json").write_text("{broken")
    with DataFolder(tmp_path) as folder, pytest.raises(FolderBrokenError, match=r"secrets\.json"):
        folder.secrets()
    assert (tmp_path / "secrets.json").read_text() == "{broken"
