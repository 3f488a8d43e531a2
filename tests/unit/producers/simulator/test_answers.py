from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model.message import Event
from broker.model.receipt import FOLLOWS, ActorKind, Stage
from producers.simulator.answers import Answers

IN_FORCE = (Event.REQUESTED, Event.PUBLISHED, Event.SENT, Event.REVISED, Event.SUSPENDED, Event.REINSTATED)
ENDS = (Event.CANCELLED, Event.WITHDRAWN, Event.EXPIRED)
SECOND = timedelta(seconds=1)


@given(
    st.integers(0, 10**6), st.sampled_from(["zw", "ipsg"]), st.integers(0, 999_999), st.sampled_from(IN_FORCE + ENDS)
)
def test_answers_may_follow_each_other(seed: int, bureau: str, serial: int, event: Event) -> None:
    """Whatever the seed, each stage may follow the one before it, who declines says why, and nobody else does."""
    replies = Answers(seed=seed).replies(bureau, f"zw-n-2026-{serial:06d}", event, 1)
    last = Stage.RECEIVED
    for reply in replies:
        assert reply.after > timedelta(0)
        assert (reply.stage is Stage.DECLINED) == (reply.reason is not None)
        if reply.stage is not None:
            assert reply.stage in FOLLOWS[last]
            last = reply.stage
    assert (last is Stage.PURGED) == (event in ENDS)


def test_haste_changes_when_and_not_what() -> None:
    """At full speed nobody waits and nobody is away; what is answered, and by whom, is the same."""
    slow, fast = Answers(seed=3), Answers(seed=3, is_hasty=True)
    for serial in range(200):
        asked = ("ke", f"zw-n-2026-{serial:06d}", Event.PUBLISHED, 1)
        there, here = slow.replies(*asked), fast.replies(*asked)
        assert [(one.stage, one.reason, one.actor) for one in there] == [(o.stage, o.reason, o.actor) for o in here]
        assert not any(one.after for one in here)
        assert not fast.is_away("ke", SECOND * serial)


def test_most_accept_some_decline_some_are_silent_some_fail() -> None:
    """Of 4,000 answers about 6 % decline, 2 % say nothing more, 3 % fail first; half of the delays are within 3 s."""
    answers = Answers(seed=5)
    given = [answers.replies("ke", f"zw-n-2026-{serial:06d}", Event.PUBLISHED, 1) for serial in range(4_000)]
    stages = Counter(reply.stage for replies in given for reply in replies)
    delays = sorted(reply.after for replies in given for reply in replies)
    silent = sum(all(reply.stage is None for reply in replies) for replies in given)

    assert stages[Stage.DECLINED] / 4_000 == pytest.approx(0.06, abs=0.015)
    assert silent / 4_000 == pytest.approx(0.02, abs=0.01)
    assert stages[None] / 4_000 == pytest.approx(0.03, abs=0.01)
    assert stages[Stage.ACCEPTED] / 4_000 > 0.85
    assert delays[len(delays) // 2] == pytest.approx(3 * SECOND, rel=0.15)
    assert {reply.actor_kind for replies in given for reply in replies if reply.stage is Stage.ACTIONED} == {
        ActorKind.OFFICER
    }


def test_who_may_not_see_a_message_purges_at_its_end() -> None:
    """A notice of end is answered with purged, also where it stands for a suspension."""
    for event in (Event.SUSPENDED, Event.CANCELLED):
        replies = Answers(seed=1).replies("ke", "zw-n-2026-500000", event, 1, is_notice_of_end=True)
        assert replies[-1].stage is Stage.PURGED


def test_bureaus_are_away_for_a_while() -> None:
    """In an hour, eight bureaus are each away now and then, for 10 to 40 seconds at a time, and mostly there."""
    answers = Answers(seed=7)
    absent = {
        code: [second for second in range(3_600) if answers.is_away(code, SECOND * second)]
        for code in ("zw", "ke", "ng", "fr", "de", "br", "jp", "ipsg")
    }
    total = sum(map(len, absent.values()))

    assert 0.005 < total / (8 * 3_600) < 0.06
    assert len([code for code, seconds in absent.items() if seconds]) >= 6
    runs = Counter(second // 60 for second in absent["ke"])
    assert all(10 <= seconds <= 41 for seconds in runs.values())
