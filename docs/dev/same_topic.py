"""Trains the same-topic model that is shipped, and prints what it finds in companies that it did not see.

    python docs/dev/same_topic.py --data FOLDER --threads 1

FOLDER holds tos/*.jsonl(.gz): terms, policies and contracts in Markdown, of open archives (see CREDIT). Companies are
parted: most teach, a fifth chooses and calibrates, a fifth is only measured. The model that is shipped has learnt from
the first part alone, so that what is printed holds for it. Heads over MiniLM's vectors and of layout, in float16: some
tens of kilobytes. Of a document the first --longest paragraphs are read, so that no company counts for ten. About four
minutes on one core, most of it encoding.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from foveal.models import load_encoder
from foveal.text.same_topic import SHIPPED, shipped_folder
from foveal.text.sectioned import SectionSettings, sectioned_documents
from foveal.text.topic_tables import TopicTable
from foveal.training.same_topic import (
    Parts,
    SameTopicSettings,
    calibrated,
    cosine_head,
    fitted_heads,
    measure,
)
from foveal.training.same_topic_pairs import Sectioned, deduplicated, split_by_group

CREDIT = (
    "Trained on the terms and policies of OpenTermsArchive/p2b-compliance-versions and demo-versions (ODC-By 1.0), "
    "github/site-policy (CC0 1.0), mozilla/legal-docs (CC BY-SA 3.0), Automattic/legalmattic (CC BY-SA 4.0), "
    "basecamp/policies (CC BY 4.0). The texts of the archives are their companies'. No text is contained."
)
TEST_SHARE, DEV_SHARE = 0.2, 0.2

console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Read the command line, train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with tos/")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--longest", type=int, default=120, help="paragraphs of a document")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    started = time.perf_counter()
    files = sorted((given.data / "tos").glob("*.jsonl*"))
    read = list(sectioned_documents(files, SectionSettings(group="company", most_paragraphs=10**6), TopicTable.terms()))
    documents = deduplicated([beginning(one, given.longest) for one in read])
    rest, test = split_by_group(documents, TEST_SHARE, seed=given.seed)
    learnt, dev = split_by_group(rest, DEV_SHARE, seed=given.seed)
    for name, part in (("learnt", learnt), ("dev", dev), ("test", test)):
        paragraphs, ends = sum(len(one.paragraphs) for one in part), sum(len(one.masses) - 1 for one in part)
        console.print(f"{name:7} {len(part):4} documents {paragraphs:6} paragraphs {ends:5} boundaries")
    encoder = load_encoder(given.encoder)
    parts = Parts.read(learnt, [*dev, *test], encoder)
    console.print(f"encoded after {time.perf_counter() - started:.0f} s")
    settings = SameTopicSettings()
    settings = replace(settings, loop=replace(settings.loop, seed=given.seed))
    held, tested = parts.held[: len(dev)], parts.held[len(dev) :]
    heads, _ = fitted_heads(parts, held, settings, base=Path(), folder=Path())
    card = {"encoder": given.encoder, "fingerprint": encoder.fingerprint, "documents": len(learnt), "credit": CREDIT}
    model = calibrated(heads, held, reaches=settings.reaches, card=card)
    plain = calibrated({"cosine": cosine_head(encoder)}, held, reaches=(1,), card={})
    for name, one in {"cosine": plain, **{head: replace(model, heads={head: heads[head]}) for head in heads}}.items():
        console.print(f"{name:10} {_told(measure(calibrated(one.heads, held, reaches=(1,), card={}), tested))}")
    found = measure(model, tested)
    console.print(f"{'sum':10} {_told(found)}, reach {model.reach}")
    model = replace(model, card={**card, "measured": {name: round(value, 4) for name, value in found.items()}})
    folder = shipped_folder(SHIPPED)
    model.save(folder, replaced=True, half=True)
    size = sum(path.stat().st_size for path in folder.iterdir())
    console.print(f"{folder.name}: {size:,} bytes, {time.perf_counter() - started:.0f} s")


def beginning(document: Sectioned, longest: int) -> Sectioned:
    """The first paragraphs of a document."""
    parts = ("paragraphs", "sections", "topics", "headings")
    return replace(document, **{name: getattr(document, name)[:longest] for name in parts})


def _told(measured: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in measured.items())


if __name__ == "__main__":
    main()
