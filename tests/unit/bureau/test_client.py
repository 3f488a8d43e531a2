from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from consumers.bureau import client
from consumers.bureau.client import Inbox


class _FullDisk:
    """A desk that soon has something to write down, and nowhere to write it."""

    bureau = "zw"
    is_dirty = False

    def seal(self) -> list[Any]:
        if self.is_dirty:
            raise OSError("no space left on device")
        return []


class _Quiet:
    """A reader of an inbox in which nothing comes."""

    async def poll(self) -> list[Any]:
        await asyncio.sleep(0.001)
        return []

    async def close(self) -> None:
        pass


async def test_a_failure_in_the_background_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where receipts cannot be written down, whatever the reason, the program is told; it does not go on without."""
    monkeypatch.setattr(client, "FLUSH_EVERY", timedelta(milliseconds=1))
    desk = _FullDisk()
    parts: dict[str, Any] = {"desk": desk, "reader": _Quiet(), "follower": None, "publisher": None}

    inbox = await Inbox(**parts).__aenter__()
    desk.is_dirty = True

    with pytest.raises(OSError, match="no space left"):
        await asyncio.wait_for(anext(inbox), 5)
