"""The page takes no string for HTML, wherever it comes from."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stages.report import page
from tests.report.conftest import study, summarised  # noqa: F401 - fixtures

HOSTILE = "</pre></td><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"


class Elements(HTMLParser):
    """Counts elements, and collects attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.attributes, self.text = {}, set(), ""

    def handle_starttag(self, tag, attributes):
        self.elements[tag] = self.elements.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.text += data


def made() -> Elements:
    page.main()
    elements = Elements()
    elements.feed(Path("report/index.html").read_text(encoding="utf-8"))
    return elements


def poisoned(value):
    """The value with every word in it replaced; keys and numbers stay."""
    if isinstance(value, dict):
        return {key: poisoned(below) for key, below in value.items()}
    if isinstance(value, list):
        return [poisoned(below) for below in value]
    return HOSTILE if isinstance(value, str) else value


def test_words_out_of_every_source_stay_words(study, monkeypatch):  # noqa: F811
    known = page.provenance() | {"commit": "1"}
    monkeypatch.setattr(page, "provenance", lambda: known)
    plain = made()
    for path in [*Path("results").rglob("*.json"), Path("metrics/summary.json")]:
        path.write_text(json.dumps(poisoned(json.loads(path.read_text()))))
    Path("params.yaml").write_text(Path("params.yaml").read_text() + f"# {HOSTILE}\n", encoding="utf-8")
    monkeypatch.setattr(page, "provenance", lambda: dict.fromkeys(known, HOSTILE))
    hostile = made()
    assert hostile.elements == plain.elements
    assert hostile.attributes == plain.attributes
    # In the params, as versions, and as the words of an evaluation (`resize`).
    assert hostile.text.count(HOSTILE) >= 4


def test_a_picture_s_name_reaches_no_html(study):  # noqa: F811
    plain = made()
    shutil.copy(next(Path("plots").glob("*.png")), Path("plots") / '"><script>alert(1)<.png')
    assert made().elements == plain.elements


@pytest.mark.parametrize("word", [HOSTILE, "<b>", "a b", "A", "ü"])
def test_names_that_reach_commands_and_the_page_are_plain(study, word):  # noqa: F811
    from stages.runtime import params
    from stages.runtime.errors import UserError

    content = params._parsed("params.yaml")
    pair = next(iter(content["adaptation"]["pairs"].values()))
    for group, changes, said in (
        ("data", {"folders": {word: "/x"}}, r"data\.folders\..*: a name is a letter and"),
        ("adaptation", {"pairs": {word: pair}}, r"adaptation\.pairs\..*: a pair's name is two names"),
        ("adaptation", {"pairs": {f"{word}-{word}": pair}}, r"adaptation\.pairs\..*: a pair's name is two names"),
        ("adaptation", {"methods": [word]}, r"adaptation\.methods\.0: is .* not known"),
        ("evaluation", {"extractors": [word]}, r"evaluation\.extractors\.0: is .* not known"),
        ("judge", {"dataset": word}, r"judge\.dataset is .* not known"),
        ("adaptation", {"seeds": [word]}, r"adaptation\.seeds\.0: is .* must be a whole number"),
    ):
        with pytest.raises(UserError, match=said):
            params.validated({**content, group: {**content[group], **changes}})
