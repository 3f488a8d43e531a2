"""What a change of a schema must keep to, and how a breach of it is reported."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """What a schema, a change or a folder of schemas breaks; stable, because programs read it."""

    FIELD_NEEDS_DEFAULT = "field_needs_default"
    """Avro's."""
    FIELD_RENAMED = "field_renamed"
    """Avro's where the old name has no default; else ours: it would read the default, where there was a value."""
    TYPE_CHANGED = "type_changed"
    """Avro's; and ours between string and bytes: Avro reads either as the other, but not all bytes are text."""
    MEANING_CHANGED = "meaning_changed"
    """Ours: Avro's checker does not look at logical types, and would read milliseconds as microseconds."""
    TYPE_RENAMED = "type_renamed"
    """Avro's."""
    SYMBOL_NEEDS_DEFAULT = "symbol_needs_default"
    """Avro's."""
    SYMBOL_REMOVED = "symbol_removed"
    """Avro's where the enum has no default; else ours: a notice outlives programs, and an old `black` would be read as
    `unknown` while it is in force."""
    ENUM_NEEDS_DEFAULT = "enum_needs_default"
    """Ours: Avro asks for the default only when a symbol comes, which is too late for the programs already out."""
    BRANCH_UNKNOWN = "branch_unknown"
    """Avro's."""
    AVRO = "avro"
    """Whatever else Apache Avro's checker says, in its own words."""
    CATALOGUE = "catalogue"
    """The catalogue's file and the files beside it agree."""
    SAMPLE = "sample"
    """A record of each version is kept, and read."""

    @property
    def sentence(self) -> str:
        """The rule, for people."""
        return _SENTENCES[self]


_SENTENCES = {
    Rule.FIELD_NEEDS_DEFAULT: "a field that is not in every version has a default in each version that has it",
    Rule.FIELD_RENAMED: "a field keeps its name, or gets a new one with the old one as an alias if it has a default",
    Rule.TYPE_CHANGED: "a field keeps its type, neither narrower nor wider: versions read each other both ways",
    Rule.MEANING_CHANGED: "a field keeps its logical type: the same bytes must go on meaning the same",
    Rule.TYPE_RENAMED: "a record, an enum and a fixed keep their names for ever",
    Rule.SYMBOL_NEEDS_DEFAULT: "an enum gets a new symbol only where every version of it has a default symbol",
    Rule.SYMBOL_REMOVED: "a symbol stays for ever: records that hold it stay, too",
    Rule.ENUM_NEEDS_DEFAULT: "every enum has a default symbol, which a program reads for a symbol that came after it",
    Rule.BRANCH_UNKNOWN: "a union keeps its branches: none is added and none removed",
    Rule.AVRO: "every version reads what every other version wrote (FULL_TRANSITIVE)",
    Rule.CATALOGUE: "each schema is a file <subject>/v<n>.avsc that catalogue.json lists, with an id used once and"
    " versions 1, 2, 3 ...",
    Rule.SAMPLE: "each version has a record beside it in <subject>/v<n>.sample.json that its schema reads, to the byte",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One place at which a folder of schemas breaks a rule."""

    subject: str
    """Empty where it is about the whole folder."""
    versions: tuple[int, ...]
    """The two versions that do not fit, older first; one where it is about a version alone."""
    path: str
    """The field, from the message down; empty for the whole."""
    rule: Rule
    problem: str
    instead: str
    """What to do about it."""
