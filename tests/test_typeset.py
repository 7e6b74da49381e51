"""Text of people and files is shown letter by letter: no mark of theirs becomes Typst code, whatever follows it."""

import io
import re
from pathlib import Path

import pypdf
import pytest

from medssl.course.writeup import paper, slides, typeset
from medssl.course.writeup.collect import collect

REPO = Path(__file__).resolve().parents[1]
MONO = 'text(font: "DejaVu Sans Mono", size: 0.85em)'
BEHIND = ("(6 * 7)", ".func()(read(str.from-unicode(115)))", "[y]", ";", "; y", ".text", ".Then", "-style", "s", ":x",
          "{6}", ".with(1)", "#x", " else y")


def shown(source, root):
    pdf = typeset.compile_pdf(source, root)
    return "".join("".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages).split())


@pytest.mark.parametrize("mark", ["**x**", "*x*", "`x`", "[@chen2020]", "**see *x***", "*[@he2016]*"])
def test_what_stands_behind_a_mark_is_text(mark, tmp_path):
    (tmp_path / "s").write_text("SECRET")
    lines = [f"Q{typeset.prose(mark + behind)}Q" for behind in BEHIND]
    read = shown("\n\n".join(["#set page(width: 60cm)", *lines, typeset.bibliography()]), tmp_path)
    inside = {"**see *x***": "seex", "[@chen2020]": "[1]", "*[@he2016]*": "[1]"}.get(mark, "x")
    assert read.split("Q")[1::2] == [inside + behind.replace(" ", "") for behind in BEHIND]


@pytest.mark.parametrize(("text", "reads"), [
    ("**here**(see Table 2)", "here(seeTable2)"), ("a *dropout*.Then", "adropout.Then"), ("`f`(x)[0]", "f(x)[0]"),
    ("*first*; *second*; third", "first;second;third"), ("2 * 3 * 4 and **", "2*3*4and**"), ("`a*b*c`", "a*b*c"),
    ("**= head**, *- no list*, `+ 1`, **7. x**", "=head,-nolist,+1,7.x"), ("**a `b** c`", "a`bc`"),
    ("[@nobody1999]-style, [@chen2020, p. 3], @chen2020", "[@nobody1999]-style,[@chen2020,p.3],@chen2020")])
def test_honest_text_is_set_as_it_was_written(text, reads, tmp_path):
    assert shown("#set page(width: 60cm)\n" + typeset.prose(text), tmp_path) == reads


def test_the_forms_end_their_code():
    assert typeset.prose("**so** `x`") == f"#strong[so]; #{MONO}[x];"
    assert typeset.paragraph("[@chen2020]s, [@item0]-a", ("item0",)) == "#cite(<chen2020>);s, #ref(<item0>);-a"
    assert typeset.bullets(["a [@chen2020]"]) == "- a \\[\\@chen2020\\]"  # out of files: no citation


def test_a_mark_of_the_template_in_a_title_is_text(tmp_path):
    values = {"@TITLE@": "@AUTHORS@", "@AUTHORS@": "+ str(6 * 7) +"}
    assert typeset.fill_template("@TITLE@|@AUTHORS@|@OTHER@", values) == "@AUTHORS@|+ str(6 * 7) +|@OTHER@"
    found = collect(REPO, dataset="breastmnist", name="reference")
    own = {"Title": ["@AUTHORS@"], "Authors": ["+ str(6 * 7) +"], "Abstract": []}
    material = type("Material", (), {"found": found, "words": own, "final": False})()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper.sections, "write_body", lambda *rest: "")
        patch.setattr(paper.sections, "abstract", lambda m: "")
        source = paper.typ_source(material, None, 10, 0.6, 0.8, 1.0, True)
    assert re.search(r'title: "@AUTHORS@", author: \("\+ str\(6 \* 7\) \+",\)', source)
    first = type("Slide", (), {"lines": ["a"], "sentence": "s"})()
    source = slides.source_of([first], "@FOOT@ @AUTHORS@", "+ str(6 * 7) +", found, tmp_path)
    assert 'title: "@FOOT@ @AUTHORS@", author: ("+ str(6 * 7) +",)' in source
    assert "str" not in shown(source, tmp_path)


def test_slides_cite_nothing_for_they_have_no_references(tmp_path):
    assert "cite" not in slides.text_body(["model [@chen2020]"])
