"""A mutation fuzzer: spoils what is valid, in bytes, in text and in structure; repeatable by its seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

SURNAME, PASSPORT, BORN = "Quastelbrimm", "QX8830917", "1957-11-23"
"""Of a person who does not exist; found nowhere else, so wherever one of them turns up it has leaked."""

PLANTED = (SURNAME, SURNAME.upper(), PASSPORT, BORN)

_NUMBERS = (0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308)
_TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",
    "\u202e\u0007\x1b[2J",
    "e\u0301" * 40,
    "x" * 70_000,
    "no",
    "0123",
    "NaN",
    "2027-02-30",
    "9999-12-31T23:59:59.999999-23:59",
    "zw-n-2026-000001/../..",
    "%s{0}${jndi}",
)
_NESTED: tuple[Any, ...] = ([], {}, [[]], [{}] * 300, {"a": {"b": {"c": None}}}, ["x"] * 5_000)


def planted_person(**changes: Any) -> dict[str, Any]:
    """A person with the planted data, as a file would hold it."""
    return {
        "name": {"family": SURNAME, "forename": "Alex"},
        "born": BORN,
        "sex": "M",
        "nationalities": [{"country": "XA"}],
        "documents": [{"kind": "passport", "number": PASSPORT, "country": "XA"}],
        **changes,
    }


class Mutator:
    """Spoils things; the same seed spoils the same things in the same way."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # to be repeated, not to be secret

    # -------------------------------------------------------------------------------------------------------- bytes

    def spoil(self, data: bytes, others: Sequence[bytes]) -> bytes:
        """Return bytes with one to three changes; `others` are there to be spliced in."""
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            data = self.random.choice(_OF_BYTES)(self.random, data, self.random.choice(others))
        return data

    # ---------------------------------------------------------------------------------------------------- structure

    def misshape(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return an entry of a file with one to three of its parts replaced, left out, doubled or renamed."""
        content = copy.deepcopy(content)
        for _ in range(self.random.choice((1, 1, 2, 3))):
            holder, place = self.random.choice(list(_places(content)))
            self.random.choice(_OF_PARTS)(self.random, holder, place)
            if not content:
                break
        return content

    def text(self, content: dict[str, Any], others: Sequence[bytes]) -> bytes:
        """Return an entry as hostile JSON, which YAML's readers take as well."""
        kind = self.random.randrange(8)
        if kind < 3:
            return _json(self.misshape(content))
        data = _json(content)
        if kind < 6:
            return self.spoil(data, others)
        return self.random.choice(_OF_TEXT)(self.random, data)


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")


_Spoil = Callable[[random.Random, bytes, bytes], bytes]


def _flip(dice: random.Random, data: bytes, _other: bytes) -> bytes:
    spoilt = bytearray(data or b"\0")
    for _ in range(dice.choice((1, 1, 2, 8))):
        spoilt[dice.randrange(len(spoilt))] ^= 1 << dice.randrange(8)
    return bytes(spoilt)


def _cut(dice: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def _leave_out(dice: random.Random, data: bytes, _: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[at + dice.randrange(1, 30) :]


def _splice(dice: random.Random, data: bytes, other: bytes) -> bytes:
    at, there = dice.randrange(len(data) + 1), dice.randrange(len(other) + 1)
    return data[:at] + other[there:]


def _insert(dice: random.Random, data: bytes, _: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.randbytes(dice.randrange(1, 40)) + data[at:]


def _double(dice: random.Random, data: bytes, _: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    part = data[at : at + dice.randrange(1, 200)]
    return data[:at] + part * dice.choice((2, 2, 3, 50)) + data[at:]


def _claim_length(dice: random.Random, data: bytes, _: bytes) -> bytes:
    """Put a number where Avro or a record may expect a length: huge, negative, or over 64 bits."""
    at = dice.randrange(len(data) + 1)
    number = dice.choice((b"\xfe\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\xff" * 30))
    return data[:at] + number + data[at + 1 :]


def _claim_items(dice: random.Random, data: bytes, _: bytes) -> bytes:
    """Put zeros: in Avro absent parts, empty strings and ends of arrays."""
    at = dice.randrange(len(data) + 1)
    return data[:at] + bytes(dice.randrange(1, 3_000)) + data[at:]


def _anything(dice: random.Random, _: bytes, __: bytes) -> bytes:
    return dice.randbytes(dice.choice((0, 1, 4, 5, 6, 30, 2_000)))


_OF_BYTES: tuple[_Spoil, ...] = (
    _flip,
    _flip,
    _flip,
    _cut,
    _leave_out,
    _splice,
    _insert,
    _double,
    _claim_length,
    _claim_items,
    _anything,
)


# ---------------------------------------------------------------------------------------------------- structure


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Return every part of an entry: its holder, and its name or index there."""
    found: list[tuple[Any, Any]] = []
    todo = [content]
    while todo:
        holder = todo.pop()
        parts = list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder))
        for place, part in parts:
            found.append((holder, place))
            if isinstance(part, dict | list) and len(found) < 2_000:
                todo.append(part)
    return found


def _replace(dice: random.Random, holder: Any, place: Any) -> None:
    holder[place] = copy.deepcopy(dice.choice((None, True, *_NUMBERS, *_TEXTS, *_NESTED)))  # later spoilt itself


def _drop(_: random.Random, holder: Any, place: Any) -> None:
    del holder[place]


def _multiply(dice: random.Random, holder: Any, place: Any) -> None:
    part = holder[place]
    times = dice.choice((2, 3, 500))
    if isinstance(part, list | str) and len(part) < 1_000:
        holder[place] = part * times
    else:
        holder[place] = [part] * min(times, 20)


def _rename(dice: random.Random, holder: Any, place: Any) -> None:
    part = holder[place]
    if isinstance(holder, dict):
        holder[dice.choice(("", "x" * 300, SURNAME, f"{PASSPORT}\n", str(place).upper(), f"{place}_"))] = holder.pop(
            place
        )
    else:
        holder.append({"of": part})


def _nest(dice: random.Random, holder: Any, place: Any) -> None:
    part = holder[place]
    for _ in range(dice.choice((1, 2, 30))):
        part = dice.choice(([part], {"value": part}))
    holder[place] = part


_OF_PARTS: tuple[Callable[[random.Random, Any, Any], None], ...] = (
    _replace,
    _replace,
    _replace,
    _drop,
    _multiply,
    _rename,
    _nest,
)


# ---------------------------------------------------------------------------------------------------- text


def _name_twice(dice: random.Random, data: bytes) -> bytes:
    return data[:-1] + b', "' + dice.choice((b"number", b"subject", SURNAME.encode())) + b'": 1' * 2 + b"}"


def _again(_: random.Random, data: bytes) -> bytes:
    return data[:-1] + b", " + data[1:]


def _deep(dice: random.Random, data: bytes) -> bytes:
    depth = dice.choice((25, 200, 5_000, 100_000))
    opening, closing = dice.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return data[:-1] + b', "deep": ' + opening * depth + b"1" + closing * depth + b"}"


def _long_number(dice: random.Random, data: bytes) -> bytes:
    return data[:-1] + b', "revision": ' + dice.choice((b"9" * 5_000, b"1e999999", b"-" + b"7" * 400)) + b"}"


def _many_names(dice: random.Random, data: bytes) -> bytes:
    names = b",".join(b'"a%d":1' % at for at in range(dice.choice((50, 2_000))))
    return data[:-1] + b", " + names + b', "a0": 2}'


def _words(dice: random.Random, data: bytes) -> bytes:
    word = dice.choice(
        (b"NaN", b"-Infinity", b"undefined", b"01", b"'x'", b"{1: 2}", b"[1,]", b"\xff\xfe", b"\xef\xbb\xbf")
    )
    return data[:-1] + b', "revision": ' + word + b"}"


def _yaml_tricks(dice: random.Random, data: bytes) -> bytes:
    trick = dice.choice(
        (
            b"&a [*a, *a]",
            b"!!python/object/apply:os.system [id]",
            b"{<<: {a: b}}",
            b"{? [a] : b}",
            b"!<tag:yaml.org,2002:binary> aGVsbG8=",
            b"&a {b: &c {d: *a}}",
            b"!!int abc",
            b"\t- a",
            b"|",
            b"? ? ? ?",
            b"%YAML 9.9",
            b"- - - - - - - - - - - - - - - - - - - - - - - - - - - - - - a",
        )
    )
    return trick if dice.random() < 0.3 else data[:-1] + b', "revision": ' + trick + b"}"


_OF_TEXT: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _name_twice,
    _again,
    _deep,
    _long_number,
    _many_names,
    _words,
    _yaml_tricks,
)
