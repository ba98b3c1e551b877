"""What is counted, in the text format."""

from __future__ import annotations

from pilothouse.client.metrics import Counter, Gauge, Histogram, exponential, text


def test_counters_gauges_and_histograms_are_written() -> None:
    asked = Counter("asked_total", "How often.", ("who",))
    asked.add('o"k')
    asked.add('o"k', by=2)
    waiting = Gauge("waiting", "How many.", ("queue",), lambda: [(("active",), 3)])
    took = Histogram("took_seconds", "How long.", (), exponential(1, 2, 2))
    for seconds in (0.5, 1, 1.5, 9):
        took.observe(seconds)
    assert text([asked, waiting, took]).splitlines() == [
        "# HELP asked_total How often.",
        "# TYPE asked_total counter",
        r'asked_total{who="o\"k"} 3',
        "# HELP waiting How many.",
        "# TYPE waiting gauge",
        'waiting{queue="active"} 3',
        "# HELP took_seconds How long.",
        "# TYPE took_seconds histogram",
        'took_seconds_bucket{le="1"} 2',
        'took_seconds_bucket{le="2"} 3',
        'took_seconds_bucket{le="+Inf"} 4',
        "took_seconds_sum 12",
        "took_seconds_count 4",
    ]
