import json

import pytest

from benchmarks import own_exposure
from device.simulation.items import shipped_items


def test_only_items_against_the_light_are_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(own_exposure, "shipped_items", lambda: shipped_items()[:3])
    monkeypatch.setattr("sys.argv", ["own_exposure", "--back-lit", "1", "40", "--json"])
    assert own_exposure.main() == 0
    above, behind = map(json.loads, capsys.readouterr().out.splitlines())
    assert (above["n"], above["asked"], behind["asked"]) == (3, 0, 3)
    assert above["usual"] == above["own"] and behind["own_nll"] < behind["usual_nll"]
