from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from broker.cli.context import DONE, FAILED, INTERRUPTED, MISUSE, load_context, run
from broker.errors import MisuseError, RefusedError, UnavailableError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, DONE, ""),
        (RefusedError("nothing\nwas written"), FAILED, "noticewire: nothing was written\n"),
        (UnavailableError("no broker answers"), FAILED, "noticewire: no broker answers\n"),
        (MisuseError("makes no sense"), MISUSE, "noticewire: makes no sense\n"),
        (typer.Exit(FAILED), FAILED, ""),
        (KeyboardInterrupt(), INTERRUPTED, None),
    ],
)
def test_exit_codes(
    error: BaseException | None,
    code: int,
    line: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Design section 9: 0 done, 1 failed, 2 misuse; an error of ours is one line on standard error."""
    app = typer.Typer()

    @app.command()
    def command() -> None:
        if error is not None:
            raise error

    monkeypatch.setattr("sys.argv", ["noticewire"])
    assert run(app) == code
    if line is not None:
        assert capsys.readouterr().err == line


def test_an_unknown_option_is_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """What typer itself refuses exits with 2."""
    app = typer.Typer()
    app.command()(lambda: None)
    monkeypatch.setattr("sys.argv", ["noticewire", "--nonsense"])

    assert run(app) == MISUSE


def test_the_data_folder_says_where_the_system_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data` finds cluster, prefix, installation and root key; what is set in the environment outranks it."""
    monkeypatch.chdir(tmp_path)
    said = {"kafka": {"bootstrap_servers": "127.0.0.1:7", "prefix": "x-"}, "installation": "i", "root_key": "ab" * 32}
    (tmp_path / "endpoints.json").write_text(json.dumps({**said, "gateway": "for others"}))

    found = load_context(tmp_path)
    monkeypatch.setenv("NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:8")
    overridden = load_context(tmp_path)

    assert (found.kafka.bootstrap_servers, found.kafka.prefix) == ("127.0.0.1:7", "x-")
    assert (found.installation, found.root_public) == ("i", b"\xab" * 32)
    assert found.keys.folder == tmp_path / "keys"
    assert (overridden.kafka.bootstrap_servers, overridden.kafka.prefix) == ("127.0.0.1:8", "x-")


def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting, and not its value."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTICEWIRE_KAFKA__REPLICATION", "secret")

    with pytest.raises(MisuseError, match=r"kafka\.replication") as caught:
        load_context(tmp_path)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("is_told", [False, True])
def test_where_nothing_runs_is_said(
    *, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who could not reach a cluster that nobody named is told what to start or set; a named one is just away."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["noticewire"])
    monkeypatch.delenv("NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS", raising=False)
    if is_told:
        monkeypatch.setenv("NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:7")
    app = typer.Typer()

    @app.command()
    def command() -> None:
        load_context(tmp_path)
        raise UnavailableError("no broker answers")

    assert run(app) == FAILED
    said = capsys.readouterr().err
    assert ("nothing runs on" in said) is not is_told
    assert (f"noticewire up --data {tmp_path}" in said) is not is_told
    assert "no broker answers" in said


def test_ctrl_c_ends_what_does_not_let_itself_be_ended(tmp_path: Path) -> None:
    """Work that swallows its cancellation, or a clean-up that hangs, is cut off after the stated time."""
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio\n"
        "from broker.cli import context\n"
        "context.CLEAN_UP_WITHIN_SECONDS = 0.5\n"
        "async def work():\n"
        "    print('at work', flush=True)\n"
        "    while True:\n"
        "        try:\n"
        "            await asyncio.sleep(600)\n"
        "        except asyncio.CancelledError:\n"
        "            pass\n"
        "context.run_async(work())\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "cut off" in said
