"""A decision as a picture: nodes by score, a bar each with a part for each plugin; filtered nodes below, greyed, by reason. SVG, no library."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape, quoteattr

Obj = dict[str, Any]

#: Of the finalists so many get a bar; of the filtered ones so many a square a reason.
BARS, SQUARES = 40, 400
WIDTH, LEFT, BAR, ROW = 960, 220, 640, 20
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0")
GREY, DARK = "#d5d5d5", "#333333"


class _Page:
    """Lines of SVG from top to bottom."""

    def __init__(self) -> None:
        self.y = 28
        self._parts: list[str] = []

    def text(self, x: float, text: str, size: int = 12, anchor: str = "start", weight: str = "normal") -> None:
        self._parts.append(
            f'<text x="{x:g}" y="{self.y}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
        )

    def box(self, x: float, width: float, height: float, colour: str, title: str, stroke: str = "none") -> None:
        self._parts.append(
            f'<rect x="{x:g}" y="{self.y - height + 3:g}" width="{width:g}" height="{height:g}" fill="{colour}" stroke="{stroke}">'
            f"<title>{escape(title)}</title></rect>"
        )

    def svg(self, label: str) -> str:
        height = self.y + 16
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label={quoteattr(label)} font-family="system-ui, sans-serif" fill="{DARK}">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(self._parts) + "\n</svg>\n"
        )


def picture(obj: Obj) -> str:
    """The SVG document of a SchedulingDecision."""
    status, meta = obj["status"], obj["metadata"]
    page = _Page()
    where = status.get("nodeName") or f"no node ({status['result']})"
    title = f"{meta['namespace']}/{meta['name']}: {where}"
    page.text(16, title, 18, weight="bold")
    page.y += 22
    page.text(16, f"{status['nodes']['feasible']} of {status['nodes']['total']} nodes could run it")
    if status.get("scores"):
        _bars(page, status["scores"], status.get("nodeName", ""))
    elif status.get("nodeName"):
        page.y += ROW + 8
        page.text(LEFT - 8, status["nodeName"], anchor="end", weight="bold")
        page.box(LEFT, BAR, 14, COLOURS[0], "the only node that could run it", DARK)
    for verdict in status["filters"]:
        _greyed(page, verdict)
    return page.svg(title)


def _bars(page: _Page, ranked: list[Obj], chosen: str) -> None:
    plugins = list(ranked[0]["plugins"])
    colours = {p: COLOURS[i % len(COLOURS)] for i, p in enumerate(plugins)}
    page.y += 24
    x = 16.0
    for plugin in plugins:
        if x > WIDTH - 200:
            x, page.y = 16.0, page.y + 18
        page.box(x, 12, 12, colours[plugin], plugin)
        page.text(x + 16, plugin, 11)
        x += 30 + 6.4 * len(plugin)
    page.y += 8
    scale = BAR / max(1, ranked[0]["total"])
    for r in ranked[:BARS]:
        page.y += ROW
        mine = r["node"] == chosen
        page.text(LEFT - 8, r["node"], anchor="end", weight="bold" if mine else "normal")
        x = float(LEFT)
        for plugin, score in r["plugins"].items():
            page.box(x, score * scale, 14, colours[plugin], f"{r['node']}: {plugin} {score}", DARK if mine else "none")
            x += score * scale
        page.text(x + 6, str(r["total"]), 11, weight="bold" if mine else "normal")
    if len(ranked) > BARS:
        page.y += ROW
        page.text(LEFT, f"and {len(ranked) - BARS} more, down to {ranked[-1]['total']}", 11)


def _greyed(page: _Page, verdict: Obj) -> None:
    names = verdict.get("nodes", [])
    page.y += 30
    page.text(16, f"{verdict['removed']} × {verdict['reason']}  ({verdict['plugin']})", weight="bold")
    per_line = (WIDTH - 32) // 14
    for i, name in enumerate(names[:SQUARES]):
        if i % per_line == 0:
            page.y += 16
        page.box(16 + 14 * (i % per_line), 11, 11, GREY, name)
    if len(names) > SQUARES:
        page.y += 18
        page.text(16, f"and {len(names) - SQUARES} more", 11)
