"""`noticewire up`, watched: each service at its address, ready, and still there after it was killed; and the doctor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from broker.embedded import leash
from tests.support.eventually import eventually
from tests.support.shared_kafka import SharedKafka

COMMAND = [sys.executable, "-m", "broker.cli.main"]

ACCEPT = ("--accept", "--count", "1")

MESSAGES = """
kind: warning
number: zw-d-2026-009901
event: sent
circulation: {scope: bureaus, bureaus: [ke, fr]}
subject: {kind: person, role: suspect, person: {name: {family: EXAMPLE}, born: "1980"}}
texts: [{language: en, title: Forged passports, body: A fictitious case.}]
assessment: {grounds: Was seen with a forged passport.}
retained_until: 2030-12-31
---
kind: warning
number: zw-d-2026-009902
event: sent
status: EXERCISE
circulation: {scope: bureaus, bureaus: [ke]}
subject: {kind: person, role: suspect, person: {name: {family: EXAMPLE}, born: "1980"}}
texts: [{language: en, title: An exercise, body: A fictitious case.}]
assessment: {grounds: Nobody asked for it.}
retained_until: 2030-12-31
"""
"""One is given to two bureaus, the other withheld from one that asked for no exercises; their owner hears of both."""

COUNTED: dict[str, dict[str, float]] = {
    "router-0": {
        'noticewire_consumed_records_total{feed="diffusions",kind="routed"}': 2,
        'noticewire_delivered_records_total{what="message"}': 2,
        'noticewire_delivered_records_total{what="outcome"}': 2,
        'noticewire_withheld_deliveries_total{reason="not_asked_for"}': 1,
        'noticewire_withheld_deliveries_total{reason="excluded"}': 0,
        'noticewire_rejected_records_total{reason="invalid"}': 0,
        "noticewire_publish_to_inbox_seconds_count": 1,
    },
    "tracker": {
        'noticewire_acknowledged_receipts_total{stage="accepted"}': 1,
        'noticewire_acknowledged_receipts_total{stage="declined"}': 0,
        "noticewire_publish_to_acknowledged_seconds_count": 1,
    },
}
"""What the metrics say of them once Kenya has accepted the one."""


def page(address: str, name: str) -> str:
    """What a page says; nothing where nobody answers."""
    try:
        with urlopen(f"{address}/{name}", timeout=5) as answer:  # noqa: S310 - http on this machine
            return str(answer.read().decode())
    except HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


def counts(address: str, expected: Mapping[str, float]) -> bool:
    """Whether a metrics page has these series with these values."""
    lines = page(address, "metrics").splitlines()
    return all(f"{name} {float(value)}" in lines for name, value in expected.items())


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

        (tmp_path / "messages.yaml").write_text(MESSAGES)
        for does in (("publish", str(tmp_path / "messages.yaml"), "--wait"), ("bureau", "ke", "listen", *ACCEPT)):
            subprocess.run([*COMMAND, *does, "--data", str(data)], env=environment, check=True)
        for name, expected in COUNTED.items():
            address = before["services"][name]["observe"]
            eventually(partial(counts, address, expected), seconds=30, what=f"{name} counts {expected}")

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
