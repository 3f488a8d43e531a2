"""A command's spans go where the environment says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.errors import MisuseError
from broker.observe.exporting import export_spans

PROGRAM = """
import typer
from broker.cli import context
from broker.observe import tracing

app = typer.Typer()

@app.command()
def routed() -> None:
    tracing.routed("notices.africa", partition=1, offset=42, message_id="", traceparent=None, began_ns=1, found={})

raise SystemExit(context.run(app))
"""


def test_a_command_exports_what_the_environment_asks_for() -> None:
    """What a command did is written when it ends, under the service's name, by an exporter that is named."""
    asked = {"OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "router", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["name"] == "route notices.africa"
    assert told["attributes"]["messaging.kafka.offset"] == 42
    assert told["resource"]["attributes"]["service.name"] == "router"


def test_an_exporter_that_is_not_installed_is_named() -> None:
    """Before anything is done: nobody looks for spans that went nowhere."""
    with pytest.raises(MisuseError, match="no exporter otlp-by-pigeon is installed"):
        export_spans(["otlp-by-pigeon"], service="noticewire")
