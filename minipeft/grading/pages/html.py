"""The frame of every page, and how text of students gets into it: escaped, always."""

import html
import unicodedata
from collections.abc import Iterable, Sequence

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --text: #1b1b1b; --back: #fff; --line: #767676;
  --right: #00603a; --wrong: #9a1d1d; --waits: #4a4a4a; --panel: #f4f4f4; --bar: #3b6ea5 }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #ececec; --back: #16181b; --line: #8a8a8a; --right: #7fd8ac;
    --wrong: #ff9f9f; --waits: #c4c4c4; --panel: #24272c; --bar: #8ab6e8 }}
}}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: {width}; margin: 2rem auto;
  padding: 0 1rem; color: var(--text); background: var(--back) }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .5rem; font-weight: normal;
  border-bottom: 1px solid var(--line) }}
thead th {{ font-weight: bold }}
td:nth-child(2) {{ white-space: nowrap }}
.right {{ color: var(--right) }} .waits {{ color: var(--waits) }}
.wrong, .part {{ color: var(--wrong) }}
.note {{ border-left: 4px solid var(--wrong); padding: .25rem 1rem; background: var(--panel) }}
.answer {{ white-space: pre-wrap; overflow-wrap: anywhere; background: var(--panel);
  padding: .5rem 1rem; margin: .5rem 0; border-left: 4px solid var(--line) }}
.case {{ margin: .25rem 0 0; font-size: .9rem; color: var(--waits) }}
td, li {{ overflow-wrap: anywhere }}
</style>
</head>
<body>
<header>
<h1>{heading}</h1>
</header>
<main>
{main}
</main>
<footer>
<p>{footer}</p>
</footer>
</body>
</html>
"""


def page(title: str, main: str, footer: str, width: str = "48rem", heading: str = "") -> str:
    """A whole page. `title`, `heading` and `footer` are text; `main` is HTML."""
    heading = safe(heading or title)
    return PAGE.format(
        title=safe(title), heading=heading, main=main, footer=safe(footer), width=width
    )


def table(header: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], caption: str) -> str:
    """A table of HTML cells; each row comes with its class, and begins with its own heading."""
    head = "".join(f'<th scope="col">{safe(title)}</th>' for title in header)
    lines = []
    for kind, (first, *rest) in rows:
        cells = f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest)
        lines.append(f'<tr class="{kind}">{cells}</tr>')
    body = "\n".join(lines)
    return (
        f"<table>\n<caption>{safe(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def listed(items: Iterable[str]) -> str:
    """A list of HTML items; "none" where there are none."""
    lines = [f"<li>{item}</li>" for item in items]
    return "<ul>\n" + "\n".join(lines) + "\n</ul>" if lines else "<p>None.</p>"


def section(heading: str, content: str) -> str:
    """A part of a page under its heading."""
    return f"<section>\n<h2>{safe(heading)}</h2>\n{content}\n</section>"


def shown(text: str) -> str:
    """A student's text on one line, without the characters that change how a line is shown."""
    return "".join(" " if unicodedata.category(c)[0] == "C" else c for c in text)


def safe(text: str) -> str:
    """A student's text, in one line of a page."""
    return html.escape(shown(text))


def safe_lines(text: str) -> str:
    """A student's text, with its lines."""
    return "\n".join(safe(line) for line in text.splitlines())
