"""Every code block of README and guides, run in order on an installation that `noticewire up` keeps running."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.support.demo import COMMAND, environment, noticewire
from tests.support.eventually import eventually
from tests.support.guides import GUIDES, Block, Reader, blocks

ROOT = Path(__file__).parents[2]
DATA = "noticewire-data"
"""As every guide calls the data folder."""
FIRST = """
kind: warning
number: zw-d-2026-009900
event: sent
circulation: {scope: bureaus, bureaus: [ke]}
subject: {kind: person, role: suspect, person: {name: {family: EXAMPLE}, born: "1980"}}
texts: [{language: en, title: Forged passports, body: A fictitious case.}]
assessment: {grounds: Was seen with a forged passport.}
retained_until: 2030-12-31
"""
"""What the bureaus' guide acknowledges: the first message of its inbox."""
REJECTED = FIRST.replace("009900", "009901").replace(
    "event: sent", "event: withdrawn\nrevision: 1\nreason: owner_decision"
)
"""What the operators' guide finds rejected: ends what nobody has begun, and is the first record of its feed's shard."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("guides"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def start() -> Block:
    """The block of the operators' guide that starts an installation."""
    return next(block for block in blocks(ROOT / "docs" / "operate.md", ROOT) if "background" in block.words)


@pytest.fixture(scope="module")
def installation(start: Block) -> Iterator[Path]:
    """A folder with an installation that runs, has routed the samples and rejected something; at the end Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="noticewire-guides-") as name:
        folder = Path(name)
        up = a_reader(folder).start(start)
        try:
            eventually(lambda: all(map(is_ready, services(folder / DATA))), seconds=120, what="all services are ready")
            for number, text in enumerate((REJECTED, FIRST)):
                (folder / f"{number}.yaml").write_text(text, encoding="utf-8")
            said = noticewire("publish", folder / "0.yaml", "--wait", "--data", folder / DATA).expect(1).out
            assert "published at diffusions.africa/0/0" in said
            files = [folder / "1.yaml", ROOT / "samples"]
            noticewire("publish", *files, "--wait", "--json", "--data", folder / DATA).expect(0)
            yield folder
        finally:
            up.end()


@pytest.mark.parametrize("name", GUIDES)
def test_what_the_guide_says_works(installation: Path, start: Block, name: str) -> None:
    """Each block does what the guide says, in order; none is left out without a reason."""
    folder = installation / Path(name).stem
    reader = a_reader(folder, running=frozenset({start.body}))
    (folder / DATA).symlink_to(installation / DATA)

    reader.follow(blocks(ROOT / name, ROOT))


def services(data: Path) -> list[str]:
    """Where the services of `up` say how they are."""
    endpoints = json.loads((data / "endpoints.json").read_text(encoding="utf-8"))
    return [one["observe"] for one in endpoints["services"].values() if one["observe"]]


def is_ready(address: str) -> bool:
    """Whether a service is."""
    try:
        with urlopen(f"{address}/readyz", timeout=5) as answer:  # noqa: S310 - http on this machine
            return bool(answer.status == HTTPStatus.OK)
    except URLError:
        return False


def a_reader(folder: Path, *, running: frozenset[str] = frozenset()) -> Reader:
    """Somebody in a checkout of our own: the command on the path, the samples at hand."""
    folder.mkdir(exist_ok=True)
    (folder / "samples").symlink_to(ROOT / "samples")
    path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
    return Reader(folder, environment() | {"PATH": path}, running=running)
