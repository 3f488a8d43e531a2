"""The decision, as a property: held against an oracle that asks for one bureau at a time."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from broker.members.directory import Directory
from broker.model.ledger import WithheldReason
from broker.model.message import Event
from consumers.router.decide import decide
from consumers.router.life import NoticeState, Phase, after
from tests.support.deciding import CODES, TOLD_ANYHOW, Situation, expected, situations
from tests.support.samples import sample_messages, seeded_directory


@settings(max_examples=200, deadline=None)
@given(st.one_of(situations(), situations(after_a_beginning=True)))
def test_a_message_reaches_its_recipients_all_of_them_and_nobody_else(situation: Situation) -> None:
    """Each bureau is given the message, a notice of end or nothing, as section 2 says for it alone."""
    audience = decide(situation.message, situation.directory, situation.past)

    wanted = {code: expected(situation, code) for code in CODES}
    assert audience.delivered == {code for code, given in wanted.items() if given.what == "message"}
    assert audience.ended == {code for code, given in wanted.items() if given.what == "end"}
    withheld = {code: str(reason) for reason, codes in audience.withheld.items() for code in codes}
    assert withheld == {code: given.withheld for code, given in wanted.items() if given.withheld is not None}


@settings(max_examples=100, deadline=None)
@given(situations(after_a_beginning=True))
def test_an_excluded_holder_gets_notices_of_end_only(situation: Situation) -> None:
    """Whom the issuer excludes is never given the message, and always told of an end of what it holds."""
    message = situation.message
    excluded = set(message.circulation.exclusions) - {message.owner, message.issuer}
    audience = decide(message, situation.directory, situation.past)

    assert not audience.delivered & excluded
    told = situation.holders & excluded if message.event.value in TOLD_ANYHOW else set()
    assert audience.ended & excluded == told


@settings(max_examples=100, deadline=None)
@given(situations(after_a_beginning=True))
def test_every_end_reaches_every_holder(situation: Situation) -> None:
    """After an end or a suspension no holder is left uninformed but its issuer, who said it."""
    message = situation.message
    assume(message.event not in {Event.REVISED, Event.REINSTATED})

    audience = decide(message, situation.directory, situation.past)

    assert audience.delivered | audience.ended == (situation.holders | {message.owner}) - {message.issuer}
    assert not audience.delivered & audience.ended


@settings(max_examples=50, deadline=None)
@given(situations(), st.randoms())
@example(Situation(sample_messages()[0], seeded_directory(), None), Random(1))
def test_the_decision_depends_on_nothing_else(situation: Situation, random: Random) -> None:
    """The same message, directory and past give the same decision, whatever the order in which bureaus are entered."""
    bureaus = list(situation.directory.bureaus())
    random.shuffle(bureaus)
    again = Directory(bureaus, offset=99, installation="another")

    assert decide(situation.message, situation.directory, situation.past) == decide(
        situation.message, again, situation.past
    )


def test_a_holder_that_the_directory_does_not_know_is_told_of_the_end_only() -> None:
    """When in doubt, withhold and say so (design rule 2)."""
    cancelled = next(message for message in sample_messages() if message.event is Event.CANCELLED)
    past = NoticeState(Phase.IN_FORCE, cancelled.revision, frozenset({"zz", "fr", cancelled.owner}))

    audience = decide(cancelled, seeded_directory(), past)

    assert audience.withheld == {WithheldReason.SUSPENDED: frozenset({"zz"})}
    assert audience.ended == {"zz"}
    assert audience.delivered == {"fr", cancelled.owner}


def test_a_bureau_that_was_told_of_the_end_is_told_of_the_next_one_too() -> None:
    """Holding never wears off: a notice of end on a suspension does not stand for the one on the cancellation."""
    cancelled = next(message for message in sample_messages() if message.event is Event.CANCELLED)
    barred = cancelled.model_copy(
        update={"circulation": cancelled.circulation.model_copy(update={"exclusions": ("fr",)})}
    )
    suspended = barred.model_copy(update={"event": Event.SUSPENDED})
    past = NoticeState(Phase.IN_FORCE, barred.revision, frozenset({"fr", "de", barred.owner}))

    first = decide(suspended, seeded_directory(), past)
    past = after(past, Event.SUSPENDED, barred.revision, owner=barred.owner, issuer="ipsg", given=first.delivered)
    second = decide(barred, seeded_directory(), replace(past, phase=Phase.SUSPENDED))

    assert first.ended == second.ended == {"fr"}
