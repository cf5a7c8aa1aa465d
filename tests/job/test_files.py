"""Whole files or none, also when the disk is full, and the same bytes each time."""

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from multiloss.job import files
from multiloss.job.files import atomic, write_csv, write_text


def test_file_appears_whole_under_its_name_only(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "täble.csv"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".csv"
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["täble.csv"]


def test_error_keeps_the_older_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    path.write_text("older")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("newer")
        1 / 0  # noqa: B018
    assert path.read_text() == "older"
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.npz"]


def test_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "x.csv"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    path.write_text("older\n")
    real = pd.DataFrame.to_csv

    def to_full_disk(self: pd.DataFrame, where: Path, **options: object) -> None:
        real(self.head(1), where, **options)
        with open("/dev/full", "w") as handle:
            handle.write("x" * 100_000)

    monkeypatch.setattr(pd.DataFrame, "to_csv", to_full_disk)
    with pytest.raises(OSError) as caught:
        write_csv(pd.DataFrame({"a": [1, 2]}), path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "older\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_full_disk_that_shows_only_when_the_file_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_text("x", tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_private_umask_is_respected(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text("x", tmp_path / "report.html")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o600


def test_probabilities_read_back_as_float32_are_the_ones_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(1000).astype(np.float32)
    path = tmp_path / "p.csv"
    write_csv(pd.DataFrame({"p": values}), path)
    assert (pd.read_csv(path)["p"].to_numpy(np.float32) == values).all()


def test_same_table_gives_the_same_bytes_without_carriage_returns(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1 / 3, 2.0], "name": ["ä b", "c,d"]})
    for name in ("one.csv", "two.csv"):
        write_csv(table, tmp_path / name)
    content = (tmp_path / "one.csv").read_bytes()
    assert content == (tmp_path / "two.csv").read_bytes()
    assert content == 'a,name\n0.3333333333,ä b\n2,"c,d"\n'.encode()


def test_files_by_the_names_of_models() -> None:
    assert files.by_name(["p/focal_0.5-r0.csv", "p/cce-r1.csv"]) == {
        "focal_0.5-r0": Path("p/focal_0.5-r0.csv"),
        "cce-r1": Path("p/cce-r1.csv"),
    }
