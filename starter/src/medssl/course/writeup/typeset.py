"""Typst, the typesetter that comes as a wheel: text that cannot become code, tables, figures, and the PDF.

Everything read from a file goes through `escape`. The PDF holds no date, and only the fonts of the wheel: the same
source gives the same bytes on every machine, without a network.
"""

import re
from pathlib import Path

from medssl.course.writeup.references import REFERENCES, references
from medssl.errors import MedsslError

SPECIAL = re.compile(r"[\\#$@<>\[\]*_`~\"']|(?<=/)[/*]|(?<=-)[-?]|\.(?=\.\.)|^[-+=/]|^\d+\.")
CITATION = re.compile(r"\\\[\\@([a-z]+\d+)\\\]")  # "[@chen2020]", after escape()
MARK = re.compile(r"\\`(?P<code>.{1,300}?)\\`|\\\*\\\*(?=\S)(?P<strong>.{1,300}?)(?<=\S)\\\*\\\*(?!\\\*)"
                  r"|\\\*(?=\S)(?P<emph>.{1,300}?)(?<=\S)\\\*")  # `code`, **bold**, *slanted*: after escape(), too
CODE = 'text(font: "DejaVu Sans Mono", size: 0.85em)'


def escape(text: object) -> str:
    """`text` as Typst markup that shows it letter by letter; line breaks become spaces, control characters vanish."""
    flat = " ".join("".join(c if c.isprintable() or c.isspace() else " " for c in str(text)).split())
    return SPECIAL.sub(lambda found: found[0][:-1] + "\\" + found[0][-1], flat)


def paragraph(text: str, labels: tuple | set = (), works: tuple = tuple(REFERENCES)) -> str:
    """Escaped text, in which [@chen2020] cites one of the `works`, and [@table1] a table or figure in `labels`.

    Not for text out of a file: that is escaped. The ";" ends Typst's code: without it "#f(x)" goes on in a "(", "[" or
    "." behind it, and "@key" takes the letters behind it for its own.
    """
    def cite(found: re.Match) -> str:
        key = found[1]
        return f"#ref(<{key}>);" if key in labels else f"#cite(<{key}>);" if key in works else found[0]

    return CITATION.sub(cite, escape(text))


def prose(text: str, works: tuple = tuple(REFERENCES)) -> str:
    """A paragraph in which **bold**, *slanted* and `code` have their meaning, too: for words that people wrote."""
    return MARK.sub(marked, paragraph(text, works=works))


def marked(found: re.Match) -> str:
    """`#strong[…];` and its like. In code no other mark counts; what opens a list or heading does not."""
    kind = found.lastgroup
    inside = found[kind] if kind == "code" else MARK.sub(marked, found[kind])
    inside = re.sub(r"^\s*(?:[-+=/]|\d+\.)", lambda start: start[0][:-1] + "\\" + start[0][-1], inside)
    return f"#{CODE if kind == 'code' else kind}[{inside}];"


def fill_template(template: str, values: dict[str, object]) -> str:
    """Each @MARK@ replaced, all in one pass: a mark that stands inside a value is text."""
    return re.sub("|".join(map(re.escape, values)), lambda found: str(values[found[0]]), template)


def heading(title: str, level: int = 1, numbered: bool = True) -> str:
    more = "" if numbered else ", numbering: none"
    return f"#heading(level: {level}{more})[{escape(title)}]"


LONG = 25  # rows from which on a table may be cut by the end of a page


def table(header: list, rows: list[list], caption: str, label: str) -> str:
    """A table with three rules; a column of long cells, else the first, takes the room that is left."""
    width = [max(len(str(line[k])) for line in [header, *rows]) for k in range(len(header))]
    widest = width.index(max(width)) if max(width) > 30 else 0
    columns = ", ".join("1fr" if k == widest else "auto" for k in range(len(header)))
    align = ", ".join("left" if k in (0, widest) else "center" for k in range(len(header)))
    cells = [" ".join(f"[{escape(cell)}]," for cell in line) for line in rows]
    lines = [f"#figure(caption: [{paragraph(caption)}], table(columns: ({columns}), align: ({align}),",
             "  table.header(rule, " + " ".join(f"[{escape(cell)}]," for cell in header) + " thin),",
             *(f"  {line}" for line in cells), f"  rule)) <{label}>"]
    cut = ["#[#show figure: set block(breakable: true)"], ["]"]
    return "\n".join([*cut[0], *lines, *cut[1]] if len(rows) > LONG else lines)


def picture(paths: list[str], caption: str, label: str, width: float) -> str:
    """A figure at the head or foot of a page, of that share of the text's width; two pictures stand side by side."""
    images = ", ".join(f'image("{path}", width: 100%)' for path in paths)
    inside = f"block(width: {100 * width:.0f}%, grid(columns: {len(paths)}, column-gutter: 0.8em, {images}))"
    return f"#figure(placement: auto, caption: [{escape(caption)}], {inside}) <{label}>"


def bullets(lines: list[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def bibliography() -> str:
    """The references that the text cites: Typst leaves the others out."""
    return f'#bibliography(bytes("{quoted(references())}"), style: "ieee", title: "References")'


def quoted(text: str) -> str:
    """Text as it stands in a Typst string."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def compile_pdf(source: str, root: Path) -> bytes:
    """Typst source to PDF; images are looked for below `root`, and nowhere else."""
    import typst

    try:  # system fonts only for scripts that the wheel's own do not hold
        return typst.compile(source.encode(), root=str(root), ignore_system_fonts=max(map(ord, source)) < 0x2E80,
                             timestamp=0)
    except typst.TypstError as error:
        raise MedsslError(f"the paper cannot be typeset: {error.message}", "a .typ source that Typst understands",
                          "run `medssl report` again; if it comes back, please open an issue with this line") from error


def page_pictures(source: str, root: Path, ppi: float = 60) -> list[bytes]:
    """The pages as PNG, to look at them where no PDF viewer is."""
    import typst

    pages = typst.compile(source.encode(), root=str(root), format="png", ppi=ppi, ignore_system_fonts=True, timestamp=0)
    return pages if isinstance(pages, list) else [pages]


def count_pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
