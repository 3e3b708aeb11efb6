"""The commands for trained models: translate text, export a model, show an attention map, compare two runs."""

from __future__ import annotations

import json as json_module
import shutil
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import typer

from reluformer.cli.app import (
    Device,
    Model,
    OwnCorpora,
    RunFolder,
    Threads,
    chosen_device,
    command,
    typed_text,
)
from reluformer.config.settings import SettingsError
from reluformer.config.translation import Precision

CHUNK = 400
"""Lines translated at once: enough for full batches of similar lengths, and a few seconds on a CPU."""
MAP_TOKENS = 512
"""The most tokens on each side of an attention map."""


Attention = Literal["encoder", "decoder", "cross"]
Score = Literal["bleu", "chrf"]


@command(
    'echo "Das Gerät ist nicht erreichbar." | reluformer translate RUN',
    "reluformer translate RUN --input text.de --output text.en --beam 8",
    "reluformer translate exported/ --n-best 3 --scores < text.de",
)
def translate(
    model: Model,
    input: Annotated[Path | None, typer.Option("--input", "-i", help="The text; by default standard input.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write, atomically; by default standard output.")
    ] = None,
    beam: Annotated[
        int | None, typer.Option(min=1, help="Hypotheses kept at each step; by default the run's own.")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(min=0, help="Scores are divided by length to this power; by default the run's own.")
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Source tokens per batch, padding included; by default the run's own.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of the weights: int8 on a CPU, fp16 or bf16 on a GPU; by default the run's own."),
    ] = None,
    n_best: Annotated[
        int, typer.Option(min=1, help="Translations per line; above 1, each follows its line number.")
    ] = 1,
    scores: Annotated[
        bool, typer.Option("--scores", help="Print the log-probability per token before each translation.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line, scores included.")] = False,
    chunk: Annotated[
        int | None, typer.Option(min=1, help=f"Lines translated at once; by default {CHUNK}, or 1 on a terminal.")
    ] = None,
    corpora: OwnCorpora = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Translate text, one sentence per line: raw text in, detokenised text out; empty lines stay empty.

    A line far longer than the training sentences is translated in parts, with a warning.
    """
    from reluformer.files import descriptor_of, destination, replace
    from reluformer.translation.translator import Translator, json_form, read_lines, text_form, translate_lines

    with ExitStack() as stack:
        typed = input is None or str(input) == "-"
        source: IO[bytes] = sys.stdin.buffer if typed else stack.enter_context(input.open("rb"))  # type: ignore[union-attr]
        changes = {"beam": beam, "length_penalty": length_penalty, "batch_tokens": batch_tokens, "precision": precision}
        changes = {key: value for key, value in changes.items() if value is not None}
        translator = Translator(model, corpora, chosen_device(device, threads), **changes)
        form = json_form if json else text_form(n_best, scores)
        lines = read_lines(source, "standard input" if typed else str(input))
        size = chunk or (1 if source.isatty() else CHUNK)
        written = translate_lines(translator, lines, size, n_best, form, warn)
        if output is None or descriptor_of(output) == 1:
            write_all(sys.stdout.buffer, written)
        else:
            destination(output)  # fails now, not after the translation
            replace(output, lambda path: write_file(path, written), streams=True)


def warn(message: str) -> None:
    """Prints a warning on standard error."""
    print(f"reluformer: warning: {message}", file=sys.stderr, flush=True)


def write_file(path: Path, texts: Iterable[str]) -> None:
    """Writes texts to a file."""
    with path.open("wb") as file:
        write_all(file, texts)


def write_all(file: IO[bytes], texts: Iterable[str]) -> None:
    """Writes texts as they arrive, flushing each."""
    for text in texts:
        file.write(text.encode("utf-8"))
        file.flush()


@command(
    "reluformer export results/runs/iwslt14/reluformer/seed1 my-model",
    'echo "Das Gerät ist nicht erreichbar." | reluformer translate my-model',
)
def export(
    run: RunFolder,
    output: Annotated[Path, typer.Argument(help="The folder to write, atomically.")],
    corpora: OwnCorpora = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Translate in int8 by default, on a CPU.")] = False,
) -> None:
    """Write a trained model as a self-contained folder, for `reluformer translate` and Hugging Face's transformers.

    It holds the weights, the configuration, the subword model, a model card, and modeling code
    (trust_remote_code=True) that gives the same translations.
    """
    from reluformer.export.folder import export_model

    export_model(run, output, corpora, force, int8)
    print(output)


@command(
    'reluformer attend RUN "Das Gerät ist nicht erreichbar."',
    'reluformer attend RUN "Das Gerät ist da." --attention encoder --layer 1 --head 2',
    'reluformer attend RUN "Das Gerät ist da." --target "The device is there." --svg map.svg',
)
def attend(
    model: Model,
    sentence: Annotated[str, typer.Argument(help="A sentence of the source language.")],
    target: Annotated[str | None, typer.Option(help="Its translation; by default the model's own.")] = None,
    attention: Annotated[
        Attention, typer.Option(help="Self-attention of the encoder or decoder, or cross-attention.")
    ] = "cross",
    layer: Annotated[int | None, typer.Option(help="The layer, from 1; by default the last one.")] = None,
    head: Annotated[int | None, typer.Option(help="The head, from 1; by default the mean over heads.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw the map to this SVG file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the weights as JSON.")] = False,
    corpora: OwnCorpora = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Show an attention map of a sentence and its translation.

    Rows are queries, columns keys. Weights need not sum to 1: with ReLU a row may be all zero.
    """
    from reluformer.analysis.maps import ascii_map, choose_map, maps_of
    from reluformer.analysis.sweep import on_device
    from reluformer.corpus.batches import pad
    from reluformer.corpus.preprocessor import Preprocessor
    from reluformer.corpus.store import Sequences
    from reluformer.corpus.text import find_text
    from reluformer.translation.translator import Translator

    if svg is not None and svg.suffix != ".svg":
        raise SettingsError(f"{svg}: the file's name must end in .svg")
    translator = Translator(model, corpora, chosen_device(device, threads))
    source = translator.text.ids([typed_text(sentence)])
    if not source:
        raise SettingsError("the sentence is empty")
    if target is None:
        ((best,),) = translator.search([source], 1)
        written, ids = translator.written(best), best.tokens.tolist()
    else:
        files = find_text(model, translator.config, corpora, "tgt")
        written = typed_text(target)
        ids = Preprocessor(files, translator.config.tgt).ids([written])
    pair = on_device(pad(Sequences.of([source]), Sequences.of([ids])), next(translator.model.parameters()).device)
    arrays = maps_of(translator.model, pair, translator.text.subword.pieces, MAP_TOKENS)
    chosen = choose_map(arrays, attention, layer, head)
    if svg is not None:
        from reluformer.paper.plots.attention_maps import draw_sentence
        from reluformer.paper.plots.base import save, style

        with style():
            save(draw_sentence(chosen.weights, chosen.queries, chosen.keys, chosen.title), svg)
        print(svg)
    elif json:
        print_json({"translation": written, **chosen._asdict(), "weights": chosen.weights.tolist()})
    else:
        width = shutil.get_terminal_size().columns
        print(f"{written}\n{chosen.title}\n\n{ascii_map(chosen.weights, chosen.queries, chosen.keys, width)}")


@command(
    "reluformer compare results/runs/iwslt14/transformer/seed1 results/runs/iwslt14/reluformer/seed1",
    "reluformer compare RUN_A RUN_B --output differences.html --show 100 --by bleu",
    "reluformer compare RUN_A RUN_B --json | jq .most_different",
)
def compare(
    run_a: RunFolder,
    run_b: RunFolder,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page; by default compare.html, or none with --json."),
    ] = None,
    by: Annotated[Score, typer.Option(help="The score whose difference ranks segments.")] = "chrf",
    show: Annotated[int, typer.Option(min=0, help="Segments shown for each run.")] = 30,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    corpora: OwnCorpora = None,
) -> None:
    """Compare two translated runs of one dataset: where they differ most, by sentence and by length.

    Writes a self-contained page, and prints a summary.
    """
    from reluformer.config.run import corpora_of
    from reluformer.evaluation.compare import compare_runs
    from reluformer.files import write_text
    from reluformer.paper.pages import comparison_text, render_comparison

    comparison = compare_runs(run_a, run_b, corpora or corpora_of(run_a))
    page = output or (None if json else Path("compare.html"))
    if page is not None:
        write_text(page, render_comparison(comparison, by, show))
    if json:
        print_json(comparison.summary(by, show))
    else:
        print(f"{comparison_text(comparison, by)}\n\n{page}")


def print_json(content: dict[str, Any]) -> None:
    """Prints JSON on one line."""
    print(json_module.dumps(content, ensure_ascii=False, allow_nan=False))
