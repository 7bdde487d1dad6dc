"""What stands in a line of text: pictures of how requests ended and how long they took.

They are HTML with styles of its own, without script; the colours read on light and on dark.
"""

from __future__ import annotations

from collections.abc import Mapping

from gnomon.core.stats import OUTCOMES
from gnomon.sdk.html import Html, cell

COLOURS = {
    "ok": "#2e9e6b",
    "error": "#c8433a",
    "timeout": "#d9772b",
    "dropped": "#b8912a",
    "schema": "#8a63c9",
    "skipped": "#8d9aa8",
    "lost": "#5d6770",
    "pending": "#4a90d9",
}
_BAR = "display:inline-block;height:0.8em;vertical-align:middle;border-radius:0.2em;overflow:hidden"
_GROUND = "background:rgba(128,128,128,0.22)"
_DOT = "display:inline-block;width:0.6em;height:0.6em;border-radius:50%;margin-right:0.3em"
_SLIVER_PERCENT = 1.5  # the least that can be seen


def outcomes(counts: Mapping[str, int]) -> Html:
    """Return a bar of how requests ended, each outcome as wide as its share of all of them.

    Args:
        counts: By outcome.
    """
    present = {name: counts[name] for name in OUTCOMES if counts[name]}
    total = sum(present.values())
    widths = {name: max(100 * count / total, _SLIVER_PERCENT) for name, count in present.items()}
    scale = 100 / sum(widths.values()) if widths else 1.0
    parts = "".join(
        f'<span title="{present[name]:,} {name}" style="display:inline-block;height:100%;'
        f'vertical-align:top;width:{width * scale:.2f}%;background:{COLOURS[name]}"></span>'
        for name, width in widths.items()
    )
    return Html(f'<span style="{_BAR};width:16em;{_GROUND}">{parts}</span>')


def outcomes_text(counts: Mapping[str, int]) -> Html:
    """Return how many requests had which outcome, in words with the colours of the bar."""
    words = [
        f'<span style="white-space:nowrap"><span style="{_DOT};background:{COLOURS[name]}"></span>'
        f"{counts[name]:,} {name}</span>"
        for name in OUTCOMES
        if counts[name]
    ]
    narrow = "display:inline-block;max-width:24em;white-space:normal"
    return Html(f'<span style="{narrow}">{" ".join(words) or "none yet"}</span>')


def latency(p50_ms: float | None, p99_ms: float | None, slowest_ms: float) -> Html:
    """Return a bar from 0 to the p99, full up to the p50.

    Args:
        slowest_ms: What the whole width stands for.
    """
    if p50_ms is None or p99_ms is None:
        return Html("")
    full, pale = (
        100 * value / slowest_ms if slowest_ms > 0 else 0.0 for value in (p50_ms, p99_ms - p50_ms)
    )
    title = cell(f"p50 {ms_text(p50_ms)}, p99 {ms_text(p99_ms)}")
    strip = "display:inline-block;height:100%;vertical-align:top;background:#4a90d9"
    return Html(
        f'<span title="{title}" style="{_BAR};width:10em;{_GROUND}">'
        f'<span style="{strip};width:{full:.2f}%"></span>'
        f'<span style="{strip};opacity:0.45;width:{max(0.0, pale):.2f}%"></span></span>'
    )


def ms_text(value_ms: float | None) -> str:
    """Return a duration as "0.42 ms", or "-" where there is none."""
    if value_ms is None:
        return "-"
    return f"{value_ms / 1000:.3g} s" if value_ms >= 1000 else f"{value_ms:.3g} ms"


def share_text(rate: float, *, on: bool = True) -> str:
    """Return a share of requests as "25 %", or "off"."""
    return f"{rate * 100:.4g} %" if on else "off"
