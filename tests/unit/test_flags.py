"""The command line: both spellings, flagfiles, what is refused, --help."""

import dataclasses
import os
import re
import shlex

import pytest

from mnist_dist import flags
from mnist_dist.config import Config
from mnist_dist.errors import TextRequested, UsageError

NOTEBOOK = [
    ("data_dir", "/some/where", "/some/where"),
    ("batch_size", "32", 32),
    ("log_interval", "7", 7),
    ("output_dir", "out", "out"),
    ("checkpoint_dir", "ck", "ck"),
    ("lr", "0.125", 0.125),
    ("momentum", "0.75", 0.75),
]


def refused(*argv):
    with pytest.raises(UsageError) as caught:
        flags.parse(argv)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(("name", "text", "value"), NOTEBOOK)
def test_the_notebooks_flags_in_both_spellings(name, text, value):
    dashed = name.replace("_", "-")
    for argv in (
        [f"--{name}={text}"],
        [f"--{dashed}={text}"],
        [f"--{name}", text],
        [f"--{dashed}", text],
        [f"-{dashed}={text}"],
    ):
        assert flags.parse(argv) == dataclasses.replace(Config(), **{name: value})


@pytest.mark.parametrize("word", ["--no_gpu", "--no-gpu", "--no_gpu=true", "--no-gpu=1"])
def test_no_gpu(word):
    assert flags.parse([word]) == dataclasses.replace(Config(), no_gpu=True)


def test_nothing_given():
    assert flags.parse([]) == Config()


def test_a_switch_is_turned_off():
    for word in ("--noeager", "--eager=false", "--eager=0"):
        assert flags.parse(["--eager", word]).eager is False
    assert flags.parse(["--no-gpu", "--nono-gpu"]).no_gpu is False


def test_every_flag_is_read():
    """Each with a value that isn't its default, in both spellings."""
    given = {}
    for field in dataclasses.fields(Config):
        default, choices = getattr(Config(), field.name), field.metadata.get("choices")
        if choices:
            given[field.name] = choices[-1]
        elif isinstance(default, str):
            given[field.name] = f"{field.name} = 'x' \\ y"  # taken as it is
        else:
            given[field.name] = {
                bool: True,
                int: default + 2 if isinstance(default, int) else 0,
                float: 10.25 if isinstance(default, float) and default > 1 else 0.25,
                tuple: (3, 4, 5),
            }[type(default)]
    del given["gpus"]  # not with --no_gpu
    del given["shards"]  # nor these with --eager
    del given["check_every_steps"]  # not with --nondeterministic
    assert flags.parse(["--check-every-steps=4"]) == Config(check_every_steps=4)
    del given["network"]  # in place of other flags
    assert flags.parse(["--network=a.py:b"]) == Config(network="a.py:b")
    given["profile"] = "100:10"  # not any text
    assert flags.parse(["--shards=4"]) == Config(shards=4)
    assert all(value != getattr(Config(), name) for name, value in given.items())
    for join in ("_", "-"):
        argv = []
        for name, value in given.items():
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            argv.append(f"--{name.replace('_', join)}={text}")
        assert flags.parse(argv) == Config(**given)


def test_lists():
    assert flags.parse(["--conv-filters=1, 2,3"]).conv_filters == (1, 2, 3)
    assert flags.parse(["--dense_units="]).dense_units == ()


def test_flagfile_first_then_overrides(tmp_path):
    file, other = tmp_path / "run.cfg", tmp_path / "other.cfg"
    other.write_text("--momentum=0.25\n")
    file.write_text(f"# a comment\n\n--batch-size=32\n--lr=0.5\n--no-gpu\n--flagfile={other}\n")
    expected = Config(batch_size=32, lr=0.125, no_gpu=True, momentum=0.25)
    for argv in (
        [f"--flagfile={file}", "--lr=0.125"],
        ["--flagfile", str(file), "--lr", "0.125"],
    ):
        assert flags.parse(argv) == expected
    assert flags.parse(["--lr=0.125", f"--flagfile={file}"]).lr == 0.5  # the later one wins
    assert flags.parse(["--data-dir", "/x", f"--flagfile={file}"]).batch_size == 32
    assert refused(f"--flagfile={file}", "--epoch=1").startswith("--epoch: no such flag")


def test_wrong_flagfiles(tmp_path):
    missing = tmp_path / "none.cfg"
    assert refused(f"--flagfile={missing}") == (
        f"--flagfile={missing}: can't be read (No such file or directory); check the path"
    )
    assert "Is a directory" in refused(f"--flagfile={tmp_path}")
    (tmp_path / "noise").write_bytes(b"\xff\xfe\0\n--lr=1\n")
    assert "isn't text" in refused(f"--flagfile={tmp_path / 'noise'}")
    (tmp_path / "nested").write_text(f"--flagfile={missing}\n")
    assert str(missing) in refused(f"--flagfile={tmp_path / 'nested'}")
    assert refused("--flagfile").startswith("--flagfile with no argument")


def test_flagfiles_that_never_end(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert refused(f"--flagfile={tmp_path}/fifo") == (
        f"--flagfile={tmp_path}/fifo: is no file; give a text file with a flag a line"
    )
    assert "is no file" in refused("--flagfile=/dev/zero")
    (tmp_path / "long").write_text("--lr=1\n" * 200_000)
    assert "has more than 1,048,576 bytes" in refused(f"--flagfile={tmp_path}/long")
    (tmp_path / "itself").write_text(f"--flagfile={tmp_path}/itself\n")
    assert "names itself" in refused(f"--flagfile={tmp_path}/itself")
    for number in range(1500):  # a chain ...
        (tmp_path / f"{number}").write_text(f"--flagfile={tmp_path}/{number + 1}\n")
    assert refused(f"--flagfile={tmp_path}/0").startswith("--flagfile: more than 100 files")
    for number in range(40):  # ... and 2^40 files
        (tmp_path / f"{number}").write_text(f"--flagfile={tmp_path}/{number + 1}\n" * 2)
    (tmp_path / "40").write_text("--lr=1\n")
    assert refused(f"--flagfile={tmp_path}/0").startswith("--flagfile: more than 100 files")


@pytest.mark.parametrize(
    "argv",
    [
        ["--flagfile=a\0b"],
        ["--flagfile=~a\0b"],
        ["--flagfile=" + "a" * 100_000],
        ["--epochs=" + "1" * 5000],
        ["--epochs=" + "1" * 4000],
        ["--epochs=\u00b2"],
        ["--lr=" + "1" * 100_000],
        ["--conv_filters=" + "1," * 40_000],
        ["--conv_filters=1," + "1" * 5000],
        ["--optimizer=" + "a" * 100_000],
        ["--eager=" + "a" * 100_000],
        ["--" + "a" * 100_000],
        ["a" * 100_000],
        ["--\x1b[31m"],
    ],
)
def test_what_is_refused_is_said_on_a_screen_line(argv):
    line = refused(*argv)
    assert len(line) < 300
    assert line.isprintable()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--bath_size=3"], "--bath_size: no such flag; did you mean --batch_size?"),
        (["--bath-size=3"], "--bath-size: no such flag; did you mean --batch_size?"),
        (["--learning_rte=3"], "--learning_rte: no such flag; --help lists the flags"),
        (["--learning-rate=3"], "--learning-rate: no such flag; give --lr"),
        (
            ["--workers=2"],
            "--workers: no such flag; give the launcher their number: launch/local.sh -n N, or "
            "srun --ntasks=N",
        ),
        (["--early_stopping"], "--early_stopping: no such flag; give --patience=EPOCHS"),
        (["--augment"], "--augment: no such flag; give --shift_px, --rotate_deg and --zoom"),
        (["--cpu"], "--cpu: no such flag; give --no_gpu"),
        (["--noepochs"], "--noepochs: no such flag; did you mean --epochs?"),
        (
            ["--epochs=1", "stray"],
            "'stray': arguments without a flag aren't understood; "
            "give --name=value (--help lists the flags)",
        ),
        (
            ["--eager", "true"],
            "'true': arguments without a flag aren't understood; "
            "give --name=value (--help lists the flags)",
        ),
        (["--epochs=1.5"], "--epochs=1.5: give a whole number, such as 10"),
        (["--epochs="], "--epochs=: give a whole number, such as 10"),
        (["--epochs=3\n4"], "--epochs=3\\n4: give a whole number, such as 10"),
        (["--lr=fast"], "--lr=fast: give a number, such as 0.01"),
        (["--lr", "-1"], "--lr=-1.0: out of range; give at least 0.0 and at most 1e+30"),
        (["--lr=1e400"], "--lr=inf: give a finite number"),
        (["--momentum=nan"], "--momentum=nan: give a finite number"),
        (["--eager=maybe"], "--eager=maybe: give true or false, or the flag alone for true"),
        (["--lr"], "Missing value for flag --lr; --help lists the flags"),
        (
            ["--conv_filters=32,,64"],
            "--conv_filters=32,,64: give whole numbers with commas between, such as 32,64",
        ),
        (["--batch_size=0"], "--batch_size=0: out of range; give at least 1"),
    ],
)
def test_refuses(argv, line):
    assert refused(*argv) == line


@pytest.mark.parametrize("word", ["--help", "-h", "-?", "--helpfull", "-help"])
def test_help_is_asked_for(word):
    with pytest.raises(TextRequested, match=r"usage: python -m mnist_dist\.train"):
        flags.parse(["--epochs=1", word, "--no-such-flag"])


def test_help_lists_each_flag_with_its_default():
    """Each by its name at the start of a line, under the heading of its group."""
    text = flags.help_text()
    assert max(map(len, text.splitlines())) <= 100
    groups, group = {}, ""
    entries = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"(\w+):", line):
            group = heading[1]
        elif flag := re.match(r"  --(\w+)", line):
            name = flag[1]
            groups[name], entries[name] = group, line
        elif line.startswith("        "):
            entries[name] += " " + line.strip()
    assert list(groups) == [field.name for field in dataclasses.fields(Config)]
    assert list(dict.fromkeys(groups.values())) == [
        *("Data", "Training", "Optimizer", "Network", "Augmentation"),
        *("Patience", "Devices", "Output"),
    ]
    assert entries["batch_size"] == (
        "  --batch_size=N the global batch, in images over all replicas (default: 64)"
    )
    assert groups["batch_size"] == "Training"
    assert entries["conv_filters"].endswith("(default: 32,64)")
    assert entries["no_gpu"].endswith("(default: off)")
    assert entries["lr"].endswith("(default: 0.01)")
    assert entries["output_dir"].endswith("(default: empty)")
    assert "--resume=auto|never|must" in entries["resume"]
    for name, entry in entries.items():
        assert re.search(r"\(default: \S+\)$", entry), name


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--no_gpu", "--lr=0.02", "--conv_filters=2,4", "--dense_units=", "--data_dir=a b"],
        ["--optimizer=adamw", "--weight_decay=0", "--ema=0.99", "--batch_norm", "--epochs=3"],
    ],
)
def test_a_command_line_of_a_config(argv):
    """The same run in another folder, as a shell takes it; no more words than are needed."""
    config = flags.parse([*argv, "--run_dir=old", "--checkpoint_dir=ck"])
    words = shlex.split(flags.command_line(config, "runs/new one"))
    assert words[:3] == ["python", "-m", "mnist_dist.train"]
    assert flags.parse(words[3:]) == flags.parse([*argv, "--run_dir=runs/new one"])
    assert len(words) == 3 + len(argv) + 1
