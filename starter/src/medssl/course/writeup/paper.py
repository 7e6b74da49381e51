"""`medssl report`: weeks 1-8 as a paper of 4-6 pages, its figures, and a checklist of what is missing."""

from dataclasses import dataclass
from pathlib import Path

from medssl.course.checker.parse.handed_in import clean
from medssl.course.contract import load_contract
from medssl.course.writeup import facts, figures, sections, typeset, words
from medssl.course.writeup.body import Material
from medssl.course.writeup.collect import REFERENCE, Collected, collect
from medssl.course.writeup.tables import title_of
from medssl.errors import MedsslError
from medssl.files import write_atomic

WEEK = 9
PAGES = (4, 6)  # what the course asks for
# Letter size in points, space between lines in em, size of tables in em, scale of pictures, every table? The first that
# gives 4-6 pages is taken, beginning in the middle and growing or shrinking from there.
LOOKS = [(8, 0.48, 0.8, 0.5, False), (8.5, 0.5, 0.8, 0.62, False), (9, 0.52, 0.82, 0.75, False),
         (9, 0.54, 0.84, 0.82, True), (9.5, 0.58, 0.86, 0.9, True), (10, 0.62, 0.86, 1.0, True),
         (10.5, 0.68, 0.9, 1.05, True), (11, 0.78, 0.92, 1.1, True), (11, 0.95, 0.95, 1.2, True),
         (11.5, 1.1, 1.0, 1.3, True), (12, 1.3, 1.0, 1.4, True)]
USUAL = 5


@dataclass(frozen=True)
class Paper:
    """What `build` wrote."""

    pdf: Path
    source: Path | None
    figures: list[Path]
    missing: Path
    words: Path
    pages: int
    found: Collected

    def summary(self) -> str:
        lines = [f"{self.pdf}: {self.pages} pages, {len(self.figures)} figures, from {len(self.found.metrics)} metrics "
                 f"files of {len(self.found.people)} {'person' if len(self.found.people) == 1 else 'people'} on "
                 f"{', '.join(map(title_of, self.found.datasets))}"]
        lines += [f"left out: {line}" for line in self.found.left_out]
        return "\n".join([*lines, f"{len(self.found.missing)} files are missing or of no use: {self.missing}",
                          f"your own words go into {self.words}, then run this again"])


def build(root: str | Path | None = None, out: str | Path | None = None, *, dataset: str | None = None,
          name: str | None = None, title: str | None = None, keep_source: bool = True,
          found: Collected | None = None, final: bool = False) -> Paper:
    """Write draft_v1.pdf, figures/, missing_pieces.md and (once) words.md into `out`: where week 9 hands in.

    final: final_writeup.pdf instead of the draft; what is missing then stands in missing_pieces.md only.
    found: what collect() gave before, with the intervals that were computed since."""
    found = found or collect(root, dataset, name)
    if not found.metrics:
        wrong = next((f" {file} {why}." for file, why in found.broken.items()), "")
        raise MedsslError(f"There is no metrics file to write about below {found.root}.{wrong}",
                          "results/week1/<data set>/<name>/test_metrics.json or any later week's",
                          "run a week first: medssl run week01 --name you")
    week = load_contract().week(WEEK)
    folder = Path(out) if out else found.root / week.folder
    own = words.words_of(folder)  # first: if it cannot be read, nothing else is made
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    examples = sections.choose_examples(found)
    points = {who: facts.points_of(found, *who) for who in examples}
    shifts = {who: facts.shift_rows(found, *who) for who in examples}
    pictures = figures.draw(found, examples, points, folder / "figures")
    drawn = [folder / "figures" / file for file, _, _ in pictures.values()]
    for old in (folder / "figures").glob("fig[0-9][0-9]_*.png"):  # of an earlier draft
        if old not in drawn:
            old.unlink()
    points = {who: rows for who, rows in points.items() if rows}
    material = Material(found, examples, points, shifts, pictures, own, final)
    source, pdf, pages = fit(material, title, folder)
    missing = write_atomic(folder / "missing_pieces.md", missing_pieces(found, own))
    stem = "final_writeup" if final else "draft_v1"
    kept = write_atomic(folder / f"{stem}.typ", source) if keep_source else None
    return Paper(write_atomic(folder / f"{stem}.pdf", pdf), kept, drawn, missing, folder / words.FILE, pages, found)


def fit(material: Material, title: str | None, folder: Path) -> tuple[str, bytes, int]:
    """Typeset with the usual look, then ever smaller or larger until the pages are 4 to 6."""
    look, step = USUAL, 0
    while True:
        source = typ_source(material, title, *LOOKS[look])
        pdf = typeset.compile_pdf(source, folder)
        pages = typeset.count_pages(pdf)
        wanted = -1 if pages > PAGES[1] else 1 if pages < PAGES[0] else 0
        if wanted == 0 or (step and wanted != step) or not 0 <= look + wanted < len(LOOKS):
            return source, pdf, pages
        step, look = wanted, look + wanted


def typ_source(m: Material, title: str | None, size: float, leading: float, tables: float, pictures: float,
               extras: bool) -> str:
    """The whole .typ: settings, title, abstract, body."""
    found = m.found
    title = title or next(iter(m.words["Title"]), "") or default_title(found)
    authors = next(iter(m.words["Authors"]), "") or names_of(found)
    values = {"@TITLE@": typeset.quoted(clean(title, 200)), "@AUTHORS@": f'"{typeset.quoted(clean(authors, 400))}",',
              "@SIZE@": size, "@LEADING@": leading, "@SPACING@": round(1.6 * leading, 2), "@TABLE@": tables}
    source = (Path(__file__).parents[1] / "templates" / "paper.typ").read_text(encoding="utf-8")
    source = typeset.fill_template(source, values)
    own = m.words["Abstract"]
    summary = "\n\n".join(map(typeset.prose, own)) if own else typeset.paragraph(sections.abstract(m))
    marks = " · phantom data" * found.phantom + " · final" * m.final
    centred = "#align(center)[#set par(justify: false); #set text(hyphenate: false); "
    head = [f'{centred}#text(size: 1.5em, weight: "bold")[{typeset.escape(title)}]]',
            f"{centred}#text(size: {0.85 if len(authors) > 200 else 1}em)[{typeset.escape(authors)}{marks}]]",
            f"#pad(x: 1.2cm, y: 0.4em)[#text(size: 0.94em)[*Abstract.* {summary}]]"]
    return "\n\n".join([source, *head, sections.write_body(m, pictures, extras)]) + "\n"


def names_of(found: Collected) -> str:
    return "reference hand-ins of the course" if found.people == [REFERENCE] else ", ".join(
        clean(name, 60) for name in found.people)


def default_title(found: Collected) -> str:
    return f"Self-supervision, label efficiency and calibration on {' and '.join(map(title_of, found.datasets))}"


def missing_pieces(found: Collected, own: dict[str, list[str]]) -> str:
    """A checklist in Markdown: each file with the command that makes it, and the sections without own words."""
    lines = ["# Missing pieces", ""]
    for week in sorted({line.week for line in found.missing}):
        lines += [f"## Week {week}: {load_contract().week(week).title}", ""]
        for line in (one for one in found.missing if one.week == week):
            why = f" {clean(found.broken[line.file], 200)}." if line.file in found.broken else ""
            lines.append(f"- [ ] `{clean(line.file, 200)}`:{why} `{clean(line.command, 200)}`")
        lines.append("")
    empty = [title for title, pieces in own.items() if not pieces]
    if empty:
        lines += ["## Words of your own", "", *(f"- [ ] {title}: write it in `{words.FILE}`" for title in empty), ""]
    return "\n".join(lines if len(lines) > 2 else [*lines, "Nothing: every file of weeks 1-8 is there.", ""])
