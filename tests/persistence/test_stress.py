"""The stress command, small: the sums are exact, kills lose the last batches only."""

from __future__ import annotations

import pytest

from crux_providers.persistence.location import Location
from tests import stress_persistence


@pytest.mark.slow
def test_many_threads_and_processes(place: Location, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = (3, 4, 100)
    crowd = stress_persistence.all_at_once(place, *sizes)
    killed = stress_persistence.kills(place, *sizes, seed=7)
    whole = stress_persistence.whole(place)
    said = capsys.readouterr().out
    assert "found    1200 observations, 1200 ledger rows, $600.00" in said, said
    assert killed, said
    assert whole, said
    # What a put costs is judged by the command, on a machine that has nothing else to do.
    assert crowd or "failed or dropped 0" in said, said
