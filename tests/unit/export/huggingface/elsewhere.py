"""Uses an exported folder as a user does: runs next to it in a separate environment and prints JSON."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

import torch
from huggingface_hub import ModelCard
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer


def load(folder, **options):
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    return tokenizer, AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True, **options).eval()


def translate(tokenizer, model, lines, **options):
    batch = tokenizer(lines, return_tensors="pt", padding=True)
    return tokenizer.batch_decode(model.generate(**batch, **options), skip_special_tokens=True)


lines = Path("text").read_text(encoding="utf-8").splitlines()
tokenizer, int8 = load("exported", precision="int8")
in_int8 = translate(tokenizer, int8, lines[:20])
tokenizer.save_pretrained("int8")
int8.save_pretrained("int8")
try:
    int8.train()
    refusal = None
except ValueError as error:
    refusal = str(error)
odd = json.loads(Path("odd.json").read_text(encoding="utf-8"))
tokenizer, model = load("exported")
tokenizer.save_pretrained("again")
model.save_pretrained("again")
labels = tokenizer(["Um dois ."], return_tensors="pt").input_ids
source = tokenizer(["Yksi kaksi ."], return_tensors="pt")
n_best = model.generate(**source, num_return_sequences=3, output_scores=True, return_dict_in_generate=True)
with torch.no_grad():
    loss = model(**source, labels=labels).loss.item()
    ids = torch.cat([torch.full((1, 1), model.config.bos_token_id), labels[:, :-1]], 1)
    logits = model(**source, decoder_input_ids=ids).logits
    expected = torch.nn.functional.cross_entropy(logits[0], labels[0]).item()
torch.manual_seed(1)
sampled = translate(tokenizer, model, lines[:3], do_sample=True, num_beams=1, top_k=5)
with contextlib.redirect_stdout(io.StringIO()) as printed:
    runpy.run_path("page.py")
card = ModelCard.load("exported/README.md").data
report = {
    "page": printed.getvalue().splitlines(),
    "card": card.to_dict(),
    "results": [(result.metric_type, result.metric_value, result.dataset_type) for result in card.eval_results],
    "sampled": sampled,
    "translations": [
        text for i in range(0, 100, 16) for text in translate(tokenizer, model, lines[i : min(i + 16, 100)])
    ],
    "blank": translate(tokenizer, model, [lines[0], "", "  ", lines[1]]),
    "greedy": translate(tokenizer, model, lines[:20], num_beams=1),
    "again": translate(*load("again"), lines[:20]),
    "int8": in_int8,
    "int8_again": translate(*load("int8"), lines[:20]),
    "int8_refusal": refusal,
    "odd_ids": tokenizer(odd).input_ids,
    "decoded": [tokenizer.decode(ids) for ids in tokenizer(odd[:1]).input_ids],
    "n_best": tokenizer.batch_decode(n_best.sequences, skip_special_tokens=True),
    "scores": n_best.sequences_scores.tolist(),
    "losses": [loss, expected],
    "training": AutoConfig.from_pretrained("exported", trust_remote_code=True).run["training"],
    "packages": sorted({name.partition(".")[0] for name in sys.modules}),
}
print(json.dumps(report))
