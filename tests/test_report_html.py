"""The report: complete in itself, well formed, and saying what the numbers say."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from policies.runlog import RunLog
from reports import html
from reports.breakdown import PARTS, breakdowns
from reports.figures import latency as latency_figures
from reports.figures.style import Sheet, end_labels, with_prefix
from reports.headline import State, headline, validation_headline
from reports.numbers import change, figure, percent
from reports.run import Objective, Run
from reports.timeline import timeline
from reports.totals import latencies_ns
from reports.validation import Sample, Scenario, Validation
from tests.run_maker import Maker, MakerStage, arrivals, chain, diamond

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects ids, references and text, and checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._attributes(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "srcset", "data", "action", "xlink:href"):
                self.references.append(value or "")

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def validation_of(log: RunLog) -> Validation:
    real = latencies_ns(log)
    sample = Sample.of(real)
    other = Sample.of((real * 1.05).astype(np.int64))
    names = ("idle", "busy <b>")
    return Validation(
        tuple(Scenario(name, 0.5, "fixed", sample, other, sample, other) for name in names)
    )


@pytest.fixture(scope="module")
def log() -> RunLog:
    return diamond(4, 400, loss=0.05, bound=30)


def test_the_page_is_complete_in_itself(log: RunLog) -> None:
    real = replace(log, info={"engine": "torch", "clock": "wall", "late_sends": {"max_ns": 12}})
    run = Run("demo", log, Objective(1), config={"stages": [{"name": "<script>alert(1)</script>"}]})
    page_text = html.render([run, Run("demo", real)], validation_of(log))
    page = Page(page_text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.references
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    for target in re.findall(r"url\(([^)]*)\)", page_text):
        assert target.startswith("#")
        assert target[1:] in page.ids
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert "@import" not in page_text
    for heading in (
        "Key figures",
        "Latency",
        "Where the time goes",
        "Over time",
        "Simulated against real",
        "Configuration",
        "Definitions",
        "Provenance",
    ):
        assert heading in page.text
    assert "<script>alert(1)</script>" in page.text  # as text, not as an element
    assert "demo (2)" in page.text  # a second run of the same name is told apart
    assert "prefers-color-scheme: dark" in page_text


def test_one_run_a_validation_alone_and_nothing(log: RunLog) -> None:
    alone = Page(html.render([Run("solo", log)]))
    assert "Simulated against real" not in alone.text
    assert "No objective was set" in alone.text
    checked = Page(html.render([], validation_of(log)))
    assert "off by" in checked.text
    assert "busy <b>" in checked.text
    with pytest.raises(ValueError, match="at least one run"):
        html.render([])


def test_a_run_without_requests_or_answers_can_be_reported() -> None:
    stages = [MakerStage("a", queue_bound=0)]
    nothing = Maker([MakerStage("a")], (1,), arrivals(1, 0, 1.0)).run()
    all_shed = Maker(stages, (1,), arrivals(1, 50, 5.0)).run()
    for empty in (nothing, all_shed):
        text = html.render([Run("empty", empty, Objective(10))])
        assert not re.search(r"\bnan\b", Page(text).text, re.IGNORECASE)
    assert "50 of 50 requests (100%) were not answered: 50 refused" in Page(text).text


def test_records_that_contradict_themselves_are_called_out(log: RunLog) -> None:
    broken = replace(log, end_ns=log.end_ns - 1)
    assert "contradict themselves" in Page(html.render([Run("broken", broken)])).text
    assert "contradict themselves" not in Page(html.render([Run("whole", log)])).text


def test_a_report_is_written_whole(tmp_path: Path, log: RunLog) -> None:
    path = tmp_path / "reports" / "report.html"
    html.write_report(path, [Run("demo", log)])
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    with pytest.raises(ValueError, match="at least one run"):
        html.write_report(path, [])
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_the_headline_says_whether_the_objective_is_met() -> None:
    log = chain(count=400, scale=1_000_000)
    p99 = int(np.sort(latencies_ns(log))[395])  # rank ceil(0.99 * 400) = 396

    def said(objective: Objective | None, of: RunLog = log) -> tuple[State, str, str]:
        run = Run("run", of, objective)
        found = headline(run, run.measure(), breakdowns(of)[0])
        return found.state, found.sentence, " ".join(found.details)

    state, sentence, details = said(Objective(p99))
    assert state is State.MET
    assert sentence.startswith(f"Objective met: p99 latency is {figure(p99 / 1e6)} ms")
    assert "All 400 requests were answered." in details
    state, sentence, _ = said(Objective(p99 - 1_000_000))
    assert state is State.MISSED
    assert f"over {(p99 - 1_000_000) / 1e6:g} ms" in sentence
    assert said(Objective(p99, 99.5))[0] is State.MISSED
    assert said(None)[0] is State.OPEN
    lossy = diamond(3, loss=0.3, bound=3)
    state, sentence, details = said(Objective(10**9), lossy)
    assert state is State.MISSED  # two thirds are not answered: p99 of all has no bound
    assert "so many requests were not answered" in sentence
    assert "refused at a full queue" in details
    few = diamond(3, 200, loss=0.3, bound=3)
    assert said(Objective(10**9, 10), few)[0] is State.PARTLY


def test_the_validation_headline_has_the_summary() -> None:
    said = validation_headline(validation_of(chain(count=300, scale=1000)))
    assert said.sentence.startswith("Predicted latency is off by 5.0% in the median")
    assert "off by 0% in the median" in said.details[1]


def test_the_parts_of_time_sum_to_the_mean_latency_of_a_chain() -> None:
    log = chain(count=300, hold_ns=30)
    everyone, slowest = breakdowns(log)
    latency = latencies_ns(log)
    assert everyone.requests == 300
    total = sum(stage.get(part) for stage in everyone.stages for part in PARTS)
    assert total == pytest.approx(latency.mean() / 1e6)
    late = latency[latency >= np.sort(latency)[296]]
    assert slowest.requests == len(late)
    assert sum(stage.total for stage in slowest.stages) == pytest.approx(late.mean() / 1e6)


def test_a_timeline_counts_what_happened(log: RunLog) -> None:
    line = timeline(log)
    arrived = (line.arrival_rate_hz * line.bins.width_s).sum()
    assert arrived == pytest.approx(len(log.requests))
    for stage, found in zip(log.stages, line.stages, strict=True):
        busy = (stage.batches.finished_ns - stage.batches.dispatched_ns).sum() / 1e9
        assert (found.utilization * line.bins.width_s).sum() * stage.replicas == pytest.approx(busy)
        sent = stage.visits.row >= 0
        left = log.requests.ended_ns[stage.visits.request]
        left[sent] = stage.batches.dispatched_ns[stage.visits.row[sent]]
        waited = (left - stage.visits.enqueued_ns).sum() / 1e9
        assert (found.queue_length * line.bins.width_s).sum() == pytest.approx(waited)
    assert [name for name, _ in line.devices] == ["dev0", "dev2"]  # two stages on one slot each


def test_figures_are_svg_with_text_and_restylable_colours() -> None:
    curves = [latency_figures.Curve("<a & b>", np.arange(1, 5000) * 1000)]
    text = latency_figures.latency([*curves, latency_figures.Curve("b", np.arange(9))], 4.0)
    root = ET.fromstring(text)  # noqa: S314  # our own
    assert root.attrib["viewBox"].split()[2:] == ["720", "252"]
    assert "width" not in root.attrib
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<a & b>" in words
    assert "objective 4 ms" in words
    assert "var(--series-0, #0072b2)" in text
    assert "<style" not in text
    assert text == latency_figures.latency([*curves, latency_figures.Curve("b", np.arange(9))], 4.0)


def test_ids_of_a_figure_can_be_set_apart() -> None:
    svg = '<svg><g id="a" clip-path="url(#p)"/><use href="#a" x="1"/></svg>'
    expected = '<svg><g id="f1-a" clip-path="url(#f1-p)"/><use href="#f1-a" x="1"/></svg>'
    assert with_prefix(svg, "f1-") == expected


def test_labels_that_would_touch_are_moved_apart() -> None:
    with Sheet(4, 3) as sheet:
        axes = sheet.axes[0]
        axes.set_ylim(0, 1)
        end_labels(axes, [(0.99, "c", "k"), (0.98, "b", "k"), (0.5, "a", "k")], gap=0.1)
        heights = {label.get_text(): label.get_position()[1] for label in axes.texts}
    assert heights == {"a": pytest.approx(0.5), "b": pytest.approx(0.9), "c": pytest.approx(1.0)}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        (0, "0"),
        (0.01234, "0.0123"),
        (1.0, "1.00"),
        (12.345, "12.3"),
        (1234567.8, "1,234,568"),
        (-3.14159, "-3.14"),
    ],
)
def test_figures_have_few_digits(value: float | None, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "–"),
        (0, "0.0%"),
        (0.0123, "1.2%"),
        (0.5, "50%"),
        (0.9999, "99.99%"),
        (0.00004, "0.004%"),
        (1, "100%"),
    ],
)
def test_a_share_is_not_rounded_to_all_or_nothing(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_changes_have_a_sign() -> None:
    ratios = (1.0, 1.5, 0.98, 11.0, None)
    assert [change(ratio) for ratio in ratios] == ["±0%", "+50%", "-2.0%", "+1,000%", "–"]


def test_great_changes_are_multiples_and_those_from_next_to_nothing_a_dash() -> None:
    assert [change(ratio) for ratio in (11.63, 250.0, 1000.0, 1e6)] == [
        "×11.6",
        "×250",
        "×1,000",
        "–",
    ]
