"""MiniGrid as agents see it: its own view, shortest ways by search, an agent's two roads, training, another look."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch

from foveal.errors import InputError
from foveal.nn.agent_training import AgentTraining, adapt, agent_for, load_agent, train_agent
from foveal.nn.goal_agent import AgentSettings, EyeSettings, GoalAgent
from foveal.nn.grid_plans import ACTIONS, FETCH, PUT, REACH, Plan, Task, Thing
from foveal.nn.gridworlds import FAMILIES, Episode, Look, Sight, World, Worlds, efficiency, kind_of, make, play
from foveal.training.ppo import PPOSettings
from foveal.training.runs import RunSettings


@pytest.mark.parametrize(
    ("mission", "task"),
    [
        ("go to the red ball", Task(REACH, Thing("red", "ball"))),
        ("go to a grey key", Task(REACH, Thing("grey", "key"))),
        ("pick up the box", Task(FETCH, Thing(None, "box"))),
        ("go get a blue key", Task(FETCH, Thing("blue", "key"))),
        ("you must fetch a purple ball", Task(FETCH, Thing("purple", "ball"))),
        ("put the red ball next to the green box", Task(PUT, Thing("red", "ball"), Thing("green", "box"))),
    ],
)
def test_missions(mission, task):
    assert Task.of(mission) == task
    assert len(task.fields) == (4 if task.kind == PUT else 2)


@pytest.mark.parametrize(
    "mission",
    ["go to the red ball behind you", "use the key to open the door", "traverse the maze", "go to the moon", ""],
)
def test_missions_that_are_not_understood(mission):
    with pytest.raises(InputError, match="none that is understood"):
        Task.of(mission)


def test_environments_that_are_not_understood():
    for name in ("MiniGrid-GoToObject-6x6-N2-v0", "MiniGrid-Empty-5x5-v0", "CartPole-v1", "Nothing-v0"):
        with pytest.raises(InputError):
            kind_of(name)
    with pytest.raises(InputError, match="dense"):
        World(FAMILIES[REACH], reward="dense")


# -- the view ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BabyAI-GoToLocal-v0", "MiniGrid-Fetch-8x8-N3-v0", "BabyAI-UnlockLocal-v0"])
def test_the_view_is_minigrids(name, capsys):
    env, draw = make(name), np.random.default_rng(0)
    sight = Sight(env)
    for seed in range(3):
        env.reset(seed=seed)
        for _ in range(40):
            own, ours = env.gen_obs(), sight()
            assert np.array_equal(own["image"], ours["image"])
            assert (own["direction"], own["mission"]) == (ours["direction"], ours["mission"])
            _, _, ended, cut, _ = env.step(int(draw.integers(6)))  # doors are opened, things carried
            if ended or cut:
                break
    capsys.readouterr()


def test_another_look_exchanges_numbers():
    world = World(FAMILIES[REACH])
    world.reset(3)
    image = world.env.gen_obs()["image"]
    look = Look.drawn(1)
    told = look.codes(image)
    assert sorted(look.kinds) == list(range(11))
    plain = Look().codes(image)
    assert (told == [look.kinds[one // 6] * 6 + look.colours[one % 6] for one in plain]).all()
    assert (told != plain).any()


# -- shortest ways -----------------------------------------------------------------------------------------------------


def fewest_by_search(name, seed, most=40):
    """Actions to success by breadth-first search over the real environment, each path replayed from the seed."""
    kind, seen, ahead = kind_of(name), set(), deque([()])
    while ahead:
        path = ahead.popleft()
        env = make(name)
        env.reset(seed=seed)
        ended = own = 0
        for action in path:
            _, own, ended, _, _ = env.step(action)
        if ended:
            if own > 0:
                return len(path)
            continue
        carried = None if env.carrying is None else (env.carrying.type, env.carrying.color)
        state = (tuple(map(int, env.agent_pos)), env.agent_dir, carried, env.grid.encode().tobytes())
        if state in seen or len(path) >= most:
            continue
        seen.add(state)
        ahead.extend((*path, action) for action in range(ACTIONS[kind]))
    return None


@pytest.mark.parametrize(("kind", "seeds"), [(REACH, range(5)), (FETCH, range(5)), (PUT, range(2))])
def test_the_expert_is_as_short_as_search_finds(kind, seeds, capsys):
    world = World(FAMILIES[kind])
    for seed in seeds:
        world.reset(seed)
        assert world.fewest_steps == fewest_by_search(FAMILIES[kind], seed), seed
    capsys.readouterr()


@pytest.mark.parametrize("kind", FAMILIES)
def test_following_the_plan_succeeds_in_as_many_steps(kind):
    world = World(FAMILIES[kind], measured=True)
    for seed in range(20):
        world.reset(seed)
        start = Plan.of(world.task, world.env)[world._state()]
        episode, rewards = None, []
        while episode is None:
            reward, episode = world.step(greedy(world))
            rewards.append(reward)
        assert episode.success
        assert episode.steps == episode.fewest_steps == max(1, start)
        assert episode.fewest_moves <= episode.moves
        assert sum(rewards) == pytest.approx(1 - 0.001 * episode.steps + 0.1 * start)


def greedy(world):
    """An action after which less is left, by the plan."""
    plan = Plan.of(world.task, world.env)
    x, y, heading, held = world._state()
    left = plan[x, y, heading, held]
    dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[heading]
    for action, state in (
        (0, (x, y, (heading - 1) % 4, held)), (1, (x, y, (heading + 1) % 4, held)), (2, (x + dx, y + dy, heading, held))
    ):  # fmt: skip
        if plan.get(state, left) < left and (action < 2 or world.env.grid.get(x + dx, y + dy) is None):
            return action
    return 2 if world.task.kind == REACH else 4 if held else 3


def test_efficiency_by_hand():
    told = efficiency([Episode(True, 8, 4, 4, 2), Episode(True, 3, 0, 3, 0), Episode(False, 25, 9, 2, 1)])
    assert told == pytest.approx({"success": 2 / 3, "SPL": (0.5 + 1) / 3, "SEL": (0.5 + 1) / 3, "steps": 12})
    with pytest.raises(InputError):
        efficiency([])


def test_worlds_begin_anew_and_repeat():
    worlds, found = Worlds(FAMILIES[FETCH], 3), []
    for _ in range(2):
        draw = np.random.default_rng(0)
        seen = [worlds.reset(5)]
        ends = 0
        for _ in range(60):
            step = worlds.step(draw.integers(worlds.actions, size=3))
            seen.append(step[0])
            ends += int(step[2].sum())
        found.append([torch.cat([one[place] for one in seen]) for place in range(3)])
        assert ends > 0
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert set(found[0][2].unique().tolist()) == {0, 1, 2, 3, 4}  # 4: no action yet


# -- the agent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "bottleneck"), [("joint", "codebook"), ("belief", "codebook"), ("joint", "none")])
def test_unrolled_is_acted(place, bottleneck):
    torch.manual_seed(0)
    agent = GoalAgent(
        AgentSettings(actions=4, goals=(7, 4), hidden=16, place=place, bottleneck=bottleneck, codebook={"codes": 8})
    ).eval()
    steps, rows = 7, 3
    cells, goals = torch.randint(66, (steps, rows, 49)), torch.randint(4, (steps, rows, 2))
    last, starts = torch.randint(5, (steps, rows)), torch.rand(steps, rows) < 0.3
    first = torch.randn(rows, 16)
    logits, values = agent.unroll((cells, goals, last), starts, first)
    state = first
    for step in range(steps):
        told, value, state = agent.act((cells[step], goals[step], last[step]), state, starts[step])
        torch.testing.assert_close(logits[step], told)
        torch.testing.assert_close(values[step], value)
    assert agent.eye.filter.settings.width == 1574


def test_an_agent_refuses_what_is_no_view():
    agent = GoalAgent(AgentSettings(actions=3, goals=(7, 4), hidden=8, codebook={"codes": 4}))
    one = torch.zeros(1, dtype=torch.long)
    with pytest.raises(InputError, match="49"):
        agent.act((one.expand(1, 48), one.expand(1, 2), one), agent.begin(1), one == 0)
    with pytest.raises(InputError, match="place"):
        AgentSettings(actions=3, goals=(7, 4), place="after")
    for embed in (-1, 2.5):
        for kind, options in ((AgentSettings, {"actions": 3}), (EyeSettings, {})):
            with pytest.raises(InputError, match=f"embed = {embed}"):
                kind(goals=(7, 4), embed=embed, **options)
    with pytest.raises(InputError, match="no such setting"):
        agent_for("BabyAI-GoToLocalS5N2-v0", {"width": 8}, 0)


TINY = AgentTraining(
    form={"hidden": 8, "embed": 4, "codebook": {"codes": 6}}, episodes=4,
    ppo=PPOSettings(frames=256, environments=4, rollout=16, stretch=128, epochs=1),
)  # fmt: skip


def test_training_is_kept_or_put_aside_and_done_once(tmp_path):
    folder, report = train_agent(settings=TINY, run=RunSettings(home=tmp_path, name="mine"))
    assert report.kept == (folder is not None)
    assert any("Codes in use" in note for note in report.notes)
    assert train_agent(settings=TINY, run=RunSettings(home=tmp_path, name="mine")) == (folder, report)
    place = folder or tmp_path / "runs" / "train" / "mine" / "rejected"
    agent, told = load_agent(place)
    episodes = play(agent, told["environment"], range(5))
    assert len(episodes) == 5
    assert play(agent, told["environment"], range(5)) == episodes
    with pytest.raises(InputError, match="another run"):
        train_agent(FAMILIES[FETCH], TINY, run=RunSettings(home=tmp_path, name="mine"))
    with pytest.raises(InputError, match="holds no agent"):
        load_agent(tmp_path)


def test_adapting_changes_only_what_sees(tmp_path):
    agent = agent_for(FAMILIES[REACH], TINY.form, 0)
    before = {name: one.clone() for name, one in agent.state_dict().items()}
    adapt(agent, FAMILIES[REACH], TINY, tmp_path, look=Look.drawn(1))
    moved = {name for name, one in agent.state_dict().items() if not torch.equal(one, before[name])}
    seeing = ("eye.filter.compress", "eye.filter.goal", "eye.filter.combine", "eye.actions")
    assert moved
    assert all(name.startswith(seeing) for name in moved)
