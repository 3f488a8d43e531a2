"""`noticewire up`, watched: each service at its address, ready, and still there after it was killed; and the doctor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from broker.embedded import leash
from tests.support.eventually import eventually
from tests.support.shared_kafka import SharedKafka

COMMAND = [sys.executable, "-m", "broker.cli.main"]


def page(address: str, name: str) -> str:
    """What a page says; nothing where nobody answers."""
    try:
        with urlopen(f"{address}/{name}", timeout=5) as answer:  # noqa: S310 - http on this machine
            return str(answer.read().decode())
    except HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_up_is_watched(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """All services become ready at the addresses of endpoints.json; one that is killed comes back at the same one."""
    environment = {
        **os.environ,
        "NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "NOTICEWIRE_KAFKA__PREFIX": prefix,
    }
    data = tmp_path / "data"
    with (tmp_path / "said").open("wb") as out:
        running = leash.spawn([*COMMAND, "up", "--data", str(data)], env=environment, stdout=out, stderr=out)

    def endpoints() -> dict[str, Any]:
        assert running.poll() is None, (tmp_path / "said").read_text()
        path = data / "endpoints.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found if found.get("services") else {}

    def ready() -> bool:
        services = endpoints()["services"]
        said.update({name: page(one["observe"], "readyz") for name, one in services.items()})
        return all('"ready": true' in text for text in said.values())

    said: dict[str, str] = {}
    try:
        before = eventually(endpoints, seconds=120, what="the services are started")
        assert set(before["services"]) == {"router-0", "tracker", "audit", "gateway"}
        eventually(ready, seconds=120, what="all are ready")
        assert "notices.africa-value" in page(before["services"]["gateway"]["url"], "subjects")
        assert 'noticewire_service_restarts_total{name="tracker"} 0.0' in page(before["observe"], "metrics")

        os.kill(before["services"]["tracker"]["pid"], signal.SIGKILL)
        after = eventually(
            lambda: (now := endpoints())["services"].get("tracker") != before["services"]["tracker"] and now,
            seconds=60,
            what="the tracker is started again",
        )
        eventually(lambda: "tracker" in endpoints()["services"], seconds=60, what="it runs")
        after = endpoints()
        assert after["services"]["tracker"]["pid"] != before["services"]["tracker"]["pid"]
        assert {name: one["observe"] for name, one in after["services"].items()} == {
            name: one["observe"] for name, one in before["services"].items()
        }
        eventually(ready, seconds=120, what="all are ready again")
        assert 'noticewire_service_restarts_total{name="tracker"} 1.0' in page(after["observe"], "metrics")

        doctor = subprocess.run(
            [*COMMAND, "doctor", "--data", str(data)], env=environment, capture_output=True, text=True, check=False
        )
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        assert "tracker is ready" in doctor.stdout
    finally:
        running.terminate()
        assert running.wait(60) == 0, (tmp_path / "said").read_text()
