"""Progress where no person watches a bar."""

from __future__ import annotations

import pytest

from delayline import console


def work(*, quiet: bool = False) -> None:
    with console.progress("training", 3, quiet=quiet) as advance:
        advance(1, "rank")
        advance(2)
        advance(1, "more than it seemed")


def test_a_log_shows_that_long_work_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    work()
    assert capsys.readouterr().err.splitlines() == [
        "training: 1 of 3, rank",
        "training: 3 of 3",
        "training: 4 of 4, more than it seemed",
    ]


def test_short_work_and_quiet_work_say_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_EVERY_S", 3600.0)
    work()
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    work(quiet=True)
    assert capsys.readouterr().err == ""
