"""What do the checked models cost over bare fastavro, for the records that are written most?

The same bytes, and the same dictionaries: bare fastavro neither frames nor checks anything, and is what no codec on it
can be faster than. `encode, told` is fastavro given each union's branch, as the codec gives it; `encode, plain` leaves
it to find the branch by itself. The last line is why a ledger entry holds its bureaus in one string of codes.

Example: python bench/codec.py --records 200 --rounds 9
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from bench.material import AT, FEED, World
from bench.measure import Work, arguments, cpu_us, progress, table
from broker.model.base import Model
from broker.model.ledger import EntryKind, LedgerEntry
from broker.model.naming import codes
from broker.model.outcome import Outcome, Verdict, id_for
from broker.schema.catalogue import Catalogue
from broker.schema.codec import SUBJECTS, Codec

_FRAME_BYTES = 5
_WAYS = ("encode", "encode, told", "encode, plain", "decode", "decode, bare")


def subjects(world: World, count: int) -> dict[str, list[Model]]:
    """Return what a router reads and writes for each of some notices to all."""
    notices = world.notices(count)
    everybody = codes(frozenset(world.directory.recipients()))
    entries = [
        LedgerEntry(
            kind=EntryKind.ROUTED,
            topic=FEED,
            partition=0,
            from_offset=offset,
            next_offset=offset + 1,
            appended_at=AT,
            directory_offset=world.directory.offset,
            number=notice.number,
            message_id=notice.message_id,
            issuer=notice.issuer,
            event=notice.event,
            revision=notice.revision,
            digest=bytes(32),
            delivered=everybody,
        )
        for offset, notice in enumerate(notices)
    ]
    outcomes = [
        Outcome(
            outcome_id=id_for("outcome", str(entry.origin), notice.owner),
            bureau=notice.owner,
            number=notice.number,
            message_id=notice.message_id,
            origin=str(entry.origin),
            digest=bytes(32),
            verdict=Verdict.ROUTED,
            given=len(everybody.split()),
            decided_at=AT,
        )
        for notice, entry in zip(notices, entries, strict=True)
    ]
    return {"notice": list(notices), "ledger-entry": list(entries), "outcome": list(outcomes)}


def works(codec: Codec, subject: str, values: list[Model]) -> dict[str, Work]:
    """Return each way to write and to read some values of one subject."""
    schema = parse_schema(json.loads(Catalogue.load().newest(subject).text), named_schemas={})
    model = SUBJECTS[subject]
    encoded = [codec.encode(value) for value in values]
    bodies = [data[_FRAME_BYTES:] for data in encoded]
    told = [schemaless_reader(BytesIO(body), schema, None, return_named_type=True) for body in bodies]
    plain = [_read(schema, body) for body in bodies]
    if [_written(schema, one) for one in told] != bodies or [_written(schema, one) for one in plain] != bodies:
        raise ValueError(f"{subject}: bare fastavro writes other bytes")
    ways: tuple[Work, ...] = (
        lambda: [codec.encode(value) for value in values],
        lambda: [_written(schema, one) for one in told],
        lambda: [_written(schema, one) for one in plain],
        lambda: [codec.decode(data, model) for data in encoded],
        lambda: [_read(schema, body) for body in bodies],
    )
    return {f"{subject}: {way}": work for way, work in zip(_WAYS, ways, strict=True)}


def _written(schema: Any, value: Any) -> bytes:
    out = BytesIO()
    schemaless_writer(out, schema, value)
    return out.getvalue()


def _read(schema: Any, body: bytes) -> Any:
    return schemaless_reader(BytesIO(body), schema, None)


def lists_of_codes(world: World, count: int) -> dict[str, Work]:
    """Return the two ways to read 200 codes of bureaus: as an array, and as one string."""
    chosen = sorted(world.directory.recipients())[:200]
    array = parse_schema({"type": "array", "items": "string"})
    as_array, as_string = _written(array, chosen), _written("string", " ".join(chosen))
    if frozenset(_read(array, as_array)) != frozenset(_read("string", as_string).split()):
        raise ValueError("the two hold different codes")
    return {
        "200 codes: array": lambda: [frozenset(_read(array, as_array)) for _ in range(count)],
        "200 codes: string": lambda: [frozenset(_read("string", as_string).split()) for _ in range(count)],
    }


def main() -> None:
    """Measure, and print a line a subject."""
    parser = arguments(__doc__)
    parser.add_argument("--records", type=int, default=200, help="of each subject (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="of which the median counts (default: %(default)s)")
    asked = parser.parse_args()
    progress(f"making {asked.records} records of each subject, to 226 bureaus")
    world = World()
    values = subjects(world, asked.records)
    every: dict[str, Work] = lists_of_codes(world, asked.records)
    for subject, records in values.items():
        every |= works(world.codec, subject, records)
    found = cpu_us(every, each=asked.records, rounds=asked.rounds)
    print(f"CPU for one record in µs, median of {asked.rounds}; the ratio is to bare fastavro (told, for encoding).")
    head = ("record", "bytes", *_WAYS[:3], "ratio", *_WAYS[3:], "ratio")
    rows = []
    for subject, records in values.items():
        encode, told, plain, decode, bare = (found[f"{subject}: {way}"] for way in _WAYS)
        size = len(world.codec.encode(records[0]))
        figures = (encode, told, plain, encode / told, decode, bare, decode / bare)
        rows.append((subject, str(size), *(f"{figure:.1f}" for figure in figures)))
    table(head, rows)
    array, string = found["200 codes: array"], found["200 codes: string"]
    print(f"200 codes of bureaus to a set: {array:.1f} from an array, {string:.1f} from one string.")


if __name__ == "__main__":
    main()
