"""What a program that is not ours answers about a delivery: a receipt in one JSON object. Pure.

    {"id": "0197a3c2-...", "stage": "declined", "reason": "not_concerned", "officer": "duty-7"}

Whoever wrote the program is a stranger to our code: everything is bounded, and what is wrong is named by its field.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import StringConstraints, ValidationError, model_validator

from broker.errors import InvalidFieldError
from broker.model.base import Model
from broker.model.parsing import shape_problems
from broker.model.receipt import DeclineReason, Pseudonym, Stage

ANSWER_BYTES_MAX = 64 << 10
"""One answer, as text: some two hundred times what a receipt takes."""

_RULE = 'one JSON object, as in {"id": "...", "stage": "accepted"}'


class Answer(Model):
    """One answer."""

    id: UUID | None = None
    """Of the delivery that is answered."""
    stage: Stage | None = None
    """How far the other side is with it; left out, it has it and says no more."""
    reason: DeclineReason | None = None
    """Why, if it declines."""
    officer: Pseudonym | None = None
    """Who decided it, by a pseudonym; a program did, if left out."""
    error: Annotated[str, StringConstraints(max_length=2000)] | None = None
    """It was not taken: hand it over again later."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.stage is Stage.UNKNOWN or self.reason is DeclineReason.UNKNOWN:
            msg = "unknown is not for writing"
            raise ValueError(msg)
        if (self.stage is Stage.DECLINED) != (self.reason is not None):
            msg = "who declines gives a reason, and nobody else"
            raise ValueError(msg)
        if self.error is not None and self.stage is not None:
            msg = "has both a stage and an error"
            raise ValueError(msg)
        return self


def parse_answer(text: bytes) -> Answer:
    """Read an answer.

    Raises:
        InvalidFieldError: it is none; names the field, and quotes nothing.
    """
    if len(text) > ANSWER_BYTES_MAX:
        raise InvalidFieldError("answer", "is too large", f"at most {ANSWER_BYTES_MAX:,} bytes")
    try:
        value: Any = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise InvalidFieldError("answer", "is not JSON in UTF-8", _RULE) from None
    if not isinstance(value, dict):
        raise InvalidFieldError("answer", "is not an object", _RULE)
    try:
        return Answer.model_validate(value)
    except ValidationError as error:
        first = shape_problems(error)[0]
    if value.keys() - Answer.model_fields.keys():  # a name that a stranger chose is not quoted
        raise InvalidFieldError("answer", "has a field that is none of an answer's", ", ".join(Answer.model_fields))
    raise first
