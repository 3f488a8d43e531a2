"""What a notice's past allows, every cell of it, written by hand from section 2 of the design."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.errors import RejectedRecordError
from broker.model.message import Event, Message
from broker.model.naming import MessageClass
from consumers.router.life import NoticeState, Phase, after, check_issuer, check_life
from tests.support.samples import sample_messages

# First table of section 2: who may say it. A dash: nobody.
SIGNED_BY = """
               notice   diffusion
    requested  owner    -
    refused    ipsg     -
    published  ipsg     -
    sent       -        owner
    revised    ipsg     owner
    suspended  ipsg     ipsg
    reinstated ipsg     ipsg
    cancelled  ipsg     ipsg
    withdrawn  owner    owner
    expired    ipsg     ipsg
"""

# "The lifecycle", and the revisions of the first table. Each column is a revision that the message states; the heading
# says where its notice stands. + accepted; n no_beginning (continues what is not there); s stale (revision too low);
# l lifecycle (a step that is not allowed); the first of n, s, l that holds. A dash: the class has no such phase.
STEPS = {
    (Phase.REQUESTED, 0): """
               0  1  2
    requested  l  n  n
    refused    +  n  n
    published  s  +  n
    revised    s  l  n
    suspended  l  n  n
    reinstated l  n  n
    cancelled  l  n  n
    withdrawn  +  n  n
    expired    l  n  n
    """,
    (Phase.REFUSED, 0): """
               0  1  2
    requested  l  n  n
    refused    l  n  n
    published  s  l  n
    revised    s  l  n
    suspended  l  n  n
    reinstated l  n  n
    cancelled  l  n  n
    withdrawn  l  n  n
    expired    l  n  n
    """,
    (Phase.IN_FORCE, 3): """
               0  1  2  3  4  5
    requested  s  s  s  l  n  n
    refused    s  s  s  l  n  n
    published  s  s  s  s  l  n
    sent       s  s  s  s  l  n
    revised    s  s  s  s  +  n
    suspended  s  s  s  +  n  n
    reinstated s  s  s  l  n  n
    cancelled  s  s  s  +  n  n
    withdrawn  s  s  s  +  n  n
    expired    s  s  s  +  n  n
    """,
    (Phase.SUSPENDED, 3): """
               0  1  2  3  4  5
    requested  s  s  s  l  n  n
    refused    s  s  s  l  n  n
    published  s  s  s  s  l  n
    sent       s  s  s  s  l  n
    revised    s  s  s  s  l  n
    suspended  s  s  s  l  n  n
    reinstated s  s  s  +  n  n
    cancelled  s  s  s  +  n  n
    withdrawn  s  s  s  +  n  n
    expired    s  s  s  +  n  n
    """,
    (Phase.ENDED, 3): """
               0  1  2  3  4  5
    requested  s  s  s  l  n  n
    refused    s  s  s  l  n  n
    published  s  s  s  s  l  n
    sent       s  s  s  s  l  n
    revised    s  s  s  s  l  n
    suspended  s  s  s  l  n  n
    reinstated s  s  s  l  n  n
    cancelled  s  s  s  l  n  n
    withdrawn  s  s  s  l  n  n
    expired    s  s  s  l  n  n
    """,
}

# Nothing was routed before: a request begins a notice, a diffusion begins itself, and the Secretariat publishes its own
# cases without a request.
BEGINS = """
               of-a-member of-ipsg
    requested  +           +
    refused    n           n
    published  n           +
    sent       +           +
    revised    n           n
    suspended  n           n
    reinstated n           n
    cancelled  n           n
    withdrawn  n           n
    expired    n           n
"""

# Where each accepted step leads: "requested -> published, refused, withdrawn; published/sent -> revised any number of
# times, suspended <-> reinstated, and from either to cancelled, withdrawn, expired".
LEADS_TO = {
    "requested": Phase.REQUESTED,
    "refused": Phase.REFUSED,
    "published": Phase.IN_FORCE,
    "sent": Phase.IN_FORCE,
    "revised": Phase.IN_FORCE,
    "suspended": Phase.SUSPENDED,
    "reinstated": Phase.IN_FORCE,
    "cancelled": Phase.ENDED,
    "withdrawn": Phase.ENDED,
    "expired": Phase.ENDED,
}

_WORD = {"n": "no_beginning", "s": "stale", "l": "lifecycle", "+": None}
_ONLY = {"requested": "notice", "refused": "notice", "published": "notice", "sent": "diffusion"}
_NUMBERS = {"notice": "zw-n-2026-000101", "diffusion": "br-d-2026-000901"}


def _cells(grid: str) -> Iterator[tuple[str, str, str]]:
    heading, *lines = [line.split() for line in grid.strip().splitlines()]
    for event, *cells in lines:
        assert len(cells) == len(heading)
        yield from ((event, column, cell) for column, cell in zip(heading, cells, strict=True))


def _classes(event: str) -> tuple[str, ...]:
    return (_ONLY[event],) if event in _ONLY else ("notice", "diffusion")


def _a(of_class: str, event: str, revision: int = 1) -> Message:
    sample = next(message for message in sample_messages() if message.number == _NUMBERS[of_class])
    return sample.model_copy(update={"event": Event(event), "revision": revision})


def _reason_of(message: Message, past: NoticeState | None) -> str | None:
    try:
        check_life(message, past)
    except RejectedRecordError as error:
        return error.reason
    return None


_SIGNERS = [
    (of_class, event, signer, who == signer)
    for event, of_class, who in _cells(SIGNED_BY)
    for signer in ("owner", "ipsg", "stranger")
]


@pytest.mark.parametrize(("of_class", "event", "signer", "may"), _SIGNERS)
def test_who_may_say_what(of_class: str, event: str, signer: str, may: bool) -> None:  # noqa: FBT001 - a table's cell
    """Only the one whom the first table names may sign an event, of a notice or a diffusion."""
    message = _a(of_class, event)
    message = message.model_copy(update={"issuer": {"owner": message.owner, "stranger": "fr"}.get(signer, signer)})

    if may:
        check_issuer(message)
    else:
        with pytest.raises(RejectedRecordError) as caught:
            check_issuer(message)
        assert caught.value.reason == "issuer"


_STEPS = [
    (of_class, stands, event, int(revision), _WORD[cell])
    for stands, grid in STEPS.items()
    for event, revision, cell in _cells(grid)
    for of_class in _classes(event)
    if of_class == "notice" or stands[0] not in {Phase.REQUESTED, Phase.REFUSED}
]


@pytest.mark.parametrize(("of_class", "stands", "event", "revision", "reason"), _STEPS)
def test_which_step_may_follow(
    of_class: str, stands: tuple[Phase, int], event: str, revision: int, reason: str | None
) -> None:
    """Each event, at each revision, in each phase, is accepted or rejected with the first reason that holds."""
    past = NoticeState(*stands, frozenset({"zw", "ipsg"}))

    assert _reason_of(_a(of_class, event, revision), past) == reason


@pytest.mark.parametrize(("event", "whose", "cell"), list(_cells(BEGINS)))
def test_what_may_begin(event: str, whose: str, cell: str) -> None:
    """A notice begins with its request, a diffusion with itself, the Secretariat's own case with its publication."""
    for of_class in _classes(event):
        message = _a(of_class, event)
        if whose == "of-ipsg":
            message = message.model_copy(update={"owner": "ipsg", "number": f"ipsg-{of_class[0]}-2026-000001"})

        assert _reason_of(message, None) == _WORD[cell]


def test_the_grids_have_every_cell() -> None:
    """No event is left out of a grid."""
    events = {event.value for event in Event} - {"unknown"}
    for grid in (SIGNED_BY, BEGINS, STEPS[Phase.IN_FORCE, 3], STEPS[Phase.SUSPENDED, 3], STEPS[Phase.ENDED, 3]):
        assert {event for event, _, _ in _cells(grid)} == events
    for grid in (STEPS[Phase.REQUESTED, 0], STEPS[Phase.REFUSED, 0]):
        assert {event for event, _, _ in _cells(grid)} == events - {"sent"}
    assert {phase for phase, _ in STEPS} == set(Phase)
    assert {of_class for _, of_class, _ in _cells(SIGNED_BY)} == {one.name.lower() for one in MessageClass}


@pytest.mark.parametrize(("event", "phase"), LEADS_TO.items())
def test_where_a_step_leads(event: str, phase: Phase) -> None:
    """A routed event leads to its phase and revision; holders only grow, and owner and issuer are among them."""
    past = NoticeState(Phase.IN_FORCE, 1, frozenset({"fr"}))

    state = after(past, Event(event), 2, owner="zw", issuer="ipsg", given=frozenset({"sn"}))

    assert state == NoticeState(phase, 2, frozenset({"fr", "zw", "ipsg", "sn"}))


def test_the_same_notice_many_times_over() -> None:
    """Revised any number of times, suspended and reinstated again and again, and then ended for good."""
    life = [("requested", 0), ("published", 1), ("revised", 2), ("revised", 3), ("suspended", 3), ("reinstated", 3)]
    life += [("revised", 4), ("suspended", 4), ("reinstated", 4), ("suspended", 4), ("withdrawn", 4)]
    past: NoticeState | None = None
    for event, revision in life:
        assert _reason_of(_a("notice", event, revision), past) is None
        past = after(past, Event(event), revision, owner="zw", issuer="ipsg", given=frozenset())

    for event in LEADS_TO.keys() - {"sent"}:
        assert _reason_of(_a("notice", event, 4), past) is not None
        assert _reason_of(_a("notice", event, 5), past) is not None
