"""Names that become folders: one spelling a person and a data set, and never a way out of the folder."""

import unicodedata

import numpy as np
import pytest

from medssl.course import dataset_key, slug
from medssl.course.names import results_root
from medssl.errors import MedsslError


def test_one_person_is_one_folder():
    same = [
        "First Last",
        "first_last",
        "FirstLast",
        "FIRST-LAST",
        " first  last ",
        "first.last",
        "Fïrst Lást",
        "firstlast",
    ]
    assert {slug(name) for name in same} == {"firstlast"}
    assert slug("O'Brien") == slug("O’Brien") == "obrien" and slug("Weiß") == "weiss" and slug("ﬁona") == "fiona"
    assert slug("李雷") == "李雷" and slug("reference") == "reference"
    assert slug("group 1 1") == slug("group1_1") == "group1_1" != slug("group 11")
    assert len({slug(name) for name in ("ana", "anna", "anna 2", "bob")}) == 4


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc",
        "..",
        ".",
        "",
        " ",
        "...",
        "_-_",
        "CON",
        "con",
        "Com1",
        "nul",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "a:b",
        "<script>",
        "x" * 65,
        "ﷺ" * 10,
        "~",
        "$(rm)",
        "a\u202eb",
        "\u200b",
        "{name}",
        "*",
        "a?b",
        None,
        7.5,
    ],
)
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(MedsslError, match="cannot be a folder") as caught:
        slug(name)
    example = caught.value.fix.split()[-1]
    assert slug(example) == example


def test_a_slug_is_its_own_slug_and_has_no_character_that_leads_elsewhere():
    rng = np.random.default_rng(0)
    alphabet = [chr(c) for c in range(0x2500) if not 0xD800 <= c < 0xE000] + list(" _-../\\…ǅİıﬀ①½")
    accepted = 0
    singles = [chr(c) for c in range(0x1000)]
    words = ["".join(rng.choice(alphabet[32:127] if i % 2 else alphabet, rng.integers(1, 12))) for i in range(1500)]
    for word in singles + words:
        try:
            once = slug(word)
        except MedsslError:
            continue
        accepted += 1
        assert slug(once) == once, word
        assert not set(once) & set('/\\:*?"<>|. \0\n')
        assert once == unicodedata.normalize("NFC", once) == once.casefold()
    assert accepted > 1000


def test_dataset_keys_have_one_spelling():
    assert dataset_key("BreastMNIST") == dataset_key("breast_mnist") == "breastmnist"
    with pytest.raises(MedsslError, match="perhaps breastmnist"):
        dataset_key("breasmnist")
    for bad in ("../breastmnist", "", None, "/"):
        with pytest.raises(MedsslError):
            dataset_key(bad)


def test_the_root_is_the_argument_then_the_variable_then_the_repository(tmp_path, monkeypatch, repo):
    monkeypatch.delenv("MEDSSL_ROOT", raising=False)
    monkeypatch.chdir(repo / "tests")
    assert results_root() == results_root("") == repo
    monkeypatch.chdir(tmp_path)
    assert results_root() == tmp_path
    monkeypatch.setenv("MEDSSL_ROOT", str(tmp_path / "env"))
    assert results_root() == tmp_path / "env" and results_root(tmp_path / "arg") == tmp_path / "arg"
