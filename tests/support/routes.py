"""Routes of the application, told by whose form they have."""

import re
from collections.abc import Iterator

from flask import Flask
from werkzeug.routing import Rule

#: Blueprints that serve vendors' APIs begin so; the service's own description leaves them out.
_DIALECTS = ("spaces", "enroll", "voisentry")


def rules(app: Flask, *, of_dialects: bool) -> Iterator[Rule]:
    """Yield the rules of Timbre's own routes, or those of all vendors' APIs."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith(_DIALECTS) == of_dialects:
            yield rule


def routes(app: Flask, *, dialect: str | None = None) -> set[tuple[str, str]]:
    """Return (method, path) of Timbre's own routes, or of those of a vendor's API."""
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if (rule.endpoint.startswith(dialect) if dialect else not rule.endpoint.startswith(_DIALECTS))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
