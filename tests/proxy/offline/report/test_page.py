"""The page as text: its sentences, and that no text of an answer becomes markup."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from proxy.offline.report import Source, figures_of, render
from proxy.offline.report.charts import histogram_chart, outcome_chart, reliability_chart, risk_coverage_chart
from proxy.offline.report.examples import clipped
from proxy.offline.report.page import f_score
from tests.proxy.offline.report.made import CERTIFICATE, HOSTILE, hostile, policy, record, records

VOID = {"meta", "br", "img", "link", "input"}


class Outline(HTMLParser):
    """A parser that collects tags, attributes and text, and checks that the tags nest."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def outline(html):
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


def page(rows, **changes):
    return render(figures_of(rows, policy(**changes), Source("records.jsonl")))


def test_it_says_in_words_what_the_policy_does():
    html = page(records(), certificate=CERTIFICATE, created="2026-01-02T03:04:05Z")
    text = re.sub(r"[ \n]+", " ", " ".join(outline(html).text))
    assert re.search(r"Answers \d\d\u202f%, +wrong \d[\d.]*\u202f% of them\.", text)
    assert "Figures on the records given : 400 answers to 200 questions in records.jsonl" in text
    assert "Certified At most 20\u202f% of the served answers are wrong, with probability 90\u202f%" in text
    assert "10 wrong of 100 answered among 150 labelled answers" in text
    assert "Naive not valid: no guarantee" in text
    assert "The band is the 95\u202f% Clopper-Pearson interval of each point" in text
    assert "2026-01-02" in text


def test_nothing_is_fetched_and_nothing_runs():
    html = page(hostile(), name="<b>&\"'")
    found = outline(html)
    names = [tag for tag, _ in found.tags]
    assert not {"script", "img", "link", "iframe", "object", "form", "a", "base"} & set(names)
    assert names.count("style") == 1
    for _, attributes in found.tags:
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "href", "style")]
    assert "url(" not in html
    assert "@import" not in html


def test_the_policy_allows_the_pages_own_style_alone():
    html = page(records(20))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'" in html


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\x00" not in text])
def test_hostile_text_stays_text(text):
    html = page([record(1, -0.2, "correct", answer=text, question=text)], name=text[:50])
    found = outline(html)
    assert clipped(text) in found.text
    assert len(html) < 80_000


def test_control_characters_and_half_surrogates_are_replaced():
    html = page([record(1, -0.2, "correct", answer="a\x00b\x1bc\x85d")], name="half \ud800")
    assert "a\ufffdb\ufffdc\ufffdd" in html
    html.encode()


def test_every_picture_has_a_title_and_every_table_a_caption():
    html = page(records(), certificate=CERTIFICATE)
    found = outline(html)
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    pictures = [attributes for tag, attributes in found.tags if tag == "svg" and "role" in attributes]
    assert len(pictures) == 4
    for attributes in pictures:
        assert set(attributes["aria-labelledby"].split()) <= ids
    names = [tag for tag, _ in found.tags]
    assert names.count("caption") == names.count("table") > 3
    assert all("scope" in attributes for tag, attributes in found.tags if tag == "th")


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        ([], {}, "The policy’s results are not known."),
        ([record(1, -9.0, "incorrect")], {}, "The policy withholds every answer here."),
        ([record(1, -0.1, "correct")], {"threshold": None}, "No threshold is chosen."),
        ([record(1, None, "correct")], {}, "1 answer could not be scored and is withheld."),
        ([record(1, -0.1, "correct")], {"fingerprint": {"a": 1}}, "Fingerprint mismatch."),
        ([record(1, -0.1, "correct")], {"fingerprint": {"a": 1}}, "a: 1"),
        ([record(1, -0.1, "correct")], {"fitted_on": {}}, "not known"),
        (
            [record(row, -0.1, "incorrect") for row in range(50)],
            {"certificate": CERTIFICATE},
            "These answers contradict the certificate.",
        ),
    ],
)
def test_what_is_not_known_or_not_right_is_said(rows, changes, said):
    assert said in page(rows, **changes)


def test_a_picture_without_labels_is_none():
    empty = figures_of([], policy(), Source("x"))
    assert risk_coverage_chart(empty) is None
    assert reliability_chart(empty.reliability) is None
    assert histogram_chart(empty.histogram, 0.5) is None
    assert outcome_chart(empty.always, empty.gated) is None


def test_every_mark_lies_in_its_picture():
    html = page(records(), certificate=CERTIFICATE)
    for tag, attributes in outline(html).tags:
        if tag == "circle":
            assert 0 <= float(attributes["cx"]) <= 560
            assert 0 <= float(attributes["cy"]) <= 340


def test_the_f_score_is_simpleqas():
    figures = figures_of(records(), policy(), Source("x"))
    gated = figures.gated
    overall, given = gated.right / 400, gated.right / (gated.right + gated.wrong)
    assert f_score(gated) == pytest.approx(2 / (1 / overall + 1 / given))
    wrong = figures_of([record(1, -0.1, "incorrect")], policy(), Source("x"))
    assert f_score(wrong.gated) == 0.0
