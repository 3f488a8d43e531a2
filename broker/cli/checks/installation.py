"""The installation: is it founded, do our keys count, can every store be opened."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError

from broker.cli.checks.finding import Finding, ok, problem, warning
from broker.cli.context import Context
from broker.errors import NoticewireError
from broker.members.directory import Directory
from broker.members.seed import AUDIT
from broker.model.outcome import BROKER
from broker.store.engine import open_to_read, sqlite_url
from broker.trust.keys import KeyFileError
from consumers.audit.files import Paths
from consumers.audit.state import TreeState
from consumers.bureau.tables import VERSION as BUREAU_VERSION

_PRIVATE = 0o077


def look_at_founding(context: Context, directory: Directory) -> Iterator[Finding]:
    """Look whether there is a directory, and whether it is the one that is pinned."""
    if directory.installation is None:
        said = "the directory is empty"
        if context.root_public is not None:
            said += ", or was founded with another key than the pinned one"
        mend = f"found it: noticewire up --data {context.data}; or correct NOTICEWIRE_ROOT_KEY"
        yield problem("directory", said, mend)
        return
    if context.installation not in {None, directory.installation}:
        said = f"the folder is of installation {context.installation}, the cluster of {directory.installation}"
        yield problem("directory", said, "name the right cluster: NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS and __PREFIX")
        return
    yield ok("directory", f"installation {directory.installation}, {len(directory)} entered")
    if context.root_public is None:
        mend = "set NOTICEWIRE_ROOT_KEY to the 64 hexadecimal digits that the Secretariat has published"
        yield warning("directory", "no root key is pinned: whoever founded first is believed", mend)


def look_at_keys(context: Context, directory: Directory, *, now: datetime) -> Iterator[Finding]:
    """Look whether the services' keys are here, private, and count now; and whether all key files are private."""
    wrong = False
    for code in (BROKER, AUDIT):
        try:
            signer = context.keys.signer(code)
        except KeyFileError as error:
            yield problem("keys", str(error), "put the key there, or mend its mode as said")
            wrong = True
            continue
        if directory.installation is not None and directory.key_at(signer.key_id, now) is None:
            wrong = True
            yield problem(
                "keys",
                f"{code}'s key {signer.key_id} does not count: it is not in the directory, or not valid now",
                "put the key back with which the installation was founded, or let the Secretariat enter this one",
            )
    for path in sorted(context.keys.folder.glob("*.pem")):
        if path.stat().st_mode & _PRIVATE and path.stem not in {BROKER, AUDIT}:
            wrong = True
            mode = stat.S_IMODE(path.stat().st_mode)
            yield problem("keys", f"{path} can be read by others (mode {mode:04o})", f"chmod 600 {path}")
    if not wrong:
        yield ok("keys", "broker's and audit's key count, and only their owner can read them")


async def look_at_stores(context: Context, directory: Directory) -> list[Finding]:
    """Look whether every store that is here can be opened by this program; changes none of them."""
    again = "delete it while no router runs: it is folded from the ledger again"
    copy = "bring it back from a copy; without one the bureau's inbox is handled again from its beginning"
    caches, bureaus = (context.data / "router").glob("*.db"), (context.data / "bureaus").glob("*.db")
    return [
        await _tracker(context),
        *_sqlite(caches, "routers' caches", "SELECT ledger_offset FROM fold", again),
        _archive(context.data / "archive", directory.installation),
        *_sqlite(bureaus, "bureaus' files", "SELECT count(*) FROM sqlite_master", copy, newest=BUREAU_VERSION),
    ]


async def _tracker(context: Context) -> Finding:
    url = context.settings.tracker.url
    if url is None and not (context.data / "tracker.db").exists():
        return warning("stores", "there is no tracker's store yet", "start one: noticewire serve tracker")
    try:
        engine = await open_to_read(url or sqlite_url(context.data / "tracker.db"))
    except (NoticewireError, SQLAlchemyError, OSError) as error:
        what = str(error) if isinstance(error, NoticewireError) else type(error).__name__
        mend = "stop the tracker, delete the store and start it: it is filled from the log again"
        return problem("stores", f"the tracker's store cannot be opened: {what}", mend)
    await engine.dispose()
    return ok("stores", "the tracker's store opens")


def _sqlite(paths: Iterable[Path], what: str, query: str, mend: str, *, newest: int | None = None) -> Iterator[Finding]:
    """Ask each file a question that its program would; read only, so nothing is made or mended.

    Args:
        paths: the files.
        what: they are.
        query: must be answered.
        mend: where it is not.
        newest: version of the tables that their program opens; without it, any other one is made anew.
    """
    opened = 0
    for path in sorted(paths):
        try:
            address = f"file:{quote(str(path.absolute()))}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
                database.execute(query).fetchone()
                (version,) = database.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            yield problem("stores", f"{what} {path.name} cannot be read: {type(error).__name__}: {error}", mend)
        else:
            if newest is not None and version > newest:
                said = f"{what} {path.name} is of a newer Noticewire (version {version}), and is refused by this one"
                yield problem("stores", said, "start the newer one; or bring the copy back that was made before it")
            else:
                opened += 1
    if opened:
        yield ok("stores", f"{what}: {opened} opened")


def _archive(folder: Path, installation: str | None) -> Finding:
    path = Paths(folder).state
    if not path.exists():
        return warning("stores", "there is no archive yet", "start one: noticewire serve audit")
    try:
        state = TreeState.from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        mend = "bring the archive back from a copy, and run noticewire audit verify"
        return problem("stores", f"{path} cannot be read: {error}", mend)
    if installation not in {None, state.installation}:
        said = f"the archive is of installation {state.installation}, the cluster of {installation}"
        return problem("stores", said, "name the right folder with --data, or the right cluster")
    return ok("stores", f"the archive opens: {state.size} leaves")
