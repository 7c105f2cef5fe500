"""The estimate of what a stack at Google costs, which a plan shows."""

from __future__ import annotations

import pytest

from blocks.gcp import prices
from blocks.gcp_spec import Gcp
from flows.cli import terminal


def month(gcp: Gcp, what: str) -> float | None:
    return next(each.month for each in prices.costs(gcp) if each.what == what)


def test_the_defaults_cost_what_was_looked_up() -> None:
    found = prices.estimate(Gcp())
    looked_up = {"database instance": 98.62, "machine": 24.46, "front door": 9.86, "router with NAT": 4.67}
    parts = {each["what"]: each for each in found["parts"]}
    assert {name: round(parts[name]["month"], 2) for name in looked_up} == pytest.approx(looked_up, abs=0.01)
    assert all(parts[name]["confirmed"] for name in looked_up)
    assert not any(parts[name]["confirmed"] for name in ("disk of the database", "bucket", "image registry"))
    assert found["total"] == pytest.approx(sum(each["month"] for each in found["parts"]), abs=0.05)
    assert 135 < found["total"] < 150
    assert [each["month"] for each in found["parts"]] == sorted((e["month"] for e in found["parts"]), reverse=True)


def test_it_follows_the_spec() -> None:
    frugal = Gcp.model_validate(
        {
            "network": {"nat": False},
            "proxy": {"min_instances": 0, "cpu_idle": False},
            "database": {"tier": "db-custom-1-3840"},
        }
    )
    assert month(frugal, "database instance") == pytest.approx(49.31, abs=0.01)
    assert month(frugal, "front door") == 0
    assert "router with NAT" not in {each.what for each in prices.costs(frugal)}
    assert prices.advice(frugal) == ["an open tab of the UI, or a worker elsewhere, day and night: about 50 more"]


def test_what_has_no_known_price_is_said_and_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    found = prices.estimate(Gcp.model_validate({"host": {"machine_type": "c3-standard-4"}}))
    assert found["parts"][0] == {"what": "machine", "month": None, "confirmed": False, "note": "c3-standard-4"}
    terminal.costs(found)
    said = capsys.readouterr().out
    assert "~     ?  machine" in said and f"{found['total']:.2f}  in all" in said and "September 2026" in said
    assert "56 more" in said and "cpu_idle = false" in said
