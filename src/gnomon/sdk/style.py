"""How the run page looks: one style sheet, light and dark."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1d1b16; --soft: #6b675d; --line: #e4e0d6;
  --sun: #96600f; --sun-wash: #fdf3dc; --shade: #64748b; --shade-wash: #f1f4f8;
  --good: #2f7d4f; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15161a; --card: #1d1f25; --ink: #ece9e1; --soft: #a19d92; --line: #33353d;
    --sun: #f0b64a; --sun-wash: #332a17; --shade: #94a3b8; --shade-wash: #262b34;
    --good: #6fcf97; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem; background: var(--paper);
  color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
header { border-bottom: 3px solid var(--sun); padding-bottom: 1.2rem; }
.brand { margin: 0; color: var(--sun); font-weight: 700; letter-spacing: .14em;
  text-transform: uppercase; font-size: .8rem; }
h1 { margin: .1rem 0 .3rem; font-size: 2.2rem; line-height: 1.15; overflow-wrap: anywhere; }
h2 { margin: 2.4rem 0 .8rem; font-size: 1.3rem; }
h3 { margin: 0; font-size: 1.05rem; }
.lead { margin: 0 0 1rem; color: var(--soft); max-width: 46rem; }
small { color: var(--soft); font-weight: 400; font-size: .82em; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.1rem 1.3rem; margin-bottom: 1rem; }
svg { display: block; width: 100%; height: auto; max-width: 48rem; margin: 0 auto; }
svg rect { fill: var(--card); stroke: var(--line); stroke-width: 1.5; }
svg text { fill: var(--ink); font-size: 15px; font-weight: 600; text-anchor: middle; }
svg .role { fill: var(--soft); font-size: 11.5px; font-weight: 400; }
svg .champion rect { fill: var(--sun-wash); stroke: var(--sun); stroke-width: 2; }
svg .challenger rect { fill: var(--shade-wash); stroke: var(--shade); stroke-dasharray: 5 4; }
svg path { fill: none; }
svg .lit { stroke: var(--sun); stroke-width: 2.2; }
svg .shade { stroke: var(--shade); stroke-width: 1.4; stroke-dasharray: 4 4; opacity: .8; }
svg .head { stroke-dasharray: none; }
pre { margin: .4rem 0 0; padding: .8rem 1rem; border-radius: 8px; background: var(--shade-wash);
  white-space: pre-wrap; overflow-wrap: anywhere; }
pre, .id, .input, .output, td.number, details > div {
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .83rem; }
.id { margin: 0 0 .7rem; color: var(--soft); }
.input { margin-bottom: .8rem; overflow-wrap: anywhere; }
.input > span { color: var(--soft); margin-right: .5rem; }
.input details, .output details { display: inline-block; vertical-align: top; max-width: 100%; }
details > div { margin: .4rem 0; padding: .6rem .8rem; border-radius: 8px;
  background: var(--shade-wash); }
summary { cursor: pointer; }
.rows summary { color: var(--soft); margin-top: .9rem; }
table { border-collapse: collapse; width: 100%; }
th { color: var(--soft); font-weight: 600; font-size: .82rem; }
th, td { padding: .5rem .7rem .5rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
tr:last-child td, tbody tr:last-child th { border-bottom: 0; }
.facts th { width: 9rem; padding-right: 1rem; }
.facts td { overflow-wrap: anywhere; }
.models { table-layout: fixed; }
.models th:nth-child(1) { width: 30%; }
.models th:nth-child(3) { width: 6.5rem; }
.models th:nth-child(4) { width: 14.5rem; }
.models td:first-child { overflow-wrap: anywhere; font-weight: 600;
  border-left: 3px solid var(--shade); padding-left: .8rem; }
.models .champion td:first-child { border-left-color: var(--sun); }
.models th:first-child { padding-left: calc(.8rem + 3px); }
.models td small { display: block; }
.status { padding: .1rem .55rem; border-radius: 99px; font-size: .8rem; font-weight: 600;
  border: 1px solid currentColor; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.open { color: var(--soft); }
.elapsed { white-space: nowrap; }
.output { overflow-wrap: anywhere; }
.output summary { white-space: normal !important; }
.bar { display: inline-block; width: 8rem; height: .6rem; border-radius: 99px;
  background: var(--shade-wash); margin-right: .6rem; overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 99px; background: var(--shade); }
.champion .bar i { background: var(--sun); }
.rows table { width: auto; min-width: 40%; }
.rows th.champion { color: var(--sun); }
.number { text-align: right; font-variant-numeric: tabular-nums; padding-left: 1.5rem; }
.shadow-log { overflow-x: auto; }
.shadow-log table { font-size: .86rem; background: var(--card); }
.shadow-log td { padding: .45rem .7rem; border: 1px solid var(--line) !important; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
@media (max-width: 46rem) {
  body { padding: 1.5rem 1rem 3rem; }
  .card { overflow-x: auto; }
  .models { min-width: 42rem; }
}
"""
