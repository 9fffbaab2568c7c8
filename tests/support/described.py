"""The API's own description, and whether answers keep to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import requests
from jsonschema import Draft202012Validator, FormatChecker

from tests.support.client import Json

_METHODS = ("get", "post", "put", "delete", "patch")


@dataclass(frozen=True)
class Operation:
    """A method of a path, as it is described."""

    method: str
    path: str
    body: Json

    def parameters(self, where: str) -> list[Json]:
        """Return the parameters in the path, the query or the headers."""
        return [one for one in self.body["parameters"] if one["in"] == where]

    @property
    def reads_json(self) -> bool:
        """Whether it takes a JSON body."""
        return "application/json" in self.body.get("requestBody", {}).get("content", {})


@dataclass(frozen=True)
class Description:
    """An OpenAPI 3.1 document."""

    document: Json

    @classmethod
    def of(cls, url: str) -> "Description":
        """Return the description that a running API serves."""
        return cls(requests.get(f"{url}/openapi.json", timeout=5).json())

    def operations(self) -> Iterator[Operation]:
        """Yield every operation."""
        for path, item in self.document["paths"].items():
            for method in _METHODS:
                if method in item:
                    parameters = item.get("parameters", []) + item[method].get("parameters", [])
                    yield Operation(method.upper(), path, item[method] | {"parameters": parameters})

    def operation(self, method: str, path: str) -> Operation:
        """Return one operation."""
        return next(one for one in self.operations() if (one.method, one.path) == (method, path))

    def schema(self, name: str) -> Json:
        """Return one of the named schemas."""
        found: Json = self.document["components"]["schemas"][name]
        return found

    def answers(self, operation: Operation) -> dict[str, Json]:
        """Return what an operation may answer, by status."""
        return {status: self.resolve(answer) for status, answer in operation.body["responses"].items()}

    def codes(self, operation: Operation, status: str) -> list[str]:
        """Return the codes of the errors that come with a status; none for a success."""
        schema = self.answers(operation)[status].get("content", {}).get("application/json", {}).get("schema", {})
        found: list[str] = schema["allOf"][1]["properties"]["code"]["enum"] if "allOf" in schema else []
        return found

    def resolve(self, described: Json) -> Json:
        """Follow a reference, if it is one."""
        if "$ref" not in described:
            return described
        _, kind, name = described["$ref"].removeprefix("#/").split("/")
        found: Json = self.document["components"][kind][name]
        return found

    def errors(self, schema: Json, instance: Any) -> list[str]:
        """Return what is wrong with `instance`."""
        whole = {"components": self.document["components"], **schema}
        validator = Draft202012Validator(whole, format_checker=FormatChecker())
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]

    def check(self, operation: Operation, answer: requests.Response) -> None:
        """Fail unless an answer is one of those described: status, headers, type, body."""
        answers, told = self.answers(operation), (operation.method, operation.path, answer.status_code, answer.text)
        assert str(answer.status_code) in answers, told
        described = answers[str(answer.status_code)]
        self.check_headers(described.get("headers", {}), answer.headers)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        assert any(fnmatch(kind, known) for known in described.get("content", {kind: None})), told
        if kind == "application/json":
            assert not self.errors(described["content"][kind]["schema"], answer.json()), told

    def check_headers(self, described: Json, headers: Any) -> None:
        """Fail unless required headers are there, and all are as described."""
        for name, header in ((name, self.resolve(header)) for name, header in described.items()):
            text = headers.get(name)
            assert text is not None or not header.get("required"), name
            if text is not None:
                value = int(text) if header["schema"].get("type") == "integer" else text
                assert not self.errors(header["schema"], value), name
