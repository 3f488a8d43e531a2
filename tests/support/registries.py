"""A schema registry that can be written to, in memory, as Confluent's protocol says: no code of ours.

It numbers schemas by itself, from 7, whatever their subject, and looks at no compatibility.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

FIRST_ID = 7


@dataclass(kw_only=True)
class MemoryRegistry:
    """What is registered, and what was asked.

    Args:
        first_id: which number the first schema gets.
        login: user and password that it asks for, joined by a colon.
        is_strict: lets nobody set a compatibility level.
    """

    first_id: int = FIRST_ID
    login: str | None = None
    is_strict: bool = False
    texts: list[str] = field(default_factory=list)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def app(self) -> FastAPI:
        """Return the application that answers from this."""
        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
        async def answer(path: str, request: Request) -> JSONResponse:
            self.asked.append(f"{request.method} /{path}")
            if self.login is not None:
                wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
                if request.headers.get("authorization") != wanted:
                    return _error(401, 401, "Unauthorized")
            body = json.loads(await request.body() or b"null")
            return self._answer(request.method, path.split("/"), body)

        return app

    def _answer(self, method: str, path: list[str], body: Any) -> JSONResponse:
        match method, path:
            case "GET", ["schemas", "ids", wanted]:
                at = int(wanted) - self.first_id
                if 0 <= at < len(self.texts):
                    return JSONResponse({"schema": self.texts[at]})
                return _error(404, 40403, "Schema not found")
            case "POST", ["subjects", name, "versions"]:
                text = json.dumps(json.loads(body["schema"]))
                if text not in self.texts:
                    self.texts.append(text)
                number = self.texts.index(text) + self.first_id
                versions = self.subjects.setdefault(name, [])
                if number not in versions:
                    versions.append(number)
                return JSONResponse({"id": number})
            case "POST", ["subjects", name]:
                return self._look_up(name, json.dumps(json.loads(body["schema"])))
            case "GET", ["subjects", name, "versions", "latest"] if name in self.subjects:
                return self._said(name, self.subjects[name][-1])
            case "PUT", ["config", name] if not self.is_strict:
                self.levels[name] = body["compatibility"]
                return JSONResponse(body)
            case "PUT", ["config", _]:
                return _error(403, 40301, "Forbidden")
            case _:
                return _error(404, 404, "HTTP 404 Not Found")

    def _look_up(self, name: str, text: str) -> JSONResponse:
        if name not in self.subjects:
            return _error(404, 40401, f"Subject '{name}' not found.")
        for number in self.subjects[name]:
            if self.texts[number - self.first_id] == text:
                return self._said(name, number)
        return _error(404, 40403, "Schema not found")

    def _said(self, name: str, number: int) -> JSONResponse:
        version = self.subjects[name].index(number) + 1
        schema = self.texts[number - self.first_id]
        return JSONResponse({"subject": name, "id": number, "version": version, "schema": schema})


def _error(status: int, code: int, message: str) -> JSONResponse:
    return JSONResponse({"error_code": code, "message": message}, status_code=status)
