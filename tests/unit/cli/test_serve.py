from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import serve
from broker.cli.main import command_line
from broker.embedded import leash
from tests.support.eventually import eventually

SLEEPS = "import time; time.sleep(600)"
ENDS = "raise SystemExit(3)"


def test_of_several_services_one_that_dies_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on, and all are ended together."""
    started: list[tuple[str, leash.Leashed]] = []

    def start(service: serve.Service, *_: object, **__: object) -> leash.Leashed:
        process = leash.spawn([sys.executable, "-I", "-S", "-c", ENDS if service == "tracker" else SLEEPS])
        started.append((service, process))
        return process

    def stopped() -> bool:
        return [service for service, _ in started].count("tracker") > 1

    monkeypatch.setattr(serve, "start", start)
    monkeypatch.setattr(serve, "_signalled", lambda: stopped)

    ended = CliRunner().invoke(command_line(["serve"]), ["serve", "router", "tracker", "--data", str(tmp_path)])

    assert ended.exit_code == 0
    assert "tracker ended with code 3; started again" in ended.stderr
    assert [service for service, _ in started] == ["router", "tracker", "tracker"]
    eventually(lambda: all(process.poll() is not None for _, process in started), seconds=60, what="all have ended")
