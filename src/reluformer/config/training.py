"""How a run is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from reluformer.config.settings import Strict


class TrainingConfig(Strict):
    """The training recipe of a run; the defaults are the common IWSLT14 De-En recipe."""

    removed = {"adam_eps": 1e-8, "stop_on": "loss", "divergence_loss": 100.0, "divergence_patience": 20}

    start_from: str | None = Field(
        None,
        description="start with the weights of another run of the same corpus, DATASET/SYSTEM/seedN; {dataset}, "
        "{system} and {seed} are the run's own, without segmentation and recipe. The models must have the same "
        "parameters (an activation, a constant γ, dropout may differ); optimizer and schedule start afresh. A run that "
        "starts from one that diverged counts as diverged",
    )
    updates: int = Field(50_000, ge=1, description="optimizer updates")
    batch_tokens: int = Field(4096, ge=1, description="target tokens of an update, over all processes")
    accumulation: int = Field(1, ge=1, description="gradient accumulation steps of one update")
    learning_rate: float = Field(5e-4, gt=0, description="the peak")
    schedule: Literal["inverse-sqrt", "cosine", "linear"] = Field(
        "inverse-sqrt", description="of the learning rate after the warm-up"
    )
    warmup: int = Field(4000, ge=0, description="updates of linear warm-up")
    adam_betas: tuple[float, float] = Field((0.9, 0.98), description="β₁ and β₂ of Adam")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="ε, the share of the target spread over the vocabulary")
    clip_norm: float = Field(0.0, ge=0, description="gradient norm to clip to; 0 is off")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of the training")
    zero_stage: Literal[0, 1, 2] = Field(0, description="DeepSpeed ZeRO stage")
    activation_checkpointing: bool = Field(False, description="recompute activations in the backward pass")
    compile: bool = Field(
        False,
        description="compile encoder and decoder with torch.compile on a GPU; off because its benefit has not been "
        "measured yet (`make bench` measures it, on a GPU)",
    )
    processes: int = Field(1, ge=1, description="ranks per node; each has a GPU of its own if there are GPUs")
    nodes: int = Field(1, ge=1, description="machines of the training, with SLURM")
    threads: int | None = Field(None, ge=1, description="CPU threads per process; null: those of the job")
    log_every: int = Field(100, ge=1, description="updates between log lines")
    validate_every: int = Field(1000, ge=1, description="updates between validations")
    validate_bleu: bool = Field(False, description="also measure BLEU of greedy decoding at each validation")
    validate_source: bool = Field(
        False,
        description="also measure what the source explains (the loss with another sentence's source minus the loss "
        "with its own) and the share of keys to which no row gives weight",
    )
    patience: int = Field(0, ge=0, description="validations without a lower loss before stopping; 0: never stop early")
    checkpoint_every: int = Field(1000, ge=1, description="updates between checkpoints")
    checkpoint_minutes: float = Field(0, ge=0, description="also save after this many minutes; 0 is off")
    keep: int = Field(5, ge=1, description="checkpoints kept")
    average_last: int = Field(5, ge=1, description="checkpoints averaged into the final model; 1: no averaging")
    tensorboard: bool = Field(False, description="write TensorBoard event files during training, next to checkpoints")

    @field_validator("compile")
    @classmethod
    def _compiled_whole(cls, wanted: bool, info: ValidationInfo) -> bool:
        if wanted and info.data.get("activation_checkpointing"):
            raise ValueError("is incompatible with activation_checkpointing, which the compiler cannot trace")
        return wanted
