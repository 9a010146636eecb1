"""Names to import paths, so that listing is free and a module loads when it is used.

Each table maps the name a person types to `module:attribute`. `lookup` resolves one; `require` is the one door
through which optional packages are imported.
"""

from __future__ import annotations

import difflib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from foveal.errors import MissingExtra, UnknownName

SEGMENTERS = {
    "headings": "foveal.text.segmentation:HeadingSegmenter",
    "fixed": "foveal.text.segmentation:FixedSegmenter",
    "whole": "foveal.text.segmentation:WholeSegmenter",
    "texttiling": "foveal.text.texttiling:TextTiling",
    "c99": "foveal.text.c99:C99",
    "depth": "foveal.text.embedding_segmentation:DepthSegmenter",
    "dp": "foveal.text.embedding_segmentation:DynamicProgrammingSegmenter",
    "graphseg": "foveal.text.graphseg:GraphSeg",
    "same-topic": "foveal.text.same_topic:SameTopicSegmenter",
}

RETRIEVERS = {
    "lexical": "foveal.retrieval.lexical:LexicalRetriever",
    "dense": "foveal.retrieval.dense:DenseRetriever",
    "hybrid": "foveal.retrieval.hybrid:HybridRetriever",
    "lexsembridge": "foveal.retrieval.lexsembridge:LexSemBridgeRetriever",
    "generative": "foveal.retrieval.generative:GenerativeRetriever",
    "fresh": "foveal.retrieval.fresh:FreshRetriever",
    "late": "foveal.retrieval.passage_indexes:LateRetriever",
    "sparse": "foveal.retrieval.passage_indexes:LearnedSparseRetriever",
    "multi-hop": "foveal.retrieval.multi_hop:MultiHopRetriever",
    "interleaved": "foveal.retrieval.interleaved:InterleavedRetriever",
}

RANKERS = {
    "blockrank": "foveal.ranking.blockrank:BlockRank",
    "listwise": "foveal.ranking.listwise:ListwiseRanker",
    "pointwise": "foveal.ranking.listwise:PointwiseRanker",
    "pairwise": "foveal.ranking.pairwise:PairwiseRanker",
    "retrieval-heads": "foveal.ranking.listwise:RetrievalHeads",
}
"""Ways in which a language model ranks; trained rankers are named by their folders (`ranking.by_name`)."""

RESEARCH_SOURCES = {
    "library": "foveal.research.text_sources:LibrarySource",
    "papers": "foveal.research.text_sources:PapersSource",
    "dir": "foveal.research.text_sources:FolderSource",
    "searxng": "foveal.research.web_sources:SearxngSource",
    "http": "foveal.research.web_sources:HttpSource",
    "https": "foveal.research.web_sources:HttpSource",
    "arxiv": "foveal.research.web_sources:ArxivSource",
}
"""Where `foveal research` searches; a source is named as NAME or NAME:PLACE (see `research.sources`)."""

METHODS = {
    "dense": "foveal.attention.patterns:Dense",
    "streaming": "foveal.attention.patterns:Streaming",
    "vertical-slash": "foveal.attention.patterns:VerticalSlash",
    "block-topk": "foveal.attention.patterns:BlockTopK",
    "random": "foveal.attention.patterns:RandomBlocks",
    "flexprefill": "foveal.attention.flexprefill:FlexPrefill",
    "dhsa": "foveal.attention.dhsa:DHSA",
    "dhsa-blocks": "foveal.attention.dhsa_blocks:DHSABlocks",
}

MEMORIES = {
    "retrieval": "foveal.attention.retrieval_attention:RetrievalAttention",
    "longheads": "foveal.attention.longheads:LongHeads",
}
"""Methods that keep a text and consult it: they own a cache, and shorten what comes after the prompt."""

CACHES = {
    "head-cache": "foveal.attention.head_cache:HeadCache",
}
"""Methods that hold a part of the text only: they own a smaller cache, and forget the rest."""

EDITS = {
    "act": "foveal.attention.act:ACT",
}
"""Methods that look everywhere and change what some heads give; which heads, a file says, made for the model."""

READERS = {
    "infiniretri": "foveal.reading.infiniretri:InfiniRetri",
    "titans": "foveal.reading.titans:TitansReader",
}
"""How `foveal read` reads one text: with the question in hand, window by window; or once, into a memory."""

PAPER_SOURCES = {
    "arxiv": "foveal.papers.sources.arxiv_api:ArxivApi",
    "arxiv-feed": "foveal.papers.sources.arxiv_feed:ArxivFeed",
    "oai": "foveal.papers.sources.oai:Oai",
    "hf": "foveal.papers.sources.hf:HfPapers",
    "feed": "foveal.papers.sources.feed:Feed",
    "library": "foveal.papers.sources.library_documents:LibraryDocuments",
    "pasted": "foveal.papers.sources.pasted:PastedPage",
}
"""Where papers come from. All but the last two are asked over HTTP; "sample" is the invented papers of a demo."""

LAYERS = {
    "NeuralMemory": "foveal.nn.neural_memory:NeuralMemory",
    "MemorySettings": "foveal.nn.neural_memory:MemorySettings",
    "TitansSettings": "foveal.nn.titans:TitansSettings",
    "LMM": "foveal.nn.titans:LMM",
    "MAC": "foveal.nn.titans:MAC",
    "MAG": "foveal.nn.titans:MAG",
    "MAL": "foveal.nn.titans:MAL",
    "Aaren": "foveal.nn.aaren:Aaren",
    "AarenBlock": "foveal.nn.aaren:AarenBlock",
    "AarenEncoder": "foveal.nn.aaren:AarenEncoder",
    "AarenSettings": "foveal.nn.aaren:AarenSettings",
    "RoutingAttention": "foveal.nn.routing:RoutingAttention",
    "RoutingSettings": "foveal.nn.routing:RoutingSettings",
    "RoutingEncoder": "foveal.nn.routing_encoder:RoutingEncoder",
    "LowRankAttention": "foveal.nn.lama:LowRankAttention",
    "LowRankPooler": "foveal.nn.lama:LowRankPooler",
    "LamaSettings": "foveal.nn.lama:LamaSettings",
    "TextClassifier": "foveal.nn.text_classifier:TextClassifier",
    "TextClassifierConfig": "foveal.nn.text_classifier:TextClassifierConfig",
    "PassageMemory": "foveal.nn.passage_memory:PassageMemory",
    "PassageSettings": "foveal.nn.passage_memory:PassageSettings",
    "GatedDelta": "foveal.nn.gated_delta:GatedDelta",
    "GatedDeltaSettings": "foveal.nn.gated_delta:GatedDeltaSettings",
    "StepAttention": "foveal.nn.stepnet:StepAttention",
    "StepSettings": "foveal.nn.stepnet:StepSettings",
    "SqueezeExcitation": "foveal.nn.channel_attention:SqueezeExcitation",
    "ECA": "foveal.nn.channel_attention:ECA",
    "CBAM": "foveal.nn.channel_attention:CBAM",
    "SRM": "foveal.nn.channel_attention:SRM",
    "DIA": "foveal.nn.channel_attention:DIA",
    "ConstantStep": "foveal.nn.branch_gates:ConstantStep",
    "ResNet": "foveal.nn.resnet:ResNet",
    "ResNetSettings": "foveal.nn.resnet:ResNetSettings",
    "VisionTransformer": "foveal.nn.vision_transformer:VisionTransformer",
    "VisionSettings": "foveal.nn.vision_transformer:VisionSettings",
    "CodebookSettings": "foveal.nn.codebook:CodebookSettings",
    "TaskCodebook": "foveal.nn.codebook:TaskCodebook",
    "LinearBottleneck": "foveal.nn.codebook:LinearBottleneck",
    "GoalFilterSettings": "foveal.nn.goal_filter:GoalFilterSettings",
    "GoalFilter": "foveal.nn.goal_filter:GoalFilter",
    "BaselineConfig": "foveal.nn.baseline_models:BaselineConfig",
    "BaselineLM": "foveal.nn.baseline_models:BaselineLM",
    "TitansConfig": "foveal.nn.language_models:TitansConfig",
    "TitansLM": "foveal.nn.language_models:TitansLM",
    "AarenConfig": "foveal.nn.language_models:AarenConfig",
    "AarenLM": "foveal.nn.language_models:AarenLM",
    "RoutingConfig": "foveal.nn.language_models:RoutingConfig",
    "RoutingTransformerLM": "foveal.nn.language_models:RoutingTransformerLM",
}
"""What `foveal.nn` offers, by the name of the class."""

BENCHES = {
    "read": "foveal.bench.read:read",
    "read-speed": "foveal.bench.read:read_speed",
    "read-needles": "foveal.bench.read:read_needles",
    "read-peer": "foveal.bench.read:read_peer",
    "read-longdoc": "foveal.bench.read:read_longdoc",
    "read-absent": "foveal.bench.read:read_absent",
    "read-million": "foveal.bench.read:read_million",
    "ask": "foveal.bench.ask:ask",
    "attention": "foveal.bench.attention:attention",
    "attention-kernel": "foveal.bench.attention_kernel:kernel",
    "attention-choice": "foveal.bench.attention_choice:choice",
    "attention-output": "foveal.bench.attention_output:output",
    "attention-prefill": "foveal.bench.attention_prefill:whole_prompts",
    "attention-likelihood": "foveal.bench.attention_tasks:likelihoods",
    "attention-tasks": "foveal.bench.attention_tasks:tasks",
    "attention-memory": "foveal.bench.attention_prefill:peaks",
    "attention-scarce": "foveal.bench.attention_scarce:scarce",
    "attention-pairs": "foveal.bench.attention_tasks:pairs",
    "attention-pairs-16k": "foveal.bench.attention_tasks:pairs_16k",
    "attention-pairs-32k": "foveal.bench.attention_tasks:pairs_32k",
    "attention-sentence-16k": "foveal.bench.attention_tasks:sentence_16k",
    "memory": "foveal.bench.memory:memory",
    "memory-retrieval": "foveal.bench.memory_retrieval:retrieval",
    "memory-longheads": "foveal.bench.memory_longheads:longheads",
    "memory-longheads-tasks": "foveal.bench.memory_longheads_tasks:longheads_tasks",
    "heads": "foveal.bench.heads:heads",
    "heads-detect": "foveal.bench.heads_detect:detection",
    "heads-masking": "foveal.bench.heads_masking:masking",
    "heads-compression": "foveal.bench.heads_compression:compression",
    "heads-attribution": "foveal.bench.heads_attribution:attribution",
    "heads-ranking": "foveal.bench.heads_ranking:ranking",
    "heads-landmark": "foveal.bench.heads_landmark:landmark",
    "heads-act": "foveal.bench.heads_act:act",
    "retrieval": "foveal.bench.retrieval:retrieval",
    "retrieval-fusion": "foveal.bench.retrieval_fusion:fusion",
    "retrieval-stages": "foveal.bench.retrieval_stages:stages",
    "retrieval-late": "foveal.bench.retrieval_late:late",
    "retrieval-training": "foveal.bench.retrieval_training:training",
    "retrieval-pretraining": "foveal.bench.retrieval_pretraining:pretraining",
    "retrieval-index": "foveal.bench.retrieval_index:indexes",
    "rank": "foveal.bench.rank:rank",
    "rank-blockrank": "foveal.bench.rank_blockrank:blockrank",
    "rank-blockrank-observation": "foveal.bench.rank_blockrank_observation:observation",
    "rank-blockrank-exact": "foveal.bench.rank_blockrank_exact:exact",
    "rank-blockrank-speed": "foveal.bench.rank_blockrank_speed:speed",
    "rank-blockrank-quality": "foveal.bench.rank_blockrank_quality:quality",
    "rank-blockrank-ablations": "foveal.bench.rank_blockrank_quality:ablations",
    "rank-blockrank-transfer": "foveal.bench.rank_blockrank_transfer:transfer",
    "rank-neural": "foveal.bench.rank_neural:neural",
    "rank-neural-wikiqa": "foveal.bench.rank_neural:wikiqa",
    "rank-neural-trecqa": "foveal.bench.rank_neural:trecqa",
    "rank-neural-adhoc": "foveal.bench.rank_neural_adhoc:adhoc",
    "rank-neural-speed": "foveal.bench.rank_neural_speed:speed",
    "rank-legal": "foveal.bench.rank_legal:legal",
    "rank-cascade": "foveal.bench.rank_cascade:cascade",
    "generative": "foveal.bench.generative:generative",
    "generative-corpusbrain": "foveal.bench.corpusbrain:corpusbrain",
    "generative-lexsembridge": "foveal.bench.lexsembridge:lexsembridge",
    "generative-bprop": "foveal.bench.bprop:bprop",
    "events": "foveal.bench.events:events",
    "events-stream": "foveal.bench.events_stream:stream",
    "events-search": "foveal.bench.events_search:search",
    "events-labels": "foveal.bench.events_labels:labels",
    "events-ab": "foveal.bench.events_ab:switch",
    "search": "foveal.bench.search:search",
    "search-scans": "foveal.bench.scans:scans",
    "ann": "foveal.bench.ann:ann",
    "segment": "foveal.bench.segment:segment",
    "segment-learned": "foveal.bench.segment_learned:learned",
    "headlines": "foveal.bench.headlines:headlines",
    "headlines-judge": "foveal.bench.headlines:judged",
    "headlines-writer": "foveal.bench.headlines_writer:writer_rows",
    "research": "foveal.bench.research:research",
    "research-protocol": "foveal.bench.research_protocol:protocol",
    "research-retrieval": "foveal.bench.research_retrieval:retrieval",
    "research-answers": "foveal.bench.research_answers:answers",
    "report": "foveal.bench.report:report",
    "report-citations": "foveal.bench.report_citations:citation_rows",
    "report-memory": "foveal.bench.report_memory:memory_rows",
    "report-race": "foveal.bench.report_race:race_rows",
    "report-kills": "foveal.bench.report_kills:kill_rows",
    "report-watch": "foveal.bench.report_watch:watch_rows",
    "report-planners": "foveal.bench.report_planners:planners",
    "report-library": "foveal.bench.report_library:library",
    "papers": "foveal.bench.papers:papers",
    "papers-csfcube": "foveal.bench.papers_csfcube:csfcube",
    "papers-known": "foveal.bench.papers_known:known",
    "papers-speed": "foveal.bench.papers_speed:speed",
    "papers-ingest": "foveal.bench.papers_ingest:ingest_rows",
    "papers-serve": "foveal.bench.papers_serve:serve",
    "papers-audit": "foveal.bench.papers_audit:audit",
    "mail": "foveal.bench.mail:mail",
    "nn": "foveal.bench.nn:nn",
    "nn-exact": "foveal.bench.nn_exact:exact",
    "nn-aaren": "foveal.bench.nn_aaren:aaren",
    "nn-titans": "foveal.bench.nn_titans:titans",
    "nn-routing": "foveal.bench.nn_routing:routing",
    "layers": "foveal.bench.layers:layers",
    "layers-stepnet": "foveal.bench.layers_stepnet:stepnet",
    "layers-codebook": "foveal.bench.layers_codebook:codebook",
    "layers-lama": "foveal.bench.layers_lama:lama",
    "scale": "foveal.bench.scale:scale",
    "scale-library": "foveal.bench.scale_library:library",
    "scale-ray": "foveal.bench.scale_ray:ray_rows",
    "scale-faults": "foveal.bench.scale_faults:faults",
    "scale-web": "foveal.bench.scale_web:web",
}


ALIKE = 0.75
"""How alike (difflib's ratio) a misspelt name is to the one that is offered in its place."""


def lookup(table: Mapping[str, str], name: str, *, kind: str) -> Any:
    """What `table` holds under `name`; UnknownName lists the names there are."""
    require_name(table, name, kind=kind)
    return pkgutil.resolve_name(table[name])


def require_name(table: Mapping[str, str], name: str, *, kind: str) -> None:
    """UnknownName, which lists the names there are, where `table` has nothing under `name`; nothing is imported."""
    if name not in table:
        close = difflib.get_close_matches(name, table, n=1, cutoff=ALIKE)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownName(f"No {kind} is called {name!r}.{meant} There are: {', '.join(table)}.")


def at_first_use(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a package whose names lie in modules of its own, name -> module, imported when asked for.

    Where a module bears the name of what it holds (`attach` of attach.py) the package keeps that: as soon as anybody
    imported the module, Python would have it stand there instead.
    """
    hidden = homes.keys() & set(homes.values())

    class Package(ModuleType):
        """A package that no module of its own takes a name from."""

        def __setattr__(self, name: str, value: object) -> None:
            if name not in hidden or not isinstance(value, ModuleType):
                super().__setattr__(name, value)

    def get(name: str) -> object:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    if hidden:
        sys.modules[package].__class__ = Package
    return get


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency; only its own absence becomes MissingExtra."""
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != module.partition(".")[0]:
            raise
        raise MissingExtra(f"{module} is not installed; it comes with: pip install 'foveal[{extra}]'.") from missing
