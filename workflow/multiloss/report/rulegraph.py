"""The rules of the workflow as a layered drawing in SVG, without Graphviz.

Layering by longest path, order within a layer by the barycentre of the neighbours (Sugiyama,
Tagawa and Toda 1981), positions by a few rounds of pulling each node towards its neighbours.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

NODE_HEIGHT = 30
CHARACTER_WIDTH = 7.6
PADDING = 22
GAP_X = 16
GAP_Y = 34
BEND_WIDTH = 26
SWEEPS = 24


@dataclass
class _Node:
    name: str  # empty for a bend of an edge that crosses a layer
    layer: int
    width: float
    x: float = 0.0


def reduced(edges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges without those that a longer way implies, sorted; loops on one rule go.

    `edges` are pairs (rule, rule it depends on). Raises ValueError on a cycle.
    """
    needs: dict[str, set[str]] = {}
    for rule, dependency in edges:
        if rule != dependency:
            needs.setdefault(rule, set()).add(dependency)
            needs.setdefault(dependency, set())
    reach: dict[str, set[str]] = {}
    for rule in _by_dependency(needs):
        reach[rule] = set().union(*({d} | reach[d] for d in needs[rule]))
    return sorted(
        (rule, dependency)
        for rule, dependencies in needs.items()
        for dependency in dependencies
        if not any(dependency in reach[other] for other in dependencies - {dependency})
    )


def _by_dependency(needs: dict[str, set[str]]) -> list[str]:
    """Rules with those they need before them, in a fixed order."""
    done: list[str] = []
    seen: set[str] = set()
    left = sorted(needs)
    while left:
        ready = [rule for rule in left if needs[rule] <= seen]
        if not ready:
            raise ValueError(f"the rules depend on each other in a circle: {', '.join(left)}")
        done += ready
        seen.update(ready)
        left = [rule for rule in left if rule not in seen]
    return done


def _layers(edges: list[tuple[str, str]]) -> dict[str, int]:
    needs: dict[str, set[str]] = {}
    users: dict[str, set[str]] = {}
    for rule, dependency in edges:
        needs.setdefault(rule, set()).add(dependency)
        needs.setdefault(dependency, set())
        users.setdefault(dependency, set()).add(rule)
    layer: dict[str, int] = {}
    for rule in _by_dependency(needs):
        layer[rule] = 1 + max((layer[d] for d in needs[rule]), default=-1)
    for rule in sorted(layer, key=lambda name: (-layer[name], name)):
        if not needs[rule] and users.get(rule):  # a source stands next to its first user
            layer[rule] = min(layer[user] for user in users[rule]) - 1
    return layer


def draw(edges: Iterable[tuple[str, str]]) -> str:
    """SVG text of the graph, dependencies above their users; empty text without edges.

    `edges` are pairs (rule, rule it depends on). Raises ValueError on a cycle.
    """
    kept = reduced(edges)
    if not kept:
        return ""
    layer = _layers(kept)
    nodes = {
        name: _Node(name, level, len(name) * CHARACTER_WIDTH + PADDING)
        for name, level in sorted(layer.items())
    }
    above: dict[str, list[str]] = {name: [] for name in nodes}
    below: dict[str, list[str]] = {name: [] for name in nodes}
    paths: list[list[str]] = []
    for user, dependency in kept:
        chain = [dependency]
        for level in range(layer[dependency] + 1, layer[user]):
            bend = f"{dependency}>{user}@{level}"
            nodes[bend] = _Node("", level, BEND_WIDTH)
            above[bend], below[bend] = [], []
            chain.append(bend)
        chain.append(user)
        for upper, lower in zip(chain, chain[1:], strict=False):
            below[upper].append(lower)
            above[lower].append(upper)
        paths.append(chain)
    rows: list[list[str]] = [[] for _ in range(1 + max(layer.values()))]
    for key, node in nodes.items():
        rows[node.layer].append(key)
    _order(rows, above, below)
    _place(rows, nodes, above, below)
    return _svg(rows, nodes, paths)


def _order(rows: list[list[str]], above: dict[str, list[str]], below: dict[str, list[str]]) -> None:
    """Sort each row by the mean place of its neighbours; keep the order with fewest crossings."""

    def crossings() -> int:
        count = 0
        for upper, lower in zip(rows, rows[1:], strict=False):
            place = {key: index for index, key in enumerate(lower)}
            ends = [place[target] for key in upper for target in sorted(below[key], key=place.get)]
            count += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
        return count

    best = [list(row) for row in rows]
    fewest = crossings()
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        order = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for index in order:
            neighbours = above if down else below
            fixed = rows[index - 1 if down else index + 1]
            place = {key: position for position, key in enumerate(fixed)}
            own = {key: position for position, key in enumerate(rows[index])}

            def barycentre(key: str, near=neighbours, place=place, own=own) -> tuple[float, int]:
                spots = [place[other] for other in near[key] if other in place]
                return (sum(spots) / len(spots) if spots else own[key], own[key])

            rows[index].sort(key=barycentre)
        count = crossings()
        if count < fewest:
            best, fewest = [list(row) for row in rows], count
    rows[:] = best


def _place(
    rows: list[list[str]],
    nodes: dict[str, _Node],
    above: dict[str, list[str]],
    below: dict[str, list[str]],
) -> None:
    for row in rows:
        x = 0.0
        for key in row:
            nodes[key].x = x + nodes[key].width / 2
            x += nodes[key].width + GAP_X
        for key in row:
            nodes[key].x -= x / 2
    for round_number in range(SWEEPS):
        sequence = rows if round_number % 2 else rows[::-1]
        for row in sequence:
            wanted = []
            for key in row:
                near = [nodes[other].x for other in above[key] + below[key]]
                wanted.append(sum(near) / len(near) if near else nodes[key].x)
            left = list(wanted)
            for i in range(1, len(row)):
                room = (nodes[row[i - 1]].width + nodes[row[i]].width) / 2 + GAP_X
                left[i] = max(left[i], left[i - 1] + room)
            right = list(wanted)
            for i in range(len(row) - 2, -1, -1):
                room = (nodes[row[i + 1]].width + nodes[row[i]].width) / 2 + GAP_X
                right[i] = min(right[i], right[i + 1] - room)
            for i, key in enumerate(row):
                nodes[key].x = (left[i] + right[i]) / 2
    leftmost = min(node.x - node.width / 2 for node in nodes.values())
    for node in nodes.values():
        node.x += 6 - leftmost


def _smooth(points: list[tuple[float, float]]) -> str:
    """A path through the points: vertical at both ends, along its neighbours at each bend."""
    reach = GAP_Y / 2
    tangents = [(0.0, reach)]
    for (left, _), (right, _) in zip(points, points[2:], strict=False):
        tangents.append(((right - left) / 6, reach))
    tangents.append((0.0, reach))
    line = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for i in range(1, len(points)):
        (x0, y0), (x1, y1) = points[i - 1], points[i]
        (dx0, dy0), (dx1, dy1) = tangents[i - 1], tangents[i]
        line += f"C{x0 + dx0:.1f} {y0 + dy0:.1f} {x1 - dx1:.1f} {y1 - dy1:.1f} {x1:.1f} {y1:.1f}"
    return line


def _svg(rows: list[list[str]], nodes: dict[str, _Node], paths: list[list[str]]) -> str:
    def y(layer: int) -> float:
        return 6 + layer * (NODE_HEIGHT + GAP_Y)

    width = 6 + max(node.x + node.width / 2 for node in nodes.values())
    height = y(len(rows) - 1) + NODE_HEIGHT + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="Rule graph">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#444"/></marker></defs>',
        '<g fill="none" stroke="#444" stroke-width="1.2">',
    ]
    for path in paths:
        points = [(nodes[key].x, y(nodes[key].layer) + NODE_HEIGHT / 2) for key in path]
        points[0] = (points[0][0], points[0][1] + NODE_HEIGHT / 2)
        points[-1] = (points[-1][0], points[-1][1] - NODE_HEIGHT / 2)
        parts.append(f'<path d="{_smooth(points)}" marker-end="url(#arrow)"/>')
    parts.append("</g>")
    for node in nodes.values():
        if node.name:
            parts.append(
                f'<rect x="{node.x - node.width / 2:.1f}" y="{y(node.layer):.1f}" '
                f'width="{node.width:.1f}" height="{NODE_HEIGHT}" rx="5" fill="#eef3f8" '
                'stroke="#2f5b85"/>'
                f'<text x="{node.x:.1f}" y="{y(node.layer) + 20:.1f}" text-anchor="middle" '
                f'font-size="13" font-family="ui-monospace,monospace" fill="#111">'
                f"{escape(node.name)}</text>"
            )
    parts.append("</svg>")
    return "".join(parts)
