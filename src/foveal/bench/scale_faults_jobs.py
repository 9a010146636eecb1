"""Trials of `scale-faults` on what runs long: the digest, research, training, and clocks that jump.

digest      every subscriber gets one message: none twice, none lost, whatever the senders die of; two send at a time,
            and one holds the lease. By a clock that is a day slow one about yesterday may come before: one of each
research    every event on which a run that goes on builds is in the database, numbers have no gap, and the run ends
training    goes on from its last whole checkpoint, to the same weights to the bit
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from foveal.bench.mail import Outcome, judge
from foveal.bench.mail_data import make_home, skip_waiting
from foveal.bench.mail_server import MailServer
from foveal.bench.scale_faults_trials import Found, Pace, Trial, Victim, home_in
from foveal.database import Database
from foveal.research.runs import Runs
from foveal.research.state import RunState
from foveal.settings import Settings
from foveal.training import checkpoints

SUBSCRIBERS = 16
CLOCKS_S = (-86_400, -3_600, -90, 90, 3_600, 86_400)
"""What a sender's clock is wrong by: within an hour, and a day."""

EPOCHS = 6
WORST = ("mail.planned=kill@1", "mail.claimed=kill@{n}", "mail.accepted=kill@{n}")

_mailing, _researching, _training = Pace(1.0), Pace(1.5), Pace(2.0)
_weights: dict[str, str] = {}  # what an undisturbed training comes to


def digest(draw: random.Random, folder: Path) -> Found:
    """Senders are killed, one or two at a time; the last ones come to their end."""
    return _mailed(draw, folder, dict)


def digest_by_wrong_clocks(draw: random.Random, folder: Path) -> Found:
    """The same, with a clock that jumped for each sender."""
    return _mailed(draw, folder, lambda: {"FOVEAL_CLOCK": str(draw.choice(CLOCKS_S))}, days=3)


def _mailed(draw: random.Random, folder: Path, clock: Callable[[], dict[str, str]], *, days: int = 1) -> Found:
    found, home = Found(), folder / "home"
    with MailServer(stall_s=0.05) as server:
        database, _ = make_home(home, server.port, subscribers=SUBSCRIBERS, seed=draw.randrange(10**6))
        with closing(database):
            kills = 0
            for _ in range(draw.randint(1, 3)):
                kills += _senders_killed(draw, home, clock)
                skip_waiting(database)
            found.struck += kills
            begun = time.perf_counter()
            for _ in range(6):
                with Victim(home, module="foveal.bench.mail_sender") as last:  # by the right time
                    found.hold(last.ended() == 0, f"the last sender failed: {last.errors}")
                if not skip_waiting(database):
                    break
            found.recovery_s.append(time.perf_counter() - begun)
            outcome = Outcome()
            judge(outcome, database, server, {})
    found.hold(not outcome.twice, f"{len(outcome.twice)} subscribers got two")
    found.hold(not outcome.lost, f"{len(outcome.lost)} subscribers got none, and nobody knows")
    found.hold(outcome.unknown <= kills, f"{outcome.unknown} unknown after {kills} kills")
    accounted = outcome.sent + outcome.unknown + outcome.refused + outcome.left
    found.hold(accounted == outcome.messages, f"{accounted} of {outcome.messages} messages are accounted for")
    right = SUBSCRIBERS <= outcome.messages <= days * SUBSCRIBERS
    found.hold(right, f"{outcome.messages} messages for {SUBSCRIBERS} subscribers")
    return found


def _senders_killed(draw: random.Random, home: Path, clock: Callable[[], dict[str, str]]) -> int:
    """One or two senders at a time, killed; how many died at work."""
    senders = []
    for _ in range(draw.randint(1, 2)):
        fault = draw.choice(WORST).format(n=draw.randint(1, 5)) if draw.random() < 0.5 else ""
        variables = clock() | ({"FOVEAL_FAULTS": fault} if fault else {})
        senders.append(Victim(home, module="foveal.bench.mail_sender", variables=variables))
    time.sleep(0.5)  # what is imported
    died = 0
    for sender in senders:
        with sender:
            begun = time.perf_counter()
            at_work = sender.kill_within(draw, 2.0 * _mailing.seconds)
            died += at_work or sender.process.returncode == -9
            if not at_work:
                _mailing.learn(time.perf_counter() - begun)
    return died


def research(draw: random.Random, folder: Path) -> Found:
    """A run is killed, up to three times, and goes on."""
    found, home = Found(), home_in(folder)
    database = Database.open(Settings.load(home, environment={}))
    with closing(database):
        runs = Runs(database)
        key = runs.new("What is known of 3 mills?")
        acked: set[int] = set()
        for _ in range(draw.randint(1, 3)):
            with Victim("research", home, key) as victim:
                victim.begun()
                begun = time.perf_counter()
                found.struck += victim.kill_within(draw, _researching.seconds)
                if victim.done:
                    _researching.learn(time.perf_counter() - begun)
                acked |= {int(one) for one in victim.acked}
            numbers = [event.id for event in runs.events(key)]
            found.hold(acked <= set(numbers), f"events lost: {sorted(acked - set(numbers))[:5]}")
            found.hold(numbers == list(range(1, len(numbers) + 1)), "the numbers of events have a gap")
            if runs.get(key).status == "done":
                break
        if runs.get(key).status != "done":
            begun = time.perf_counter()
            with Victim("research", home, key) as victim:
                found.hold(victim.ended() == 0, f"the run does not go on: {victim.lines[-2:]} {victim.errors}")
            found.recovery_s.append(time.perf_counter() - begun)
        state = RunState.of(runs.events(key))
        found.hold(runs.get(key).status == "done" and state.done is not None, "the run has no end")
        found.hold(len(state.refs) > 0 and bool(state.answer), "the run has no answer with sources")
        kinds = [event.kind for event in runs.events(key)]
        found.hold(kinds.count("done") == 1, f"{kinds.count('done')} ends of one run")
    return found


def training(draw: random.Random, folder: Path) -> Found:
    """A training is killed, up to three times, and goes on; in between a file of a checkpoint may be cut."""
    found, place = Found(), folder / "training"
    right = _undisturbed(folder)
    for _ in range(draw.randint(1, 3)):
        fault = {"FOVEAL_FAULTS": f"training.before-whole=kill@{draw.randint(1, 8)}"} if draw.random() < 0.4 else {}
        with Victim("train", place, str(EPOCHS), variables=fault) as victim:
            victim.begun()
            found.struck += victim.kill_within(draw, _training.seconds) or not victim.done
            if victim.done:
                break
    if draw.random() < 0.3:
        found.struck += _checkpoint_cut(place, draw)
    begun = time.perf_counter()
    with Victim("train", place, str(EPOCHS)) as victim:
        found.hold(victim.ended() == 0, f"the training does not go on: {victim.lines[-2:]} {victim.errors}")
        found.hold(victim.acked == [right], "the training went on to other weights")
    found.recovery_s.append(time.perf_counter() - begun)
    return found


def _undisturbed(folder: Path) -> str:
    if "right" not in _weights:
        with Victim("train", folder / "undisturbed", str(EPOCHS)) as victim:
            victim.begun()
            begun = time.perf_counter()
            victim.ended()
            _training.learn(time.perf_counter() - begun)
            _weights["right"] = victim.acked[0]
    return _weights["right"]


def _checkpoint_cut(place: Path, draw: random.Random) -> int:
    """Cut the file that says that the last checkpoint is whole, as a crash of the machine may; 1: there was one."""
    whole = sorted(place.glob(f"checkpoint-*/{checkpoints.WHOLE}"))
    if not whole:
        return 0
    content = whole[-1].read_bytes()
    whole[-1].write_bytes(content[: draw.randrange(len(content))])
    return int(not _is_json(whole[-1]))


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


TRIALS: Sequence[tuple[str, Trial]] = (
    ("digest, killed", digest),
    ("digest, clocks jump", digest_by_wrong_clocks),
    ("research, killed", research),
    ("training, killed", training),
)
