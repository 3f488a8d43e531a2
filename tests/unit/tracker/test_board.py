from __future__ import annotations

import io

from rich.console import Console

from consumers.tracker.board import BoardRow, board_json, board_table, total

ROWS = [
    BoardRow(region="africa", messages=2, due=1200, received=1190, accepted=30, actioned=20, declined=4, purged=3),
    BoardRow(region="europe", messages=1, due=50, received=50, accepted=5, actioned=0, declined=1, purged=0),
]


def test_outstanding_is_what_is_due_and_unheard() -> None:
    """Outstanding is due less received, in each row and in the total."""
    assert [row.outstanding for row in ROWS] == [10, 0]
    assert total(ROWS) == BoardRow(
        region="total", messages=3, due=1250, received=1240, accepted=35, actioned=20, declined=5, purged=3
    )
    assert board_json(ROWS)[0] == {
        "region": "africa",
        "messages": 2,
        "due": 1200,
        "received": 1190,
        "accepted": 30,
        "actioned": 20,
        "declined": 4,
        "purged": 3,
        "outstanding": 10,
    }


def test_table_is_plain_text_where_no_terminal_is() -> None:
    """Every number of the board stands in its line, the total under them."""
    out = io.StringIO()

    Console(file=out, width=120).print(board_table(ROWS))

    lines = [line.replace("│", " ").replace("┃", " ").split() for line in out.getvalue().splitlines()]
    assert ["africa", "2", "1,200", "1,190", "30", "20", "4", "3", "10"] in lines
    assert ["europe", "1", "50", "50", "5", "0", "1", "0", "0"] in lines
    assert ["total", "3", "1,250", "1,240", "35", "20", "5", "3", "10"] in lines
