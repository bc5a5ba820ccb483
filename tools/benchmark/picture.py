# SPDX-License-Identifier: Apache-2.0
"""A picture of the ratios: CPU of every pair over the best peer's, logarithmic."""
import math

COLOURS = {"heddle": "#c0392b", "peer": "#2c6fbb", "floor": "#888888"}
LEFT, WIDTH, LINE, RIGHT = 330, 760, 20, 170
LOW, HIGH = .05, 20


def place(value):
    part = (math.log(value) - math.log(LOW)) / (math.log(HIGH) - math.log(LOW))
    return LEFT + WIDTH * min(1, max(0, part))


def row(entry, y):
    ratio = entry["ratio_to_best_peer"]
    colour = COLOURS[entry["kind"]]
    low, middle, high = (place(ratio[key]) for key in ("low", "median", "high"))
    weight = ' font-weight="bold"' if entry["kind"] == "heddle" else ""
    return [f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end" fill="{colour}"{weight}>{entry["pair"]}</text>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>',
            f'<circle cx="{middle:.1f}" cy="{y}" r="5" fill="{colour}"/>',
            f'<text x="{LEFT + WIDTH + 12}" y="{y + 4}">{ratio["median"]:.2f}  {ratio["low"]:.2f}-{ratio["high"]:.2f}</text>']


def draw(summary, titles):
    """SVG text; `titles` are the workloads' in the order of the picture."""
    parts = []
    y = 60
    for workload, title in titles.items():
        entries = [entry for entry in summary if entry["workload"] == workload and entry.get("ratio_to_best_peer")]
        if not entries:
            continue
        parts.append(f'<text x="10" y="{y + 4}" font-weight="bold">{title}</text>')
        y += LINE
        for entry in entries:
            parts += row(entry, y)
            y += LINE
        y += LINE // 2
    grid = []
    for value in (.05, .1, .2, .5, .75, 1, 2, 5, 10, 20):
        x = place(value)
        colour = "#333333" if value == 1 else "#dddddd"
        grid += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="44" y2="{y}" stroke="{colour}"/>',
                 f'<text x="{x:.1f}" y="40" text-anchor="middle">{value:g}</text>']
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{y + 10}" '
            'font-family="sans-serif" font-size="13">', '<rect width="100%" height="100%" fill="white"/>',
            '<text x="10" y="20" font-size="15">CPU of both proxies per request, over the best packaged peer\'s in the same '
            'round (median and range; left is better)</text>']
    return "\n".join(head + grid + parts + ["</svg>", ""])
