"""How good a chain of thought is beside the annotated one (GRE §GREval-Bench)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from geoagent.evaluate.cot.judge import KINDS, kinds, stated
from geoagent.evaluate.cot.steps import steps, steps_of_chain

if TYPE_CHECKING:
    from PIL.Image import Image

    from geoagent.agent.client import Agent
    from geoagent.evaluate.cot.models import Scores

NO_REFERENCE: Final = "no_reference"
NO_IMAGE: Final = "no_image"
UNJUDGED: Final = "unjudged"
NO_REASONING: Final = "no_reasoning"
MISSING: Final = "missing"
FAILURES: Final = (NO_REFERENCE, NO_IMAGE, UNJUDGED, NO_REASONING, MISSING)
"""Why a row has no score (the first three), or one of 0 (the others)."""


class TextScorer(Protocol):
    """BertScore, or what stands for it."""

    def f1(self, candidates: Sequence[str], references: Sequence[str]) -> Scores: ...


class CaptionScorer(Protocol):
    """RefClipScore, or what stands for it."""

    def score(
        self, image: Image, candidates: Sequence[str], references: Sequence[str]
    ) -> Scores: ...


@dataclass(frozen=True)
class Sample:
    """A chain and what it is compared with."""

    completions: Sequence[str] | None
    """Of all turns, in order; None: nothing was predicted for the sample."""
    reference: str | None
    """The annotated chain, without tags."""
    image: Callable[[], Image]
    """Opens it; ValueError if that is not possible."""


class Quality:
    """Scores samples with a judge, a BERT and a CLIP."""

    def __init__(self, agent: Agent, bert: TextScorer, clip: CaptionScorer) -> None:
        self._agent = agent
        self._bert = bert
        self._clip = clip

    def score(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """Of each sample `cot_quality` (0 to 100), its parts `background`, `caption`, `inference`
        (0 to 1), `failure`, and what explains them, with the number of questions that the
        judge left `unanswered`; docs/reference/cot-quality.md.

        All of them are judged at once. OutageError if the judge does not answer, or to nothing.
        """
        ours = [steps(*(s.completions or ())) for s in samples]
        theirs = [steps_of_chain(s.reference or "") for s in samples]
        kind_of = self._kinds(
            step
            for own, annotated in zip(ours, theirs, strict=True)
            if annotated
            for step in (*own, *annotated)
        )
        chains = [
            _Chains(sample, _sorted(own, kind_of), _sorted(annotated, kind_of))
            for sample, own, annotated in zip(samples, ours, theirs, strict=True)
        ]
        stated_by = self._stated(chains)
        return [self._row(chain, stated_by) for chain in chains]

    def _kinds(self, every: Iterable[str]) -> dict[str, str | None]:
        distinct = list(dict.fromkeys(every))
        return dict(zip(distinct, kinds(self._agent, distinct), strict=True))

    def _stated(self, chains: Sequence[_Chains]) -> dict[tuple[str, str], bool | None]:
        pairs = list(dict.fromkeys(pair for chain in chains for pair in chain.fact_pairs()))
        return dict(zip(pairs, stated(self._agent, pairs), strict=True))

    def _row(
        self, chains: _Chains, stated_by: Mapping[tuple[str, str], bool | None]
    ) -> dict[str, Any]:
        failure = chains.failure()
        row: dict[str, Any] = {"cot_quality": None, **dict.fromkeys(KINDS), "failure": failure}
        row |= {"steps": chains.ours, "reference_steps": chains.theirs}
        row["unanswered"] = 0
        if failure == NO_REFERENCE:
            return row
        said = {pair[1]: stated_by[pair] for pair in chains.fact_pairs()}
        replies = [step["kind"] for step in (*chains.ours, *chains.theirs)] + list(said.values())
        row["unanswered"] = replies.count(None)
        if failure == UNJUDGED:
            return row
        if said and all(value is None for value in said.values()):
            return row | {"failure": UNJUDGED}
        for step in chains.theirs:
            if step["kind"] == "background":
                step["stated"] = said.get(step["text"], False)
        try:
            parts = {kind: self._part(kind, chains) for kind in KINDS if chains.reference(kind)}
        except ValueError as error:
            return row | {"failure": NO_IMAGE, "reason": str(error)}
        mean = sum(min(part, 1.0) for part in parts.values()) / len(parts)
        return row | parts | {"cot_quality": 100.0 * mean}

    def _part(self, kind: str, chains: _Chains) -> float:
        """The figure of one kind of steps that the annotated chain has."""
        if kind == "background":
            known = [step["stated"] for step in chains.theirs if step.get("stated") is not None]
            return sum(known) / len(known)
        own, references = chains.own(kind), chains.reference(kind)
        if not own:
            return 0.0
        texts = [step["text"] for step in own]
        if kind == "caption":
            scores = self._clip.score(chains.sample.image(), texts, references)
        else:
            scores = self._bert.f1(texts, references).max(axis=1)
        for step, score in zip(own, scores.tolist(), strict=True):
            step["score"] = score
        return float(scores.mean())


@dataclass(frozen=True)
class _Chains:
    """A sample with the steps of both chains: `text` and `kind` of each, None if unjudged."""

    sample: Sample
    ours: list[dict[str, Any]]
    theirs: list[dict[str, Any]]

    def own(self, kind: str) -> list[dict[str, Any]]:
        return [step for step in self.ours if step["kind"] == kind]

    def reference(self, kind: str) -> list[str]:
        return [step["text"] for step in self.theirs if step["kind"] == kind]

    def failure(self) -> str | None:
        if not self.theirs:
            return NO_REFERENCE
        # A step that could not be sorted is left out, but a chain of which nothing is left says
        # nothing about the model.
        if any(_none_sorted(chain) for chain in (self.ours, self.theirs)):
            return UNJUDGED
        if self.sample.completions is None:
            return MISSING
        return None if self.ours else NO_REASONING

    def fact_pairs(self) -> list[tuple[str, str]]:
        """What the judge has to look for, and where: facts may be in steps of any kind."""
        if not self.ours or self.failure():
            return []
        reasoning = " ".join(step["text"] for step in self.ours)
        return [(reasoning, fact) for fact in self.reference("background")]


def _none_sorted(chain: Sequence[Mapping[str, Any]]) -> bool:
    return bool(chain) and all(step["kind"] is None for step in chain)


def _sorted(chain: Sequence[str], kind_of: Mapping[str, str | None]) -> list[dict[str, Any]]:
    return [{"text": step, "kind": kind_of.get(step)} for step in chain]
