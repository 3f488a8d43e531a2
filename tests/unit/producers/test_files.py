"""Reading messages from files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from broker.errors import InvalidFieldError, RefusedError
from producers.entries import DEPTH_MAX, ENTRY_BYTES_MAX
from producers.files import Entry, attached_file, expand, local_paths, read


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def outcomes(path: Path) -> list[tuple[str, Any]]:
    """Each entry's place without the folder, and its content or the refusal's field."""
    return [(entry.place.removeprefix(f"{path.parent}/"), _content(entry)) for entry in read(path)]


def _content(entry: Entry) -> Any:
    return f"refused: {entry.content}" if isinstance(entry.content, RefusedError) else entry.content


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("one.json", '{"number": 1}', ["one.json[entry 1]"]),
        ("list.json", '[{"number": 1},\n {"number": 1}]', ["list.json[entry 1]", "list.json[entry 2]"]),
        ("empty.json", " [ ] ", []),
        ("lines.jsonl", '{"number": 1}\n\n{"number": 1}\n', ["lines.jsonl:1", "lines.jsonl:3"]),
        ("lines.ndjson", '{"number": 1}', ["lines.ndjson:1"]),
        ("crlf.jsonl", '{"number": 1}\r\n{"number": 1}\r\n', ["crlf.jsonl:1", "crlf.jsonl:2"]),
        ("bom.json", b'\xef\xbb\xbf{"number": 1}', ["bom.json[entry 1]"]),
        ("one.yaml", "number: 1\n", ["one.yaml[entry 1]"]),
        ("list.yml", "- number: 1\n- number: 1\n", ["list.yml[entry 1]", "list.yml[entry 2]"]),
        ("documents.yaml", "number: 1\n---\nnumber: 1\n", ["documents.yaml[entry 1]", "documents.yaml[entry 2]"]),
        ("started.yaml", "%YAML 1.2\n---\n# a drill\nnumber: 1\n...\n", ["started.yaml[entry 1]"]),
        (
            "mixed.yaml",
            "---\n- number: 1\n- {number: 1}\n---\nnumber: 1\n",
            [f"mixed.yaml[entry {n}]" for n in (1, 2, 3)],
        ),
        ("nothing.yaml", "# nothing here\n---\n", []),
    ],
)
def test_every_format_is_read(tmp_path: Path, name: str, text: str | bytes, places: list[str]) -> None:
    """One message, a list, a line each, several documents: each entry comes with its place, in the file's order."""
    assert outcomes(written(tmp_path, name, text)) == [(place, {"number": 1}) for place in places]


def test_yaml_words_stay_words(tmp_path: Path) -> None:
    """Norway's code, a date, a time, and a number with leading zeros are not turned into something else."""
    text = (
        "bureaus: [no, NO, on, yes, y]\nday: 2026-01-31\nat: 12:30:00\ndocument: 0123\nhex: 0x1F\n"
        "flag: true\nage: 7\nm: 1.75\nnone: null\n"
    )

    assert outcomes(written(tmp_path, "words.yaml", text)) == [
        (
            "words.yaml[entry 1]",
            {
                "bureaus": ["no", "NO", "on", "yes", "y"],
                "day": "2026-01-31",
                "at": "12:30:00",
                "document": "0123",
                "hex": "0x1F",
                "flag": True,
                "age": 7,
                "m": 1.75,
                "none": None,
            },
        )
    ]


DEEP = DEPTH_MAX + 1
BOMB = "a: &a [x, x]\n" + "\n".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]" for n in range(20)
)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("twice.json", '[{"a": {"b": 1, "b": 2}}, {"a": 1}]', ["b: stands there twice", {"a": 1}]),
        ("nan.json", '[{"a": NaN}, {"a": 1}]', ["entry: holds NaN", {"a": 1}]),
        ("infinity.jsonl", '{"a": -Infinity}\n{"a": 1}', ["entry: holds -Infinity", {"a": 1}]),
        ("list.jsonl", '[1]\n{"a": 1}', ["entry: is not an object", {"a": 1}]),
        ("broken.json", '[{"a": 1}, {"a" 1}, {"a": 1}]', [{"a": 1}, "entry: is not JSON at line 1, column 17"]),
        ("broken.jsonl", '{"a": 1}\n{"a" 1}\n{"a": 1}', [{"a": 1}, "entry: is not JSON at line 2", {"a": 1}]),
        ("more.json", '{"a": 1} {"a": 2}', [{"a": 1}, "entry: is not JSON at line 1, column 10 (more after the end)"]),
        ("more.jsonl", '{"a": 1} {"a": 2}\n{"a": 1}', ["entry: is not JSON at line 1", {"a": 1}]),
        ("number.jsonl", f'{{"a": {"9" * 5000}}}\n{{"a": 1}}', ["entry: is not JSON (a number is too long)", {"a": 1}]),
        ("deep.json", '{"a":' * DEEP + "1" + "}" * DEEP, ["entry: is nested too deeply"]),
        ("abyss.json", "[" * 200_000, ["entry: is nested too deeply"]),
        ("abyss.jsonl", '{"a":' * 100_000 + '\n{"a": 1}', ["entry: is nested too deeply", {"a": 1}]),
        ("latin.jsonl", b'{"a": "\xe9"}\n{"a": 1}', ["entry: is not UTF-8 at line 1", {"a": 1}]),
        ("latin.json", b'\n{"a": "\xe9"}', ["file: is not UTF-8 at line 2"]),
        ("long.jsonl", '{"a": "' + "x" * ENTRY_BYTES_MAX + '"}\n{"a": 1}', ["entry: is too large", {"a": 1}]),
        ("long.json", '[{"a": "' + "x" * ENTRY_BYTES_MAX + '"}, {"a": 1}]', ["entry: is too large", {"a": 1}]),
        ("bomb.yaml", f"{BOMB}\n---\na: 1", ["entry: uses an alias", {"a": 1}]),
        ("self.yaml", "a: &a [*a]\n---\na: 1", ["entry: uses an alias", {"a": 1}]),
        ("merge.yaml", "- a: 1\n- <<: {a: 1}\n  b: 1", [{"a": 1}, {"<<": {"a": 1}, "b": 1}]),
        ("python.yaml", "- !!python/object/apply:os.system [id]\n- a: 1", ["entry: uses the tag", {"a": 1}]),
        ("binary.yaml", "- a: !!binary aGk=\n- a: 1", ["entry: uses the tag", {"a": 1}]),
        ("twice.yaml", "- {a: 1, b: 1, a: 2}\n- a: 1", ["a: stands there twice", {"a": 1}]),
        ("names.yaml", "- ? [a]\n  : 1\n- a: 1", ["entry: has a name that is not a word", {"a": 1}]),
        ("deep.yaml", "[" * 5000 + "]" * 5000, ["entry: is nested too deeply"]),
        ("broken.yaml", "a: 1\n---\na: [1\nb: 2\n---\na: 1", [{"a": 1}, "entry: is not YAML at line 4", {"a": 1}]),
        ("scalar.yaml", "just words", ["entry: is not an object"]),
        ("control.yaml", b"a: \x01\n---\na: 1", ["entry: is not YAML at or after line 1", {"a": 1}]),
        ("message.txt", "a: 1", ["file: is of no known format"]),
    ],
)
def test_hostile_entries_are_refused_one_by_one(
    tmp_path: Path, name: str, text: str | bytes, expected: list[Any]
) -> None:
    """What cannot be read is refused with its place and the rule, quickly, and what can be told apart goes on."""
    found = list(read(written(tmp_path, name, text)))

    assert len(found) == len(expected)
    for entry, wanted in zip(found, expected, strict=True):
        if isinstance(wanted, str):
            assert isinstance(entry.content, InvalidFieldError)
            assert str(entry.content).startswith(wanted)
            assert entry.content.rule
            assert name in entry.place
        else:
            assert entry.content == wanted


def test_a_file_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    """A missing file does not stop the files after it, and is said to be missing, whatever its name."""
    for name in ("missing.json", "missing"):
        (entry,) = read(tmp_path / name)

        assert isinstance(entry.content, InvalidFieldError)
        assert entry.content.field == "file"
        assert "No such file" in str(entry.content)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """Nobody waits for ever for somebody to write to a pipe."""
    os.mkfifo(tmp_path / "pipe.json")

    (entry,) = read(tmp_path / "pipe.json")

    assert str(entry.content).startswith("file: is no regular file")


def test_lines_are_read_lazily(tmp_path: Path) -> None:
    """The first entry is there before the second line is parsed, so a long file needs no memory."""
    entries = read(written(tmp_path, "lines.jsonl", '{"a": 1}\n' + "[" * 100_000))

    assert next(entries).content == {"a": 1}


def test_a_folder_stands_for_its_message_files(tmp_path: Path) -> None:
    """Files come in the order of their names; what holds no messages is passed over."""
    (tmp_path / "b").mkdir()
    for name in ("b/2.json", "1.yaml", "notes.txt", "3.jsonl"):
        written(tmp_path, name, "")

    assert [str(path.relative_to(tmp_path)) for path in expand([tmp_path])] == ["1.yaml", "3.jsonl", "b/2.json"]


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/hostname", "link.jpg", "missing.jpg", "."])
def test_an_attachment_is_read_only_beside_its_message(tmp_path: Path, path: str) -> None:
    """A stranger's file cannot make us read, and publish the digest of, another file of this machine."""
    (tmp_path / "messages").mkdir()
    written(tmp_path, "secret.jpg", "secret")
    (tmp_path / "messages" / "link.jpg").symlink_to(tmp_path / "secret.jpg")

    with pytest.raises(InvalidFieldError) as caught:
        attached_file(tmp_path / "messages", path, "attachments[0].path")
    assert caught.value.field == "attachments[0].path"


def test_local_paths_are_found_and_taken_out() -> None:
    """The path of a local file never reaches the message."""
    content = json.loads('{"attachments": [{"kind": "a"}, {"kind": "b", "path": "photo.jpg"}, 7]}')

    assert local_paths(content) == [(1, "photo.jpg", {"kind": "b"})]
