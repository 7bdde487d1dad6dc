"""Bars as SVG, by hand: one panel for each number of connections."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.servers.table import Row

WIDTH, LABEL, VALUE = 800, 130, 290
BAR, GAP, HEAD, MARGIN = 18, 6, 34, 12
OURS, OTHERS = "#1f5fbf", "#9aa5b1"
_STYLE = "text{font:13px system-ui,sans-serif;fill:#222}.head{font-weight:600}"


def svg(found: Sequence[Row], title: str) -> str:
    """Return the chart: requests a second, with CPU a request and p99 beside each bar."""
    counts = sorted({row.connections for row in found if row.connections})
    parts: list[str] = [_text(MARGIN, MARGIN + 14, title, "head")]
    top = MARGIN + HEAD
    for connections in counts:
        panel = [row for row in found if row.connections == connections]
        parts += _panel(sorted(panel, key=lambda row: -row.rps), connections, top)
        top += HEAD + len(panel) * (BAR + GAP) + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" '
            f'width="{WIDTH}" height="{top}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _panel(panel: Sequence[Row], connections: int, top: int) -> list[str]:
    plural = "connection" if connections == 1 else "connections"
    parts = [_text(MARGIN, top + 14, f"{connections} {plural}: requests a second", "head")]
    most = max(row.rps for row in panel) or 1.0
    for index, row in enumerate(panel):
        y = top + HEAD - GAP + index * (BAR + GAP)
        length = max(row.rps / most * (WIDTH - LABEL - VALUE - 2 * MARGIN), 1.0)
        colour = OURS if row.server.startswith("gnomon") else OTHERS
        errors = f", {row.failed} failed" if row.failed else ""
        value = f"{row.rps:,.0f} ({row.cpu_us:,.0f} us CPU, p99 {row.p99_ms:,.1f} ms{errors})"
        parts += [
            _text(MARGIN, y + 14, row.server),
            f'<rect x="{MARGIN + LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" '
            f'fill="{colour}"/>',
            _text(MARGIN + LABEL + length + 6, y + 14, value),
        ]
    return parts


def _text(x: float, y: float, content: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(content)}</text>'
