"""`noticewire bureau CODE listen` with a system behind it that is not ours, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path

import pytest

from broker.embedded import leash
from consumers.bureau.state import BureauState
from tests.support.builders import a_red_notice
from tests.support.eventually import eventually, eventually_async
from tests.support.inboxes import put
from tests.support.inboxes import receipts as given
from tests.support.processes import write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

NUMBERS = [f"zw-n-2026-{serial:06d}" for serial in range(1, 4)]

TAKE = "import json, os, sys\nit = json.loads(sys.stdin.readline())\nbook = open(sys.argv[1], 'a')\n"
"""A handler that writes into its book which delivery it was given."""


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke")) as world:
        await asyncio.to_thread(write_endpoints, world)
        yield world


@asynccontextmanager
async def listening(world: World, *options: str) -> AsyncIterator[leash.Leashed]:
    """The command, as a process of its own; stopped by Ctrl-C at the end, unless it has ended by itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NOTICEWIRE_")}
    environment["PYTHONFAULTHANDLER"] = "1"
    argv = [sys.executable, "-m", "broker.cli.main", "bureau", "ke", "listen", *options, "--data", str(world.data)]
    with (world.data / "listen.log").open("ab") as log:
        process = await asyncio.to_thread(leash.spawn, argv, env=environment, stdout=log, stderr=log)
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                await asyncio.to_thread(process.wait, 90)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)  # shows where it stands
                await asyncio.to_thread(process.wait, 30)
                raise AssertionError((world.data / "listen.log").read_text()) from None
    finally:
        process.kill_group()
        await asyncio.to_thread(process.wait, 90)


def log(world: World) -> str:
    return (world.data / "listen.log").read_text()


async def listened(world: World, *options: str) -> None:
    """Run the command to its end, and hold it to exit code 0."""
    async with listening(world, *options) as process:
        assert await asyncio.to_thread(process.wait, 60) == 0, log(world)


def handler(folder: Path, program: str) -> str:
    """A command line for a handler that notes what it is given in `folder/book`."""
    (folder / "handler.py").write_text(program)
    return f"{sys.executable} {folder / 'handler.py'} {folder / 'book'}"


def book(folder: Path) -> list[str]:
    path = folder / "book"
    return path.read_text().split() if path.exists() else []


async def receipts(world: World) -> list[tuple[str, str]]:
    """Number and stage of every receipt of `ke`: by number, since the two shards of a region have no order."""
    return sorted(((number, stage) for _, number, stage in await given(world)), key=itemgetter(0))


async def put_all(world: World, numbers: Sequence[str] = NUMBERS) -> None:
    for number in numbers:
        await put(world, "ke", a_red_notice(number=number))


async def test_what_a_program_takes_is_acknowledged_as_the_user_says(world: World, tmp_path: Path) -> None:
    """Exit code 0 is `received` without an option and `accepted` with --accept; each message is handed over once."""
    await put_all(world)
    command = handler(tmp_path, TAKE + "print(it['number'], file=book)")

    await listened(world, "--exec", command, "--count", "1")
    await listened(world, "--exec", command, "--accept", "--count", "2")

    assert book(tmp_path) == NUMBERS
    assert await receipts(world) == [
        (NUMBERS[0], "received"),
        (NUMBERS[1], "accepted"),
        (NUMBERS[2], "accepted"),
    ]
    assert f"{NUMBERS[0]} red notice published (revision 1) by ipsg\n" in log(world)  # no title: it is free text


@pytest.mark.parametrize("does", ["sys.exit(3)", "import time; time.sleep(600)", "os.kill(os.getpid(), 9)"])
async def test_what_a_program_does_not_take_is_handed_over_again(world: World, tmp_path: Path, does: str) -> None:
    """A handler that fails, hangs or dies twice: nothing is acknowledged, nothing passes it by; then all of it is."""
    await put_all(world, NUMBERS[:2])
    program = (
        TAKE + f"print(it['number'], file=book, flush=True)\nif len(open(sys.argv[1]).readlines()) < 3:\n    {does}"
    )
    command = handler(tmp_path, program)

    async with listening(world, "--exec", command, "--accept", "--count", "2", "--time-out", "3") as process:
        await asyncio.to_thread(lambda: eventually(lambda: len(book(tmp_path)) == 2, seconds=60, what="tried twice"))
        assert await receipts(world) == []
        assert await asyncio.to_thread(process.wait, 60) == 0, log(world)

    assert book(tmp_path) == [NUMBERS[0]] * 3 + [NUMBERS[1]]
    assert await receipts(world) == [(number, "accepted") for number in NUMBERS[:2]]
    assert log(world).count("not taken") == 2
    assert "EXAMPLE" not in log(world)


async def test_a_kept_program_answers_with_receipts(world: World, tmp_path: Path) -> None:
    """Its answers are the receipts; nonsense and a death in the middle cost a repetition and acknowledge nothing."""
    await put_all(world)
    program = (
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    it = json.loads(line)\n"
        "    print(it['number'], file=open(sys.argv[1], 'a'))\n"
        "    times = len(open(sys.argv[1]).readlines())\n"
        "    if times == 1:\n"
        "        print('thank you', flush=True)\n"
        "        continue\n"
        "    if times == 2:\n"
        "        sys.exit(1)\n"
        "    answer = {'id': it['id'], 'stage': 'accepted', 'officer': 'duty-7'}\n"
        "    if it['number'].endswith('2'):\n"
        "        answer |= {'stage': 'declined', 'reason': 'not_concerned'}\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    await listened(world, "--exec-open", handler(tmp_path, program), "--count", "3")

    assert book(tmp_path) == [NUMBERS[0]] * 2 + NUMBERS
    stages = ["accepted", "declined", "accepted"]
    assert await receipts(world) == [(number, stage) for number, stage in zip(NUMBERS, stages, strict=True)]


@pytest.mark.parametrize("option", ["--exec", "--exec-open"])
async def test_killed_between_taking_and_acknowledging(world: World, tmp_path: Path, option: str) -> None:
    """The message that the other side had taken when we were killed comes again, and no message is lost."""
    await put_all(world)
    program = (
        "import json, os, signal, sys\n"
        "for line in sys.stdin:\n"
        "    it = json.loads(line)\n"
        "    print(it['number'], file=open(sys.argv[1], 'a'), flush=True)\n"
        "    if len(open(sys.argv[1]).readlines()) == 2:\n"
        "        os.kill(int(open(sys.argv[1] + '.pid').read()), signal.SIGKILL)\n"
        "    print(json.dumps({'id': it['id']}), flush=True)\n"
    )
    command = handler(tmp_path, program)
    async with listening(world, option, command, "--accept") as process:
        (tmp_path / "book.pid").write_text(str(process.pid))
        assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL, log(world)
    assert await receipts(world) == [(NUMBERS[0], "accepted")]

    await listened(world, option, command, "--accept", "--count", "2")

    assert book(tmp_path) == [NUMBERS[0], NUMBERS[1], NUMBERS[1], NUMBERS[2]]
    assert await receipts(world) == [(number, "accepted") for number in NUMBERS]


async def test_files_out_and_receipts_in(world: World, tmp_path: Path) -> None:
    """A message is a file before it is acknowledged; a receipt is acknowledged and moved, a bad one explained."""
    await put_all(world, NUMBERS[:2])
    folder = tmp_path / "cases"

    async def acknowledged() -> bool:
        return len(await receipts(world)) == 3

    def moved() -> bool:
        return len(list((folder / "receipts" / "failed").iterdir())) == 4

    async with listening(world, "--to-folder", str(folder)):
        await asyncio.to_thread(
            lambda: eventually(lambda: len(list(folder.glob("*.json"))) == 2, seconds=60, what="two files")
        )
        files = sorted(folder.glob("*.json"))
        ids = [json.loads(file.read_bytes())["id"] for file in files]
        answers = {
            "1.json": {"id": ids[0], "stage": "actioned", "officer": "duty-7"},
            "2.json": {"id": "0197a3c2-7b1e-7c3a-9d55-0242ac120001", "stage": "accepted"},
            "3.json": {"id": ids[1], "stage": "eaten"},
        }
        for name, answer in answers.items():
            (folder / "receipts" / f"{name}.new").write_text(json.dumps(answer))
            (folder / "receipts" / f"{name}.new").rename(folder / "receipts" / name)
        await asyncio.to_thread(lambda: eventually(moved, seconds=30, what="both bad ones are set aside"))
        await eventually_async(acknowledged, seconds=30, what="three receipts")

    assert [file.name[13:38] for file in files] == [f"message-{number}-" for number in NUMBERS[:2]]
    assert await receipts(world) == [
        (NUMBERS[0], "received"),
        (NUMBERS[0], "actioned"),
        (NUMBERS[1], "received"),
    ]
    assert [path.name for path in (folder / "receipts" / "done").iterdir()] == ["1.json"]
    failed = folder / "receipts" / "failed"
    assert (failed / "2.json.reason").read_text().startswith("ke has received nothing under")
    assert (failed / "3.json.reason").read_text().startswith("stage: ")
    state = BureauState.look(world.data / "bureaus" / "ke.db")
    assert state is not None
    assert state.position == 2
    state.close()
