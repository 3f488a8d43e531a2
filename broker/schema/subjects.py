"""Under which names a registry has our schemas: the catalogue's subjects, and `<topic>-value` for each topic.

The second is where serializers look by default (TopicNameStrategy). An inbox has no such name: it holds several
subjects, and whoever reads it needs the ids in the framing only.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.model.naming import DIRECTORY, REJECTED, Names, Region, acks, commands, ledger

_REGIONAL = {
    "notice": lambda region: f"notices.{region}",
    "diffusion": lambda region: f"diffusions.{region}",
    "receipts": acks,
    "ledger-entry": ledger,
    "command": commands,
}
_SINGLE = {"rejection": REJECTED, "directory-change": DIRECTORY}


def subject_names(subjects: Iterable[str], *, prefix: str = "") -> dict[str, str]:
    """Return every name, and which subject of the catalogue it stands for.

    Args:
        subjects: of the catalogue.
        prefix: of the installation's topics; no name of the catalogue's own has it.
    """
    topics = {topic(region): subject for subject, topic in _REGIONAL.items() for region in Region}
    topics |= {topic: subject for subject, topic in _SINGLE.items()}
    names = Names(prefix)
    return {
        **{subject: subject for subject in subjects},
        **{f"{names.on_cluster(topic)}-value": topics[topic] for topic in sorted(topics)},
    }
