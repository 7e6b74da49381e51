"""words.md: the group's own sentences, kept in a file that the program makes once and never touches again."""

import re
from pathlib import Path
from textwrap import fill

from medssl.course.checker.parse.handed_in import Problem, read_bytes, read_text
from medssl.errors import MedsslError
from medssl.files import write_atomic

FILE = "words.md"
ASKS = {  # heading: what to write there; a list is asked as bullets
    "Title": "One line. It says what you found, not what you did.",
    "Authors": "One line: your names, as they shall stand under the title.",
    "Abstract": "Four to six sentences in place of the ones that the program wrote: question, data, method, the one "
                "number with its interval, what it does not show.",
    "Introduction": "Why are labels dear in medicine, and what was your question? One paragraph.",
    "Methods": "What you did differently from the course, and why. Leave it empty if nothing.",
    "Results": "What surprised you, with the table or figure in which one sees it.",
    "Discussion": "Where does self-supervision help here, where not, and what else could explain it? Take up the "
                  "sentences above: the ones with intervals that hold zero are findings, too.",
    "Limitations": "What of this would you not bet on, and which experiment would settle it?",
}
TOP = """# Words of our own

What you write here is put into the paper by `medssl report`, under the heading of the same name. The program never
changes this file. Lines that begin with > are questions, not text. A blank line begins a new paragraph, - begins a
bullet; **bold**, *slanted* and `code` work. A work is cited as [@chen2020]; there are:
{known}.
"""


def words_of(folder: Path) -> dict[str, list[str]]:
    """{heading: paragraphs and bullets ("- …")} of words.md; a file that is not there is made, with its questions."""
    path = folder / FILE
    if not path.exists():
        write_atomic(path, new_words())
    try:
        text = read_text(read_bytes(path, 500_000))
    except Problem as error:
        raise MedsslError(f"{path} {error}.", "plain text", "mend it; the program never touches it") from None
    parts = re.split(r"(?m)^#{1,6}[ \t]+(.*?)[ \t#]*$", re.sub(r"(?s)<!--.*?-->", "", text))
    asked = {title.casefold(): title for title in ASKS}
    found: dict[str, list[str]] = {title: [] for title in ASKS}
    for head, body in zip(parts[1::2], parts[2::2], strict=True):
        if title := asked.get(head.casefold()):
            found[title] += pieces(body)
    return found


def pieces(body: str) -> list[str]:
    """Paragraphs and bullets, in order, without the questions."""
    lines = [line.strip() for line in body.splitlines() if not line.lstrip().startswith(">")]
    blocks = re.split(r"\n(?:[ \t]*\n)+|\n(?=[-*][ \t])", "\n".join(lines).strip())
    return [re.sub(r"\A[-*][ \t]+", "- ", " ".join(block.split())) for block in blocks if re.search(r"\w", block)]


def new_words() -> str:
    from medssl.course.writeup.references import REFERENCES

    top = TOP.format(known=fill(", ".join(REFERENCES), 115))
    asked = {title: fill(f"> {ask}", 115, subsequent_indent="> ") for title, ask in ASKS.items()}
    return "\n".join([top, *(f"## {title}\n\n{ask}\n" for title, ask in asked.items())])
