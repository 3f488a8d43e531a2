from __future__ import annotations

import json
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
