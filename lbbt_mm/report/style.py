"""How the page looks: on a phone, on a desk, in print, by day and by night."""

from __future__ import annotations

from lbbt_mm.report.maps import CLASS_COLOURS, NIGHT_COLOURS

# Okabe and Ito's colours, told apart by people who see few colours; language and
# scratch are the same two everywhere. At night the lighter ones of the same set.
COLOURS = {
    "language": ("#0072b2", "#56b4e9"),
    "scratch": ("#c04f00", "#f0a13a"),
    "rotation": ("#007d5c", "#2fc79a"),
    "simclr": ("#a8487f", "#e08fbd"),
    "mae": ("#6b6b00", "#e5dc4a"),
    "other": ("#555555", "#b5b5b5"),
}
_LIGHT = {
    "page": "#ffffff",
    "ink": "#1c1c1e",
    "soft": "#5a5a60",
    "hair": "#dcdce0",
    "panel": "#f6f6f7",
    "tint": "rgba(120,120,140,.09)",
    "shade": "rgba(0,0,0,.28)",
    "warn": "#8a4b00",
    "warn-page": "#fff6e6",
}
_DARK = {
    "page": "#17181a",
    "ink": "#e8e8ea",
    "soft": "#a6a6ad",
    "hair": "#36373b",
    "panel": "#202124",
    "tint": "rgba(160,160,180,.1)",
    "shade": "rgba(255,255,255,.3)",
    "warn": "#f2c078",
    "warn-page": "#2c2417",
}


def _variables(names: dict[str, str], night: bool) -> str:
    classes = NIGHT_COLOURS if night else CLASS_COLOURS
    pairs = {**names, **{k: v[night] for k, v in COLOURS.items()}}
    pairs |= {f"k{place}": colour for place, colour in enumerate(classes)}
    return "".join(f"--{name}:{value};" for name, value in pairs.items())


SCHEMES = (
    f":root{{color-scheme:light dark;{_variables(_LIGHT, False)}}}\n"
    f"@media screen and (prefers-color-scheme:dark){{:root{{"
    f"{_variables(_DARK, True)}}}}}\n"
)
CHART = (
    """
svg text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .label { fill: var(--ink); }
svg .value { fill: var(--ink); font-weight: 600; }
svg .note { font-style: italic; }
svg .grid { stroke: var(--hair); fill: none; }
svg .axis { stroke: var(--soft); fill: none; }
svg .frame { stroke: var(--hair); fill: none; }
svg .rule { stroke: var(--soft); stroke-dasharray: 2 3; fill: none; }
svg .whisker { stroke: var(--ink); stroke-width: 1.5; fill: none; }
svg .centre { stroke: #fff; stroke-width: 2; fill: none; }
svg .patch { stroke: #fff; stroke-opacity: .35; stroke-width: .5; }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .bar { stroke-width: 1.5; }
svg .bar.hollow { fill-opacity: .18; stroke-dasharray: 4 2; }
svg .mark { stroke-width: 1.5; }
svg .mark.open { fill: var(--page); }
svg .over { stroke: var(--page); stroke-width: 3px; paint-order: stroke; }
svg .dots { fill: none; stroke-width: 3.6; opacity: .85; }
"""
    + "".join(
        f"svg .c-{name}{{stroke:var(--{name})}}"
        f"svg .bar.c-{name},svg .mark.c-{name}:not(.open){{fill:var(--{name})}}\n"
        for name in COLOURS
    )
    + "".join(
        f"svg .k{number}{{stroke:var(--k{number})}}\n"
        for number in range(len(CLASS_COLOURS))
    )
)
PAGE = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem;
  background: var(--page); color: var(--ink); line-height: 1.55;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1, h2, h3 { line-height: 1.2; text-wrap: balance; font-weight: 650; }
h1 { font-size: clamp(1.5rem, 1.1rem + 2vw, 2.2rem); margin: .5rem 0; }
h2 { font-size: 1.4rem; margin: 3.2rem 0 .8rem; padding-top: .8rem;
  border-top: 1px solid var(--hair); }
h3 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; }
h4 { font-size: 1rem; margin: 1.4rem 0 .2rem; font-weight: 600; }
p, li { max-width: 44rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; }
a { color: var(--language); }
.made, .paper, .legend, figcaption, caption, .measured { color: var(--soft);
  font-size: .9rem; }
.paper { border-left: 3px solid var(--hair); padding-left: .8rem; }
nav ul { list-style: none; padding: 0; margin: 1rem 0; display: flex;
  flex-wrap: wrap; gap: .2rem 1.1rem; }
.jump { list-style: none; padding: 0; margin: .8rem 0; columns: 22rem 2;
  font-size: .92rem; }
.jump li { padding: .12rem 0; }
nav a { display: inline-block; padding: .25rem 0; text-decoration-thickness: 1px;
  text-underline-offset: 3px; }
figure { margin: 1rem 0 1.5rem; }
.panels { display: grid; gap: 1.2rem 1.6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19.5rem), 1fr)); }
.panels.maps { gap: 1rem .8rem;
  grid-template-columns: repeat(auto-fill, minmax(9.4rem, 1fr)); }
.maps .panel { max-width: 15rem; }
.panel { min-width: 0; max-width: 26rem; break-inside: avoid; display: grid;
  grid-row: span 2; grid-template-rows: subgrid; row-gap: .3rem; align-items: start; }
.panel svg { display: block; width: 100%; height: auto; }
.panel-title { font-size: .95rem; font-weight: 600; margin: 0;
  line-height: 1.3; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .15rem 1.2rem;
  padding: 0; margin: .7rem 0; }
.legend svg { width: 34px; height: 14px; vertical-align: -2px; margin-right: .4rem; }
.legend i { display: inline-block; width: 1rem; height: .8rem; margin-right: .35rem;
  border: 1px solid var(--hair); vertical-align: -1px; }
.scroll { overflow-x: auto; margin: 1.4rem 0;  /* a shadow where more is hidden */
  background: linear-gradient(to right, var(--page) 40%, transparent) left,
    linear-gradient(to left, var(--page) 40%, transparent) right,
    linear-gradient(to right, var(--shade), transparent) left,
    linear-gradient(to left, var(--shade), transparent) right;
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll;
  background-size: 2.5rem 100%, 2.5rem 100%, .9rem 100%, .9rem 100%; }
table { border-collapse: collapse; font-size: .92rem; min-width: min(100%, 28rem);
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .5rem; }
caption span { display: inline-block; position: sticky; left: 0;
  max-width: min(44rem, calc(100vw - 2.2rem)); }
th, td { padding: .32rem .7rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--hair); }
th:first-child, td:first-child { padding-left: 0; }
tbody th { min-width: 8.5rem; position: sticky; left: 0; background: var(--page); }
td { white-space: nowrap; }
.words td { white-space: normal; min-width: 4.5rem; }
tbody th { font-weight: 400; text-align: left; }
thead th[scope=colgroup] { text-align: center; border-bottom: none;
  border-left: 6px solid var(--page); min-width: 12rem; }
tbody + tbody, thead td { border-bottom: none; }
thead th { font-weight: 600; vertical-align: bottom; min-width: 5rem;
  border-bottom: 1.5px solid var(--soft); }
thead th:first-child, .words td, .words th { text-align: left; }
.theirs { color: var(--soft); background: var(--tint); }
td.theirs { font-style: italic; }
.gap { border: 1px dashed var(--warn); background: var(--warn-page);
  padding: .6rem .9rem; margin: 1rem 0; border-radius: 4px; max-width: 46rem; }
.gap p { margin: .2rem 0; }
.gap pre { background: none; padding: .2rem 0; }
.gap strong, .warn { color: var(--warn); }
pre { background: var(--panel); padding: .6rem .8rem; margin: .4rem 0;
  border-radius: 4px; font: .82rem/1.5 ui-monospace, Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
code { font: .88em ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
summary { cursor: pointer; padding: .3rem 0; }
@media (max-width: 30rem) { body { padding: 1rem .9rem 3rem; }
  th, td { padding: .3rem .5rem; } table { font-size: .86rem; } }
@media print { html { font-size: 9.5pt; } body { max-width: none; padding: 0; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  nav, .jump, details:not([open]) { display: none; }
  .scroll { overflow: visible; background: none; } tbody th { position: static; }
  h2, h3, h4, .paper, .measured { break-after: avoid; }
  tr, .gap, .legend, .paper { break-inside: avoid; } figcaption { break-before: avoid; }
  h2 { margin-top: 2rem; } figure { margin: .6rem 0 1rem; }
  table { font-size: 7.5pt; min-width: 0; } th, td { padding: .15rem .3rem; }
  td { white-space: normal; } td, th[scope] { min-width: 0 !important; }
  .panels { grid-template-columns: repeat(3, 1fr); gap: .8rem 1.2rem; }
  .panels.maps { grid-template-columns: repeat(6, 1fr); }
  .maps .panel-title { font-size: .75rem; } .gap { background: none; } }
"""
