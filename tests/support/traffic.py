"""Messages that go on for as long as a test wants, and who is to have each: written down when it is made."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from broker.model.message import Message
from tests.support.builders import a_purple_notice, a_warning_diffusion, bureaus
from tests.support.world import EIGHT

EVERYBODY = {*EIGHT}
OWNERS = ("zw", "ke", "ng", "fr", "de", "br", "jp")


@dataclass
class Sent:
    """What was published, and who is to have it: written down when it is made, not asked of the program."""

    expected: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Bureau to message ids, in no order across notices."""
    order: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Notice number to message ids, in the order of publication."""

    def note(self, message: Message, *, to: set[str]) -> None:
        """Note a message, and to whom it goes (design section 2)."""
        self.order[message.number].append(str(message.message_id))
        for bureau in to:
            self.expected[bureau].append(str(message.message_id))


def story(owner: str, serial: int) -> list[tuple[Message, set[str]]]:
    """Return ten messages of a notice and of a diffusion of one owner, and who is given each.

    A request goes to the Secretariat, what it publishes to every member (the owner's copy included, the issuer
    excepted); a diffusion to whom it names, and what its owner signs comes back as an outcome only.
    """
    notice, diffusion = f"{owner}-n-2026-{serial:06d}", f"{owner}-d-2026-{serial:06d}"
    named = {"ke", "fr", "jp"}
    to_named = named - {owner}
    steps: list[tuple[Message, set[str]]] = [
        (a_purple_notice(owner=owner, number=notice, event="requested"), {"ipsg"}),
        (a_warning_diffusion(owner=owner, number=diffusion, circulation=bureaus(*named)), to_named),
        (a_purple_notice(owner=owner, number=notice, event="published"), EVERYBODY),
    ]
    for revision in (2, 3, 4):
        revised = a_purple_notice(owner=owner, number=notice, event="revised", revision=revision)
        again = a_warning_diffusion(
            owner=owner, number=diffusion, event="revised", revision=revision, circulation=bureaus(*named)
        )
        steps += [(revised, EVERYBODY), (again, to_named)]
    end = a_purple_notice(owner=owner, number=notice, event="cancelled", revision=4)
    # `ipsg` signs the end and hears its outcome; everybody else who ever held the notice is given it.
    return [*steps, (end, EVERYBODY)]
