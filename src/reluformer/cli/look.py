"""The commands that look into models: what one reads, and where two differ."""

from __future__ import annotations

import json as json_module
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from reluformer.cli.app import PEOPLE, app, examples
from reluformer.cli.options import Device, Model, OwnCorpora, RunFolder, Threads, chosen_device, typed_text
from reluformer.config.settings import SettingsError

MAP_TOKENS = 512
"""Tokens of an attention map, of either side."""


class Attention(StrEnum):
    """The attentions of a model, by what reads what."""

    encoder = "encoder"
    decoder = "decoder"
    cross = "cross"


class Score(StrEnum):
    """What says how good a single segment is."""

    bleu = "bleu"
    chrf = "chrf"


@app.command(
    rich_help_panel=PEOPLE,
    epilog=examples(
        'reluformer attend RUN "Das Gerät ist nicht erreichbar."',
        'reluformer attend RUN "Das Gerät ist da." --attention encoder --layer 1 --head 2',
        'reluformer attend RUN "Das Gerät ist da." --target "The device is there." --svg map.svg',
    ),
)
def attend(
    model: Model,
    sentence: Annotated[str, typer.Argument(help="A sentence of the source language.")],
    target: Annotated[str | None, typer.Option(help="Its translation; by default the model's own.")] = None,
    attention: Annotated[Attention, typer.Option(help="Which attention: of the source, the target, or between.")] = (
        Attention.cross
    ),
    layer: Annotated[int | None, typer.Option(help="From 1; by default the last one.")] = None,
    head: Annotated[int | None, typer.Option(help="From 1; by default the mean over heads.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw it into this file instead.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The weights as JSON instead.")] = False,
    corpora: OwnCorpora = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Show which tokens a model reads when it translates a sentence: one attention map.

    Rows are the tokens that read, columns those that are read. Weights need not sum to 1: with ReLU a token may read
    nothing at all.
    """
    from reluformer.analysis.ascii_map import shaded
    from reluformer.analysis.maps import choose_map, maps_of
    from reluformer.analysis.sweep import TensorBatch
    from reluformer.corpus.text import Preprocessor, find_text
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
    pair = TensorBatch.of_pair(source, ids, next(translator.model.parameters()).device)
    arrays = maps_of(translator.model, pair, translator.text.subword.pieces, MAP_TOKENS)
    chosen = choose_map(arrays, attention.value, layer, head)
    if svg is not None:
        from reluformer.paper.plots.attention_maps import draw_sentence
        from reluformer.paper.plots.style import save, style

        with style():
            save(draw_sentence(chosen.weights, chosen.queries, chosen.keys, chosen.title), svg)
        print(svg)
    elif json:
        print_json({"translation": written, **chosen._asdict(), "weights": chosen.weights.tolist()})
    else:
        width = shutil.get_terminal_size().columns
        print(f"{written}\n{chosen.title}\n\n{shaded(chosen.weights, chosen.queries, chosen.keys, width)}")


@app.command(
    rich_help_panel=PEOPLE,
    epilog=examples(
        "reluformer compare results/runs/iwslt14/transformer/seed1 results/runs/iwslt14/reluformer/seed1",
        "reluformer compare RUN_A RUN_B --output differences.html --show 100 --by bleu",
        "reluformer compare RUN_A RUN_B --json | jq .most_different",
    ),
)
def compare(
    run_a: RunFolder,
    run_b: RunFolder,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page to write; compare.html, and none with --json.")
    ] = None,
    by: Annotated[Score, typer.Option(help="The score whose difference ranks segments.")] = Score.chrf,
    show: Annotated[int, typer.Option(min=0, help="Segments shown for each side.")] = 30,
    json: Annotated[bool, typer.Option("--json", help="The comparison as JSON instead of a summary.")] = False,
    corpora: OwnCorpora = None,
) -> None:
    """Compare two translated runs of one dataset: where they differ most, sentence by sentence and by length.

    Writes a page that stands alone, and prints a summary.
    """
    from reluformer.config.run import corpora_of
    from reluformer.evaluation.compare import compare_runs
    from reluformer.files import write_text
    from reluformer.paper.comparison import render_comparison, summary_text

    comparison = compare_runs(run_a, run_b, corpora or corpora_of(run_a))
    page = output or (None if json else Path("compare.html"))
    if page is not None:
        write_text(page, render_comparison(comparison, by.value, show))
    if json:
        print_json(comparison.summary(by.value, show))
    else:
        print(f"{summary_text(comparison, by.value)}\n\n{page}")


def print_json(content: dict[str, Any]) -> None:
    """JSON for machines, on one line."""
    print(json_module.dumps(content, ensure_ascii=False, allow_nan=False))
