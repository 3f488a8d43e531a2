"""What a program that is not ours may answer."""

from __future__ import annotations

import pytest

from broker.errors import InvalidFieldError
from broker.model.receipt import DeclineReason, Stage
from consumers.bureau.answers import ANSWER_BYTES_MAX, Answer, parse_answer

ID = "0197a3c2-7b1e-7c3a-9d55-0242ac120001"


@pytest.mark.parametrize(
    ("text", "stage", "reason", "officer"),
    [
        (f'{{"id": "{ID}", "stage": "accepted"}}', Stage.ACCEPTED, None, None),
        (f'{{"id": "{ID}", "stage": "accepted", "reason": null}}\r\n', Stage.ACCEPTED, None, None),
        (
            f'{{"id": "{ID}", "stage": "declined", "reason": "not_concerned", "officer": "duty-7"}}',
            Stage.DECLINED,
            DeclineReason.NOT_CONCERNED,
            "duty-7",
        ),
        (f'\ufeff{{"id": "{ID}", "stage": "purged"}}', Stage.PURGED, None, None),
        (f'{{"id": "{ID}"}}', None, None, None),
    ],
)
def test_an_answer_is_read(text: str, stage: Stage | None, reason: DeclineReason | None, officer: str | None) -> None:
    """Stage, reason and officer are what the line says."""
    answer = parse_answer(text.encode())

    assert str(answer.id) == ID
    assert (answer.stage, answer.reason, answer.officer) == (stage, reason, officer)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b"", "answer"),
        (b"ok", "answer"),
        (b"\xff\xfe", "answer"),
        (b"[]", "answer"),
        (b"[" * 60_000, "answer"),
        (b" " * (ANSWER_BYTES_MAX + 1), "answer"),
        (b'{"id": "EXAMPLE"}', "id"),
        (b'{"stage": "EXAMPLE"}', "stage"),
        (b'{"stage": "unknown"}', "message"),
        (b'{"stage": "declined"}', "message"),
        (b'{"stage": "declined", "reason": "EXAMPLE"}', "reason"),
        (b'{"stage": "accepted", "reason": "duplicate"}', "message"),
        (b'{"stage": "accepted", "error": "EXAMPLE"}', "message"),
        (b'{"stage": "accepted", "officer": "Alex EXAMPLE"}', "officer"),
        (b'{"stage": "accepted", "EXAMPLE": 1}', "answer"),
    ],
)
def test_nonsense_is_refused_by_its_field_and_not_quoted(text: bytes, field: str) -> None:
    """Whatever else stands there is named, without what the other side wrote."""
    with pytest.raises(InvalidFieldError) as caught:
        parse_answer(text)

    assert caught.value.field == field
    assert "EXAMPLE" not in str(caught.value)


def test_an_error_is_an_answer() -> None:
    """The other side can say that it has not taken a delivery."""
    assert parse_answer(b'{"error": "database is down"}') == Answer(error="database is down")
