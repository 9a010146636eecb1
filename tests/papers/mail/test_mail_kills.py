"""A real sender, killed by SIGKILL at the worst moments, beside a server that refuses, stalls, drops and dies.

The same at full size (1,000 subscribers, 20 kills) is `foveal bench mail`.
"""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from foveal.bench.mail import Chaos, run_chaos
from foveal.bench.mail_data import with_dkim
from foveal.papers.people_schema import DeliveryRow


@pytest.mark.slow
def test_each_of_sixty_gets_one_message_or_one_that_is_marked_unknown(make_site, key):
    chaos = Chaos(subscribers=60, kills=4, leaving=6, deaths=1, seed=3)
    site = make_site(chaos.subscribers, server={"fault": chaos.fault, "stall_s": 0.05})
    with (site.home / "foveal.toml").open("a") as file:
        file.write(with_dkim(site.home, key.pem) + "\n")
    found = run_chaos(chaos, site.home, site.database, site.secret, site.server)
    assert found.kills == 4
    assert found.twice == []
    assert found.lost == []
    assert found.after_leaving == []
    assert found.unknown <= found.kills + found.dropped + found.deaths
    assert found.sent + found.unknown + found.refused + found.left == chaos.subscribers
    with site.database.reading() as session:
        states = dict.fromkeys(session.scalars(select(DeliveryRow.state)))
        assert set(states) <= {"sent", "unknown", "failed", "suppressed"}
        assert session.scalar(select(func.count()).select_from(DeliveryRow)) >= chaos.subscribers - chaos.leaving


def test_chaos_is_the_same_for_the_same_seed():
    chaos = Chaos(subscribers=60, kills=4, leaving=6, deaths=1, seed=3)
    drawn = [chaos.fault(f"reader{n}@example.org", 1) for n in range(60)]
    assert drawn == [chaos.fault(f"reader{n}@example.org", 1) for n in range(60)]
    assert {"later", "never", "drop-kept"} <= {chaos.fault(f"reader{n}@example.org", 1) for n in range(2_000)}
