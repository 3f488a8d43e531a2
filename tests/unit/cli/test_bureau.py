"""What a person looks up in a bureau's file, beside its client."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli.bureau import app
from broker.errors import RefusedError
from consumers.bureau.state import BureauState


def open_files(folder: Path) -> list[str]:
    """Which files of a folder this process has open."""
    found = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if _is_there(number)]  # noqa: PTH115, PTH208 - what the system says
    return [name for name in found if name.startswith(str(folder))]


def _is_there(number: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{number}")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks the system which files are open")
@pytest.mark.parametrize(
    "command", [["list"], ["list", "--json"], ["parked"], ["show", "zw-n-2026-000001"], ["ack", "x"]]
)
def test_a_look_leaves_no_file_open(tmp_path: Path, command: list[str]) -> None:
    """A reader that stays would hold up what an end removes."""
    BureauState.open(tmp_path / "bureaus" / "zw.db", bureau="zw", installation="one").close()
    options = ["--stage", "accepted"] if command[0] == "ack" else []

    result = CliRunner().invoke(app, ["zw", *command, *options, "--data", str(tmp_path)])

    assert result.exit_code == 0 or isinstance(result.exception, RefusedError), result
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("command", [["list"], ["parked"], ["show", "zw-n-2026-000001"]])
def test_who_has_received_nothing_is_told_so(tmp_path: Path, command: list[str]) -> None:
    """A bureau whose client never ran here is not shown as one that holds nothing."""
    result = CliRunner().invoke(app, ["xx", *command, "--data", str(tmp_path)])

    assert isinstance(result.exception, RefusedError)
    assert "xx has received nothing here" in str(result.exception)
