"""What a run downloads is kept where no other user of the machine can change it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from baldistill.errors import UserError
from baldistill.private_folder import cached, private_folder, user_cache
from baldistill.storage import Storage

pytestmark = pytest.mark.skipif(os.name != "posix", reason="users and modes of POSIX")
is_root = os.name == "posix" and os.geteuid() == 0


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "baldistill"


def weights(path: Path) -> None:
    (path / "weights").write_text("ours")


def test_the_cache_is_the_users_alone(cache: Path) -> None:
    before = os.umask(0)  # a careless one
    try:
        copy = cached("key", weights)
    finally:
        os.umask(before)
    assert copy == cache / "models" / "key"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_a_download_is_made_once_and_seen_whole(cache: Path) -> None:
    def fails(path: Path) -> None:
        (path / "half").write_text("")
        raise OSError("the network is gone")

    with pytest.raises(OSError, match="network"):
        cached("key", fails)
    assert list((cache / "models").iterdir()) == []
    cached("key", weights)
    assert (cached("key", fails) / "weights").read_text() == "ours"


def test_copies_that_nobody_uses_are_removed(cache: Path) -> None:
    for key in ("old", "used"):
        os.utime(cached(key, weights), (0, 0))
    cached("used", weights)
    cached("new", weights)
    assert {path.name for path in (cache / "models").iterdir()} == {"used", "new"}


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777, 0o702])
def test_a_cache_that_others_can_write_to_is_refused(cache: Path, mode: int) -> None:
    cache.mkdir(parents=True)
    cache.chmod(mode)
    with pytest.raises(UserError, match=r"can be written to by other users.*XDG_CACHE_HOME"):
        cached("key", weights)


def test_a_link_or_a_file_in_its_place_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    cache.parent.mkdir()
    cache.symlink_to(tmp_path / "theirs")
    with pytest.raises(UserError, match="is a link"):
        cached("key", weights)
    cache.unlink()
    cache.write_text("")
    with pytest.raises(UserError, match="is a file"):
        cached("key", weights)


@pytest.mark.skipif(not is_root, reason="only root gives files away")
def test_a_cache_of_another_user_is_refused(cache: Path) -> None:
    cache.mkdir(parents=True, mode=0o700)
    os.chown(cache, 12345, 12345)
    with pytest.raises(UserError, match="belongs to another user"):
        cached("key", weights)


def test_without_a_home_that_can_be_written_to_it_is_a_private_folder_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("")  # even root cannot make a folder in a file
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = user_cache()
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(UserError, match="can be written to by other users"):
        user_cache()


def test_other_users_cannot_swap_the_weights_of_a_stored_student(
    tmp_path: Path, cache: Path
) -> None:
    fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    storage = Storage("test://run", fs, "run")
    (tmp_path / "run" / "student").mkdir(parents=True)
    weights(tmp_path / "run" / "student")
    folder = storage.local_dir("student")
    assert cache in folder.parents, "not in the shared temporary folder"
    parents = [folder, *folder.parents]
    private = parents[parents.index(cache)]
    assert not private.stat().st_mode & 0o077


def test_a_folder_that_is_there_and_private_is_used(tmp_path: Path) -> None:
    for _ in range(2):
        assert private_folder(tmp_path / "a" / "b", "remove it") == tmp_path / "a" / "b"
