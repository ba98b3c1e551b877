"""Copies of requests to another pool, by a script in HAProxy: it takes the request with its body and sends it by HAProxy's own client.

The copy goes to an inner front with the mirror's pool behind it. The body has to fit one buffer (`script.BUFFER`): a longer one is not copied.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.dataplane.haproxy.script import METHOD
from pilothouse.dataplane.haproxy.sections import Sections
from pilothouse.dataplane.haproxy.text import identifier
from pilothouse.dataplane.model import Mirror


def lines(mirrors: Sequence[Mirror], sections: Sections) -> list[str]:
    """For a backend, after the changes of its request."""
    made = []
    for mirror in mirrors:
        if not mirror.pool or mirror.numerator <= 0:
            continue
        copy = f"http-request lua.mirror unix@{_front(mirror.pool, sections)}"
        chance = f" if {{ rand({mirror.denominator}) lt {mirror.numerator} }}" if mirror.numerator < mirror.denominator else ""
        made.append(copy + chance)
    if made:
        sections.mirrors = True
        made.insert(
            0,
            "http-request wait-for-body time 1h if { req.hdr_cnt(content-length) gt 0 } or { req.hdr_cnt(transfer-encoding) gt 0 }",
        )
    return made


def _front(pool: str, sections: Sections) -> str:
    """The socket of the inner front for a pool."""
    name = identifier("i_", pool)
    path = f"{sections.folder}/{name}"
    sections.frontends[name] = [
        f"bind unix@{path} mode 600",
        f"http-request set-method %[req.hdr({METHOD})]",
        f"http-request del-header {METHOD}",
        f"default_backend {sections.to_pool('c_', ['retries 3'], pool)}",
    ]
    return path
