"""The training loop: updates, log lines, validations, checkpoints, in that order within an update.

The loss of an update is  (Σ label-smoothed cross-entropy + Σ tokens · penalty) / target tokens,  summed over every
micro-batch of every process, so it does not depend on how the global batch is split. DeepSpeed averages gradients over
the W processes, hence the factor W.

Everything that determines the next update is in `Trainer.progress` and `checkpoints.save_state`: a training run that
is killed and resumed ends bit-identical to an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import torch
from deepspeed import DeepSpeedEngine
from torch import Tensor

from reluformer.config.training import TrainingConfig
from reluformer.corpus.batches import Batch, BatchSampler
from reluformer.memory.modules import SequenceMemory
from reluformer.ops.process import return_freed_memory
from reluformer.training.checkpoints import Checkpoints, load_state, save_state, write_error
from reluformer.training.data import LoadedUpdate, PrefetchLoader, TrainingData
from reluformer.training.distributed import DistributedContext, LossReducer, Totals
from reluformer.training.engine import clip_gradients, compile_forward, gradient_norm
from reluformer.training.log import RunLog, finite
from reluformer.training.stopping import Divergence, EarlyStopping, Interrupted, Signals, TrainingError
from reluformer.training.validation import Validation

Ending = Literal["finished", "stopped-early", "diverged"]

REDUCE_EVERY = 10
"""Updates between reductions of the losses with several processes or a GPU, where a reduction costs time."""
RETURN_EVERY = 10 * REDUCE_EVERY
"""Updates between the times that freed memory returns to the system, after which an update has to page it in again;
a validation's returns at its end."""


class Trainer:
    """One training run, from its first update or a checkpoint to its end.

    seed: for the order of batches. started: when the job started, in seconds since the epoch.
    """

    def __init__(
        self,
        config: TrainingConfig,
        engine: DeepSpeedEngine,
        world: DistributedContext,
        data: TrainingData,
        seed: int,
        log: RunLog,
        checkpoints: Checkpoints,
        signals: Signals,
        started: float,
    ) -> None:
        self.config, self.engine, self.world, self.data = config, engine, world, data
        self.log, self.checkpoints, self.signals, self.started = log, checkpoints, signals, started
        sampler = BatchSampler(
            data.train.src_lengths,
            data.train.tgt_lengths,
            batch_tokens=config.batch_tokens,
            seed=seed,
            rank=world.rank,
            world_size=world.size,
            accumulation=config.accumulation,
        )
        self.loader = PrefetchLoader(sampler, data.train, world.device)
        engine.module.model.embeddings.positions(data.longest)
        if config.compile and world.device.type == "cuda":
            compile_forward(engine.module.model)
        elif config.compile:
            log.message(f"training.compile: has no effect on {world.device.type}, only on a GPU")
        self.reducer = LossReducer(world)
        self.reduce_every = 1 if world.size == 1 and world.device.type == "cpu" else REDUCE_EVERY
        self.divergence = Divergence()
        self.stopping = EarlyStopping(config.patience)
        self.validation = Validation(
            data, world, config.batch_tokens, with_bleu=config.validate_bleu, with_source=config.validate_source
        )
        places = () if config.start_from else engine.module.model.places()
        attentions = [place.memory for place in places if isinstance(place.memory, SequenceMemory)]
        self.annealed = [memory for memory in attentions if memory.anneal_from_softmax]
        self.update = 0
        self.epoch = 0
        self.window: dict[str, float] = defaultdict(float)  # sums since the last log line
        self.totals: Counter[str] = Counter()
        measured = ("first_loss", "final_loss", "best_valid_loss", "best_valid_bleu")
        self.results: dict[str, Any] = dict.fromkeys((*measured, "source_gain", "mean_source_gain", "dead_keys"))
        self.seconds = 0.0
        self.startup_seconds: float | None = None
        self._clock = self._window_clock = self._saved = time.monotonic()

    def progress(self) -> dict[str, Any]:
        """Returns the trainer's part of the state, as JSON."""
        return {
            "update": self.update,
            "epoch": self.epoch,
            "sampler": self.loader.state_dict(),
            "window": self.window,
            "totals": self.totals,
            "results": self.results,
            "seconds": self.seconds,
            "divergence": {"over": self.divergence.over},
            "stopping": {"best": self.stopping.best, "waited": self.stopping.waited},
        }

    def resume(self) -> None:
        """Resumes from the newest intact checkpoint, if there is one, and rewinds the log to it."""
        newest = self.checkpoints.newest(self.log.message) if self.world.first else None
        checkpoints = {2 * each.update + each.interim: each for each in self.checkpoints.all()}
        chosen = self.world.broadcast(2 * newest.update + newest.interim if newest else -1)
        self.log.rewind(chosen // 2)
        if chosen < 0:
            return
        state = load_state(checkpoints[chosen].path, self.engine, self.world)
        self.update, self.epoch, self.seconds = state["update"], state["epoch"], state["seconds"]
        self.window.update(state["window"])
        self.totals.update(state["totals"])
        self.results = state["results"]
        self.loader.load_state_dict(state["sampler"])
        self.divergence = Divergence(**state["divergence"])
        self.stopping = EarlyStopping(self.config.patience, **state["stopping"])
        self.log.message(f"resuming from update {self.update}")

    def train(self) -> Ending:
        """Trains until the last update, early stopping or divergence.

        Raises:
            Interrupted: after a signal, once the state is saved.
            TrainingError: out of memory, or a checkpoint could not be written.
        """
        config = self.config
        self.engine.train()
        self._saved = time.monotonic()
        self._restart_clocks()
        while self.update < config.updates:
            rate, norm = self.step(next(self.loader))
            last = self.update == config.updates
            logs = last or self.update % config.log_every == 0
            validates = last or self.update % config.validate_every == 0
            saves = not last and self.update % config.checkpoint_every == 0
            if not (logs or validates or saves or self.update % self.reduce_every == 0):
                continue
            interrupted, due = self.reduce_losses(rate)
            if self.divergence.at is not None:
                self._log_window(rate, norm)
                return "diverged"
            if logs:
                self._log_window(rate, norm)
            if validates and self._validate():
                return "stopped-early"
            if saves or (not last and (interrupted or due)):
                self._save(interim=not saves)
            self._restart_clocks(window=logs)
            if interrupted and not last:
                raise Interrupted(f"saved at update {self.update}")
        return "finished"

    def give_up(self, reason: str) -> Ending:
        """Counts the run as diverged before its first update, and logs why."""
        self.log.message(f"not trained, counts as diverged: {reason}")
        self.divergence.at = self.update
        return "diverged"

    def step(self, update: LoadedUpdate) -> tuple[float, float]:
        """Runs one optimizer update; returns its learning rate, and its gradient norm if it is logged (else NaN).

        Does not wait for the device unless the norm is logged; ZeRO 1 and 2 wait to check for an overflow.
        """
        engine, world = self.engine, self.world
        for memory in self.annealed:
            memory.anneal(self.update / self.config.updates)
        self.update += 1
        self.epoch = update.epoch
        rate, norm = engine.get_lr()[0], math.nan
        measures = self.update % self.config.log_every == 0 or self.update == self.config.updates
        zero = engine.zero_optimization()
        sums = torch.zeros(3, device=world.device)
        for batch in update.micro:
            with explain_out_of_memory(self.config, self.update, batch):
                losses = engine(*batch)
                penalty = losses.penalty * losses.tokens
                loss = (losses.loss_sum + penalty) * (world.size / update.target_tokens)
                engine.backward(loss, scale_wrt_gas=False)
                sums += torch.stack((losses.loss_sum.detach(), losses.nll_sum.detach(), penalty.detach()))
                if not zero and engine.is_gradient_accumulation_boundary():
                    norm = gradient_norm(engine) if measures else norm
                    if self.config.clip_norm > 0:
                        clip_gradients(engine, self.config.clip_norm)
                engine.step()
        if measures and zero:
            norm = gradient_norm(engine)
        self.reducer.put(self.update, update.target_tokens, sums, update.positions, update.filled)
        return rate, norm

    def reduce_losses(self, rate: float) -> tuple[bool, bool]:
        """Sums the losses over the processes, checks for divergence; returns whether to exit, and whether to save."""
        minutes = self.config.checkpoint_minutes
        due = self.world.first and minutes > 0 and time.monotonic() - self._saved > 60 * minutes
        totals, (interrupted, due) = self.reducer.flush(self.signals.received, due)
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now
        if self.startup_seconds is None:
            self.startup_seconds = time.time() - self.started
        for total in totals:
            self._add(total)
            if self.divergence.judge(total.update, total.loss + total.penalty):
                break
        if self.update % RETURN_EVERY == 0:
            return_freed_memory()
        speed = self.window["tokens"] / max(now - self._window_clock, 1e-9)
        self.log.progress(self.update, totals[-1].loss, rate, speed)
        return interrupted, due

    def _add(self, total: Totals) -> None:
        for key, mean in (("loss", total.loss), ("nll", total.nll), ("penalty", total.penalty)):
            self.window[key] += mean * total.tokens
        self.window["tokens"] += total.tokens
        self.totals.update(target_tokens=total.tokens, positions=total.positions, filled=total.filled)
        if total.update == 1:
            self.results["first_loss"] = finite(total.loss)

    def _log_window(self, rate: float, norm: float) -> None:
        """Logs the means over the target tokens since the last log line."""
        tokens = self.window["tokens"]
        loss, nll, penalty = (self.window[key] / tokens for key in ("loss", "nll", "penalty"))
        self.log.event(
            event="train",
            update=self.update,
            epoch=self.epoch,
            loss=loss,
            nll=nll,
            penalty=penalty,
            lr=rate,
            tokens_per_second=tokens / max(self._clock - self._window_clock, 1e-9),
            grad_norm=norm,
            seconds=self.seconds,
        )
        self._monitor({"train/loss": loss, "train/nll": nll, "train/penalty": penalty, "train/grad_norm": norm})
        self.results["final_loss"] = finite(loss)
        self.window.clear()

    def _validate(self) -> bool:
        """Validates and logs; returns whether to stop."""
        scores = self.validation.measure(self.engine)
        return_freed_memory()
        self.log.event(event="valid", update=self.update, **scores)
        self._monitor({f"valid/{key}": value for key, value in scores.items() if key != "ppl"})
        loss, best = scores["loss"], self.results["best_valid_loss"]
        self.results["best_valid_loss"] = finite(loss) if best is None else min(best, loss)
        self.results |= {key: scores.get(key) for key in ("source_gain", "dead_keys")}
        if "source_gain" in scores:
            mean, number = self.results.get("mean_source_gain") or 0.0, self.update / self.config.validate_every
            self.results["mean_source_gain"] = mean + (scores["source_gain"] - mean) / math.ceil(number)
        if "bleu" in scores:
            self.results["best_valid_bleu"] = max(scores["bleu"], self.results["best_valid_bleu"] or 0.0)
        return self.stopping.judge(loss)

    def _save(self, interim: bool) -> None:
        """Saves the state of all processes."""
        earlier = self.checkpoints.all()
        self.log.sync()
        try:
            if self.world.first:
                self.checkpoints.begin(self.update, interim)
            self.world.barrier()
            folder = self.checkpoints.partial(self.update, interim)
            save_state(folder, self.engine, self.world, self.progress())
            self.world.barrier()
            if self.world.first:
                self.checkpoints.commit(folder)
        except OSError as error:
            if self.world.first:
                self.checkpoints.sweep()
            raise write_error(error, self.checkpoints.folder, earlier[-1] if earlier else None) from error
        self.world.barrier()
        self._saved = time.monotonic()

    def _restart_clocks(self, window: bool = True) -> None:
        """Excludes validation and checkpoints from the training time."""
        now = time.monotonic()
        self._window_clock = now if window else self._window_clock + now - self._clock
        self._clock = now

    def _monitor(self, values: dict[str, float]) -> None:
        if self.engine.monitor.enabled:
            self.engine.monitor.write_events([(key, value, self.update) for key, value in values.items()])


@contextlib.contextmanager
def explain_out_of_memory(config: TrainingConfig, update: int, batch: Batch[Tensor]) -> Iterator[None]:
    """Turns an out-of-memory error into a `TrainingError` that names the batch and the settings to change."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is a subclass; the CPU allocator raises this class itself
        if "out of memory" not in str(error).lower() and "can't allocate memory" not in str(error).lower():
            raise
        pairs, src = batch.src.shape
        raise TrainingError(
            f"out of memory at update {update}, in a micro-batch of {pairs} pairs padded to {src} source and "
            f"{batch.tgt_in.size(1)} target tokens: lower training.batch_tokens ({config.batch_tokens}), raise "
            f"training.accumulation ({config.accumulation}) or training.processes, or set "
            "training.activation_checkpointing"
        ) from error
