"""Warning headers: what a client did that works and should not be done, one header for each text (KEP-1693).

As with the reference: a text is said once, a text with control characters is not said at all (it could end the header), and when all together
are long, each is cut short and the last of them are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: In characters: all texts of an answer, and each of them once all of them are more than that.
MAX_ALL, MAX_ONE = 4096, 256

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def warning_headers(texts: Iterable[str]) -> list[str]:
    """The values of the headers, in order."""
    kept = [text for text in dict.fromkeys(texts) if text and not _CONTROL.search(text)]
    if sum(map(len, kept)) > MAX_ALL:
        kept = _shortened(kept)
    return [f'299 - "{_quoted(text)}"' for text in kept]


def _shortened(texts: list[str]) -> list[str]:
    out: list[str] = []
    written = 0
    for text in texts:
        if written >= MAX_ALL:
            break
        out.append(text[:MAX_ONE])
        written += len(out[-1])
    return out


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
