"""The command line: absl flags made from the fields of Config, and the only place they are read."""

import dataclasses
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from absl import flags

from mnist_dist import flagfile
from mnist_dist.config import Config
from mnist_dist.errors import UsageError, shorten
from mnist_dist.run import command

HINTS = {
    "learning_rate": "give --lr",
    "optimiser": "give --optimizer",
    "workers": "give the launcher their number: launch/local.sh -n N, or srun --ntasks=N",
    "num_workers": "give the launcher their number: launch/local.sh -n N, or srun --ntasks=N",
    "early_stopping": "give --patience=EPOCHS",
    "augment": "give --shift_px, --rotate_deg and --zoom",
    "augmentation": "give --shift_px, --rotate_deg and --zoom",
    "cpu": "give --no_gpu",
    "use_gpu": "GPUs are used unless --no_gpu is given",
    "steps": "give --max_steps or --epochs",
}
"""Names of flags in other programs -> what to give instead."""


def parse(argv: Sequence[str]) -> Config:
    """Reads a command line.

    Args:
        argv: the arguments after the program's name. Dashes and underscores in a flag's name are
            the same; `--flagfile=PATH` is read in its place, and a later flag wins.

    Raises:
        UsageError: an unknown flag, a value of the wrong type or out of range, a stray argument,
            a flagfile that can't be read.
        TextRequested: `--help` or `--version` was given.
    """
    command.answer_help(argv, help_text)
    values = _definitions()
    known = [f"--{prefix}{name}" for name in values for prefix in ("", "no")]
    try:
        rest = values(["mnist_dist", *command.canonical(flagfile.expand(argv), known)])[1:]
    except flags.Error as error:
        raise UsageError(_reason(error)) from error
    except RecursionError as error:  # absl looks for a name like it, letter by letter
        raise UsageError("a flag's name is longer than any; --help lists the flags") from error
    if rest:
        raise UsageError(
            f"'{shorten(rest[0])}': arguments without a flag aren't understood; "
            "give --name=value (--help lists the flags)"
        )
    given = {f: values[f.name].value for f in dataclasses.fields(Config)}
    return Config(**{f.name: _value(f, v) for f, v in given.items() if v is not None})


def help_text() -> str:
    """All flags by group, each with its help and default."""
    lines = [
        "usage: python -m mnist_dist.train [--flag=value ...] [--flagfile=PATH]",
        "",
        "Trains on MNIST: on this CPU, on all GPUs of this machine, or on many machines.",
        "A later flag wins over an earlier one; --flagfile reads flags from a file, a line each.",
    ]
    group = ""
    for row in rows():
        if row.group != group:
            group = row.group
            lines += ["", f"{group}:"]
        lines.append(f"  {row.usage}")
        text = f"{row.help} (default: {row.default})"
        lines += textwrap.wrap(text, 76, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def command_line(config: Config, run_dir: str) -> str:
    """A command line, as a shell takes it, that trains as `config` does, in a folder of its own."""
    plain = Config(optimizer=config.optimizer)  # whose defaults depend on it
    words = ["python", "-m", "mnist_dist.train"]
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        base = field.default if field.name == "optimizer" else getattr(plain, field.name)
        if value == base or field.name in ("run_dir", "output_dir", "checkpoint_dir"):
            continue
        if isinstance(value, bool):
            words.append(f"--{field.name}" if value else f"--no{field.name}")
        else:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words.append(f"--{field.name}={text}")
    return shlex.join([*words, f"--run_dir={run_dir}"])


class Row(NamedTuple):
    """A flag as `--help` and docs/flags.md show it: heading, --name=VALUE, help, default."""

    group: str
    usage: str
    help: str
    default: str


def rows() -> Iterator[Row]:
    """All flags, in order; those of a group follow one another."""
    for field in dataclasses.fields(Config):
        choices = field.metadata.get("choices")
        named = "|".join(choices) if choices else _kind(field)
        usage = f"--{field.name}" + (f"={named}" if named else "")
        yield Row(field.metadata["group"], usage, field.metadata["help"], _shown(field))


def _definitions() -> flags.FlagValues:
    values = flags.FlagValues()
    for field in dataclasses.fields(Config):
        switch = isinstance(field.default, bool)
        define = flags.DEFINE_boolean if switch else flags.DEFINE_string
        define(field.name, None, "", flag_values=values)
    return values


def _value(field: dataclasses.Field[Any], given: Any) -> Any:
    """A flag's text as its field's type."""
    try:
        if isinstance(field.default, tuple):
            return tuple(int(item) for item in given.split(",")) if given.strip() else ()
        if isinstance(field.default, bool | str):
            return given
        return int(given) if isinstance(field.default, int) else float(given)
    except ValueError as error:
        needs = {int: "a whole number", tuple: "whole numbers with commas between"}
        need = needs.get(type(field.default), "a number")
        raise UsageError(
            f"--{field.name}={shorten(given)}: give {need}, such as {_shown(field)}"
        ) from error


def _kind(field: dataclasses.Field[Any]) -> str:
    kinds = {int: "N", float: "X", type(None): "X", str: "TEXT", tuple: "N,N,...", bool: ""}
    return kinds[type(field.default)]


def _shown(field: dataclasses.Field[Any]) -> str:
    default = getattr(Config(), field.name)
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default) or "empty"


def _reason(error: Exception) -> str:
    """Absl's message with what is missing in it: the nearest name, what is allowed, a way out."""
    if isinstance(error, flags.UnrecognizedFlagError):
        given = error.flagname.replace("-", "_")
        if given in HINTS:
            return f"--{shorten(error.flagname)}: no such flag; {HINTS[given]}"
        names = [f"--{field.name}" for field in dataclasses.fields(Config)]
        return command.no_such_flag(f"--{error.flagname}", names, "--help lists the flags")
    text = shorten(str(error), 200)
    if "Non-boolean argument" in text:
        flag = text.removeprefix("flag ").partition(": (")[0]
        return f"{flag}: give true or false, or the flag alone for true"
    return f"{text}; --help lists the flags"
