"""Shapes of SVG, in one style: dark on a light card, so that a figure reads on a dark page as well."""

from html import escape

INK, SOFT, CARD = "#22252b", "#6b7280", "#fbfaf6"
BLUE, ORANGE, GREEN, GREY = "#dbe8fb", "#fde6cf", "#dcf0df", "#ecebe6"
BLUE_LINE, ORANGE_LINE, GREEN_LINE = "#2f6fc4", "#c9711b", "#3c8c4a"


def number(value):
    """A coordinate, short and the same on every machine."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


class Figure:
    def __init__(self, width, height, title):
        self.width, self.height, self.title, self.parts = width, height, title, []

    def text(self, x, y, words, size=14, anchor="middle", color=INK, weight=None, italic=False):
        style = f' font-weight="{weight}"' if weight else ""
        style += ' font-style="italic"' if italic else ""
        place = f'x="{number(x)}" y="{number(y)}" font-size="{size}" text-anchor="{anchor}" fill="{color}"'
        self.parts.append(f"<text {place}{style}>{escape(words)}</text>")

    def box(self, x, y, width, height, lines=(), fill=GREY, stroke=SOFT, round_by=8):
        place = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" rx="{round_by}"'
        self.parts.append(f'<rect {place} fill="{fill}" stroke="{stroke}"/>')
        top = y + height / 2 - (len(lines) - 1) * 9.5 + 5
        for i, line in enumerate(lines):
            first = i == 0 and len(lines) > 1
            self.text(x + width / 2, top + 19 * i, line, 14 if i == 0 else 13, weight="bold" if first else None)

    def path(self, points, color=INK, width=1.6, dash=None, arrow=False, opacity=None):
        first, *rest = [f"{number(x)} {number(y)}" for x, y in points]
        way = f"M{first}" + "".join(f"L{point}" for point in rest)
        more = f' stroke-dasharray="{dash}"' if dash else ""
        more += ' marker-end="url(#head)"' if arrow else ""
        more += f' stroke-opacity="{opacity}"' if opacity else ""
        self.parts.append(f'<path d="{way}" fill="none" stroke="{color}" stroke-width="{width}"{more}/>')

    def arrow(self, *points, **how):
        self.path(points, arrow=True, **how)

    def dot(self, x, y, color=INK, radius=3.5):
        self.parts.append(f'<circle cx="{number(x)}" cy="{number(y)}" r="{radius}" fill="{color}"/>')

    def svg(self):
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'font-family="sans-serif" role="img">\n<title>{escape(self.title)}</title>\n'
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0L8 4L0 8Z" fill="{INK}"/></marker></defs>\n'
            f'<rect x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="10" fill="{CARD}" stroke="#c9c7c0"/>\n'
        )
        return head + "\n".join(self.parts) + "\n</svg>\n"
