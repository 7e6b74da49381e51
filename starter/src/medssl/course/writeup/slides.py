"""`medssl slides`: the skeleton of a talk of 10-12 minutes, from the same results as the paper and the three questions.

Twelve slides (talk.py) and speaker notes beside them. Each number comes from a file.
"""

import re
import tempfile
import unicodedata
from pathlib import Path

from medssl.course.checker.parse.handed_in import clean
from medssl.course.writeup import typeset
from medssl.course.writeup.collect import Collected, collect
from medssl.course.writeup.tables import title_of
from medssl.course.writeup.talk import Slide, make_slides
from medssl.errors import MedsslError
from medssl.files import write_atomic

TEMPLATE = Path(__file__).parents[1] / "templates" / "slides.typ"
LONGEST_TITLE = 60


def file_name(title: str) -> str:
    """ "Labels, or luck?" -> labels_or_luck: a name that every system takes."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = "_".join(re.findall(r"[a-z0-9]+", plain))[:LONGEST_TITLE].strip("_")
    return name or "talk"


def build_slides(root: str | Path | None = None, out: str | Path | None = None, *, dataset: str | None = None,
                 name: str | None = None, title: str | None = None, authors: str = "") -> tuple[Path, Path]:
    """Write slides/<title>.pdf and slides/<title>_notes.md where week 10 hands in; returns both paths."""
    found = collect(root, dataset, name)
    if not found.metrics:
        raise MedsslError(f"There is no metrics file to talk about below {found.root}.",
                          "results/week1/<data set>/<name>/test_metrics.json or any later week's",
                          "run a week first: medssl run week01 --name you")
    title = clean(title, 120) if title else f"Labels, or luck? Self-supervision on {title_of(found.datasets[0])}"
    authors = clean(authors, 200) or ", ".join(clean(person, 40) for person in found.people[:6])
    slides = make_slides(found, title, authors)
    folder = Path(out) if out else found.root / "results/week10"
    stem = file_name(title)
    with tempfile.TemporaryDirectory(prefix="medssl-") as scratch:
        pdf = typeset.compile_pdf(source_of(slides, title, authors, found, Path(scratch)), Path(scratch))
    return (write_atomic(folder / "slides" / f"{stem}.pdf", pdf),
            write_atomic(folder / "slides" / f"{stem}_notes.md", notes_of(slides, title)))  # fmt: skip


def source_of(slides: list[Slide], title: str, authors: str, found: Collected, folder: Path) -> str:
    """The .typ; figures are laid beside it in `folder`."""
    foot = title + " · PHANTOM data" * found.phantom
    source = typeset.fill_template(TEMPLATE.read_text(encoding="utf-8"), {
        "@TITLE@": typeset.quoted(title), "@AUTHORS@": f'"{typeset.quoted(authors)}",', "@FOOT@": typeset.escape(foot)})
    first, *others = slides
    lines = " #linebreak() ".join(typeset.escape(line) for line in first.lines if line)
    parts = [source, f'#v(1fr)\n#text(size: 34pt, weight: "bold")[{typeset.escape(first.sentence)}]\n#v(0.6em)\n'
                     f"#text(fill: grey)[{lines}]\n#v(1.6fr)"]
    for number, slide in enumerate(others, 2):
        size = 25 if len(slide.sentence) < 90 else 21 if len(slide.sentence) < 150 else 17
        if slide.figure:
            write_atomic(folder / f"slide{number}.png", slide.figure)
            body = f'#image("slide{number}.png", width: 100%, height: 100%, fit: "contain")'
        else:
            body = f"#align(left)[{text_body(slide.lines)}]"
        parts.append(f"#slide([{typeset.escape(slide.topic)}], [{typeset.escape(slide.sentence)}], {size}pt, "
                     f"[{typeset.escape(slide.source)}], [{body}])")
    return "\n\n".join(parts) + "\n"


def text_body(lines: list[str]) -> str:
    if all("|" in line for line in lines):
        pairs = [line.split("|", 1) for line in lines]
        cells = [[typeset.escape(half) for half in pair] for pair in pairs]
        return "#v(0.9em)\n".join(f"#verdict([{word}], [{text}])\n" for word, text in cells)
    return "\n".join(f"- {typeset.prose(line, works=())}" for line in lines)  # a talk has no references


def notes_of(slides: list[Slide], title: str) -> str:
    """Speaker notes in Markdown, a minute a slide."""
    parts = [f"# Speaker notes: {title}",
             f"{len(slides)} slides, about {len(slides)} minutes. One sentence, one figure, one thought each; the "
             "sentence on the slide is what you want remembered."]
    for number, slide in enumerate(slides, 1):
        parts.append(f"## {number}. {slide.topic or 'Title'} (1 min)\n\n**{slide.sentence}**")
        notes = [note for note in slide.notes if note]
        parts += ["\n".join(f"- {note}" for note in notes)] * bool(notes)
        parts += [f"Source: {slide.source}"] * bool(slide.source)
    return "\n\n".join(parts) + "\n"
