"""A folder is whole or absent."""

import hashlib
from pathlib import Path

import pytest

from contract.errors import BundleExists
from export.folder import unfinished, write_file


def test_a_folder_appears_when_it_is_finished(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "bundle"
    with unfinished(target) as folder:
        entry = write_file(folder, "a/b.txt", b"words")
        assert not target.exists()
    assert (target / "a/b.txt").read_bytes() == b"words"
    assert entry.sha256 == hashlib.sha256(b"words").hexdigest()
    assert entry.size_bytes == 5
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError), unfinished(tmp_path / "bundle") as folder:
        write_file(folder, "b.txt", "no bytes")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_refused_even_if_empty(tmp_path: Path) -> None:
    with pytest.raises(BundleExists, match="choose another --out"), unfinished(tmp_path):
        pytest.fail("it was opened")
