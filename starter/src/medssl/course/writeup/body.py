"""The paper as it grows: headings that wait for something under them, tables and pictures that are referred to."""

from dataclasses import dataclass

from medssl.course.writeup import typeset
from medssl.course.writeup.collect import Collected

WIDE = 0.85  # of the text's width: two pictures up to this stand side by side


@dataclass
class Material:
    """What all sections draw from."""

    found: Collected
    examples: list[tuple[str, str]]  # (data set, person) whose results the text goes through: the most complete of each
    points: dict
    shifts: dict
    pictures: dict
    words: dict
    final: bool = False  # the final paper, not the draft: without the list of what is missing


class Body:
    """Typst source that grows. A heading is written only once something stands under it."""

    def __init__(self, material: Material, pictures: float):
        self.material, self.scale, self.parts, self.waiting = material, pictures, [], []
        self.labels: list[str] = []

    def head(self, title: str, level: int = 1, numbered: bool = True) -> None:
        self.waiting = [(t, n, k) for t, n, k in self.waiting if n < level] + [(title, level, numbered)]

    def add(self, *blocks: str) -> None:
        for block in filter(None, blocks):
            self.parts += [typeset.heading(*one) for one in self.waiting]
            self.waiting = []
            self.parts.append(block)

    def say(self, *sentences: str) -> None:
        if text := " ".join(filter(None, sentences)):
            self.add(typeset.paragraph(text, self.labels))

    def own(self, section: str) -> None:
        for piece in self.material.words.get(section, []):
            self.add(f"- {typeset.prose(piece[2:])}" if piece.startswith("- ") else typeset.prose(piece))

    def show(self, what: str, tables: list, topic: str = "", reading: str = "") -> None:
        """Tables and pictures of one topic under a sentence that says what they show, and how to read them."""
        tables, base = [made for made in tables if made], len(self.labels)
        drawn = [made for name, made in self.material.pictures.items() if topic and name.startswith(f"{topic}_")]
        pictures = [([f"figures/{file}"], caption, width) for file, caption, width in drawn]
        if len(pictures) == 2 and max(width for *_, width in pictures) <= WIDE:
            (left, first, _), (right, second, _) = pictures
            pictures = [(left + right, f"Left: {first} Right: {second}", 1.0 / min(1.0, self.scale))]
        self.labels += [f"item{base + k}" for k in range(len(tables) + len(pictures))]
        if own := self.labels[base:]:
            marks = [f"[@{label}]" for label in own]
            listed = (f"{', '.join(marks[:-1])} and " if marks[1:] else "") + marks[-1]
            self.say(f"{listed} {'show' if marks[1:] else 'shows'} {what}.", reading)
        for label, made in zip(own, tables, strict=False):
            self.add(typeset.table(*made, label=label))
        for label, (files, caption, width) in zip(own[len(tables):], pictures, strict=True):
            self.add(typeset.picture(files, caption, label, min(1.0, width * self.scale)))
