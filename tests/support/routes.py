"""Routes of the application, told by whose form they have."""

import re

from flask import Flask

#: Blueprints that serve vendors' APIs begin so; the service's own description leaves them out.
_DIALECTS = ("spaces",)


def routes(app: Flask, *, of_dialects: bool = False) -> set[tuple[str, str]]:
    """Return (method, path) of Timbre's own routes, or of those of vendors' APIs."""
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if of_dialects == rule.endpoint.startswith(_DIALECTS)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
