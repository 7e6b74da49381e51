"""READMEs are rendered around the student's words, which stay as they are."""

from hand_ins import filled

from medssl.course import Submission
from medssl.files import write_atomic


def test_what_the_student_wrote_is_never_overwritten(tmp_path):
    work = filled(tmp_path)
    work.finish(params={"EPOCHS": 5})
    readme = work.path("README_week1.md")
    text = readme.read_text()
    assert "| smallcnn | 3 |" in text and "## One bug I hit" in text and "| EPOCHS | 5 |" in text
    mine = (
        text.replace("> What broke", "I forgot `squeeze`.\r\nÄ\n\n> What broke").encode()
        + b"\xff not UTF-8, and my last line\n"
    )
    readme.write_bytes(b"Before it all.\n" + mine)
    filled(tmp_path, seeds=(0, 1)).finish(params={"EPOCHS": 7})
    after = readme.read_bytes()
    rendered = [b"| smallcnn | 2 |", b"| EPOCHS | 7 |"]
    assert all(part in after for part in rendered) and b"| EPOCHS | 5 |" not in after

    assert after.startswith(b"Before it all.\n") and "I forgot `squeeze`.\r\nÄ\n".encode() in after
    assert after.endswith(b"\xff not UTF-8, and my last line\n")
    third = filled(tmp_path, seeds=(0, 1))
    third.finish(params={"EPOCHS": 7}, seconds=1)
    third.finish(params={"EPOCHS": 7}, seconds=1)
    assert readme.read_bytes().count(b"medssl:results") == 2


def test_an_emptied_readme_gets_its_headings_again(tmp_path):
    work = filled(tmp_path)
    work.finish(params={}, seconds=1)
    readme = work.path("README_week1.md")
    whole = readme.read_text()
    blocks = "<!-- medssl:results (old) -->\n| a |\n<!-- /medssl:results -->\n"
    for emptied in ("", " \n\ufeff", blocks + "\n"):
        readme.write_text(emptied)
        work.finish(params={}, seconds=1)
        assert readme.read_text() == whole
    for mine in (blocks + "## My own heading\n", "one word", "<!-- a note to myself -->"):
        readme.write_text(mine)
        work.finish(params={}, seconds=1)
        assert mine.splitlines()[-1] in readme.read_text() and "## One bug I hit" not in readme.read_text()


def test_a_readme_under_an_alias_is_kept_and_filled(tmp_path):
    work = Submission(5, "breastmnist", "ada", tmp_path)
    alias = write_atomic(work.folder / "README_week5.md", "my words\n")
    work.finish(params={}, seeds=[0])
    assert alias.read_text().startswith("my words\n") and "medssl:run" in alias.read_text()
    assert not work.path("README_week5_core.md").exists()
