"""Programs that take deliveries: willing, failing, hanging, dying, and talking nonsense."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from broker.errors import MisuseError, UnavailableError
from broker.model.receipt import DeclineReason, Stage
from broker.schema.codec import Codec
from broker.transport.inbox import Delivery, InboxDecoder
from consumers.bureau.subprocesses import OneProcessEach, OneProcessForAll
from tests.support.builders import a_red_notice
from tests.support.inbox_world import InboxWorld

CODEC = Codec.load()
SOON = timedelta(seconds=20)
AT_ONCE = timedelta(seconds=1)
OTHER = "0197a3c2-7b1e-7c3a-9d55-0242ac120001"
LARGE = "x" * 19_000
"""With the name four times, more than a pipe holds."""

READ = "import json, os, sys, time\nfor line in sys.stdin:\n    it = json.loads(line)\n"


@pytest.fixture
def deliveries() -> list[Delivery]:
    world = InboxWorld(CODEC)
    decoder = InboxDecoder(CODEC)
    texts = [{"language": code, "title": "Example", "body": LARGE} for code in ("en", "fr", "es", "ar")]
    records = [world.record(a_red_notice(number=f"zw-n-2026-{n:06d}", texts=texts)) for n in range(1, 4)]
    return [decoder.decode(record, bureau="gh", directory=world.directory) for record in records]


def python(program: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", program, *map(str, arguments)]


async def test_exit_code_0_takes_it(deliveries: list[Delivery], tmp_path: Path) -> None:
    """The program is given the whole delivery on its standard input, and nothing by its arguments."""
    copy = "import sys\nopen(sys.argv[1], 'w').write(sys.stdin.read())"
    answer = await OneProcessEach(python(copy, tmp_path / "copy")).take(deliveries[0])

    assert answer.stage is None
    given = json.loads((tmp_path / "copy").read_bytes())
    assert (given["id"], given["number"]) == (str(deliveries[0].id), "zw-n-2026-000001")
    assert given["content"]["texts"][3]["body"] == LARGE


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.stdin.read(); sys.exit(3)", "ended with 3"),
        ("import sys; sys.exit(1)", "ended with 1"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
        ("import time; time.sleep(600)", "no answer within 0:00:01"),
        ("import os, time; os.fork(); time.sleep(600)", "no answer within 0:00:01"),
    ],
)
async def test_anything_else_does_not(deliveries: list[Delivery], program: str, said: str) -> None:
    """Another exit code, a signal, and a program that hangs without reading are told apart; none takes it."""
    with pytest.raises(UnavailableError, match=said) as caught:
        await OneProcessEach(python(program), time_out=AT_ONCE if "time" in program else SOON).take(deliveries[0])
    assert "EXAMPLE" not in str(caught.value)


@pytest.mark.parametrize("side", [OneProcessEach, OneProcessForAll])
async def test_a_program_that_is_not_there_is_a_misuse(
    deliveries: list[Delivery], side: type[OneProcessEach | OneProcessForAll]
) -> None:
    """Nothing would change by trying it again."""
    with pytest.raises(MisuseError, match="cannot be started"):
        await side(["/no/such/program"]).take(deliveries[0])


async def test_a_program_that_is_kept_open_answers_each(deliveries: list[Delivery]) -> None:
    """One process is given them all in order, and its answers are the receipts."""
    program = READ + (
        "    n = int(it['number'][-1])\n"
        "    answer = {'id': it['id'], 'officer': f'pid-{os.getpid()}'}\n"
        "    answer['stage'] = ['accepted', 'declined', None][n - 1]\n"
        "    answer |= {'reason': 'not_concerned'} if n == 2 else {}\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    side = OneProcessForAll(python(program), time_out=SOON)
    answers = [await side.take(delivery) for delivery in deliveries]
    await side.close()

    assert [answer.stage for answer in answers] == [Stage.ACCEPTED, Stage.DECLINED, None]
    assert [answer.reason for answer in answers] == [None, DeclineReason.NOT_CONCERNED, None]
    assert len({answer.officer for answer in answers}) == 1


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("sys.exit(3)", "ended without an answer"),
        ("print('{', end='', flush=True); sys.exit(0)", "ended without an answer"),
        ("time.sleep(600)", "no answer within"),
        ("print('thank you', flush=True)", "answered nonsense: answer"),
        ("print(json.dumps({'id': it['id'], 'stage': 'eaten'}), flush=True)", "answered nonsense: stage"),
        ("print('x' * 200_000, flush=True)", "has no end"),
        (f"print(json.dumps({{'id': '{OTHER}', 'stage': 'accepted'}}), flush=True)", "about another delivery"),
        ("print(json.dumps({'stage': 'accepted'}), flush=True)", "about another delivery"),
        ("print(json.dumps({'id': it['id'], 'error': 'EXAMPLE'}), flush=True)", "has not taken it"),
    ],
)
async def test_a_bad_answer_takes_nothing_and_a_good_one_may_follow(
    deliveries: list[Delivery], tmp_path: Path, does: str, said: str
) -> None:
    """A program that dies, hangs or talks nonsense at its first delivery is asked again, started anew if need be."""
    program = READ + (
        "    if not os.path.exists(sys.argv[1]):\n"
        "        open(sys.argv[1], 'w').close()\n"
        f"        {does}\n"
        "        continue\n"
        "    print(json.dumps({'id': it['id'], 'stage': 'accepted'}), flush=True)\n"
    )
    side = OneProcessForAll(python(program, tmp_path / "once"), time_out=AT_ONCE if "sleep" in does else SOON)
    with pytest.raises(UnavailableError, match=said) as caught:
        await side.take(deliveries[0])
    answer = await side.take(deliveries[0])
    await side.close()

    assert answer.stage is Stage.ACCEPTED
    assert "EXAMPLE" not in str(caught.value)


async def test_a_program_that_does_not_read_is_ended(deliveries: list[Delivery]) -> None:
    """A delivery that does not fit into a pipe cannot hang us, nor can a program that stays after its input ended."""
    side = OneProcessForAll(python("import time; time.sleep(600)"), time_out=AT_ONCE)
    with pytest.raises(UnavailableError, match="no answer within"):
        await side.take(deliveries[0])
    await side.close()
