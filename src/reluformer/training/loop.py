"""The training loop: updates, log lines, validations, checkpoints, in that order within an update.

The loss of an update is  (Σ label-smoothed cross-entropy + Σ tokens · penalty) / target tokens,  the sums over every
micro-batch of every process, so that it does not depend on how the global batch is split. DeepSpeed averages gradients
over the W processes, hence the factor W.

Everything that decides the next update is in `Trainer.progress` and `state.save_state`: a training that was killed and
went on ends with the same bits as one that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any, Literal

import torch
from deepspeed import DeepSpeedEngine

from reluformer.config.training import TrainingConfig
from reluformer.corpus.batches import BatchSampler
from reluformer.training.checkpoints import Checkpoints, no_space
from reluformer.training.compiling import compile_forward
from reluformer.training.data import TrainingData, longest
from reluformer.training.engine import DistributedContext, clip_gradients, gradient_norm
from reluformer.training.errors import Interrupted, TrainingError
from reluformer.training.log import RunLog
from reluformer.training.loss_reducer import LossReducer, Totals
from reluformer.training.prefetch import FedUpdate, PrefetchLoader
from reluformer.training.signals import Signals
from reluformer.training.state import load_state, save_state
from reluformer.training.stopping import Divergence, EarlyStopping
from reluformer.training.validation import Validation

Ending = Literal["finished", "stopped-early", "diverged"]

EXCHANGE_EVERY = 10
"""Updates between exchanges where one costs something: several processes, or a device to wait for."""


class Trainer:
    """One training, from its first update or a checkpoint to its end.

    Args:
        config: the recipe.
        engine: from `build_engine`, around an `Objective`.
        world: the processes.
        data: the corpus.
        seed: of the order of batches.
        log: where to write.
        checkpoints: where states are kept.
        signals: whether to save and leave.
        started: when the job started, seconds since the epoch.
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
        self.feed = PrefetchLoader(sampler, data.train, world.device)
        engine.module.model.embeddings.positions(longest(data))
        if config.compile and world.device.type == "cuda":
            compile_forward(engine.module.model)
        elif config.compile:
            log.message(f"training.compile: nothing is compiled on a {world.device.type}, only on a GPU")
        self.exchange = LossReducer(world)
        self.exchange_every = 1 if world.size == 1 and world.device.type == "cpu" else EXCHANGE_EVERY
        self.divergence = Divergence()
        self.stopping = EarlyStopping(config.patience)
        self.validation = Validation(data, world, config.batch_tokens, with_bleu=config.validate_bleu)
        self.update = 0
        self.epoch = 0
        self.window = {"loss": 0.0, "nll": 0.0, "penalty": 0.0, "tokens": 0}
        self.totals = {"target_tokens": 0, "positions": 0, "filled": 0}
        self.results: dict[str, Any] = dict.fromkeys(("first_loss", "final_loss", "best_valid_loss", "best_valid_bleu"))
        self.seconds = 0.0
        self.startup_seconds: float | None = None
        self._clock = self._window_clock = self._saved = time.monotonic()

    def progress(self) -> dict[str, Any]:
        """What this class adds to the state, as JSON."""
        return {
            "update": self.update,
            "epoch": self.epoch,
            "sampler": self.feed.state_dict(),
            "window": self.window,
            "totals": self.totals,
            "results": self.results,
            "seconds": self.seconds,
            "divergence": self.divergence.state_dict(),
            "stopping": self.stopping.state_dict(),
        }

    def resume(self) -> None:
        """Goes on from the newest good checkpoint, if there is one; the log is rewound to it."""
        newest = self.checkpoints.newest(self.log.message) if self.world.first else None
        all_checkpoints = {(c.update, c.interim): c for c in self.checkpoints.all()}
        chosen = self.world.broadcast(2 * newest.update + newest.interim if newest else -1)
        self.log.rewind(chosen // 2 if chosen >= 0 else -1)
        if chosen < 0:
            return
        checkpoint = all_checkpoints[chosen // 2, bool(chosen % 2)]
        state = load_state(checkpoint.path, self.engine, self.world)
        self.update, self.epoch, self.seconds = state["update"], state["epoch"], state["seconds"]
        self.window, self.totals, self.results = state["window"], state["totals"], state["results"]
        self.feed.load_state_dict(state["sampler"])
        self.divergence.load_state_dict(state["divergence"])
        self.stopping.load_state_dict(state["stopping"])
        self.log.message(f"going on from update {self.update}")

    def train(self) -> Ending:
        """Updates until the last one, a stop or divergence.

        Raises:
            Interrupted: after a signal, once the state is saved.
            TrainingError: out of memory, or a checkpoint that cannot be written.
        """
        try:
            return self._train()
        finally:
            self.feed.close()

    def give_up(self, reason: str) -> Ending:
        """Counts the training as diverged before its first update; the log says why."""
        self.log.message(f"not trained, counts as diverged: {reason}")
        self.divergence.at = self.update
        return "diverged"

    def _train(self) -> Ending:
        config = self.config
        self.engine.train()
        self._saved = time.monotonic()
        self._restart_clocks()
        while self.update < config.updates:
            rate, norm = self.step(next(self.feed))
            last = self.update == config.updates
            logs = last or self.update % config.log_every == 0
            validates = last or self.update % config.validate_every == 0
            saves = not last and self.update % config.checkpoint_every == 0
            if not (logs or validates or saves or self.update % self.exchange_every == 0):
                continue
            leave, due = self.agree(rate)
            if self.divergence.at is not None:
                self._log_window(rate, norm)
                return "diverged"
            if logs:
                self._log_window(rate, norm)
            if validates and self._validate():
                return "stopped-early"
            if saves or (not last and (leave or due)):
                self._save(interim=not saves)
            self._restart_clocks(window=logs)
            if leave and not last:
                raise Interrupted(f"saved at update {self.update}")
        return "finished"

    def step(self, update: FedUpdate) -> tuple[float, float]:
        """One optimizer update; its learning rate, and its gradient norm where it is logged (else NaN).

        Unless it is logged, nothing of ours in it waits for the device; ZeRO 1 and 2 do, to look for an overflow.
        """
        engine, world = self.engine, self.world
        self.update += 1
        self.epoch = update.epoch
        rate, norm = engine.get_lr()[0], math.nan
        measures = self.update % self.config.log_every == 0 or self.update == self.config.updates
        zero = engine.zero_optimization()
        sums = torch.zeros(3, device=world.device)
        for batch in update.micro:
            with self._memory(batch.src.shape, batch.tgt_in.shape):
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
        self.exchange.put(self.update, update.target_tokens, sums, update.positions, update.filled)
        return rate, norm

    def agree(self, rate: float) -> tuple[bool, bool]:
        """Sums the losses over the processes and judges them; whether to leave, and whether a save is due."""
        minutes = self.config.checkpoint_minutes
        due = self.world.first and minutes > 0 and time.monotonic() - self._saved > 60 * minutes
        totals, (leave, due) = self.exchange.flush(self.signals.asked, due)
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now
        if self.startup_seconds is None:
            self.startup_seconds = time.time() - self.started
        for total in totals:
            self._add(total)
            if self.divergence.judge(total.update, total.loss + total.penalty):
                break
        speed = self.window["tokens"] / max(now - self._window_clock, 1e-9)
        self.log.progress(self.update, totals[-1].loss, rate, speed)
        return leave, due

    def _add(self, total: Totals) -> None:
        self.window["loss"] += total.loss * total.tokens
        self.window["nll"] += total.nll * total.tokens
        self.window["penalty"] += total.penalty * total.tokens
        self.window["tokens"] += total.tokens
        self.totals["target_tokens"] += total.tokens
        self.totals["positions"] += total.positions
        self.totals["filled"] += total.filled
        if total.update == 1:
            self.results["first_loss"] = _finite(total.loss)

    def _log_window(self, rate: float, norm: float) -> None:
        """One log line: the means over the target tokens since the last one."""
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
        self.results["final_loss"] = _finite(loss)
        self.window = {"loss": 0.0, "nll": 0.0, "penalty": 0.0, "tokens": 0}

    def _validate(self) -> bool:
        """Measures the loss on the validation split; whether to stop."""
        found = self.validation.measure(self.engine)
        loss, nll = found.loss, found.nll
        bleu = {} if found.bleu is None else {"bleu": found.bleu}
        self.log.event(event="valid", update=self.update, loss=loss, nll=nll, ppl=math.exp(min(nll, 700.0)), **bleu)
        self._monitor({f"valid/{key}": value for key, value in {"loss": loss, "nll": nll, **bleu}.items()})
        best = self.results["best_valid_loss"]
        self.results["best_valid_loss"] = _finite(loss) if best is None else min(best, loss)
        if found.bleu is not None:
            self.results["best_valid_bleu"] = max(found.bleu, self.results["best_valid_bleu"] or 0.0)
        return self.stopping.judge(loss)

    def _save(self, interim: bool) -> None:
        """Saves the state of all processes."""
        good = self.checkpoints.all()
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
            raise no_space(error, self.checkpoints.folder, good[-1] if good else None) from error
        self.world.barrier()
        self._saved = time.monotonic()

    def _restart_clocks(self, window: bool = True) -> None:
        """Leaves out of the training time what was done since the last exchange (validation, checkpoint)."""
        now = time.monotonic()
        self._window_clock = now if window else self._window_clock + now - self._clock
        self._clock = now

    def _monitor(self, values: dict[str, float]) -> None:
        if self.engine.monitor.enabled:
            self.engine.monitor.write_events([(key, value, self.update) for key, value in values.items()])

    @contextlib.contextmanager
    def _memory(self, src: tuple[int, ...], tgt: tuple[int, ...]) -> Iterator[None]:
        """Turns "out of memory" into a sentence that names the batch and what to change."""
        try:
            yield
        except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU allocator raises a plain one
            if "out of memory" not in str(error).lower() and "can't allocate memory" not in str(error).lower():
                raise
            raise TrainingError(
                f"out of memory at update {self.update}, in a micro-batch of {src[0]} pairs padded to {src[1]} source "
                f"and {tgt[1]} target tokens: lower training.batch_tokens ({self.config.batch_tokens}), raise "
                f"training.accumulation ({self.config.accumulation}) or training.processes, or set "
                "training.activation_checkpointing"
            ) from error


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
