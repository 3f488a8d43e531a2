"""What does one message cost the router's CPU, step by step?

A red notice to all, which 226 bureaus may see: from the record on the feed to the records of the transaction. The unit
is the Ed25519 verification of its signature, which no router can do without: figures of two machines, or of a busy and
an idle one, are compared by that column. Steps within a step are indented, and counted in the step above them; they
sum to less, because a step that runs alone finds the processor's caches warm, and because small ones are not shown.

Example: python bench/routing.py --notices 200 --rounds 9
"""

from __future__ import annotations

import cProfile
import pstats
from functools import partial
from hashlib import sha256

from bench.material import AT, INSTALLATION, SHARD, World
from bench.measure import Work, arguments, cpu_us, progress, table
from broker.model import rules
from broker.model.message import Message
from broker.model.notice import Notice
from broker.transport.fanout import plan
from broker.transport.headers import parse_headers
from broker.trust.candidates import candidates
from broker.trust.signing import RecordKind, verify
from consumers.router.decide import decide
from consumers.router.examine import examine
from consumers.router.letters import Scribe
from consumers.router.life import NoticeState, Phase
from consumers.router.memory import Memory
from consumers.router.settle import Settled, Settler

UNIT = "    verify (Ed25519)"

SETTLE, WRITE, PLAN = "settle, of which", "write, of which", "batches: plan, encode, compress (zstd)"
"""The three that follow each other, and together are the whole."""

RECORD_BYTES_MAX = 1_065_536
"""What an inbox takes, by default."""


class Poll:
    """One poll's records, and each step of what the router does with them."""

    def __init__(self, count: int) -> None:
        self.world = World()
        notices = self.world.notices(count)
        self.records = self.world.arrived(notices)
        self.signatures = [parse_headers(record.headers).signature for record in self.records]
        self.messages: list[Message] = list(notices)
        self.directory, self.codec = self.world.directory, self.world.codec
        self.settler = Settler(directory=self.directory, codec=self.codec, installation=INSTALLATION)
        self.scribe = Scribe(
            shard=SHARD, codec=self.codec, installation=INSTALLATION, signer=self.world.signers["broker"]
        )
        requested = NoticeState(Phase.REQUESTED, 0, frozenset({"zw", "ipsg"}))
        self.memory = Memory.empty(SHARD)
        self.memory.notices |= {notice.number: requested for notice in notices}
        self.settled = self.settle()
        self.writes = self.scribe.write(self.settled)

    def settle(self) -> list[Settled]:
        """Settle the poll against a fresh draft of the memory."""
        return self.settler.settle_all(self.records, self.memory.draft())

    def steps(self) -> dict[str, Work]:
        """Return each step as work on the whole poll; sub-steps below the step that holds them."""
        past = self.memory.notice(self.messages[0].number)
        key = self.world.signers["ipsg"].public
        examining = partial(examine, directory=self.directory, codec=self.codec, installation=INSTALLATION)
        return {
            SETTLE: self.settle,
            "  examine, of which": lambda: [examining(record) for record in self.records],
            "    headers": lambda: [parse_headers(record.headers) for record in self.records],
            "    decode": lambda: [self.codec.decode(record.value or b"", Notice) for record in self.records],
            UNIT: lambda: self._verify(key),
            "    rules of the domain": self._check_rules,
            "  digest (SHA-256)": lambda: [sha256(record.value or b"").digest() for record in self.records],
            "  decide, of which": lambda: [decide(message, self.directory, past) for message in self.messages],
            "    candidates": lambda: [candidates(message, self.directory) for message in self.messages],
            WRITE: lambda: self.scribe.write(self.settled),
            "  outcomes: encode": lambda: [self.codec.encode(said) for one in self.settled for said in one.outcomes],
            "  outcomes: sign": self._sign_outcomes,
            "  entry: encode": lambda: [self.codec.encode(one.entry) for one in self.settled],
            PLAN: lambda: plan(self.writes, limit_bytes=RECORD_BYTES_MAX),
        }

    def _verify(self, public: bytes) -> None:
        for record, signature in zip(self.records, self.signatures, strict=True):
            if not verify(public, signature, RecordKind.MESSAGE, INSTALLATION, record.value or b""):
                raise ValueError(record.origin)

    def _check_rules(self) -> None:
        for message in self.messages:
            rules.check(message, today=AT.date())

    def _sign_outcomes(self) -> None:
        for one in self.settled:
            for said in one.outcomes:
                self.scribe.signer.sign(RecordKind.BROKER, INSTALLATION, said.digest)


def main() -> None:
    """Measure, and print a line a step."""
    parser = arguments(__doc__)
    parser.add_argument("--notices", type=int, default=100, help="in one poll (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="afterwards, show where settling and writing spend it")
    asked = parser.parse_args()
    progress(f"making {asked.notices} signed notices and 226 bureaus")
    poll = Poll(asked.notices)
    found = cpu_us(poll.steps(), each=asked.notices, rounds=asked.rounds)
    whole = sum(found[step] for step in (SETTLE, WRITE, PLAN))
    given = len(poll.settled[0].delivered)
    size = len(poll.records[0].value or b"")
    print(
        f"One notice of {size} bytes, given to {given} bureaus; {asked.notices} a poll. CPU, median of {asked.rounds}."
    )
    rows = [(step, f"{us:.1f}", f"{us / found[UNIT]:.2f}") for step, us in found.items()]
    table(("step", "µs", "verifies"), [*rows, ("in all", f"{whole:.1f}", f"{whole / found[UNIT]:.2f}")])
    print(f"For each of the {given} deliveries: {whole / given:.2f} µs, before anything is sent.")
    if asked.profile:
        _profile(poll)


def _profile(poll: Poll) -> None:
    profile = cProfile.Profile()
    profile.runcall(lambda: poll.scribe.write(poll.settle()))
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
