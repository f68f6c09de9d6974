"""What people get wrong: one clear message (found, expected, fix), exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configs.loading import FOLDER, read_yaml


def written(folder: Path, **changes: Any) -> str:
    """A use case file made from `lending_club` with some top-level keys replaced."""
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({**read_yaml(FOLDER / "lending_club.yaml"), "name": "mine", **changes}))
    return str(file)


def told(command_line: Any, *arguments: str) -> str:
    """The one message of a command that must fail; nothing may be left in the home folder's releases or registry."""
    message: str = command_line.run(*arguments, expect=2).stderr
    assert "expected:" in message
    assert "fix:" in message
    assert not (command_line.home / "releases").exists()
    return message


def test_a_missing_table_is_named(command_line: Any, tmp_path: Path) -> None:
    file = written(tmp_path, tables={"loans": {"path": "no_such.parquet", "time": "issue_d"}})
    assert "no_such.parquet" in told(command_line, "train", file)


def test_a_missing_column_is_named(command_line: Any, tmp_path: Path, real_data: Path) -> None:
    request = {**read_yaml(FOLDER / "lending_club.yaml")["request"], "shoe_size": {"type": "number"}}
    assert "shoe_size" in told(command_line, "train", written(tmp_path, request=request))


def test_a_label_with_one_class_is_refused(command_line: Any, tmp_path: Path, real_data: Path) -> None:
    table = pq.read_table(real_data / "lending_club.parquet")
    column = table.schema.get_field_index("charged_off")
    constant = table.set_column(column, "charged_off", pa.array([0] * len(table), pa.int8()))
    pq.write_table(constant, tmp_path / "constant.parquet")
    file = written(tmp_path, tables={"loans": {"path": str(tmp_path / "constant.parquet"), "time": "issue_d"}})
    assert "charged_off" in told(command_line, "train", file)


def test_an_unknown_key_is_named_with_the_nearest(command_line: Any, tmp_path: Path) -> None:
    assert "did you mean 'training'" in told(command_line, "train", written(tmp_path, trainnig={}))


def test_an_unknown_use_case_is_named_with_the_nearest(command_line: Any) -> None:
    assert "did you mean 'lending_club'" in told(command_line, "features", "list", "lending_clup")


@pytest.mark.parametrize("command", [("package", "credit"), ("serve", "--development"), ("monitor", "credit")])
def test_a_use_case_without_an_approved_release_says_what_to_do(command_line: Any, command: tuple[str, ...]) -> None:
    assert "approve" in told(command_line, *command)


def test_a_port_in_use_is_named_before_anything_is_done(command_line: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", command_line.port))
        other.listen()
        assert str(command_line.port) in told(command_line, "demo", "credit", "--exit")
    assert not command_line.home.exists()


def test_the_demo_never_touches_a_folder_with_other_work(command_line: Any) -> None:
    command_line.home.mkdir()
    (command_line.home / "thesis.txt").write_text("mine")
    assert "thesis" not in told(command_line, "demo", "credit", "--exit")
    assert (command_line.home / "thesis.txt").read_text() == "mine"
    shutil.rmtree(command_line.home)
