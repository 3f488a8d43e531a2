"""Where a subject's data may not be: in logs, keys, headers, and in all that is kept for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.demo import RunningDemo

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(400)]

_SAMPLES = Path(__file__).parents[2] / "samples"
_NAMES = {"family", "forename", "family_original", "forename_original", "vin", "plate", "serial_number"}
_KEPT_FOR_EVER = ("ledger.", "acks.", "commands.", "alerts")
"""The directory, too; but it was written before any message, and St. John's, a capital, is not about a John."""


def _data_of_subjects() -> tuple[set[str], set[str]]:
    """Return names and numbers; and dates of birth, but not a mere year, which any number may hold."""
    named: set[str] = set()
    born: set[str] = set()

    def walk(part: Any, *, of_document: bool = False) -> None:
        if isinstance(part, list):
            for one in part:
                walk(one, of_document=of_document)
        elif isinstance(part, dict):
            for name, value in part.items():
                if name in _NAMES or (of_document and name == "number"):
                    named.add(value)
                elif name == "born" and len(value) > len("1974"):
                    born.add(value)
                else:
                    walk(value, of_document=name in {"documents", "document"})

    for path in sorted(_SAMPLES.glob("*.yaml")):
        for entry in yaml.load_all(path.read_text(encoding="utf-8"), yaml.BaseLoader):
            walk(entry["subject"])
    return named, born


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a decoded record."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from (name, *_texts(part))
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


@pytest.fixture(scope="module")
def data_of_subjects() -> re.Pattern[str]:
    """Finds any of it, as a word or words of their own."""
    named, born = _data_of_subjects()
    assert len(named) > 50
    assert len(born) > 10
    words = sorted(named | born, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")


def test_the_pattern_finds_what_is_there(demo: RunningDemo, data_of_subjects: re.Pattern[str]) -> None:
    """Each name and number that is looked for below stands in a message on a feed (dates are no texts there)."""
    said = "\n".join(text for record in demo.history.read("notices.", "diffusions.") for text in _texts(record.value))

    named, _ = _data_of_subjects()
    assert set(data_of_subjects.findall(said)) >= named


def test_no_log_has_data_of_a_subject(demo: RunningDemo, data_of_subjects: re.Pattern[str]) -> None:
    """What services and demo log names notices and bureaus, never a person, a document or a date of birth."""
    data = demo.demo.data
    logs = [demo.demo.log, *data.glob("logs/*.log"), data / "kafka" / "kafka.log", data / "kafka" / "kafka.out"]
    services = {path.stem for path in logs if path.parent.name == "logs" and path.stat().st_size}

    assert services >= {"router", "tracker", "audit"}
    for log in logs:
        assert data_of_subjects.findall(log.read_text(encoding="utf-8", errors="replace")) == [], log.name


def test_no_key_or_header_has_data_of_a_subject(demo: RunningDemo, data_of_subjects: re.Pattern[str]) -> None:
    """Keys and headers, which Kafka's own tools show, are free of it on every topic."""
    for record in demo.history.records:
        headers = [part for name, value in record.headers for part in (name.encode(), value or b"")]
        text = "\n".join(part.decode("utf-8", "replace") for part in (record.key or b"", *headers))
        assert data_of_subjects.findall(text) == [], f"{record.topic}/{record.partition}/{record.offset}"


def test_what_is_kept_for_ever_has_no_data_of_a_subject(demo: RunningDemo, data_of_subjects: re.Pattern[str]) -> None:
    """Ledger, receipts, directory, outcomes and notices of end hold codes, never data of a subject."""
    records = demo.history.read(*_KEPT_FOR_EVER)
    records += [one for one in demo.history.read("inbox.") if one.subject in {"outcome", "notice-of-end"}]

    assert {record.subject for record in records} >= {"ledger-entry", "receipts", "outcome", "notice-of-end"}
    for record in records:
        text = "\n".join(_texts(record.value))
        assert data_of_subjects.findall(text) == [], f"{record.topic}/{record.partition}/{record.offset}"
