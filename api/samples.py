"""Code samples: one operation's example request in curl, Python and JavaScript."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.examples import example

Json = dict[str, Any]

_UPLOAD = "recording.wav"
_DOWNLOAD = "recording"
_BINARY = "application/octet-stream"


#: Longest list or object that is shown on one line, in characters.
_LINE = 56


def json_text(body: Any, margin: str = "", indent: str = "  ") -> str:
    """Return JSON for reading: indented, with short lists and objects on one line.

    Parameters
    ----------
    margin : blanks before every line but the first.
    indent : blanks that each level adds.
    """
    short = json.dumps(body)
    if len(short) <= _LINE or not isinstance(body, dict | list):
        return short
    inner = margin + indent
    if isinstance(body, list):
        items = [json_text(item, inner, indent) for item in body]
    else:
        items = [f"{json.dumps(name)}: {json_text(value, inner, indent)}" for name, value in body.items()]
    brackets = "[]" if isinstance(body, list) else "{}"
    return f"{brackets[0]}\n{inner}" + f",\n{inner}".join(items) + f"\n{margin}{brackets[1]}"


@dataclass(frozen=True)
class Call:
    """One operation's request with example values.

    Attributes
    ----------
    method : in capitals.
    body : JSON; None when the request carries none.
    uploads, downloads : the body of the request, or of the response, is a file.
    returns_json : the response's body is JSON.
    """

    method: str
    url: str
    guarded: bool
    body: Json | None
    uploads: bool
    downloads: bool
    returns_json: bool


def samples(operation: Json, server: str, schemas: Json) -> dict[str, str]:
    """Return code that sends an operation's example request, by language.

    Parameters
    ----------
    operation : with its `path`, `method` and all `parameters`.
    server : absolute URL that paths are appended to.
    """
    call = _call(operation, server, schemas)
    return {"curl": _curl(call), "Python": _python(call), "JavaScript": _javascript(call)}


def _call(operation: Json, server: str, schemas: Json) -> Call:
    names = {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == "path"}
    values = {name: example(schema, schemas, name) for name, schema in names.items()}
    request = operation.get("requestBody", {}).get("content", {})
    success = next(one for status, one in operation["responses"].items() if status.startswith("2"))
    response = success.get("content", {})
    return Call(
        method=operation["method"].upper(),
        url=server.rstrip("/") + operation["path"].format(**values),
        guarded=operation.get("security") != [],
        body=_first_example(request.get("application/json")),
        uploads=_BINARY in request,
        downloads=_BINARY in response,
        returns_json="application/json" in response,
    )


def _first_example(media: Json | None) -> Json | None:
    return next(iter(media["examples"].values()))["value"] if media else None


def _curl(call: Call) -> str:
    lines = [f"curl {shlex.quote(call.url)}"]
    if call.guarded:
        lines.append('-H "Authorization: Bearer $SERVICE_KEY"')
    # With a file curl sends a PUT, with JSON a POST.
    usual = "PUT" if call.uploads else "GET" if call.body is None else "POST"
    if call.method != usual:
        lines.append(f"-X {call.method}")
    if call.body is not None:
        lines.append(f"--json {shlex.quote(json_text(call.body))}")
    elif call.uploads:
        lines.append(f"-T {_UPLOAD}")
    if call.downloads:
        lines.append(f"-o {_DOWNLOAD}")
    return " \\\n  ".join(lines)


def _python(call: Call) -> str:
    files = ["from pathlib import Path"] if call.uploads or call.downloads else []
    imports = [*(["import os"] if call.guarded else []), *files]
    arguments = [json.dumps(call.url), *_python_options(call), "timeout=30"]
    lines = [
        *([*imports, ""] if imports else []),
        "import requests",
        "",
        *(['key = os.environ["SERVICE_KEY"]'] if call.guarded else []),
        f"response = requests.{call.method.lower()}(",
        *(f"    {argument}," for argument in arguments),
        ")",
        "response.raise_for_status()",
        _python_result(call),
    ]
    return "\n".join(lines)


def _python_options(call: Call) -> Iterator[str]:
    if call.guarded:
        yield 'headers={"Authorization": f"Bearer {key}"}'
    if call.body is not None:
        yield "json=" + _python_literal(json_text(call.body, "    ", "    "))
    if call.uploads:
        yield f'data=Path("{_UPLOAD}").read_bytes()'


def _python_literal(text: str) -> str:
    """Return JSON as Python: only its words for true, false and null differ, outside strings."""
    words = {"true": "True", "false": "False", "null": "None"}
    return re.sub(r'"(?:\\.|[^"\\])*"|true|false|null', lambda found: words.get(found[0], found[0]), text)


def _python_result(call: Call) -> str:
    if call.downloads:
        return f'Path("{_DOWNLOAD}").write_bytes(response.content)'
    return "print(response.json())" if call.returns_json else "print(response.text)"


def _javascript(call: Call) -> str:
    options = "".join(f"  {option},\n" for option in _javascript_options(call))
    arguments = json.dumps(call.url) + (f", {{\n{options}}}" if options else "")
    lines = [
        *_javascript_imports(call),
        *(["const key = process.env.SERVICE_KEY;"] if call.guarded else []),
        f"const response = await fetch({arguments});",
        "if (!response.ok) throw new Error(await response.text());",
        _javascript_result(call),
    ]
    return "\n".join(lines)


def _javascript_imports(call: Call) -> list[str]:
    name = "readFile" if call.uploads else "writeFile"
    return [f'import {{ {name} }} from "node:fs/promises";', ""] if call.uploads or call.downloads else []


def _javascript_options(call: Call) -> Iterator[str]:
    if call.method != "GET":
        yield f"method: {json.dumps(call.method)}"
    if call.guarded:
        kind = '\n    "Content-Type": "application/json",' if call.body is not None else ""
        yield f"headers: {{\n    Authorization: `Bearer ${{key}}`,{kind}\n  }}"
    if call.body is not None:
        yield "body: JSON.stringify(" + json_text(call.body, "  ") + ")"
    if call.uploads:
        yield f'body: await readFile("{_UPLOAD}")'


def _javascript_result(call: Call) -> str:
    if call.downloads:
        return f'await writeFile("{_DOWNLOAD}", Buffer.from(await response.arrayBuffer()));'
    return f"console.log(await response.{'json' if call.returns_json else 'text'}());"
