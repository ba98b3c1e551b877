"""/metrics under Kubernetes' own names, in Prometheus' text format. Counting costs one dictionary look-up a request."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from pilothouse.apiserver.routes import Route

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_VERBS = {"deletecollection": "DELETECOLLECTION"}


class Cell:
    """What is counted of one kind of request: answers by code, and how long they took."""

    __slots__ = ("buckets", "codes", "labels", "timed", "total")

    def __init__(self, labels: tuple[str, ...], timed: bool) -> None:
        self.labels = labels
        self.timed = timed
        self.codes: dict[int, int] = {}
        self.buckets = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, code: int, seconds: float) -> None:
        codes = self.codes
        codes[code] = codes.get(code, 0) + 1
        if self.timed:
            self.buckets[bisect_left(_BUCKETS, seconds)] += 1
            self.total += seconds


class Histogram:
    """How long things took, by labels."""

    def __init__(self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str]) -> None:
        self.name = name
        self.text = text
        self._buckets = tuple(buckets)
        self._labels = tuple(labels)
        self._found: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        counts, total = self._found.setdefault(labels, ([0] * (len(self._buckets) + 1), [0.0]))
        counts[bisect_left(self._buckets, seconds)] += 1
        total[0] += seconds

    def lines(self) -> Iterator[str]:
        """In the text format, without the header."""
        for values, (counts, total) in self._found.items():
            labels = dict(zip(self._labels, values, strict=True))
            running = 0
            for bound, count in zip((*map(str, self._buckets), "+Inf"), counts, strict=True):
                running += count
                yield _line(f"{self.name}_bucket", {**labels, "le": bound}, running)
            yield _line(f"{self.name}_sum", labels, total[0])
            yield _line(f"{self.name}_count", labels, running)


Sample = tuple[str, str, str, Iterable[tuple[dict[str, str], float]]]


class Metrics:
    """What the server counts; gauges are asked for when somebody scrapes."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, ...], Cell] = {}
        self._gauges: list[Callable[[], Iterable[Sample]]] = []
        self._histograms: dict[str, list[Histogram]] = {}

    def cell(self, route: Route) -> Cell:
        """Where requests like this one are counted."""
        scope = "resource" if route.name else "namespace" if route.namespace else "cluster" if route.resource else ""
        labels = (route.verb, route.group, route.version, route.resource, route.subresource, scope)
        found = self._cells.get(labels)
        if found is None:
            found = self._cells[labels] = Cell(labels, route.verb != "watch")
        return found

    def add_gauges(self, source: Callable[[], Iterable[Sample]]) -> None:
        """Samples (name, help, type, [(labels, value)]) that are computed when asked for."""
        self._gauges.append(source)

    def add_histogram(self, histogram: Histogram) -> None:
        """Those of one name are shown together."""
        self._histograms.setdefault(histogram.name, []).append(histogram)

    def text(self) -> bytes:
        """Everything, in the text format."""
        lines = _header("apiserver_request_total", "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.", "counter")  # fmt: skip
        for cell in self._cells.values():
            labels = {**_labels(cell.labels), "dry_run": ""}
            lines += [_line("apiserver_request_total", {**labels, "code": str(c)}, n) for c, n in cell.codes.items()]
        lines += self._duration_lines()
        for name, group in self._histograms.items():
            lines += _header(name, group[0].text, "histogram")
            for histogram in group:
                lines += histogram.lines()
        sampled: dict[str, list[str]] = {}  # by name, because several sources may count the same
        for source in self._gauges:
            for name, text, type, samples in source():
                found = sampled.setdefault(name, _header(name, text, type))
                found += [_line(name, labels, value) for labels, value in samples]
        lines += [line for found in sampled.values() for line in found]
        return ("\n".join(lines) + "\n").encode()

    def _duration_lines(self) -> list[str]:
        name = "apiserver_request_duration_seconds"
        lines = _header(name, "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.", "histogram")  # fmt: skip
        for cell in self._cells.values():
            if not cell.timed:
                continue
            labels = {**_labels(cell.labels), "dry_run": ""}
            running = 0
            for bound, count in zip((*map(str, _BUCKETS), "+Inf"), cell.buckets, strict=True):
                running += count
                lines.append(_line(f"{name}_bucket", {**labels, "le": bound}, running))
            lines.append(_line(f"{name}_sum", labels, cell.total))
            lines.append(_line(f"{name}_count", labels, running))
        return lines


def _labels(key: tuple[str, ...]) -> dict[str, str]:
    verb, group, version, resource, subresource, scope = key[:6]
    return {
        "component": "apiserver", "group": group, "resource": resource, "scope": scope, "subresource": subresource,
        "verb": verb.upper(), "version": version,
    }  # fmt: skip


def _header(name: str, text: str, type: str) -> list[str]:
    return [f"# HELP {name} [STABLE] {text}", f"# TYPE {name} {type}"]


def _line(name: str, labels: dict[str, str], value: float) -> str:
    if not labels:
        return f"{name} {value}"
    inside = ",".join(f'{k}="{_escape(v)}"' for k, v in sorted(labels.items()))
    return f"{name}{{{inside}}} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
