"""Lists: bare arrays, the page and its neighbours told by headers."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import Response, jsonify, request
from marshmallow import Schema

from api.errors import InvalidRequest
from shared.domain.identities import Order, RecordPage, RecordQuery

_PAGE_SIZE = 20
#: More is cut to it.
_MOST_ON_A_PAGE = 100
_MOST_PAGES = 10**9
_LONGEST_SEARCH = 100
#: Fields that a list can be sorted by.
BY_AGE = {"createdAt": Order.NEWEST, "-createdAt": Order.NEWEST}
BY_AGE_OR_HANDLE = BY_AGE | {"handle": Order.HANDLE}
BY_ANY = BY_AGE_OR_HANDLE | {"computedAt": Order.COMPUTED, "-computedAt": Order.COMPUTED}


def listed(
    schema: Schema,
    find: Callable[[RecordQuery], RecordPage[Any]],
    orders: dict[str, Order],
    show: Callable[[Iterable[Any]], Iterable[Any]] = list,
    **filters: Any,
) -> Response:
    """Return the page of a list that the request asks for.

    Parameters
    ----------
    orders : of the field that `sort` names.
    show : makes of the records what the schema dumps.
    filters : further fields of the query for the records.

    Raises
    ------
    InvalidRequest
    """
    number = _whole("page", 1, _MOST_PAGES)
    size = min(_whole("page-size", _PAGE_SIZE, _MOST_PAGES), _MOST_ON_A_PAGE)
    query = RecordQuery(take=size, skip=(number - 1) * size, order=_order(orders), search=_search(), **filters)
    page = find(replace(query, after=_time("after"), before=_time("before")))
    response = jsonify([schema.dump(one) for one in show(page.items)])
    response.headers["Page-Total"] = str(-(-page.total // size))
    response.headers["Page-Size"] = str(size)
    response.headers["Page-Current"] = str(number)
    response.headers["Item-Total"] = str(page.total)
    return response


def _whole(name: str, default: int, most: int) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise InvalidRequest((name, f"Must be a whole number from 1 to {most}."))
    return int(text)


def _order(orders: dict[str, Order]) -> Order:
    name = request.args.get("sort")
    if name is None:
        return Order.NEWEST
    if name not in orders:
        raise InvalidRequest(("sort", f"Must be one of: {', '.join(orders)}."))
    return orders[name]


def _search() -> str | None:
    text = request.args.get("search")
    if text is not None and (len(text) > _LONGEST_SEARCH or "\0" in text):
        raise InvalidRequest(("search", f"Must have at most {_LONGEST_SEARCH} characters."))
    return text or None


def _time(name: str) -> datetime | None:
    text = request.args.get(name)
    if not text:
        return None
    try:
        # A plus sign that was not encoded arrives as a blank.
        found = datetime.fromisoformat(text.strip().replace(" ", "+"))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest((name, "Must be a time in ISO 8601: 2023-01-01T00:00:00.000000Z.")) from None
