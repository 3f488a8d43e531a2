"""The reader of the guides: leaves no block out in silence, and knows what of an output is fixed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guides import GUIDES, Block, Reader, blocks, same

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", GUIDES)
def test_each_block_is_run_or_marked(name: str) -> None:
    """No code block of a guide is there that nobody tries, unless it says why."""
    assert blocks(ROOT / name, ROOT)


@pytest.mark.parametrize("info", ["", "yaml", "sh skip", 'sh not-run=""', "json wait=1"])
def test_what_is_neither_run_nor_marked_is_an_error(info: str, tmp_path: Path) -> None:
    """A block that nobody would run fails the test, with its place."""
    (tmp_path / "guide.md").write_text(f"# Guide\n\n```{info}\nfalse\n```\n")

    with pytest.raises(ValueError, match=r"guide\.md:3"):
        blocks(tmp_path / "guide.md", tmp_path)


@pytest.mark.parametrize(
    ("expected", "printed", "is_same"),
    [
        ("routed: given to 45\n", "routed: given to 44\n", True),
        ("routed: given to 45\n", "rejected: given to 45\n", False),
        ("at diffusions.africa/1/6\n", "at diffusions.africa/0/17\n", True),
        ("at diffusions.africa/1/6\n", "at diffusions.europe/1/6\n", False),
        ("zw-d-2026-009001 sent\n", "zw-d-2026-009002 sent\n", False),
        ("first\n...\nlast\n", "first\nlast\n", True),
        ("first\n...\nlast\n", "first\nsecond\nthird\nlast\n", True),
        ("first\n...\nlast\n", "second\nlast\n", False),
        ("all ... of it\n", "all the rest of it\n", True),
        ("", "something\n", False),
    ],
)
def test_fixed_parts_are_compared(expected: str, printed: str, *, is_same: bool) -> None:
    """Numbers and offsets may differ, words may not."""
    assert same(expected, printed) is is_same


@pytest.mark.parametrize(
    ("info", "body"),
    [
        ("sh", "true\nfalse\ntrue"),
        ("sh exits=1", "true"),
        ("console", "$ echo one\ntwo"),
        ("python", "raise SystemExit(1)"),
        ('sh background until="ready"', "echo ready; exit 3"),
        ('sh background until="ready"', "exit 0"),
    ],
)
def test_what_a_guide_says_wrong_is_found(info: str, body: str, tmp_path: Path) -> None:
    """An exit code, an output or an end that the guide does not show fails."""
    block = Block.marked(info, place="guide.md:1", section=0, body=f"{body}\n")

    with pytest.raises(AssertionError, match=r"guide\.md:1"):
        Reader(tmp_path, {"PATH": "/usr/bin:/bin"}).follow([block])


def test_a_guide_is_followed(tmp_path: Path) -> None:
    """Files are there for what follows, a background block until the next heading, and what is not run is not."""
    (tmp_path / "guide.md").write_text(
        '# Guide\n\n```python file=a.py\nprint("well")\n```\n\n'
        '```sh background until="ready"\necho $$ > pid; echo ready; exec sleep 600\n```\n\n'
        "```console\n$ python3 a.py\nwell\n$ kill -0 $(cat pid)\n```\n\n"
        '```sh not-run="ends everything"\nexit 1\n```\n\n```text\nanything\n```\n\n'
        "## On\n\n```sh exits=1\nkill -0 $(cat pid) 2>/dev/null\n```\n"
    )

    Reader(tmp_path / "here", {"PATH": "/usr/local/bin:/usr/bin:/bin"}).follow(blocks(tmp_path / "guide.md", tmp_path))
