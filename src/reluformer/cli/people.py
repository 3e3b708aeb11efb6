"""The commands for people: a trained model on text of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated

import typer

from reluformer.cli.app import PEOPLE, app, examples
from reluformer.cli.options import Device, Model, OwnCorpora, RunFolder, Threads, chosen_device

CHUNK = 400
"""Lines that are translated at once: enough for full batches of similar lengths, and a few seconds on a CPU."""


@app.command(
    rich_help_panel=PEOPLE,
    epilog=examples(
        'echo "Das Gerät ist nicht erreichbar." | reluformer translate RUN',
        "reluformer translate RUN --input text.de --output text.en --beam 8",
        "reluformer translate exported/ --n-best 3 --scores < text.de",
    ),
)
def translate(
    model: Model,
    input: Annotated[Path | None, typer.Option("--input", "-i", help="The text; by default standard input.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where it goes, written whole or not at all; standard output.")
    ] = None,
    beam: Annotated[int | None, typer.Option(min=1, help="Hypotheses kept alive; by default the run's own.")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(min=0, help="Exponent of the length that scores are divided by; the run's own.")
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Source tokens of a batch, padding included; the run's own.")
    ] = None,
    n_best: Annotated[int, typer.Option(min=1, help="Translations of each line, its number before each.")] = 1,
    scores: Annotated[bool, typer.Option("--scores", help="The log-probability a token before each.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, scores included.")] = False,
    chunk: Annotated[
        int | None, typer.Option(min=1, help=f"Lines translated at once; {CHUNK}, and 1 where they are typed.")
    ] = None,
    corpora: OwnCorpora = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Translate text, a sentence a line: raw text in, detokenised text out, and an empty line for an empty one.

    A line far longer than what the model was trained on is translated in parts, and a warning says so.
    """
    from reluformer.files import descriptor_of, destination, replace
    from reluformer.translation.lines import json_form, read_lines, text_form, translate_lines
    from reluformer.translation.translator import Translator

    with ExitStack() as stack:
        typed = input is None or str(input) == "-"
        source: IO[bytes] = sys.stdin.buffer if typed else stack.enter_context(input.open("rb"))  # type: ignore[union-attr]
        changes = {"beam": beam, "length_penalty": length_penalty, "batch_tokens": batch_tokens}
        changes = {key: value for key, value in changes.items() if value is not None}
        translator = Translator(model, corpora, chosen_device(device, threads), **changes)
        form = json_form if json else text_form(n_best, scores)
        lines = read_lines(source, "standard input" if typed else str(input))
        size = chunk or (1 if source.isatty() else CHUNK)
        written = translate_lines(translator, lines, size, n_best, form, warn)
        if output is None or descriptor_of(output) == 1:
            write_all(sys.stdout.buffer, written)
        else:
            destination(output)  # refused now, not when all is translated
            replace(output, lambda path: write_file(path, written), streams=True)


def warn(message: str) -> None:
    """A line on standard error for what is right but not as expected."""
    print(f"reluformer: warning: {message}", file=sys.stderr, flush=True)


def write_file(path: Path, texts: Iterable[str]) -> None:
    """Writes texts one after the other."""
    with path.open("wb") as file:
        write_all(file, texts)


def write_all(file: IO[bytes], texts: Iterable[str]) -> None:
    """Writes texts as they come, so that whoever reads sees each at once."""
    for text in texts:
        file.write(text.encode("utf-8"))
        file.flush()


@app.command(
    rich_help_panel=PEOPLE,
    epilog=examples(
        "reluformer export results/runs/iwslt14/reluformer/seed1 my-model",
        'echo "Das Gerät ist nicht erreichbar." | reluformer translate my-model',
    ),
)
def export(
    run: RunFolder,
    output: Annotated[Path, typer.Argument(help="The folder to write, whole or not at all.")],
    corpora: OwnCorpora = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> None:
    """Write a trained model as a folder that stands alone: it translates anywhere, here or in transformers.

    It holds the weights, the configuration, the subword model, a model card, and the code for Hugging Face's
    transformers (trust_remote_code=True), which gives the same translations.
    """
    from reluformer.export.folder import export_model

    export_model(run, output, corpora, force)
    print(output)
