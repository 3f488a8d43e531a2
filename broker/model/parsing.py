"""From what a file or a request holds to a message, or to the list of what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from broker.errors import InvalidFieldError, InvalidMessageError
from broker.model.base import new_message_id
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice

_RULES = {
    "missing": "this field has no default",
    "extra_forbidden": "only fields of the format; is it misspelt?",
    "uuid_parsing": "a UUID, as in 0197a3c2-7b1e-7c3a-9d55-0242ac120002",
    "datetime_from_date_parsing": "a moment with its time zone, as in 2026-05-01T12:00:00Z",
    "datetime_parsing": "a moment with its time zone, as in 2026-05-01T12:00:00Z",
    "date_from_datetime_parsing": "a day, as in 2026-05-01",
    "date_parsing": "a day, as in 2026-05-01",
}
_LIKE_A_FIELD = re.compile(r"[a-z][A-Za-z0-9_-]{0,39}")
_OWN_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this format",
    "uuid_parsing": "is not a UUID",  # pydantic's words quote the input
    "datetime_from_date_parsing": "is not a moment",
    "datetime_parsing": "is not a moment",
    "date_from_datetime_parsing": "is not a day",
    "date_parsing": "is not a day",
}


def parse_message(data: Mapping[str, Any]) -> Notice | Diffusion:
    """Read a message from JSON-like data: a notice if it has a `type`, a diffusion if it has a `kind`.

    Only its shape is checked (`broker.model.rules` checks the rest). A message without an id is given a new one.

    Raises:
        InvalidMessageError: names every field that is wrong, and quotes no value, because values are personal data.
    """
    if ("type" in data) == ("kind" in data):
        problem = "has both" if "type" in data else "has neither"
        rule = "a notice has a `type` (red, yellow, ...), a diffusion a `kind` (arrest, missing, ...)"
        raise InvalidMessageError([InvalidFieldError("type", problem, rule)])
    if data.get("message_id") is None:
        data = {**data, "message_id": new_message_id()}
    model = Notice if "type" in data else Diffusion
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise InvalidMessageError(shape_problems(error)) from None


def shape_problems(error: ValidationError) -> list[InvalidFieldError]:
    """Say what pydantic found in our words: the path of each field, what is wrong and the rule, without any value."""
    problems = []
    for found in error.errors(include_input=False, include_url=False):
        words = found["msg"].removeprefix("Value error, ")
        problem = _OWN_WORDS.get(found["type"], words[:1].lower() + words[1:])
        problems.append(
            InvalidFieldError(field_path(found["loc"]), problem, _RULES.get(found["type"], "what the format allows"))
        )
    return problems


def field_path(location: tuple[int | str, ...]) -> str:
    """Write where a field is: `judicial.warrants[0].issued_on`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{shown_name(step)}" if path else shown_name(step)
    return path or "message"


def shown_name(name: str) -> str:
    """Return a field's name as an error may show it.

    A stranger chose it: where it does not look like one of ours, misspelt, it may as well be a person's.
    """
    return name if _LIKE_A_FIELD.fullmatch(name) else "(a name that is not shown)"
