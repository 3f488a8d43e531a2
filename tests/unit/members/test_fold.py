from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.members.bureau import Bureau
from broker.members.directory import Directory
from broker.members.fold import DirectoryFold, NoEffect
from broker.model.change import BureauKind, BureauStatus, DirectoryChange, PublicKey, Subscription
from broker.model.message import Classification, Status
from broker.model.naming import Region
from broker.trust.keys import generate, public_key
from tests.support.directories import INSTALLATION, NOW, FoldWorld, a_change, facts, subscription

AFRICA = subscription(regions=("africa",))
AFRICA_AND_DRILLS = Subscription(regions=(Region.AFRICA,), statuses=(Status.ACTUAL, Status.EXERCISE))


@pytest.fixture
def world() -> FoldWorld:
    return FoldWorld().found()


def test_founding_enters_the_secretariat_with_its_key_and_the_installations_id() -> None:
    """The first record founds the installation; the directory then holds the Secretariat and its key."""
    world = FoldWorld()

    assert world.apply(world.founding()) is None

    directory = world.fold.view()
    assert directory.installation == INSTALLATION
    assert [bureau.code for bureau in directory.bureaus()] == ["ipsg"]
    assert directory.key_at(world.signers["ipsg"].key_id, NOW) == world.key("ipsg")
    assert directory.offset == 1


def test_nothing_counts_before_the_founding() -> None:
    """A change before the founding has no effect, even when signed with the key that it brings itself."""
    world = FoldWorld()
    change = a_change("entered", "ipsg", bureau=facts(), keys=(world.key("ipsg"),))

    assert world.apply(change) is NoEffect.NOT_FOUNDED
    assert len(world.fold.view()) == 0


def test_only_the_pinned_key_founds() -> None:
    """Where the settings pin a key, a stranger's founding that came first has no effect, and the right one has."""
    stranger, real = FoldWorld(), FoldWorld()
    pinned = DirectoryFold(root_public=real.signers["ipsg"].public)
    stranger.fold = real.fold = pinned

    assert stranger.apply(stranger.founding()) is NoEffect.NOT_THE_ROOT
    assert real.apply(real.founding()) is None
    assert real.apply(real.entering("zw")) is None
    assert pinned.view().key(stranger.signers["ipsg"].key_id) is None


def test_only_the_secretariat_can_found() -> None:
    """A founding by another code has no effect, whoever's key it brings."""
    world = FoldWorld()
    change = world.founding().model_copy(update={"code": "zw", "author": "zw", "keys": (world.key("zw"),)})

    assert world.apply(change) is NoEffect.NOT_ALLOWED


def test_an_installation_is_founded_once(world: FoldWorld) -> None:
    """A second founding has no effect."""
    assert world.apply(world.founding()) is NoEffect.ALREADY_FOUNDED


SAMPLES: dict[str, dict[str, Any]] = {
    "entered": {"bureau": facts()},
    "key_added": {"keys": (public_key(generate("zw"), valid_from=NOW),)},
    "key_ended": {},  # its key is the world's own, put in below
    "status_set": {"status": BureauStatus.SUSPENDED},
    "clearance_set": {"clearance": Classification.RESTRICTED},
    "agreement_set": {"agreement": (AFRICA,)},
    "subscriptions_set": {"subscriptions": (AFRICA,)},
}

# Design section 2, "The directory": "The Secretariat alone enters members, entities, agreements, keys, status and
# clearance; a bureau narrows or widens its own subscriptions within its rights." Each cell: may this author?
WHO_MAY = {
    #                    Secretariat, itself, another bureau, our own service
    "entered": (True, False, False, False),
    "key_added": (True, False, False, False),
    "key_ended": (True, False, False, False),
    "status_set": (True, False, False, False),
    "clearance_set": (True, False, False, False),
    "agreement_set": (True, False, False, False),
    "subscriptions_set": (True, True, False, False),
}
CELLS = [
    pytest.param(kind, author, allowed, id=f"{kind}-by-{author}")
    for kind, row in WHO_MAY.items()
    for author, allowed in zip(("ipsg", "zw", "fr", "broker"), row, strict=True)
]


@pytest.mark.parametrize(("kind", "author", "allowed"), CELLS)
def test_who_may_change_what(world: FoldWorld, kind: str, author: str, allowed: bool) -> None:  # noqa: FBT001 - a table's cell
    """Each cell of the table: a change of Zimbabwe takes effect exactly if its author may make it."""
    parts = dict(SAMPLES[kind])
    if kind == "key_ended":
        parts["keys"] = (world.key("zw", valid_until=NOW + timedelta(days=1)),)
    code, base = ("ng", 0) if kind == "entered" else ("zw", 1)
    before = world.fold.view()

    why = world.apply(a_change(kind, code, author=author, base=base, **parts))

    if allowed:
        assert why is None
        assert world.fold.view().get(code) != before.get(code)
    else:
        assert why is NoEffect.NOT_ALLOWED
        assert world.fold.view().get(code) == before.get(code)


# What an entity whose agreement is Subscription(regions=africa, statuses=ACTUAL) may ask for by itself.
WITHIN = [
    pytest.param((AFRICA,), None, id="what was agreed"),
    pytest.param((), None, id="nothing"),
    pytest.param((subscription(regions=("africa",), types=("yellow",)),), None, id="less than agreed"),
    pytest.param((AFRICA_AND_DRILLS,), None, id="exercises anyone may add"),
    pytest.param((subscription(regions=("europe",)),), NoEffect.NOT_ALLOWED, id="another region"),
    pytest.param((subscription(regions=("africa", "europe")),), NoEffect.NOT_ALLOWED, id="a region more"),
    pytest.param((subscription(types=("yellow",)),), NoEffect.NOT_ALLOWED, id="an absent part is everything"),
    pytest.param((AFRICA, subscription(regions=("europe",))), NoEffect.NOT_ALLOWED, id="one of two"),
]


@pytest.mark.parametrize(("asked", "expected"), WITHIN)
def test_an_entity_asks_within_its_agreement(
    world: FoldWorld, asked: tuple[Subscription, ...], expected: NoEffect | None
) -> None:
    """An entity sets its own subscriptions only within what an agreement subscription covers."""
    assert world.apply(a_change("subscriptions_set", "iom", author="iom", base=1, subscriptions=asked)) is expected


def test_a_member_may_ask_for_anything(world: FoldWorld) -> None:
    """A member's bureau has the right to everything: every region, and exercises."""
    everything = (Subscription(regions=tuple(Region), statuses=(Status.ACTUAL, Status.EXERCISE, Status.TEST)),)

    assert world.apply(a_change("subscriptions_set", "fr", author="fr", base=1, subscriptions=everything)) is None
    bureau = world.fold.view().get("fr")
    assert bureau is not None
    assert bureau.subscriptions == everything


@pytest.mark.parametrize("base", [0, 2, 7])
def test_a_stale_change_has_no_effect(world: FoldWorld, base: int) -> None:
    """A change based on another version than the present one (here 1) has no effect."""
    change = a_change("subscriptions_set", "zw", author="zw", base=base, subscriptions=(AFRICA,))

    assert world.apply(change) is NoEffect.STALE


def test_the_same_change_takes_effect_once(world: FoldWorld) -> None:
    """A change that is sent twice, or replayed by a stranger, is stale the second time."""
    change = a_change("subscriptions_set", "zw", author="zw", base=1, subscriptions=(AFRICA,))

    assert world.apply(change) is None
    assert world.apply(change) is NoEffect.STALE


def test_an_unsigned_change_has_no_effect(world: FoldWorld) -> None:
    """A change whose signature did not verify has no effect."""
    change = a_change("subscriptions_set", "zw", author="zw", base=1, subscriptions=(AFRICA,))

    why = world.fold.apply(change, offset=5, appended_at=NOW, signed_with=None)

    assert why is NoEffect.SIGNATURE


def test_somebody_elses_key_is_not_the_authors(world: FoldWorld) -> None:
    """France cannot speak for the Secretariat: for a change by `ipsg`, only a key of `ipsg` is looked at."""
    change = a_change("status_set", "zw", base=1, status=BureauStatus.SUSPENDED)

    assert world.apply(change, signed_by="fr") is NoEffect.SIGNATURE


@pytest.mark.parametrize(
    ("offset_seconds", "expected"),
    [(-1, NoEffect.KEY_NOT_VALID), (0, None), (99, None), (100, NoEffect.KEY_NOT_VALID)],
)
def test_a_key_counts_only_within_its_validity(offset_seconds: int, expected: NoEffect | None) -> None:
    """A key counts from its first moment on, and at its end no longer; the broker's append time decides."""
    world = FoldWorld()
    assert world.apply(world.founding()) is None
    limited = world.key("zw", valid_until=NOW + timedelta(seconds=100))
    assert world.apply(a_change("entered", "zw", bureau=facts(), keys=(limited,))) is None
    change = a_change("subscriptions_set", "zw", author="zw", base=1, subscriptions=(AFRICA,))

    why = world.fold.apply(change, offset=2, appended_at=NOW + timedelta(seconds=offset_seconds), signed_with=limited)

    assert why is expected


def test_an_ended_key_stops_counting_and_cannot_be_revived(world: FoldWorld) -> None:
    """After its end a key signs nothing; a later end does not bring it back."""
    end = NOW + timedelta(seconds=30)
    assert world.apply(a_change("key_ended", "zw", base=1, keys=(world.key("zw", valid_until=end),))) is None
    revival = a_change("key_ended", "zw", base=2, keys=(world.key("zw", valid_until=end + timedelta(days=9)),))

    assert world.apply(revival) is NoEffect.KEY_UNKNOWN
    assert world.fold.view().key_at(world.signers["zw"].key_id, end - timedelta(milliseconds=1)) is not None
    assert world.fold.view().key_at(world.signers["zw"].key_id, end) is None


def test_keys_are_named_after_their_bureau_and_bytes(world: FoldWorld) -> None:
    """A key under another key's id, or another bureau's, is not taken in."""
    fresh = generate("zw")
    as_fr = PublicKey(key_id=f"fr.{fresh.key_id.partition('.')[2]}", public=fresh.public, valid_from=NOW)
    misnamed = PublicKey(key_id=world.signers["zw"].key_id, public=fresh.public, valid_from=NOW)

    for key in (as_fr, misnamed, world.key("zw")):
        assert world.apply(a_change("key_added", "zw", base=1, keys=(key,))) is NoEffect.KEY_ID


def test_a_region_is_for_good(world: FoldWorld) -> None:
    """A bureau that is entered again, with another region, stays where it is."""
    moved = a_change("entered", "zw", bureau=facts(region="europe"))

    assert world.apply(moved) is NoEffect.ALREADY_ENTERED
    assert _bureau(world, "zw").region is Region.AFRICA


def test_nothing_is_changed_that_is_not_entered(world: FoldWorld) -> None:
    """A change of an unknown code has no effect."""
    assert world.apply(a_change("status_set", "xx", status=BureauStatus.ACTIVE)) is NoEffect.UNKNOWN_CODE


INCOMPLETE = [
    a_change("entered", "ng"),
    a_change("entered", "ng", bureau=facts(BureauKind.UNKNOWN)),
    a_change("entered", "ng", bureau=facts(region="global")),
    a_change("key_added", "zw", base=1),
    a_change("key_ended", "zw", base=1),
    a_change("status_set", "zw", base=1),
    a_change("status_set", "zw", base=1, status=BureauStatus.UNKNOWN),
    a_change("clearance_set", "zw", base=1, clearance=Classification.UNKNOWN),
]


@pytest.mark.parametrize("change", INCOMPLETE, ids=lambda change: f"{change.kind}")
def test_an_incomplete_change_has_no_effect(world: FoldWorld, change: DirectoryChange) -> None:
    """A change without its part, or with a symbol that this program does not know, has no effect."""
    assert world.apply(change) is NoEffect.INCOMPLETE


def test_a_view_never_changes(world: FoldWorld) -> None:
    """Who holds a view keeps that version, whatever is applied afterwards."""
    before = world.fold.view()

    assert world.apply(a_change("status_set", "zw", base=1, status=BureauStatus.SUSPENDED)) is None

    old = before.get("zw")
    assert old is not None
    assert old.status is BureauStatus.ACTIVE
    assert _bureau(world, "zw").status is BureauStatus.SUSPENDED


# ------------------------------------------------------------------------------------------------------- properties

_PARTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "status_set": st.sampled_from([{"status": status} for status in BureauStatus]),
    "clearance_set": st.sampled_from([{"clearance": height} for height in Classification]),
    "agreement_set": st.sampled_from([{"agreement": agreed} for agreed in [(), (AFRICA,)]]),
    "subscriptions_set": st.sampled_from([{"subscriptions": asked} for asked in [(), (AFRICA,), (AFRICA_AND_DRILLS,)]]),
    "key_added": st.just({}),
    "entered": st.just({"bureau": facts()}),
}


@st.composite
def _any_changes(draw: st.DrawFn) -> list[DirectoryChange]:
    changes = []
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(sorted(_PARTS)))
        changes.append(
            a_change(
                kind,
                draw(st.sampled_from(["zw", "fr", "iom", "ng"])),
                author=draw(st.sampled_from(["ipsg", "ipsg", "zw", "iom"])),
                base=draw(st.integers(0, 4)),
                **draw(_PARTS[kind]),
            )
        )
    return changes


_WORLD = FoldWorld()
_START = [_WORLD.founding(), *(_WORLD.entering(code) for code in ("zw", "fr", "iom", "broker"))]


def _fold(changes: list[DirectoryChange], fold: DirectoryFold | None = None, start: int = 0) -> DirectoryFold:
    fold = fold or DirectoryFold()
    for offset, change in enumerate(changes, start):
        key = fold.key_for(change, _WORLD.signers[change.author].key_id)
        fold.apply(change, offset=offset, appended_at=NOW + timedelta(seconds=offset), signed_with=key)
    return fold


def _state(directory: Directory) -> tuple[int, str | None, list[Bureau]]:
    return directory.offset, directory.installation, list(directory.bureaus())


@given(_any_changes(), st.integers(0, 20))
def test_a_fold_may_stop_anywhere_and_go_on(changes: list[DirectoryChange], cut: int) -> None:
    """A fold of the whole log equals a fold of a beginning that goes on with the rest, and any second fold."""
    log = _START + changes
    cut = min(cut, len(log))
    halves = _fold(log[:cut])
    halves.view()  # looking in between changes nothing
    _fold(log[cut:], halves, cut)

    assert _state(halves.view()) == _state(_fold(log).view()) == _state(_fold(log).view())


@given(_any_changes())
def test_versions_count_what_took_effect(changes: list[DirectoryChange]) -> None:
    """A bureau's version is the number of its changes that took effect; one with another base never does."""
    fold = _fold(_START)
    taken = dict.fromkeys(("zw", "fr", "iom"), 1) | {"ng": 0}
    for offset, change in enumerate(changes, len(_START)):
        key = fold.key_for(change, _WORLD.signers[change.author].key_id)
        why = fold.apply(change, offset=offset, appended_at=NOW + timedelta(seconds=offset), signed_with=key)
        if change.base_version != taken[change.code]:
            assert why is not None
        taken[change.code] += why is None
        bureau = fold.view().get(change.code)
        assert (bureau.version if bureau is not None else 0) == taken[change.code]


def _bureau(world: FoldWorld, code: str) -> Bureau:
    bureau = world.fold.view().get(code)
    assert bureau is not None
    return bureau


def test_what_a_bureau_reads_takes_effect_without_counting() -> None:
    """A program of before passes it over, and still finds the next change of that bureau based on its version."""
    world = FoldWorld().found()
    before = world.fold.view().get("zw")
    assert before is not None
    assert world.apply(a_change("reads_set", "zw", author="zw", base=before.version, reads=2)) is None
    after = world.fold.view().get("zw")
    assert after is not None
    assert (before.reads, after.reads) == (1, 2)
    assert after.version == before.version
    assert world.apply(a_change("status_set", "zw", base=before.version, status="suspended")) is None


@pytest.mark.parametrize(("author", "why"), [("zw", None), ("ipsg", None), ("fr", NoEffect.NOT_ALLOWED)])
def test_who_may_say_what_a_bureau_reads(author: str, why: NoEffect | None) -> None:
    """The bureau itself and the Secretariat, and nobody else."""
    world = FoldWorld().found()
    assert world.apply(a_change("reads_set", "zw", author=author, base=1, reads=1)) is why
