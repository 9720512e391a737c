"""The labeller that asks a language model: batches of findings, impression only, answers cached."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.findings.catalogue import Catalogue, Finding
from engine.progress import NULL_CONTEXT, Context
from trainer.labels.cache import AnswerCache, question_digest
from trainer.labels.client import EndpointClient
from trainer.labels.config import EndpointConfig, key_from_environment, permitted_endpoint
from trainer.labels.prompt import batches, labels_of, request_body
from trainer.labels.sections import impression_of
from trainer.labels.values import UNKNOWN, LabelRun, Report, Spent

POLL_S = 0.1


class EndpointLabeller:
    """Labels reports by an endpoint that the user runs.

    Parameters
    ----------
    catalogue
        The findings.
    config
        The endpoint.
    cache_folder
        Where answers are kept.
    consent_remote
        The user's consent, for this run, that patient text leaves the machine.

    Raises
    ------
    ConfigError
        If the endpoint must not be sent text, or its key is not there.
    """

    def __init__(
        self, catalogue: Catalogue, config: EndpointConfig, cache_folder: Path, *, consent_remote: bool = False
    ) -> None:
        self.endpoint = permitted_endpoint(config, consent_remote=consent_remote)
        self._key = key_from_environment(config)
        self._config = config
        self._cache_folder = cache_folder
        self._keys = tuple(catalogue)
        self._batches = batches(tuple(catalogue.values()), config.findings_per_request)

    def label(self, reports: Sequence[Report], context: Context = NULL_CONTEXT) -> LabelRun:
        """Label every report from its impression; what was answered before an error or a stop is kept.

        Raises
        ------
        LabelError
            If the endpoint refuses or cannot be reached, or the cache cannot be used.
        Cancelled
            Once the context is cancelled; requests under way are broken off.
        """
        with AnswerCache(self._cache_folder) as cache:
            return asyncio.run(self._label(reports, cache, context))

    async def _label(self, reports: Sequence[Report], cache: AnswerCache, context: Context) -> LabelRun:
        run = _Run(reports, self._keys, self._batches)
        client = EndpointClient(self._config, self.endpoint, self._key)
        questions = run.questions()
        start_s = time.monotonic()
        spent = functools.partial(self._spent, run, client, start_s)
        try:
            workers = [self._work(run, client, cache, questions) for _ in range(self._config.concurrency)]
            await _watched(workers, context, lambda: context.progress(run.done, run.total, _progress_text(spent())))
        finally:
            await client.close()
        return LabelRun(tuple(run.labels), run.without_impression, dict(run.failed), spent())

    async def _work(
        self, run: _Run, client: EndpointClient, cache: AnswerCache, questions: Iterator[_Question]
    ) -> None:
        for index, impression, findings in questions:
            body = request_body(self._config, impression, findings)
            digest = question_digest(self.endpoint.url, body)
            labels = cache.get(digest, [finding.key for finding in findings])
            if labels is not None:
                run.cached += 1
                await asyncio.sleep(0)
            else:
                labels = await client.ask(body, functools.partial(labels_of, findings=findings))
                if labels is not None:
                    cache.put(digest, labels)
            run.take(index, labels)

    def _spent(self, run: _Run, client: EndpointClient, start_s: float) -> Spent:
        tally = client.tally
        return Spent(
            requests=tally.requests,
            cached=run.cached,
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            uncounted=tally.uncounted,
            cost=self._config.cost(tally.input_tokens, tally.output_tokens),
            currency=self._config.currency,
            seconds_s=time.monotonic() - start_s,
        )


_Question = tuple[int, str, tuple[Finding, ...]]


class _Run:
    """The state of one run."""

    def __init__(self, reports: Sequence[Report], keys: Sequence[str], parts: Sequence[tuple[Finding, ...]]) -> None:
        self._reports = reports
        self._parts = parts
        self.labels: list[dict[str, int]] = [dict.fromkeys(keys, UNKNOWN) for _ in reports]
        self.failed: Counter[int] = Counter()
        self.without_impression = 0
        self.cached = 0
        self.done = 0
        self.total = len(reports) * len(parts)

    def questions(self) -> Iterator[_Question]:
        """Yield report index, impression and batch; reports without an impression are counted and passed over."""
        for index, report in enumerate(self._reports):
            impression = impression_of(report.text)
            if impression is None:
                self.without_impression += 1
                self.done += len(self._parts)
                continue
            for findings in self._parts:
                yield index, impression, findings

    def take(self, index: int, labels: dict[str, int] | None) -> None:
        """Take in the answer to one batch."""
        self.done += 1
        if labels is None:
            self.failed[self._reports[index].line] += 1
        else:
            self.labels[index].update(labels)


async def _watched(work: Sequence[Coroutine[Any, Any, None]], context: Context, report: Callable[[], None]) -> None:
    """Run all to their end; on the first error, or once cancelled, break off the others."""
    tasks = [asyncio.create_task(item) for item in work]
    try:
        pending = set(tasks)
        while pending:
            context.raise_if_cancelled()
            done, pending = await asyncio.wait(pending, timeout=POLL_S, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            report()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _progress_text(spent: Spent) -> str:
    cost = "" if spent.cost is None else f", {spent.cost:.4f} {spent.currency}"
    return f"Labelling reports: {spent.input_tokens} + {spent.output_tokens} tokens{cost}"
