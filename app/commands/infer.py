"""infer: classify one series and write the result, or a tree of studies into a folder of results."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands._computing import add_computing, chosen_computing, chosen_device
from app.commands.base import ConsoleContext, Environment, require_existing, say
from app.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_PARTIAL
from engine.progress import CancelToken

if TYPE_CHECKING:
    from app.operations.infer_batch import BatchRequest, BatchSummary
    from app.operations.load_series import LoadedSeries
    from engine.analysis import Analysis
    from engine.inference.array_cache import ArrayCache

NAME = "infer"
SUMMARY = "classify a head CT series and write the result as JSON, or every study of a tree into a folder of results"
ORDER = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="folder, file or ZIP of DICOM, or a NIfTI file; with --out-dir a tree"
    )
    parser.add_argument("--model", metavar="NAME|PATH", help="a model package (default: the active one)")
    add_computing(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="R.json", help="one series: the result")
    where.add_argument("--out-dir", type=Path, metavar="DIR", help="a tree: results, failures, and what is done")
    one = parser.add_argument_group("one series (--out)")
    one.add_argument("--series", metavar="UID", help="which series (default: the analysable one with most slices)")
    one.add_argument("--ledger", type=Path, metavar="L.npz", help="also write the exact ledger of every logit")
    tree = parser.add_argument_group("a tree of studies (--out-dir)", "Run the same command again to go on.")
    tree.add_argument("--all-series", action="store_true", help="every analysable series (default: a study's best)")
    tree.add_argument(
        "--format",
        choices=("parquet", "jsonl"),
        help="results.jsonl is always written; parquet (the default) adds results.parquet at the end",
    )
    tree.add_argument("--helpers", type=_count, metavar="N", help="processes that read and prepare ahead")
    parser.set_defaults(refuse=parser.error)


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Read, classify, write."""
    _require_fitting_options(arguments)
    require_existing(arguments.input, "input")
    return _infer_one(arguments, environment) if arguments.out_dir is None else _infer_tree(arguments, environment)


def _require_fitting_options(arguments: argparse.Namespace) -> None:
    """Refuse options of the other form as argparse refuses: with the usage, and exit code 2."""
    of_one = {"--series": arguments.series, "--ledger": arguments.ledger}
    of_tree = {"--all-series": arguments.all_series, "--format": arguments.format, "--helpers": arguments.helpers}
    unfit = of_tree if arguments.out_dir is None else of_one
    given = [name for name, value in unfit.items() if value]
    if given:
        needed = "--out-dir" if arguments.out_dir is None else "--out"
        arguments.refuse(f"{', '.join(given)} needs {needed}")


def _infer_one(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.files import require_output
    from app.operations.run_inference import run_inference
    from engine.export.analysis_json import write_analysis_json
    from engine.export.ledger_npz import write_ledger_npz

    outputs = [path for path in (arguments.out, arguments.ledger) if path is not None]
    for output in outputs:
        require_output(output)
    loaded = load_input(arguments.input, arguments.series, analysable=True, outputs=outputs)
    package = model_path(environment, arguments.model)
    device = chosen_device(arguments, environment)
    analysis = run_inference(
        loaded,
        package,
        environment.catalogue,
        device,
        registry=environment.registry,
        how=chosen_computing(arguments, environment),
        cache=_cache(environment),
    )
    write_analysis_json(analysis, arguments.out)
    if arguments.ledger is not None:
        write_ledger_npz(analysis.ledger, arguments.ledger, analysis.counterfactual)
    positive = sum(finding.positive is True for finding in analysis.findings)
    say(
        f"{positive} of {len(analysis.ledger.keys)} covered findings at or above their operating point "
        f"(analysis {analysis.timings_s.total:.1f} s on {analysis.device}): {arguments.out}"
    )
    for warning in analysis.warnings:
        say(f"warning: {warning}")
    say(model_line(analysis))
    return 0


def _cache(environment: Environment) -> ArrayCache | None:
    from engine.inference.array_cache import ArrayCache

    limit_mb = environment.settings.cache_limit_mb
    return ArrayCache(environment.paths.arrays, limit_mb << 20) if limit_mb else None


def _infer_tree(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.files import require_folder
    from app.operations.infer_batch import BatchRequest, infer_batch

    limit_mb = environment.settings.cache_limit_mb
    request = BatchRequest(
        tree=arguments.input.absolute(),
        out_dir=require_folder(arguments.out_dir),
        package_path=model_path(environment, arguments.model),
        device=chosen_device(arguments, environment),
        registry=environment.registry,
        all_series=arguments.all_series,
        parquet=arguments.format != "jsonl",
        n_helpers=arguments.helpers,
        cache_folder=environment.paths.arrays if limit_mb else None,
        cache_limit_bytes=limit_mb << 20,
        how=chosen_computing(arguments, environment),
    )
    with _stopping_orderly() as context:
        summary = infer_batch(request, environment.catalogue, context)
    _tell(summary, request)
    if summary.stopped:
        return EXIT_INTERRUPTED
    return EXIT_PARTIAL if summary.n_defects else EXIT_DONE


class _StoppableConsole(ConsoleContext):
    """Tells of progress, and is cancelled by a signal."""

    def __init__(self, token: CancelToken) -> None:
        super().__init__()
        self._token = token

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` once a signal has come."""
        self._token.raise_if_cancelled()


@contextmanager
def _stopping_orderly() -> Iterator[_StoppableConsole]:
    """Let the first Ctrl+C, or a request to terminate, end the work between two steps; the next one ends it at once."""
    token = CancelToken()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(*_: object) -> None:
        token.cancel()
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield _StoppableConsole(token)
    finally:
        restore()


def _tell(summary: BatchSummary, request: BatchRequest) -> None:
    """Say how a batch ended."""
    rate = summary.n_slices / summary.seconds if summary.seconds else 0.0
    ended = "stopped; run the same command again to go on" if summary.stopped else "done"
    say(
        f"{ended}: {summary.n_new} series classified in {summary.seconds:.0f} s ({rate:.1f} slices/s), "
        f"{summary.n_results} results in {request.out_dir}"
    )
    parts = {
        "out of the classifier's scope": summary.n_out_of_scope,
        "damaged or failed": summary.n_failed,
        "of these to be tried again by another run": summary.n_passing,
        "failures of earlier runs that stand": summary.n_standing_failures,
        "files that are no pictures": summary.n_ignored,
    }
    told = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
    if told:
        say(f"without a result: {told}; reasons: {request.out_dir / 'failures.jsonl'}")
    say(f"{summary.notice.rstrip('.')}. Research use only; not for diagnosis.")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def model_line(analysis: Analysis) -> str:
    """Say which model spoke, and what must stand beside its numbers."""
    notice = analysis.model.notice.rstrip(".")
    return f"Model {analysis.model.name}: {notice}. Research use only; not for diagnosis."


def model_path(environment: Environment, name: str | None) -> Path:
    """Return the package that `name` means; the active one without a name."""
    from app.operations.models import open_library, package_path

    return package_path(open_library(environment.paths), name)


def load_input(
    path: Path, series_uid: str | None, *, analysable: bool = False, outputs: Sequence[Path] = ()
) -> LoadedSeries:
    """Scan, choose a series, say which, refuse it or read it; `outputs` must not be files of the input."""
    from app.operations.files import require_apart
    from app.operations.load_series import load_series
    from app.operations.open_paths import choose_series, input_files, open_paths
    from engine.dicom.series import require_analysable, require_readable

    require_apart(outputs, [path])
    report = open_paths([path])
    require_apart(outputs, input_files(report))
    series = choose_series(report, path, series_uid)
    if series_uid is None and len(report.series) > 1:
        say(
            f"{path} holds {len(report.series)} series; chosen: {series.instance_uid} ({series.n_slices} slices). "
            "Choose another with --series UID; inspect lists them."
        )
    (require_analysable if analysable else require_readable)(series)
    return load_series(series)
