"""The configuration of a run: a frozen, validated dataclass. flags.py makes the flags from it."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from mnist_dist import limits, optimizers
from mnist_dist.errors import UsageError

CHECKPOINT_DIR = "/tmp/tensorflow/mnist/checkpoints/"
"""The notebook's folder."""

BUILT_IN = (*("conv_filters", "kernel_size", "dense_units", "dropout", "batch_norm", "residual"),)
"""Flags of the built-in network, which --network takes the place of."""

FOLDERS = ("data_dir", "class_names", "init_from", "run_dir", "output_dir", "checkpoint_dir")


def _flag(
    default: Any, group: str, text: str, *, numbers: bool = False, **allowed: Any
) -> Any:  # a dataclass field; the class's annotations have the types
    """One flag: its help, its limits, and whether it decides the numbers of a run.

    Args:
        default: the value when the flag isn't given.
        group: its heading in `--help`.
        text: one line of help, with the unit.
        numbers: True if a resumed run must have the same value (see `Config.numbers`).
        **allowed: `low` and `high` (both allowed), `above` (not itself allowed), `choices`; and
            `later=True` for a flag that older versions don't have: at its default it isn't part
            of a run's identity, so that their checkpoints still resume.
    """
    metadata = {"group": group, "help": text, "numbers": numbers, **allowed}
    return dataclasses.field(default=default, metadata=metadata)


def _optimizer_flag(name: str, text: str, **allowed: Any) -> Any:
    """A flag whose default depends on --optimizer; who reads it and the defaults are in its help."""
    readers = ", ".join(optimizers.readers(name)) if name in optimizers.FLAGS else ""
    used_by = f", for {readers}" if readers else ""
    text = f"{text}{used_by}; default {optimizers.shown_defaults(name)}"
    return _flag(None, "Optimizer", text, numbers=True, **allowed)


@dataclasses.dataclass(frozen=True, repr=False)
class Config:
    """The flags of one run. Raises UsageError for a value out of range or a wrong combination."""

    # fmt: off
    data_dir: str = _flag("/tmp/tensorflow/mnist/input_data", "Data", "folder with a data set (docs/data.md lists the formats), or with prepared TFDS sets; left out: the embedded MNIST")
    dataset: str = _flag("", "Data", "a tensorflow-datasets name, such as fashion_mnist; empty: the files in --data_dir")
    validation_size: int = _flag(5000, "Data", "training images held out for validation, unless the set has its own validation images", numbers=True, low=0)
    validation: str = _flag("first", "Data", "which are held out; first: the first ones, as in the notebook, refused where they miss a class; shuffled: drawn by --seed, each class in proportion", choices=("first", "shuffled"))
    class_names: str = _flag("", "Data", "file with a name a line for each class, or EMNIST's mapping; empty: the set's names, if it has some")

    epochs: int = _flag(10, "Training", "passes over the training set", low=1)
    max_steps: int = _flag(0, "Training", "stop after that many global steps in total; 0: no limit", low=0)
    batch_size: int = _flag(64, "Training", "the global batch, in images over all replicas", numbers=True, low=1)
    accumulate_steps: int = _flag(1, "Training", "micro-batches that make up one global batch, to save memory", low=1)
    seed: int = _flag(0, "Training", "decides order, initial weights, dropout and augmentation", numbers=True, low=0, high=2**31 - 1)
    init_from: str = _flag("", "Training", "a run's folder, to start from its weights, by the names of layers; a layer of another shape, and the last one for other classes, starts anew; empty: --seed decides all weights")
    precision: str = _flag("float32", "Training", "arithmetic of the layers; auto: measured; tf32: float32 by a GPU's tensor cores; float64: to compare curves", numbers=True, choices=("float32", "tf32", "mixed_bfloat16", "mixed_float16", "float64", "auto"))
    eager: bool = _flag(False, "Training", "run without a graph, for a debugger")
    xla: str = _flag("auto", "Training", "compile the steps by XLA; auto: on a GPU, for a single replica", choices=("auto", "on", "off"))
    steps_per_loop: int = _flag(0, "Training", "global steps in one call of the graph; 0: chosen", low=0)

    optimizer: str = _flag("momentum", "Optimizer", "how the weights are updated", numbers=True, choices=tuple(optimizers.OPTIMIZERS))
    lr: float = _optimizer_flag("lr", "peak learning rate", low=0.0, high=1e30)
    momentum: float = _optimizer_flag("momentum", "momentum", low=0.0, high=0.9999)
    beta_1: float = _optimizer_flag("beta_1", "decay of the mean gradient", low=0.0, high=0.999999)
    beta_2: float = _optimizer_flag("beta_2", "decay of the squared gradient", low=0.0, high=0.999999)
    rho: float = _optimizer_flag("rho", "decay of the squared gradient", low=0.0, high=0.999999)
    epsilon: float = _optimizer_flag("epsilon", "added to denominators", above=0.0)
    weight_decay: float = _optimizer_flag("weight_decay", "decoupled: each step shrinks the kernels by lr times this", low=0.0)
    schedule: str = _flag("constant", "Optimizer", "the learning rate over --epochs", numbers=True, choices=("constant", "onecycle", "cosine", "step"))
    warmup_steps: int = _flag(0, "Optimizer", "global steps of linear warm-up to the peak", numbers=True, low=0)
    clip_norm: float = _flag(0.0, "Optimizer", "largest global norm of the gradient; 0: no limit", numbers=True, low=0.0)
    label_smoothing: float = _flag(0.0, "Optimizer", "share of the label spread over all classes in training", numbers=True, low=0.0, high=0.999)
    ema: float = _flag(0.0, "Optimizer", "decay of averaged weights used to evaluate; 0: none", numbers=True, low=0.0, high=0.99999)

    conv_filters: tuple[int, ...] = _flag((32, 64), "Network", "filters of each convolution, comma-separated; empty: none", numbers=True, low=1)
    kernel_size: int = _flag(5, "Network", "side of the convolutions' kernels, in pixels", numbers=True, low=1)
    dense_units: tuple[int, ...] = _flag((1024,), "Network", "units of each hidden dense layer; empty: none", numbers=True, low=1)
    dropout: float = _flag(0.5, "Network", "share of the last hidden units dropped in training", numbers=True, low=0.0, high=0.999)
    batch_norm: bool = _flag(False, "Network", "batch normalisation, synchronised over replicas", numbers=True)
    residual: bool = _flag(False, "Network", "a residual block in place of each convolution", numbers=True)
    network: str = _flag("", "Network", "FILE.py:FUNCTION, your own network in place of the flags above; the function gets an image shape and a number of classes and returns a Keras model (docs/own_network.md); empty: the flags")
    data_format: str = _flag("auto", "Network", "layout of images; auto: channels_first on GPUs without XLA, else channels_last", choices=("auto", "channels_first", "channels_last"))

    shift_px: float = _flag(0.0, "Augmentation", "largest random shift, in pixels", numbers=True, low=0.0)
    rotate_deg: float = _flag(0.0, "Augmentation", "largest random turn, in degrees", numbers=True, low=0.0, high=180.0)
    zoom: float = _flag(0.0, "Augmentation", "largest random zoom: 0.1 is from 0.9 to 1.1 times", numbers=True, low=0.0, high=0.9)

    patience: int = _flag(0, "Patience", "epochs without improvement before the run stops; 0: never", numbers=True, low=0)
    min_delta: float = _flag(0.0, "Patience", "least change that counts as an improvement", numbers=True, low=0.0)
    monitor: str = _flag("validation_loss", "Patience", "the value that has to improve", numbers=True, choices=("validation_loss", "validation_accuracy"))

    no_gpu: bool = _flag(False, "Devices", "use no GPU")
    gpus: str = _flag("", "Devices", "a count, or indices such as 0,2 (0, is the first GPU only); empty: all")
    virtual_devices: int = _flag(0, "Devices", "number of logical devices that share one GPU or the CPU, to try out replicas; 0: none", low=0, high=64)
    nondeterministic: bool = _flag(False, "Devices", "faster kernels on GPUs; the last digits then differ from run to run")
    gpu_memory_mib: int = _flag(0, "Devices", "the most memory of a GPU to use, in MiB; 0: as much as is needed", low=0)
    strategy: str = _flag("auto", "Devices", "how replicas are made", choices=("auto", "one", "mirrored", "multi_worker"))
    cluster: str = _flag("auto", "Devices", "how the other workers are found: auto takes what the process was started with; none: this process only", choices=("auto", "tf_config", "slurm", "mpi", "flux", "rank", "kubernetes", "none"))
    interface: str = _flag("", "Devices", "network interface between workers, such as ib0; empty: that of the host name")
    connect_timeout: float = _flag(300.0, "Devices", "seconds to wait for all workers at the start", above=0.0)
    peer_timeout: float = _flag(30.0, "Devices", "seconds without a message after which a worker counts as lost", low=2.0)
    collective: str = _flag("auto", "Devices", "how gradients are summed", choices=("auto", "ring", "nccl"))
    reduce: str = _flag("auto", "Devices", "how a dense layer's gradient is summed; factors: its inputs and its outputs' gradients are sent in place of their product, where they are smaller; auto: factors between workers on CPUs", later=True, choices=("auto", "product", "factors"))
    bytes_per_pack: int = _flag(0, "Devices", "bytes of gradients sent together; 0: all in one", low=0)
    check_every_steps: int = _flag(0, "Devices", "global steps between checks of the devices: each replica computes its gradients twice or, with --shards, a shard of others, and all bits must be equal (docs/exact.md); 0: none", low=0, later=True)
    shards: int = _flag(0, "Devices", "fixed shards of the global batch: any number of replicas that divides it gives the same bits; 0: none, faster", low=0)
    wire_dtype: str = _flag("float32", "Devices", "precision of gradients on the network", numbers=True, choices=("float32", "bfloat16"))

    log_interval: int = _flag(10, "Output", "global steps between loss lines; 0: none", low=0)
    log_every_s: float = _flag(0.0, "Output", "least seconds between loss lines on standard output, for a job's log; 0: print all", low=0.0)
    run_dir: str = _flag("", "Output", "one folder for the run: the default of --output_dir, and checkpoints in it of --checkpoint_dir")
    output_dir: str = _flag("", "Output", "folder for TensorBoard, metrics.jsonl and result.json; empty: beside the checkpoints")
    checkpoint_dir: str = _flag(CHECKPOINT_DIR, "Output", "folder for checkpoints, one per epoch and at the end")
    checkpoint_every_steps: int = _flag(0, "Output", "global steps between additional checkpoints; 0: none", low=0)
    checkpoint_every_s: float = _flag(0.0, "Output", "seconds between additional checkpoints; 0: none", low=0.0)
    digest_every_steps: int = _flag(0, "Output", "global steps between lines of digests.jsonl, digests of each layer's gradient and weights for python -m mnist_dist.compare; 0: none", low=0, later=True)
    keep_checkpoints: int = _flag(5, "Output", "number of newest checkpoints to keep", low=1)
    stop_lead_s: float = _flag(0.0, "Output", "seconds between a scheduler's signal to stop and the end, to warn if saving takes longer; 0: unknown", low=0.0)
    resume: str = _flag("auto", "Output", "auto: resume from a checkpoint if there is one", choices=("auto", "never", "must"))
    verbosity: int = _flag(0, "Output", "-1: only warnings and errors; 0: the notebook's lines; 1: TensorFlow's messages, too", low=-3, high=3)
    profile: str = _flag("", "Output", "STEP:COUNT writes a TensorBoard trace of COUNT global steps after STEP into --output_dir; empty: none")
    describe: bool = _flag(False, "Output", "print the network as a table and stop")
    # fmt: on

    def __post_init__(self) -> None:
        for name in ("lr", *optimizers.FLAGS, "weight_decay"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, optimizers.default(self.optimizer, name))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            limits.of_type(field, value)
            for item in value if isinstance(value, tuple) else (value,):
                limits.within(field.name, item, field.metadata)
        for name in FOLDERS:
            object.__setattr__(self, name, limits.folder(name, getattr(self, name)))
        if self.run_dir:
            if not self.output_dir:
                object.__setattr__(self, "output_dir", self.run_dir)
            if self.checkpoint_dir == CHECKPOINT_DIR:
                object.__setattr__(self, "checkpoint_dir", str(Path(self.run_dir, "checkpoints")))
        if self.patience and not self.validation_size:
            raise UsageError(
                f"--patience={self.patience} needs a validation split, --validation_size is 0; "
                "give --validation_size or leave --patience out"
            )
        if self.no_gpu and self.gpus:
            raise UsageError(f"--gpus={self.gpus} and --no_gpu exclude each other; leave one out")
        if self.accumulate_steps > self.batch_size:
            raise UsageError(
                f"--accumulate_steps={self.accumulate_steps} is more than the global batch has "
                f"images, --batch_size={self.batch_size}; give at most {self.batch_size}"
            )
        self._check_network()
        self._check_xla()
        if self.profile and not (re.fullmatch(r"\d+:[1-9]\d*", self.profile) and self.output_dir):
            raise UsageError(
                f"--profile={self.profile}: give STEP:COUNT, such as 100:10 for ten steps after "
                "the 100th, and --output_dir for the trace"
            )
        if self.shards:
            self._check_shards()
        if self.check_every_steps and self.nondeterministic:
            raise UsageError(
                f"--check_every_steps={self.check_every_steps} with --nondeterministic, which gives "
                "other bits each time; leave out one of the two"
            )
        if not self.checkpoint_dir:
            raise UsageError("--checkpoint_dir is empty; give a folder to save in")

    @property
    def meeting_folder(self) -> str:
        """A folder that all workers see, in which they may find worker 0."""
        return self.run_dir or self.checkpoint_dir

    def __repr__(self) -> str:
        """The flags that differ from their defaults, as the class is called with them."""
        plain = type(self)(optimizer=self.optimizer, run_dir=self.run_dir)
        given = ("optimizer", "run_dir")
        words = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name)
            != (field.default if field.name in given else getattr(plain, field.name))
        ]
        return f"Config({', '.join(words)})"

    @property
    def data_flags(self) -> tuple[str, str, int, bool, int | None, str]:
        """The arguments of `data.sources.load`.

        A folder that the user named is used or refused; the default one may be missing.
        """
        given = self.data_dir != type(self).data_dir
        seed = self.seed if self.validation == "shuffled" else None
        return self.data_dir, self.dataset, self.validation_size, given, seed, self.class_names

    def _check_network(self) -> None:
        """Raises UsageError for flags of the built-in network beside --network."""
        if not self.network:
            return
        if not re.fullmatch(r".+\.py:[A-Za-z_]\w*", self.network):
            raise UsageError(f"--network={self.network}: give FILE.py:FUNCTION, such as vit.py:vit")
        for field in dataclasses.fields(self):
            if field.name in BUILT_IN and getattr(self, field.name) != field.default:
                raise UsageError(
                    f"--network={self.network} with --{field.name}, which is for the built-in "
                    "network; leave one out"
                )
        for flag, given in (
            ("--xla=on", self.xla == "on"),
            ("--data_format=channels_first", self.data_format == "channels_first"),
            ("--reduce=factors", self.reduce == "factors"),
        ):
            if given:
                raise UsageError(
                    f"--network={self.network} with {flag}, which is for the built-in network; "
                    "leave one out"
                )

    def _check_xla(self) -> None:
        """Raises UsageError if XLA can't compile the steps with the other flags."""
        if self.xla != "on":
            return
        for flag, given, why in (
            ("--eager", self.eager, "XLA compiles graphs"),
            (
                "--data_format=channels_first",
                self.data_format == "channels_first",
                "XLA compiles the network in channels_last",
            ),
            (
                f"--shards={self.shards} --batch_norm",
                self.shards and self.batch_norm,
                "XLA compiles each shard by itself, and batch statistics are sums over all shards",
            ),
            (
                f"--shards={self.shards} --reduce=factors",
                self.shards and self.reduce == "factors",
                "a product of XLA's doesn't have the bits of one that is computed from factors",
            ),
        ):
            if given:
                raise UsageError(f"--xla=on with {flag}: {why}; leave out one of them")

    def _check_shards(self) -> None:
        """Raises UsageError if the bits would depend on the number of replicas."""
        if self.shards & (self.shards - 1):
            raise UsageError(
                f"--shards={self.shards}: sums go up a binary tree over the shards; give a power "
                "of two, such as 4 or 8"
            )
        if self.shards > self.batch_size:
            raise UsageError(
                f"--shards={self.shards} is more than the global batch has images, "
                f"--batch_size={self.batch_size}; give at most that"
            )
        for flag, given, why in (
            (
                "--wire_dtype=bfloat16",
                self.wire_dtype == "bfloat16",
                "rounds only what crosses replicas",
            ),
            ("--eager", self.eager, "uses other kernels than a graph"),
            ("--nondeterministic", self.nondeterministic, "has no fixed order of sums"),
        ):
            if given:
                raise UsageError(f"--shards with {flag}, which {why}; leave out one of the two")
        normed = "--network" if self.network else "--batch_norm"
        if (self.batch_norm or self.network) and self.accumulate_steps > 1:
            raise UsageError(
                f"--shards with {normed} and --accumulate_steps={self.accumulate_steps}: batch "
                "statistics are of all shards at once; leave out one of the three"
            )

    def numbers(self) -> dict[str, Any]:
        """The flags that decide a run's numbers: with other values it is another run.

        The number of replicas isn't among them. Epochs count only if a schedule is stretched over
        them, micro-batches only with batch normalisation, shards and the choice of validation
        images only if they differ from the default.
        """
        names = [
            field.name
            for field in dataclasses.fields(self)
            if field.metadata["numbers"]
            and not (field.metadata.get("later") and getattr(self, field.name) == field.default)
        ]
        if self.schedule != "constant":
            names.append("epochs")
        if self.batch_norm or self.network:
            names.append("accumulate_steps")
        if self.shards:
            names.append("shards")
        if self.validation != "first":
            names.append("validation")
        return {name: self.as_dict()[name] for name in names}

    @property
    def profiled(self) -> range:
        """The global steps, from 0, that --profile traces."""
        first, _, count = self.profile.partition(":")
        return range(int(first), int(first) + int(count)) if self.profile else range(0)

    def as_dict(self) -> dict[str, Any]:
        """All flags as JSON values; tuples become lists."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return found
