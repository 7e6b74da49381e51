"""What a README promises and does not keep: files it names that are not there, links that only its author can follow,
headings without a word, tables without a number."""

import re
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.prose import Table
from medssl.course.checker.words.holdings import Holdings, Note
from medssl.course.checker.words.stated import tokens

Said = Iterator[tuple[str, Problem]]
ENDINGS = r"(?:png|jpe?g|pdf|csv|json|svg)"  # weights and notebooks may lie elsewhere
_NAME = r"[A-Za-z0-9][\w.()+-]{0,100}"
NAMED = (re.compile(rf"`([\w./ -]{{0,120}}{_NAME}\.{ENDINGS})`", re.I),
         re.compile(rf"\]\(\s?(?:\./)?([\w./ %-]{{0,200}}\.{ENDINGS})(?:\s[^()]{{0,80}})?\)", re.I),
         re.compile(rf"<img[^<>]{{0,100}}src=[\"']([\w./ -]{{1,200}}\.{ENDINGS})[\"']", re.I),
         re.compile(rf"\b(?:see|shown in|in|figure|fig\.|plot)\W{{1,3}}({_NAME}\.{ENDINGS})\b", re.I))
NOT_HERE = re.compile(r"\b(?:no|not|such as|e\.g|without|missing|lost|would|will|could|cannot|instead|renamed?|"
                      r"was called|formerly|too large|planned|later|previous|weeks? ?\d+|delete\w*|remove\w*|"
                      r"overwrit\w*|example|like|expect\w*|if|todo|should)\b|n['’]t\b", re.I)
REPOSITORY = {"results", "reports", "notebooks", "course", "starter", "tests", "data", "runs", "src", "docs"}
AWAY = re.compile(r"(?:drive|docs)\.google\.com|colab\.research\.google\.com/drive|dropbox\.com|1drv\.ms|"
                  r"onedrive\.live|icloud\.com|we\.tl/|wetransfer|sharepoint\.com|file:///?|/content/drive|/Users/\w|"
                  r"/home/\w|\b[A-Z]:\\\w", re.I)
OPEN = re.compile(r"\bTO ?DO\b|\bTBD\b|\bFIXME\b|\bX{3,}\b|\blorem ipsum|\[\s?(?:fill|insert|add|your)[^\[\]]{0,40}\]|"
                  r"<(?:fill|insert|your)[^<>]{0,40}>|\bfill (?:this )?in (?:here|later)\b|\byour (?:text|answer|"
                  r"name) here\b|\bcoming soon\b|\bto be (?:filled|added|completed|done)\b|(?<![\w.])0\. 0\. 0\.")
EMPTY_CELL = re.compile(r"\s*(?:\.{3}|…|\?+|tbd|to ?do!?|x+[.,]x+|0[.,]x+|xxx+|n/?a yet|fill in|_+)\s*", re.I)


def named_files(held: Holdings) -> Said:
    """A file that the README shows or lists must be beside it. (A required one that is missing is said elsewhere.)"""
    reading = held.reading
    there = {item.path.name.casefold() for item in reading.hand_in.files.values()}
    filled = {slot.short.casefold() for slot in reading.slots if reading.matches.get(slot.path)
              and (reading.matches[slot.path].items or slot.required)}
    away = []
    for note in held.notes:
        absent = {}
        for line, text in note.prose.paragraphs:
            text = text[:4_000]
            if found := AWAY.search(text):
                away.append((note.item.shown, line, found[0]))
            for pattern in NAMED:
                for found in list(pattern.finditer(text))[:50]:
                    path = found[1].strip().replace("%20", " ")
                    folder, _, name = path.rpartition("/")
                    around = text[max(0, found.start() - 120):found.end() + 60]
                    own = path[:1] != "/" and folder.removeprefix("./").split("/")[0] not in REPOSITORY
                    here = ".." in path or name.casefold() in there | filled
                    here |= name[:1] in "_."  # `_P1.csv` is the ending of names
                    if own and not here and not NOT_HERE.search(around):
                        absent.setdefault(clean(name, 80), line)
        if absent:
            names = ", ".join(list(absent)[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
            line = min(absent.values())
            yield note.item.shown, Problem("readme-file", f"names {names} (line {line}), which is not in the folder: "
                                                          f"the "
                                           "reader looks for the evidence and finds none",
                                           f"hand in {next(iter(absent))}, or take line {line} out", "warning")
    for shown, line, link in away[:1]:
        yield shown, Problem("link-out", f"points to {clean(link, 60)} (line {line}): only its author can open that, "
                                         f"and "
                             "not for ever", "hand the file in, or give a public address and the file's sha256", "note")


def unfinished(held: Holdings) -> Said:
    """Headings without words, questions of the template left as answers, tables without numbers; one finding a file."""
    sections = {s.title.casefold(): s.ask for s in held.reading.context.week.sections}
    for note in held.notes:
        found = [*_empty_headings(note, sections), *_open_words(note)]
        for table in note.prose.tables:
            if not table.block:
                found += list(_open_table(table, note))[:1]
        if found:
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            yield note.item.shown, Problem("unfinished", f"is not finished: {'; '.join(found[:4])}{more}",
                                           "fill it in, or take it out", "warning")


def _empty_headings(note: Note, sections: dict[str, str]) -> Iterator[str]:
    heads = note.prose.headings
    for k, head in enumerate(heads):
        nested = k + 1 < len(heads) and heads[k + 1].level > head.level
        if head.title.casefold() in sections:
            asked, said = (re.sub(r"\W+", " ", text).strip().casefold() for text in (sections[head.title.casefold()],
                                                                                     head.body))
            if said and said == asked:
                yield f"under '{clean(head.title, 50)}' (line {head.line}) stands the question, not an answer"
        elif head.level > 1 and not nested and not re.search(r"\w", head.body) and not _answers(head, note):
            yield f"nothing stands under '{clean(head.title, 50)}' (line {head.line})"


def _answers(head, note: Note) -> bool:
    """Whether a heading holds its own words, or a block follows: rendered, code, or the template's question."""
    below = note.text.splitlines()[head.line:head.line + 4]
    return len(head.title.split()) > 8 or any(line.lstrip()[:3] == "```" or line.lstrip()[:1] == ">"
                                              or "<!-- medssl:" in line for line in below)


def _open_words(note: Note) -> Iterator[str]:
    for sentence in note.prose.sentences:
        if (found := OPEN.search(sentence.text)) and not re.search(r"\bno TO ?DO|without TO ?DO", sentence.text, re.I):
            yield f"'{clean(found[0], 30)}' (line {sentence.line})"
            return


def _open_table(table: Table, note: Note) -> Iterator[str]:
    name = f"the table in line {table.line}"
    words = [row for row in table.rows if any(re.search(r"\w", c) for c in row)]
    if not words:
        yield f"{name} has a header and no row"
        return
    if any(EMPTY_CELL.fullmatch(c[:40]) for row in words for c in row):
        yield f"{name} has cells that wait for a number"
    if any(len(row) > 1 and not any(re.search(r"[\w–—-]", c) for c in row[1:]) for row in words) or \
            len(words) < len(table.rows):
        yield f"{name} has an empty row"
    heads = {str(t.value) for head in table.header for t in tokens(head[:60]) if t.kind == "metric"}
    for row in words:
        digits = [c.strip() for c in row if re.fullmatch(r"\s*[0-9.,%]{1,12}\s*", c)]
        # an accuracy or AUROC of 0 would be a model that is always wrong
        if len(digits) >= 2 and heads & {"accuracy", "auroc", "f1", "auprc", "balanced_accuracy"} and \
                all(re.fullmatch(r"0(?:[.,]0*)?%?", d) for d in digits):
            yield f"{name} has a row of zeros"
            break
    about = f"{table.heading} {note.item.path.stem}"
    if len(words) == 1 and re.search(r"ablation", about, re.I) and heads:
        yield f"{name} is an ablation with one row: nothing is compared"
