#!/usr/bin/env bash
# Tests and benchmarks that need a GPU, in parts of at most nine minutes, 30 in total:
#
#     ARCHIVES=DIR benchmarks/gpu.sh             # the parts that are not done yet
#     ARCHIVES=DIR benchmarks/gpu.sh iwslt       # one part; repeat until it is done, training resumes
#     benchmarks/gpu.sh --list                   # which parts are done
#
# The output of a part goes to benchmarks/results/<date>-<GPU>-<part>.txt; benchmarks save their rows in the same folder. Needs a
# Python with requirements-dev.txt and torch's CUDA build (PYTHON), DIR with IWSLT14's de-en.tgz for `precision` and `iwslt`, and
# PEERS_VENV for the peers of `beam` and `training`; only `training` can do without.
set -u -o pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3} RESULTS=${RESULTS:-benchmarks/results} BUDGET=${BUDGET:-1800}
declare -A LIMIT=([tests]=360 [attention]=180 [training]=300 [beam]=180 [precision]=240 [iwslt]=540)
PARTS="tests attention training beam precision iwslt"
RUNS=${RUNS:-results/runs/iwslt14}

card() { $PYTHON -c 'import torch; print(torch.cuda.get_device_name())' | tr 'A-Z' 'a-z' | tr -cs 'a-z0-9' '-' | sed 's/-$//'; }
peers() { [ -x "${PEERS_VENV:-.venv-peers}/bin/python" ] || echo --no-peers; }
archives() { [ -d "${ARCHIVES:-}" ] || { echo "set ARCHIVES to the folder with de-en.tgz"; return 2; }; }
steps() { $PYTHON -m snakemake --cores all --config archives="$ARCHIVES" tuning=false "seeds=[1]" "$@"; }

tests() {
  $PYTHON -m reluformer.cli doctor &&
    $PYTHON -m pytest -q -p no:cacheprovider --durations 10 tests/gpu
}
attention() { $PYTHON -m benchmarks --save attention; }
training() { if [ "$(peers)" ]; then $PYTHON -m benchmarks.training --no-peers; else $PYTHON -m benchmarks --save training; fi; }
beam() { $PYTHON -m benchmarks --save beam; }
precision() {  # compares the loss curves and speeds of bf16 and fp32
  archives || return
  local fp32="$RUNS/transformer+updates=1000/seed1" bf16="$RUNS/transformer+precision=bf16+updates=1000/seed1"
  steps -- "$fp32/summary.json" "$bf16/summary.json" &&
    $PYTHON - "$fp32" "$bf16" <<'PYTHON'
import json, sys
from pathlib import Path

curves = {}
for precision, folder in zip(("fp32", "bf16"), map(Path, sys.argv[1:])):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    curves[precision] = {line["update"]: line["loss"] for line in lines if line["event"] == "train"}
    print(precision, f"{json.loads((folder / 'summary.json').read_text())['tokens_per_second']:,.0f} tokens/s")
for update, loss in curves["fp32"].items():
    print(f"update {update}: fp32 {loss:.4f}, bf16 {curves['bf16'][update]:.4f}")
worst = max(abs(loss - curves["bf16"][update]) / loss for update, loss in curves["fp32"].items())
print(f"largest difference: {worst:.2%}")
sys.exit(worst > 0.02)
PYTHON
}
iwslt() {  # the paper's recipe up to its BLEU; each call resumes
  archives || return
  steps -- "$RUNS/transformer+precision=bf16/seed1/scores.json" "$RUNS/reluformer+precision=bf16/seed1/scores.json" &&
    cat $RUNS/*+precision=bf16/seed1/scores.json
}

log() { echo "$RESULTS/$(date +%F)-$CARD-$1.txt"; }
finished() { grep -ls "part $1: done\$" "$RESULTS"/*-"$CARD-$1.txt" | tail -n 1; }

for part in "$@"; do
  [ "$part" = --list ] || [ "${LIMIT[$part]:-}" ] || { echo "gpu.sh: '$part': unknown part; valid: $PARTS" >&2; exit 2; }
done
CARD=${CARD:-$(card 2> /dev/null)} || { echo "gpu.sh: torch sees no GPU" >&2; exit 2; }
if [ "${1:-}" = --list ]; then
  for part in $PARTS; do echo "$part: $(finished "$part" | grep . || echo 'not done')"; done
  exit
fi
mkdir -p "$RESULTS"
failed=0
for part in ${*:-$PARTS}; do
  if [ $# = 0 ] && [ "$(finished "$part")" ]; then echo "$part: done before"; continue; fi
  limit=${LIMIT[$part]} left=$((BUDGET - SECONDS))
  if [ $left -lt 30 ]; then echo "$part: no time left"; failed=1; continue; fi
  [ $left -lt "$limit" ] && limit=$left
  export -f "$part" peers archives steps
  export PYTHON RUNS ARCHIVES
  (
    echo "part $part: $(date -u +%FT%TZ), commit $(git describe --always --dirty=+ 2> /dev/null || echo unknown), at most $limit s"
    timeout --signal=INT --kill-after=30 "$limit" bash -c "set -o pipefail; $part"
    status=$?
    case $status in 0) echo "part $part: done" ;; 124 | 137) echo "part $part: ran out of time" ;; *) echo "part $part: failed ($status)" ;; esac
    exit $status
  ) 2>&1 | tee "$(log "$part")" || failed=1
done
exit $failed
