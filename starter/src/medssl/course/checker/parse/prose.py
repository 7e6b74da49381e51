"""Read a student's Markdown: sentences under their headings, tables, and what the package rendered, told apart.

Everything is bounded (lines, their length, sentences), and every pattern runs once over its text.
"""

import re
from typing import NamedTuple

MOST_LINES, MOST_CHARS, MOST_SENTENCE = 2_000, 4_000, 400  # many write a paragraph on one line; none a longer sentence
SHORT_FORMS = ("vs.", "approx.", "e.g.", "i.e.", "ca.", "acc.", "bal.", "fig.", "no.", "resp.", "cf.", "avg.", "al.")


class Sentence(NamedTuple):
    line: int
    text: str  # without marks of emphasis
    heading: str


class Table(NamedTuple):
    line: int
    header: list[str]
    rows: list[list[str]]
    heading: str
    block: str  # of the package's markers, "" where the student wrote it


class Heading(NamedTuple):
    line: int
    level: int
    title: str
    body: str  # what stands below it, to the next heading; rendered blocks and pictures too


class Prose(NamedTuple):
    sentences: list[Sentence]
    tables: list[Table]
    headings: list[Heading]
    paragraphs: list[tuple[int, str]]  # as typed: links, pictures and code marks are still there
    code: str


def read_prose(text: str) -> Prose:
    """The parts of a Markdown text. Quotes (the template's questions are quotes) are no sentences of the student's."""
    prose, lines = Prose([], [], [], [], ""), [line[:MOST_CHARS] for line in text.splitlines()[:MOST_LINES]]
    titles: dict[int, str] = {}
    block, fence, comment, code, paragraph, start, k = "", "", False, [], [], 0, 0

    def close() -> None:
        if paragraph and not block:
            joined = " ".join(paragraph)
            prose.paragraphs.append((start, joined))
            prose.sentences.extend(Sentence(start, one, _path(titles)) for one in split_sentences(plain(joined)))
        paragraph.clear()

    while k < len(lines):
        line, number = lines[k], k + 1
        k += 1
        if marker := re.match(r"\s*<!-- (/?)medssl:(\w{1,20})\b", line):
            close()
            block = "" if marker[1] else marker[2]
            continue
        line, comment = _without_comments(line, comment)
        bare = line.strip()
        if fence or bare[:3] in ("```", "~~~"):
            close()
            if fence and bare[:3] != fence:
                code.append(bare)
            else:
                fence = "" if fence else bare[:3]
        elif head := re.match(r"(#{1,6})\s+(.*?)[\s#]*$", bare[:300]):
            close()
            level = len(head[1])
            titles = {at: title for at, title in titles.items() if at < level} | {level: plain(head[2])}
            prose.headings.append(Heading(number, level, plain(head[2]), ""))
        elif "|" in bare and k < len(lines) and _is_rule(lines[k]):
            close()
            rows, k = [], k + 1
            while k < len(lines) and "|" in lines[k] and lines[k].strip():
                rows.append(cells(lines[k]))
                k += 1
            prose.tables.append(Table(number, cells(bare), rows, _path(titles), block))
        elif not bare or bare.startswith(">"):
            close()
        else:
            if item := re.match(r"(?:[-*+]|\d{1,3}[.)])\s+", bare):
                close()
                bare = bare[item.end():]
            start = start if paragraph else number
            paragraph.append(bare)
        if prose.headings and bare and not bare.startswith(("#", ">")):
            last = prose.headings[-1]
            prose.headings[-1] = last._replace(body=f"{last.body} {bare}"[:600])
    close()
    return prose._replace(code="\n".join(code)[:20_000])


def _path(titles: dict[int, str]) -> str:
    """The headings above a sentence; the title of the page says nothing about one sentence."""
    return " / ".join(title for level, title in sorted(titles.items()) if level > 1)


def _without_comments(line: str, inside: bool) -> tuple[str, bool]:
    """The line without HTML comments, and whether one is still open at its end."""
    kept = []
    while line:
        if inside:
            _, end, line = line.partition("-->")
            inside = not end
        else:
            before, begin, line = line.partition("<!--")
            kept.append(before)
            inside = bool(begin)
    return "".join(kept), inside


def _is_rule(line: str) -> bool:
    """Whether a line is the |---|---| below a table's header."""
    bare = line.strip()
    return "-" in bare and not bare.strip("|:- \t") and ("|" in bare or len(bare) >= 3)


def cells(line: str) -> list[str]:
    """The cells of a line of a table (a bar that is written \\| is part of its cell)."""
    inner = line.strip()[:MOST_CHARS].replace("\\|", "\0").removeprefix("|").removesuffix("|")
    return [plain(cell.replace("\0", "|").strip()) for cell in inner.split("|")][:60]


def plain(text: str) -> str:
    """Text without emphasis, code marks and HTML tags; of links and pictures the words stay."""
    text = re.sub(r"!?\[([^\[\]]{0,200})\]\([^()]{0,300}\)", r"\1", text)
    text = re.sub(r"</?[a-zA-Z][^<>]{0,200}>", " ", text)
    return text.replace("**", "").replace("__", "").replace("`", "").replace("*", "").replace("&lt;", "<").strip()


def split_sentences(text: str) -> list[str]:
    """Sentences of a paragraph: cut after . ! ? or ; before a blank, not after a short form such as vs."""
    found, begin = [], 0
    for stop in re.finditer(r"[.!?;]\s+", text):
        sentence = text[begin:stop.start() + 1]
        last = sentence.rsplit(None, 1)[-1].casefold().lstrip("(") if sentence.strip() else ""
        small = text[stop.end():stop.end() + 1].islower() and text[stop.start()] == "."
        if last not in SHORT_FORMS and not small:
            found.append(sentence.strip())
            begin = stop.end()
    found.append(text[begin:].strip())
    return [one[:MOST_SENTENCE] for one in found if one][:2_000]
