"""The jars: complete or absent, and the bytes that the repository names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from broker.embedded import jars
from broker.embedded.jars import KAFKA_VERSION, Jar, jars_folder, locked_jars
from broker.errors import UnavailableError


def fetch_as(content: bytes) -> object:
    def fetch(wanted: list[Jar], repository: Path, _: object) -> dict[Jar, Path]:
        repository.mkdir()
        for jar in wanted:
            (repository / jar.file_name).write_bytes(content)
        return {jar: repository / jar.file_name for jar in wanted}

    return fetch


def fail(*_: object) -> None:
    message = "no route to host"
    raise RuntimeError(message)


def test_the_lock_names_the_pinned_version() -> None:
    """The list holds the pinned Kafka, its clients of the same version, and what binds its logging."""
    coordinates = {jar.coordinates for jar in locked_jars()}

    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}" in coordinates
    assert f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}" in coordinates
    assert any("log4j-slf4j-impl" in one for one in coordinates)


def test_the_error_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the jars cannot be had, the error says what was tried, and the cache is as before."""
    monkeypatch.setattr(jars, "_with_jgo", fail)
    monkeypatch.setenv("PATH", "/nowhere")  # no mvn either

    with pytest.raises(UnavailableError, match=r"(?s)jgo: no route to host.*mvn: not on the path"):
        jars_folder(tmp_path, lambda _: None)

    assert [file.name for file in tmp_path.iterdir() if file.is_dir()] == []


def test_other_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jar whose digest is not the one in the list is not taken."""
    monkeypatch.setattr(jars, "_with_jgo", fetch_as(b"something else"))
    monkeypatch.setattr(jars, "_with_maven", fail)

    with pytest.raises(UnavailableError, match=r"has SHA-256 .* and jars\.lock says"):
        jars_folder(tmp_path, lambda _: None)


def test_what_is_there_is_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call downloads, what a killed one left is removed, and later calls use no network."""
    wanted = [Jar("org.example:one:1.0", hashlib.sha256(b"a jar").hexdigest())]
    monkeypatch.setattr(jars, "locked_jars", lambda: wanted)
    monkeypatch.setattr(jars, "_with_jgo", fetch_as(b"a jar"))
    (tmp_path / "part-left").mkdir()

    first = jars_folder(tmp_path, lambda _: None)
    monkeypatch.setattr(jars, "_with_jgo", fail)
    monkeypatch.setattr(jars, "_with_maven", fail)

    assert jars_folder(tmp_path, lambda _: None) == first
    assert [file.name for file in first.iterdir()] == ["one-1.0.jar"]
    assert [file for file in tmp_path.iterdir() if file.is_dir()] == [first]
