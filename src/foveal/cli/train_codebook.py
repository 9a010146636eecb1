"""train agent, train goal-ranker: what a goal filter is for: an agent in a grid, and passages as a task needs them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home
from foveal.cli.training import Anew, AskedOfJudged, FirstStage, Name, Negatives, Rate, Seed, command
from foveal.settings import Settings

Bottleneck = Annotated[
    str,
    typer.Option(help="What filters for the goal: codebook; to compare with: linear, autoencoder, none."),
]
Codes = Annotated[int, typer.Option(min=1, help="Codes of the codebook.")]
CodeDim = Annotated[int, typer.Option(min=1, help="Numbers that are let through.")]
Dropout = Annotated[float, typer.Option(min=0, help="Share of the codes' shares that is dropped in training.")]

Temperature = Annotated[
    float, typer.Option(min=0.001, help="Of the codes' shares; lower ones are less even at first, and learn sooner.")
]


def agent(
    environment: Annotated[
        str,
        typer.Argument(help="Of MiniGrid: go to, pick up (fetch), or put next to.", metavar="ENVIRONMENT"),
    ] = "BabyAI-GoToLocalS5N2-v0",
    bottleneck: Bottleneck = "codebook",
    frames: Annotated[int, typer.Option(min=1, help="Steps of all environments together.")] = 100_000,
    environments: Annotated[int, typer.Option(min=1, help="Environments side by side.")] = 16,
    reward: Annotated[
        str, typer.Option(help="shaped (by the shortest way, as in the paper) or sparse (the environment's own).")
    ] = "shaped",
    hidden: Annotated[int, typer.Option(min=1, help="Width of the GRU.")] = 128,
    codes: Codes = 256,
    code_dim: CodeDim = 10,
    dropout: Dropout = 0.1,
    temperature: Temperature = 1.0,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes that it is measured by.")] = 200,
    name: Name = None,
    learning_rate: Rate = None,
    seed: Seed = 0,
    anew: Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train an agent that looks only at what its goal needs, by PPO. Stopped, the same command goes on."""
    from foveal.nn.agent_training import AgentTraining, train_agent
    from foveal.training.ppo import PPOSettings

    settings = Settings.load(home)
    usual = PPOSettings(frames=frames, environments=environments, seed=seed)
    ppo = replace(usual, stretch=min(usual.stretch, frames), learning_rate=learning_rate or usual.learning_rate)
    chosen = AgentTraining(
        form={"bottleneck": bottleneck, "codebook": _book(codes, code_dim, dropout, temperature), "hidden": hidden},
        ppo=ppo, reward=reward, episodes=episodes,
    )  # fmt: skip
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew)
        folder, report = train_agent(environment, chosen, run=run)
    use = f'Use it: foveal.nn.agent_training.load_agent(Path("{folder}")) (docs/codebook.md)'
    training.told(report, folder, use, settings, as_json=as_json)


@command
def goal_ranker(
    base: Annotated[
        str,
        typer.Option(help="Encoder whose token vectors are filtered: of `foveal models`, a folder, a hub id."),
    ] = "minilm",
    first_stage: FirstStage = None,
    bottleneck: Bottleneck = "codebook",
    codes: Codes = 256,
    code_dim: CodeDim = 10,
    dropout: Dropout = 0.1,
    temperature: Temperature = 1.0,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a passage that are read.")] = 64,
    negatives: Negatives = None,
    *,
    asked: AskedOfJudged,
) -> None:
    """Train what of a passage a task needs; it orders hits. Stopped with Ctrl-C, the same command goes on."""
    from foveal.ranking.goal_training import GoalTraining, train_goal_ranker

    usual = GoalTraining(bottleneck=bottleneck, codebook=_book(codes, code_dim, dropout, temperature), tokens=tokens)
    chosen = replace(usual, loop=asked.loop(usual.loop), negatives=negatives or usual.negatives)
    judged, test = asked.learnt_from(first_stage)
    with training.progress() as on_progress:
        folder, report = train_goal_ranker(judged, chosen, run=asked.run(on_progress, test=test), encoder=base)
    asked.told_ranker(report, folder)


def _book(codes: int, code_dim: int, dropout: float, temperature: float) -> dict[str, Any]:
    return {"codes": codes, "code_dim": code_dim, "dropout": dropout, "temperature": temperature}
