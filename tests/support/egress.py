"""Egress as tests call it: whole answers, and one that may reach this machine."""

from shared.domain.addresses import AddressRules, HttpUrl, InvalidAddress
from worker.egress import GET_REDIRECTS, AddressRefused, Egress

OPEN = Egress(rules=AddressRules.parse("1-65535", "127.0.0.0/8"))


def fetch(egress: Egress, url: str, *, deadline_s: float = 30.0, max_redirects: int = 3) -> tuple[int, bytes]:
    """GET an address; returns the status and the first MiB of the body."""
    try:
        target = HttpUrl.parse(url)
    except InvalidAddress as error:
        raise AddressRefused(str(error)) from None
    with egress.request(
        "GET", target, deadline_s=deadline_s, max_redirects=max_redirects, redirect_statuses=GET_REDIRECTS
    ) as answer:
        return answer.status, answer.read(1 << 20)
