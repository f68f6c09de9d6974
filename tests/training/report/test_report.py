"""The validation report and the model card, from the documents of a candidate's folder."""

from __future__ import annotations

import html as entities
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from configs.errors import TrainingError
from training.governance.gates import Verdict
from training.governance.ledger import Decision, Filing
from training.report.chapters import CHAPTERS
from training.report.documents import read_documents
from training.report.duties import DUTIES, TITLES
from training.report.limits import limits_of
from training.report.render import numbers, render_card, render_report
from training.report.writing import write_report

ATTACK = "<script>alert('x')</script>"
Changed = Callable[..., Path]


class Outline(HTMLParser):
    """Ids, links, tables and figures of a page, and tags that are left open."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.heads: list[dict[str, str | None]] = []
        self.tables = self.captions = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []
        self.images += [found] if tag == "img" else []
        self.heads += [found] if tag == "th" else []
        self.sources += [found[name] or "" for name in ("src", "srcset", "data", "action") if name in found]
        self.sources += [found["href"] or ""] if tag == "link" else []
        self.tables += tag == "table"
        self.captions += tag == "caption"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(whole: Path) -> str:
    return render_report(whole)


def sections(html: str) -> dict[str, str]:
    parts = re.split(r'<section id="(\w+)"', html)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_chapter_is_there_in_order_and_linked(html: str) -> None:
    page = Outline(html)
    assert page.open == []
    keys = [chapter.key for chapter in CHAPTERS]
    assert [name for name in page.ids if name in keys] == keys
    assert {f"#{key}" for key in keys} <= set(page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_every_duty_points_to_chapters_that_exist_and_every_source_has_duties(html: str) -> None:
    keys = {chapter.key for chapter in CHAPTERS}
    for duty in DUTIES:
        assert duty.chapters and set(duty.chapters) <= keys, duty
        assert duty.source in TITLES and duty.place and duty.asks
    assert {duty.source for duty in DUTIES} == set(TITLES)
    answered = {key for duty in DUTIES for key in duty.chapters}
    assert answered == keys, "a chapter that nobody asks for"
    for duty in DUTIES:
        assert duty.asks in entities.unescape(sections(html)["duties"])


def test_all_of_annex_iv_and_every_principle_of_ss1_23_is_mapped() -> None:
    points = " ".join(duty.place for duty in DUTIES if "2024/1689" in duty.source)
    for point in ("1", *(f"2({letter})" for letter in "abcdefgh"), *map(str, range(3, 10))):
        assert f"Point {point}" in points
    principles = " ".join(duty.place for duty in DUTIES if duty.source == "SS1/23")
    for principle in ("1", "2", *(f"3.{part}" for part in range(1, 7)), *(f"4.{part}" for part in range(1, 6)), "5"):
        assert principle in principles


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(html: str) -> None:
    page = Outline(html)
    assert all(source.startswith("data:") for source in page.sources)
    assert all(link.startswith("#") for link in page.links)
    assert "<script" not in html and "url(" not in html and "@import" not in html and "javascript:" not in html
    assert not re.search(r"\son\w+=", html)


def test_tables_and_figures_can_be_read_by_those_who_cannot_see_them(html: str) -> None:
    page = Outline(html)
    assert page.tables == page.captions > 30
    assert all(head.get("scope") in {"col", "row"} for head in page.heads)
    assert all(image.get("alt") for image in page.images)


def test_every_figure_of_the_folder_is_shown_once(whole: Path, html: str) -> None:
    figures = read_documents(whole).figures
    shown = [image["src"] for image in Outline(html).images]
    assert len(shown) == len(set(shown))
    assert {name for name, source in figures.items() if source not in shown} <= {"importance"}
    assert len(shown) >= len(figures) - 1


def test_whatever_was_found_is_shown(whole: Path, html: str) -> None:
    evidence, parts = json.loads((whole / "evidence.json").read_text()), sections(html)
    for gate in json.loads((whole / "verdict.json").read_text())["gates"]:
        assert gate["name"] in parts["summary"]
    for name in evidence["used_features"]:
        assert name in parts["features"] and name in parts["explanation"]
    assert evidence["data_hash"] in parts["data"]
    assert f"{evidence['metrics']['auc']:.3f}" in parts["performance"]
    for grade in evidence["calibration"]["tested"]["grades"]:
        assert grade["verdict"] in parts["calibration"]
    assert "lgd" in parts["credit_risk"] and "Vintages" in parts["credit_risk"]
    assert "sex" in parts["fairness"] and "accept all" in parts["money"]
    assert "version 2" in parts["sample"]


def test_no_chapter_of_a_whole_candidate_is_unrecorded(html: str) -> None:
    assert re.findall(r"Not recorded[^<]*", html) == []


def test_a_chapter_without_evidence_says_why_and_stays(changed: Changed) -> None:
    def without(evidence: dict[str, Any]) -> None:
        for name in ("money", "stability", "explanation"):
            evidence[name] = None

    found = sections(render_report(changed(without)))
    assert "Not recorded: this candidate&#39;s evidence has no part &#39;stability&#39;." in found["stability"]
    assert "Not recorded" in found["money"] and "Not recorded" in found["explanation"]
    assert "Not applicable: a points table belongs to a scorecard" in found["points"]
    assert "&#39;money&#39;" in found["limits"]


def test_a_chapter_that_does_not_apply_says_so_and_is_no_limit(changed: Changed) -> None:
    folder = changed(lambda use_case: [use_case.pop(name) for name in ("protected", "rejects")], "use_case")
    path = folder / "evidence.json"
    evidence = json.loads(path.read_text())
    path.write_text(json.dumps(evidence | dict.fromkeys(("fairness", "proxies", "alternatives", "rejects"))))
    found = sections(render_report(folder))
    assert "Not applicable: the use case declares no protected attribute." in found["fairness"]
    assert "Not applicable: the use case doesn&#39;t ask for reject inference" in found["rejects"]
    assert not [limit for limit in limits_of(read_documents(folder)) if limit.chapter in {"fairness", "rejects"}]


@pytest.mark.parametrize("document", ["evidence", "use_case", "verdict"])
def test_all_text_is_escaped(changed: Changed, document: str) -> None:
    def poison(content: dict[str, Any]) -> None:
        if document == "evidence":
            content["split"]["notes"].append(ATTACK)
            content["features"][0]["bins"][0]["label"] = ATTACK
            content["explanation"]["segments"][0]["segments"][0]["segment"] = ATTACK
        elif document == "use_case":
            content["title"] = content["description"] = content["owner"] = ATTACK
        else:
            content["gates"][0]["reason"] = ATTACK

    folder = changed(poison, document)
    for page in (render_report(folder), render_card(folder)):
        assert "<script" not in page
    assert "&lt;script&gt;" in render_report(folder)


def test_no_id_and_no_person_is_printed(html: str) -> None:
    assert "secret-" not in html and "person-" not in html


def test_a_figure_that_is_undefined_is_a_dash_and_a_limit(changed: Changed) -> None:
    def undefine(evidence: dict[str, Any]) -> None:
        evidence["metrics"]["ks"] = None
        del evidence["intervals"]["gini"]

    folder = changed(undefine)
    texts = [limit.text for limit in limits_of(read_documents(folder))]
    assert "ks is undefined on the tested rows" in texts
    assert "gini has no interval: it is undefined in most draws" in texts
    (row,) = re.findall(r"<tr>.*greatest distance of the classes.*</tr>", render_report(folder))
    assert row.count('<td class="number">-</td>') == 1


def test_evidence_of_another_shape_names_the_chapter(changed: Changed) -> None:
    def break_it(evidence: dict[str, Any]) -> None:
        del evidence["money"]["threshold"]["acts"]

    with pytest.raises(TrainingError, match=r"the evidence lacks what money of the report shows: .*acts"):
        render_report(changed(break_it))


def test_evidence_of_an_older_version_is_an_error_too(changed: Changed) -> None:
    with pytest.raises(TrainingError, match="the evidence lacks what the list of limits shows: no 'tested'"):
        render_report(changed(lambda evidence: evidence["calibration"].pop("tested") and None))


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no use_case\.json in"):
        render_report(tmp_path)


def test_warnings_come_first_and_stand_on_the_sign_off_page(whole: Path, html: str) -> None:
    limits = limits_of(read_documents(whole))
    weights = [limit.weight for limit in limits]
    assert weights == sorted(weights, key=lambda weight: weight != "warning")
    assert "version 2 was tested on the same rows before: the best of several looks better than it is" in {
        one.text for one in limits
    }
    assert {limit.chapter for limit in limits} <= set(numbers())
    for limit in limits:
        if limit.weight == "warning":
            assert re.escape(limit.text)[:20] in re.escape(sections(html)["sign_off"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: one["split"].update(by="random"), "time was not tested"),
        (lambda one: one["split"]["test"].update(positives=12), "the test has 12 positives"),
        (lambda one: one["validation_gap"].update(warning=True, gap=0.05), "validation by chance looks better"),
        (lambda one: one["features"][0].update(psi=0.4), "shifted between training and test: PSI 0.400"),
        (
            lambda one: one["stability"]["months"][0].update(psi=0.9, rows=500),
            "the score shifted in 2021-08: PSI 0.900",
        ),
        (lambda one: one["explanation"]["refits"].update(rank_correlation=None), "importance is stable over refits"),
        (lambda one: one["fairness"]["attributes"]["sex"].update(four_fifths="missed"), "four fifths is missed"),
        (lambda one: one["credit_risk"]["backtest"].update(interval=[1.2, 1.4]), "realised over expected loss"),
    ],
)
def test_what_goes_wrong_is_a_warning(changed: Changed, change: Callable[[dict[str, Any]], Any], told: str) -> None:
    limits = limits_of(read_documents(changed(lambda evidence: change(evidence) and None)))
    assert any(told in limit.text for limit in limits if limit.weight == "warning")


def test_an_overruled_leak_is_a_warning_with_its_reason(changed: Changed) -> None:
    finding = {
        "column": "amount",
        "kind": "id_like",
        "meaning": "names the rows",
        "reason": "r",
        "evidence": {"auc": 0.9},
    }
    folder = changed(lambda one: one["leaks"].append(finding | {"blocks": True, "accepted": "known", "stops": False}))
    assert "amount is suspected (names the rows) and was accepted: known" in {
        limit.text for limit in limits_of(read_documents(folder)) if limit.weight == "warning"
    }
    assert "known" in sections(render_report(folder))["leaks"]


def test_a_candidate_before_its_gates_were_judged_is_rendered(changed: Changed) -> None:
    folder = changed(lambda _: None)
    (folder / "verdict.json").unlink()
    assert "The gates have not been judged." in sections(render_report(folder))["summary"]


def test_a_filed_version_names_its_author_digest_and_decision(whole: Path) -> None:
    decision = Decision("approved", "grace", "sound", "2024-05-01T10:00:00+00:00", 3, "h")
    tables = [{"name": "applications", "path": "p", "rows": 1234, "digest": "ef" * 32}]
    filed = Filing(
        "credit", 4, "ada", "run-1", Verdict(True, ()), {}, "d1" * 32,
        lineage={"code": "c0ffee", "tables": tables}, filed_at="2024-05-01T09:00:00+00:00", decision=decision,
    )  # fmt: skip
    found = sections(render_report(whole, filed=filed))
    assert "ada" in found["summary"] and "ada" in found["sign_off"]
    assert "approved by grace" in found["sign_off"]
    assert "c0ffee" in found["data"] and "1,234" in found["data"] and "efefefef" in found["data"]
    assert "risk reproduce credit 4" in found["reproduction"] and "d1d1" in found["reproduction"]


def test_a_benchmark_and_a_champion_are_shown_with_their_intervals(changed: Changed) -> None:
    paired = {
        "objective": "auc",
        "difference": 0.0123,
        "interval": [0.001, 0.02],
        "low": 0.002,
        "draws": 500,
        "units": 70,
    }
    one = {"name": "scorecard", "metrics": {"auc": 0.7}, "paired": paired}
    folder = changed(
        lambda evidence: evidence.update(benchmark=[one], development={"metrics": {"auc": 0.71}, "intervals": {}})
    )
    champion = {"version": 3, "metrics": {"auc": 0.69}, "basis": "the candidate's test rows", "paired": paired}
    path = folder / "verdict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"champion": champion}))
    found = sections(render_report(folder))
    assert "+0.0123" in found["search"] and "one-sided 95 % lower bound +0.0020" in found["search"]
    assert "version 3" in found["summary"]
    assert "in time" in found["performance"] and "0.710" in found["performance"]


def test_categories_left_out_and_a_second_objective_are_shown(changed: Changed) -> None:
    trial = {"number": 4, "learner": "lightgbm", "value": 0.71, "second": 0.93, "state": "complete"}
    dropped = {
        "learner": "lightgbm",
        "column": "zip3",
        "labels": 900,
        "with_it": 0.67,
        "without_it": 0.69,
        "left_out": True,
    }
    found = {
        "against": "fairness",
        "tolerance": 0.005,
        "front": [4],
        "ablation": [dropped],
        "notes": ["a note of the search"],
    }

    def searched(evidence: dict[str, Any]) -> None:
        evidence["search"] = found | {"trials": [*evidence["search"]["trials"], trial]}

    parts = sections(render_report(changed(searched)))
    assert "zip3" in parts["search"] and "left out" in parts["search"]
    assert "least ratio of selection rates" in parts["search"] and "0.930" in parts["search"]
    assert "a note of the search" in parts["limits"]


def test_a_points_table_is_shown_for_a_scorecard(changed: Changed) -> None:
    table = [{"feature": "amount", "bin": "below 5", "points": 17}]
    points = {"table": table, "of": "probability", "rounding_error": 2.5, "information_values": {"amount": 0.1}}

    def scorecard(evidence: dict[str, Any]) -> None:
        evidence["chosen"]["learner"] = "scorecard"
        evidence["points"] = points

    found = sections(render_report(changed(scorecard)))["points"]
    assert "below 5" in found and "17" in found and "at most 2.50 off" in found


def test_the_card_has_the_headings_of_mitchell_et_al(whole: Path) -> None:
    page = render_card(whole)
    assert Outline(page).open == []
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
    ]


def test_report_and_card_are_written_beside_each_other(whole: Path, tmp_path: Path) -> None:
    written = write_report(whole, output=tmp_path / "out")
    assert [path.name for path in written] == ["report.html", "card.html"]
    assert (tmp_path / "out" / "report.html").read_text() == render_report(whole)
