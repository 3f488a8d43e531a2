from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from broker.transport.slots import claim_slot

_HOLD = """
import sys, time
from pathlib import Path
from broker.transport.slots import claim_slot
slot = claim_slot(Path(sys.argv[1]), "router")
print(slot.instance, flush=True)
sys.stdin.read()
"""


def test_the_lowest_free_place_is_taken(tmp_path: Path) -> None:
    """Each kind counts by itself, and a place that was left is the next one taken."""
    first, second = claim_slot(tmp_path, "router"), claim_slot(tmp_path, "router")
    with claim_slot(tmp_path, "tracker") as other:
        assert [slot.instance for slot in (first, second, other)] == ["router-0", "router-1", "tracker-0"]

    first.release()

    with claim_slot(tmp_path, "router") as again:
        assert again.instance == "router-0"
    second.release()


def test_a_killed_process_leaves_its_place_to_its_replacement(tmp_path: Path) -> None:
    """SIGKILL frees a place at once: the kernel holds the lock, not a file's presence."""
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "router-0\n"
        with claim_slot(tmp_path, "router") as beside:
            assert beside.instance == "router-1"
        holder.kill()
        holder.wait()

    with claim_slot(tmp_path, "router") as replacement:
        assert replacement.instance == "router-0"
