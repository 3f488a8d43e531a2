"""What the documents show and name is there: commands with their options, Python, files, links, the board."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console
from typer.core import TyperArgument, TyperGroup

from broker.cli.main import command_line
from broker.model.naming import NoticeNumber, Region
from consumers.tracker.board import BoardRow, board_table
from producers.files import read

ROOT = Path(__file__).parents[3]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "samples" / "README.md", *(ROOT / "docs").rglob("*.md")]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"(?:broker|consumers|producers|noticewire|schemas|samples|docs|tests)/[\w./*-]*")
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

by_name = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(document: Path, *languages: str) -> list[str]:
    return [body for language, body in BLOCK.findall(document.read_text()) if language in languages]


def prose(document: Path) -> str:
    return BLOCK.sub("", document.read_text())


def commands(document: Path) -> Iterator[list[str]]:
    """Every command line of ours: in blocks, and in running text."""
    lines = [line.removeprefix("$ ") for body in blocks(document, "sh", "console") for line in body.splitlines()]
    for line in [*lines, *CODE.findall(prose(document))]:
        if line.startswith(("noticewire ", "make ")):
            words = shlex.split(line, comments=True)
            if not any("|" in word or "..." in word for word in words):
                yield words


@by_name
def test_commands_exist(document: Path) -> None:
    """Each `noticewire` and `make` command that a document shows has that name, and takes those options and values."""
    for program, *words in commands(document):
        if program == "make":
            assert {word for word in words if "=" not in word} <= TARGETS, words
        else:
            understand(typer.main.get_command(command_line(())), words)


def understand(command: Any, words: list[str]) -> None:
    """Parse a command line as the program would, without running it; a command's name alone is understood, too."""
    if not isinstance(command, TyperGroup):
        if words:
            command.make_context(command.name, list(words))
        return
    rest = words[sum(isinstance(parameter, TyperArgument) for parameter in command.params) :]
    if rest:
        assert rest[0] in command.commands, f"there is no command {rest[0]}"
        understand(command.commands[rest[0]], rest[1:])


@by_name
def test_python_compiles_and_imports(document: Path) -> None:
    """Each Python block compiles, and what it imports is there."""
    for body in blocks(document, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert not [name.name for name in node.names if not hasattr(module, name.name)]
        exec(compile(body, str(document), "exec"), {})  # noqa: S102 - definitions only: our own documents


@by_name
def test_files_and_links_exist(document: Path) -> None:
    """Each path of the repository and each link that a document holds leads somewhere."""
    text = document.read_text()
    named = {found.rstrip("./") for code in CODE.findall(prose(document)) for found in PATH.findall(code)}
    missing = [path for path in named if not list(ROOT.glob(path))]
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = document if not path else (document.parent / path)
        if link.startswith("https://"):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert not missing


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_file_map_is_the_tree() -> None:
    """Architecture names every module of each room, and none that is not there."""
    section = (ROOT / "docs" / "architecture.md").read_text().partition("## File map")[2].partition("\n## ")[0]
    room, mapped = Path(), set()
    for line in section.splitlines():
        if heading := re.match(r"\| `(broker|producers|consumers)/` \|", line):
            room = package = Path(heading[1])
        if not line.startswith("| "):
            continue
        if folder := re.match(r"\| \*\*`([\w/]+)/`\*\*", line):
            room = package / folder[1]
        mapped |= {room / name for name in re.findall(r"`(\w+\.py)`", line.split("|")[1])}
    modules = {
        path.relative_to(ROOT)
        for package in ("broker", "producers", "consumers")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and "migrations" not in path.parts
    }

    assert mapped == modules


def test_the_example_is_a_message() -> None:
    """The README's YAML is one message, as far as a file goes."""
    (body,) = blocks(ROOT / "README.md", "yaml")
    content = yaml.safe_load(body)

    assert NoticeNumber.parse(content["number"]).owner == "zw"


def test_the_commands_name_a_sample() -> None:
    """Every notice number that a command of the README asks for is one of the samples'."""
    numbers = {
        entry.content["number"]
        for path in (ROOT / "samples").glob("*.yaml")
        for entry in read(path)
        if isinstance(entry.content, dict)
    }
    asked = {
        word for words in commands(ROOT / "README.md") for word in words if re.fullmatch(r"\w+-[nd]-\d+-\d+", word)
    }

    assert asked
    assert asked <= numbers


def test_the_board_is_the_program_s(tmp_path: Path) -> None:
    """The README's board is what the program prints for those figures, whole, in 80 columns."""
    (shown,) = blocks(ROOT / "README.md", "text")
    lines = shown.splitlines()
    begin = lines.index("Acknowledgement board")
    end = next(at for at, line in enumerate(lines) if line.startswith("total "))
    figures = [[int(word.replace(",", "")) for word in line.split()[1:]] for line in lines[begin + 3 : end - 1]]
    rows = [
        BoardRow(
            region=region,
            messages=row[0],
            due=row[1],
            received=row[2],
            accepted=row[3],
            actioned=row[4],
            declined=row[5],
            purged=row[6],
        )
        for region, row in zip(Region, figures, strict=True)
    ]
    printed = tmp_path / "board"
    with printed.open("w") as out:
        Console(file=out, width=80).print(board_table(rows))

    assert lines[begin : end + 1] == [line.rstrip() for line in printed.read_text().splitlines() if line.strip()]
    assert all(row.outstanding == 0 for row in rows)


def test_each_decision_says_all_that_a_decision_says() -> None:
    """Question, choice, what else was tried, what follows, when to look again; on one page, and in the architecture."""
    table = (ROOT / "docs" / "architecture.md").read_text()
    for path in DECISIONS:
        text = path.read_text()
        assert re.fullmatch(r"\d{4}-[a-z-]+\.md", path.name)
        assert text.startswith(f"# {int(path.name[:4])}. ")
        assert all(part in text for part in ("**Question.**", "**Chosen.**", "**What follows.**", "**Look again**"))
        assert any(part in text for part in ("**Tried.**", "**Weighed.**", "**Tried or weighed.**"))
        assert len(text.splitlines()) <= 60, path.name
        assert f"decisions/{path.name}" in table
