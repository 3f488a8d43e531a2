"""Ctrl-C at any moment of the demo leaves no process and no port, and the next run works; nor does SIGKILL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.demo import Demo, a_demo
from tests.support.eventually import eventually

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(400), pytest.mark.slow]

MOMENTS = {
    "while the program loads": None,
    "while Kafka starts": "Starting Apache Kafka",
    "while topics are made": "Apache Kafka runs on",
    "while samples are published": "Every bureau listens",
}
"""What is printed just before; each run begins where the one before it was interrupted, on the same folder."""


_EARLY = "pydantic_core"
"""A library that is loaded early among many."""


def has_loaded(demo: Demo, library: str) -> bool:
    """Whether its process has a shared library in its memory."""
    return any(library in part.path for part in psutil.Process(demo.process.pid).memory_maps())


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """The folder of one run after the other."""
    with tempfile.TemporaryDirectory(prefix="noticewire-e2e-") as folder:
        yield Path(folder) / "interrupted"


@pytest.mark.parametrize("words", MOMENTS.values(), ids=MOMENTS.keys())
def test_ctrl_c_leaves_nothing(data: Path, words: str | None) -> None:
    """It ends, not as if all were well, and of its processes and ports none is left; the next one starts as ever."""
    with a_demo(data) as demo:
        if words is None:
            eventually(lambda: has_loaded(demo, _EARLY), seconds=30, what=f"it has loaded {_EARLY}")
        else:
            demo.await_line(words)
        demo.interrupt()

        assert demo.ended() != 0
        demo.assert_nothing_is_left()
        if words is not None:  # nothing of ours can catch it before it is loaded
            assert "Traceback" not in demo.printed()


def test_sigkill_leaves_nothing(data: Path) -> None:
    """Killed, it can end nothing itself: its services and Kafka notice, and are gone within seconds."""
    with a_demo(data) as demo:
        demo.await_line("Services started")
        demo.look()
        assert len(demo.seen) >= 1 + 2 * 4  # itself, and a leash and a process for Kafka and each of the services

        demo.process.kill()

        demo.ended()
        demo.assert_nothing_is_left()
