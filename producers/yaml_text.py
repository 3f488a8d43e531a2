"""YAML, read as what JSON can say and no more.

YAML's own words for truth are not read: `no` is Norway's bureau, not false, and `0123` is a document's number, not 83.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override
from yaml.composer import Composer
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner
from yaml.tokens import Token

from broker.errors import InvalidFieldError
from producers.entries import DEPTH_MAX, ENTRY_BYTES_MAX, FILE_BYTES_MAX, text_of, too_deep, too_large, twice


class _Refusal(Exception):  # noqa: N818 -- carries a refusal out of the parser, and is caught in this file
    def __init__(self, error: InvalidFieldError) -> None:
        super().__init__()
        self.error = error


class _Resolver(BaseResolver):
    """What a plain word means: JSON's null, truth and numbers, and a string else."""


_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "null": re.compile(r"null|~|", re.ASCII),
    "bool": re.compile(r"true|false", re.ASCII),
    "int": re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII),
    "float": re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", re.ASCII),
}
_PLAIN_VALUE: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda word: word == "true",
    "int": int,
    "float": float,
}
for _tag, _pattern in _PLAIN.items():
    _Resolver.add_implicit_resolver(_TAG + _tag, re.compile(f"(?:{_pattern.pattern})$", re.ASCII), None)


class _YamlReader(Reader, Scanner, Parser, Composer, _Resolver):
    """PyYAML's parser up to the tree of nodes; what becomes of the nodes is `_value_of`'s business.

    Aliases are refused: a few lines of them unfold to gigabytes, and a message has no use for them.
    """

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Resolver.__init__(self)
        self._depth = 0

    @override
    def fetch_flow_collection_start(self, TokenClass: type[Token]) -> None:
        # Before the composer sees any of it, the scanner looks 1,024 characters ahead, and at each for every open
        # bracket: two seconds an entry.
        if self.flow_level > DEPTH_MAX + 2:
            raise _Refusal(too_deep())
        super().fetch_flow_collection_start(TokenClass)

    @override
    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(AliasEvent):
            raise _Refusal(InvalidFieldError("entry", "uses an alias (*name)", "write the value out"))
        self._depth += 1
        if self._depth > DEPTH_MAX + 2:  # a list of messages, or a list in a list, is looked at later
            raise _Refusal(too_deep())
        node: Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _value_of(node: Node) -> Any:
    """Return what a node says.

    Raises:
        _Refusal: a name stands there twice, or is no string; or the tag is none of JSON's.
    """
    kind = node.tag.removeprefix(_TAG)
    if isinstance(node, MappingNode) and kind == "map":
        value: dict[str, Any] = {}
        for name_node, item in node.value:
            if not isinstance(name_node, ScalarNode):
                raise _Refusal(InvalidFieldError("entry", "has a name that is not a word", "names are strings"))
            if name_node.value in value:
                raise _Refusal(twice(name_node.value))
            value[name_node.value] = _value_of(item)
        return value
    if isinstance(node, SequenceNode) and kind == "seq":
        return [_value_of(item) for item in node.value]
    if isinstance(node, ScalarNode) and kind == "str":
        return node.value
    if isinstance(node, ScalarNode) and kind in _PLAIN and _PLAIN[kind].fullmatch(node.value):
        return _PLAIN_VALUE[kind](node.value)
    raise _Refusal(InvalidFieldError("entry", "uses the tag of a type of its own", "only what JSON can say"))


def yaml_values(path: Path) -> Iterator[Any]:
    """Yield each document of a YAML file, or each item of one that is a list."""
    for first_line, data in _yaml_documents(path):
        if isinstance(data, InvalidFieldError):
            yield data
            continue
        text = text_of(data)
        if isinstance(text, InvalidFieldError):
            yield InvalidFieldError("entry", f"is not UTF-8 after line {first_line}", "text in UTF-8")
            continue
        try:
            yield from _yaml_items(text)
        except _Refusal as refusal:
            yield refusal.error
        except RecursionError:
            yield too_deep()
        except yaml.YAMLError as error:
            yield _not_yaml(error, first_line)


def _yaml_items(text: str) -> Iterator[Any]:
    reader = _YamlReader(text)
    while reader.check_node():
        node = reader.get_node()
        if node is None:
            continue
        for item in node.value if isinstance(node, SequenceNode) else [node]:
            if item.end_mark.index - item.start_mark.index > ENTRY_BYTES_MAX:
                yield too_large("entry", ENTRY_BYTES_MAX)
                continue
            try:
                yield _value_of(item)
            except _Refusal as refusal:
                yield refusal.error


_MARKER = re.compile(rb"---(?:\s|$)")
_NOTHING = re.compile(rb"(?:\s*(?:#[^\n]*)?(?:\n|$)|%[^\n]*(?:\n|$)|---\s*(?:\n|$))*")
"""What may stand between documents: blank lines, comments, directives, a marker with nothing after it."""


def _yaml_documents(path: Path) -> Iterator[tuple[int, bytes | InvalidFieldError]]:
    """Cut a file at its `---` lines, so that a document which cannot be read does not take the others with it.

    YAML lets no scalar hold a line that begins with `---` (1.2.2, rule c-forbidden), so the cut needs no parser.
    """
    held: list[bytes] = []
    size, first_line = 0, 1
    with path.open("rb") as file:
        number = 0
        while line := file.readline(FILE_BYTES_MAX):
            number += 1
            if _MARKER.match(line):
                if held and not _NOTHING.fullmatch(document := b"".join(held)):
                    yield first_line, document
                held, size, first_line = [], 0, number
            held.append(line)
            size += len(line)
            if size > FILE_BYTES_MAX:
                yield first_line, too_large("file", FILE_BYTES_MAX)
                return
    if held and not _NOTHING.fullmatch(document := b"".join(held)):
        yield first_line, document


def _not_yaml(error: yaml.YAMLError, first_line: int) -> InvalidFieldError:
    place, problem = f"or after line {first_line}", "a character that YAML does not allow"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        place = f"line {first_line + error.problem_mark.line}, column {error.problem_mark.column + 1}"
        # PyYAML quotes what it found, which may be a word of the entry.
        problem = re.sub(r"'.*'|\".*\"", "...", str(error.problem or "syntax").splitlines()[0])[:80]
    return InvalidFieldError("entry", f"is not YAML at {place} ({problem})", "YAML 1.2, of it what JSON can say")
