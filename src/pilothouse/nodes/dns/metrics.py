"""What name serving counts, under CoreDNS' names (coredns.io/plugins/metrics).

Answers from the cache are counted where they are kept, and come here when they are dropped or somebody looks; each of them took as long as the
average of all since then.
"""

from __future__ import annotations

from pilothouse.client.metrics import Counter, Histogram, exponential, text
from pilothouse.nodes.dns.cache import Answer
from pilothouse.nodes.dns.message import COUNTED

_SIZES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3)
#: Questions that get no further than being read are of this zone.
DROPPED = "dropped"
_CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}


def code_name(code: int) -> str:
    return _CODES.get(code, str(code))


class DnsMetrics:
    """`server` is the address as CoreDNS writes it, `dns://127.0.0.1:53`."""

    def __init__(self, server: str) -> None:
        self.server = server
        labels = ("server", "zone", "view")
        self.requests = Counter("coredns_dns_requests_total", "Questions.", (*labels, "proto", "family", "type"))
        self.responses = Counter("coredns_dns_responses_total", "Answers.", (*labels, "rcode", "plugin"))
        self.signed = Counter("coredns_dns_do_requests_total", "Questions for signatures.", labels)
        self.panics = Counter("coredns_panics_total", "Questions at which the server failed.")
        self.seconds = Histogram(
            "coredns_dns_request_duration_seconds", "How long answers took.", labels, exponential(0.00025, 2, 16)
        )
        self.asked = Histogram("coredns_dns_request_size_bytes", "Sizes of questions.", (*labels, "proto"), _SIZES)
        self.told = Histogram("coredns_dns_response_size_bytes", "Sizes of answers.", (*labels, "proto"), _SIZES)
        self._hits, self._hit_seconds = 0, 0.0

    def hits(self, count: int, seconds: float) -> None:
        """So many answers from the cache took so long together."""
        self._hits += count
        self._hit_seconds += seconds

    def count_answer(self, answer: Answer) -> None:
        """An answer's hits."""
        if answer.hits:
            mean = self._hit_seconds / self._hits if self._hits else 0.0
            self.count(*answer.told, answer.asked_bytes, len(answer.orders[0]), mean, answer.hits)

    def count(self, zone: str, proto: str, type: str, code: str, asked: int, told: int, seconds: float, times: int = 1) -> None:
        where = (self.server, zone, "")
        plugin = "" if zone == DROPPED else "forward" if zone == "." else "kubernetes"
        self.requests.add(*where, proto, "1", type if type in COUNTED else "other", by=times)
        self.responses.add(*where, code, plugin, by=times)
        self.asked.observe(asked, *where, proto, times=times)
        self.told.observe(told, *where, proto, times=times)
        self.seconds.observe(seconds, *where, times=times)

    def text(self) -> str:
        self._hits, self._hit_seconds = 0, 0.0
        return text((self.requests, self.responses, self.signed, self.panics, self.seconds, self.asked, self.told))
