"""docs/reproduction.md and the tables of README.md: what they say is what the committed runs say."""

import re
from pathlib import Path

import pandas as pd
import pytest

from cbp_experiments.analysis.evidence import Evidence
from cbp_experiments.analysis.summaries import write_summary
from cbp_experiments.errors import ConfigError
from cbp_experiments.figures.draw import PAPER, Load, loader
from cbp_experiments.report import chapters, docs, page
from cbp_experiments.report.findings import Finding
from cbp_experiments.report.sections import SECTIONS, Section
from cbp_experiments.report.tables import methods
from cbp_experiments.scores import ACCURACY
from tests.figures.frames import ending, run, seeds

ROOT = Path(__file__).resolve().parents[2]
TABLES = (
    "permuted_mnist/tuned",
    "permuted_mnist/methods",
    "permuted_mnist/tuned_published_size",
    "continual_imagenet/tuned",
)
YES, NO, UNKNOWN = Finding("It falls.", True), Finding("It rises.", False), Finding("One seed.", None)
BESIDE = Finding("Best with 0.1.", None, claim=False)  # on what the paper says nothing of


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results without runs of your own, which may lie beside the committed ones."""
    results = tmp_path_factory.mktemp("checkout") / "results"
    for name in (ROOT / "tests" / "committed_runs.txt").read_text().splitlines():
        run = results / name
        run.parent.mkdir(parents=True, exist_ok=True)
        run.symlink_to(ROOT / "results" / name)
        plan = run.parent / "planned.json"
        if not plan.is_symlink():
            plan.symlink_to(ROOT / "results" / run.parent.relative_to(results) / plan.name)
    if (ROOT / "results" / "tuning").exists():
        (results / "tuning").symlink_to(ROOT / "results" / "tuning")
    return results


@pytest.fixture(scope="module")
def load(committed: Path) -> Load:
    return loader(committed)


def test_the_committed_page_is_what_the_committed_runs_render(committed: Path, load: Load) -> None:
    written = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert written == docs.reproduction(load, committed), "write it: python scripts/report.py --docs"


def test_the_committed_summaries_are_what_their_command_writes(committed: Path) -> None:
    experiments = sorted({path.parent.parent for path in committed.glob("*/*/*/run.json")})
    assert experiments
    for folder in experiments:
        write_summary(folder)  # beside the links to the runs
        for name in ("summary.csv", "accuracies.csv", "comparisons.csv"):
            there = ROOT / "results" / folder.relative_to(committed) / name
            assert there.exists() == (folder / name).exists(), there
            assert not there.exists() or there.read_bytes() == (folder / name).read_bytes(), there


def test_the_tables_of_the_readme_are_those_of_the_committed_runs(load: Load) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {found[2] for found in docs.MARKED.finditer(text)} >= set(TABLES)
    assert len(re.findall("<!-- table:", text)) == len(re.findall("<!-- end -->", text)) == len(TABLES)
    assert text == docs.filled(text, load), "write them: python scripts/report.py --docs"


def part_of(
    monkeypatch: pytest.MonkeyPatch, *findings: Finding, scale: str = "laptop", there: bool = True
) -> chapters.Chapter:
    section = Section("It falls.", lambda frames: list(findings), ("width 2000",), ("Few tasks.",))
    monkeypatch.setitem(SECTIONS, "fig3", section)
    frame = seeds("bp", 80, 70).assign(scale=scale)
    facts = frame.drop_duplicates("run")[["run", "status"]].assign(engine="online", device="cpu")
    source = (
        Evidence("permuted_mnist/step_sizes", frame, facts=facts) if there else Evidence("x", problem="no runs in x")
    )
    return chapters.chapter("fig3", lambda name: source, Path("results"))


def test_a_reason_is_given_where_something_does_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert part_of(monkeypatch, YES, YES).reasons == ()
    assert part_of(monkeypatch).reasons == ()
    assert part_of(monkeypatch, YES, NO).reasons == ("Few tasks.",)
    assert part_of(monkeypatch, YES, UNKNOWN).reasons == ("Few tasks.",)


def test_what_is_untested_holds_below_the_published_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert part_of(monkeypatch, YES).untested == ("width 2000",)
    assert part_of(monkeypatch, YES, scale="paper").untested == ()
    assert part_of(monkeypatch, there=False).untested == ("width 2000",)


def test_badge_and_lists_are_of_the_same_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = part_of(monkeypatch, YES, NO, BESIDE, YES, UNKNOWN)
    assert (chapter.verdict, chapter.agrees) == ("agrees in 2 of 4 points, 1 cannot be said", False)
    assert [chapter.found(agrees) for agrees in (True, False, None)] == [[YES, YES], [NO], [UNKNOWN]]
    assert chapter.beside == [BESIDE]
    silent = part_of(monkeypatch, BESIDE)
    assert (silent.verdict, silent.agrees, silent.reasons) == ("", True, ())


def section_of(text: str, figure: str) -> str:
    return text.partition(f"\n## Figure {figure}\n")[2].partition("\n## ")[0]


def test_a_figure_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = part_of(monkeypatch, YES, NO, UNKNOWN, BESIDE, YES)
    monkeypatch.setattr(docs, "chapters", lambda load, results_dir: [chapter])
    text = docs.reproduction(loader(Path("nowhere")), Path("nowhere"))
    assert "| [3](#figure-3) | 2 | 1 | 1 | Backpropagation on Online Permuted MNIST, seen from within |\n" in text
    assert section_of(text, "3") == (
        "\nBackpropagation on Online Permuted MNIST, seen from within.\n"
        "\n**The paper.** It falls.\n"
        "\n**The runs**\n"
        "\n- `python -m cbp_experiments -m experiment=permuted_mnist/step_sizes`: "
        "3 seeds, scale laptop: smaller than published. 3 runs, 0 s of training in all.\n"
        "\n**Shown here**\n\n- It falls.\n- It falls.\n"
        "\n**Not shown here**\n\n- It rises.\n"
        "\n**Cannot be said**\n\n- One seed.\n"
        "\n**Beside what the paper says**\n\n- Best with 0.1.\n"
        "\n**Not tested here**\n\n- Width 2000.\n"
        "\n**Likely reason.** Few tasks.\n"
    )
    monkeypatch.setattr(docs, "chapters", lambda load, results_dir: [part_of(monkeypatch, YES)])
    text = docs.reproduction(loader(Path("nowhere")), Path("nowhere"))
    for words in ("**Not shown here**", "**Cannot be said**", "**Likely reason.**", "**Missing**"):
        assert words not in text


def test_a_figure_without_runs_says_how_to_make_them(tmp_path: Path) -> None:
    text = section_of(docs.reproduction(loader(tmp_path / "results"), tmp_path / "results"), "3")
    assert "No runs in results/permuted_mnist/step_sizes; make them with: python -m cbp_experiments -m " in text
    assert "**Shown here**" not in text


def test_a_table_says_what_the_learners_are_and_how_far_cbp_is_from_each() -> None:
    # CBP minus BP is 3, 3.5, 4 and 2, 3, 7 to L2: t = 3.5 / (0.5 / sqrt(3)), p 0.0067, and t = 4 / sqrt(7 / 3), p 0.12.
    frame = pd.concat(
        [
            ending("cbp", 80, 80, 80).assign(**{"learner.step_size": 0.003, "learner.replacement_rate": 1e-4}),
            ending("bp", 77, 76.5, 76).assign(**{"learner.step_size": 0.01}),
            ending("l2", 78, 77, 73).assign(**{"learner.step_size": 0.001, "learner.weight_decay": 0.003}),
        ]
    ).assign(scale="laptop")
    *lines, empty, facts = docs.table(Evidence("mine", frame)).splitlines()
    assert lines[:2] == [f"| {' | '.join(docs.head(ACCURACY))} |", f"| {' | '.join(['---'] * 9)} |"]
    assert lines[2:] == [
        "| CBP | step 0.003, rate 0.0001 | 3 | 80.00 | 80.00 [80.00, 80.00] | – | 20.50 | – | 0 |",
        "| BP | step 0.01 | 3 | 76.50 | 76.50 [75.26, 77.74] | +3.50 [+2.26, +4.74], p = 0.013 | 20.50 | – | 0 |",
        "| L2 | step 0.001, decay 0.003 | 3 | 76.00 | 76.00 [69.43, 82.57] "
        "| +4.00 [−2.57, +10.57], p = 0.12: not apart | 20.50 | – | 0 |",
    ]
    assert (empty, facts) == ("", "3 seeds, scale laptop: smaller than published.")


def test_a_table_counts_collapsed_runs_where_chance_is_known() -> None:
    frame = pd.concat([ending("cbp", 80, 81, classes=2), ending("bp", 50, 70, classes=2)])
    assert [docs.cells(row)[-1] for row in methods(frame)] == ["0", "1 of 2"]
    assert [docs.cells(row)[-1] for row in methods(frame.drop(columns="classes"))] == ["not known", "not known"]


def test_a_table_with_little_to_compare() -> None:
    alone = pd.concat([ending("cbp", 80, 81), ending("bp", 70)])
    assert [row.difference for row in methods(alone)] == ["", "+10.00 (one seed, no interval)"]
    assert [row.difference for row in methods(ending("bp", 70, 71))] == [""]
    apart = pd.concat([run("cbp", 0, [80.0]), run("bp", 1, [70.0])])
    assert [row.difference for row in methods(apart)] == ["", ""]


def test_an_experiment_without_runs_is_the_command_that_makes_them(tmp_path: Path) -> None:
    text = "before\n<!-- table: permuted_mnist/tuned -->\nold\nlines\n<!-- end -->\nafter\n"
    assert docs.filled(text, loader(tmp_path)) == (
        "before\n<!-- table: permuted_mnist/tuned -->\n"
        "No runs yet: `python -m cbp_experiments -m experiment=permuted_mnist/tuned`\n<!-- end -->\nafter\n"
    )
    unfinished = Evidence("mine", run("bp", 0, [1.0], "incomplete"))
    assert docs.table(unfinished) == "No runs yet: `python -m cbp_experiments -m experiment=mine`"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("<!-- table: permuted_mnist/methods -->\n<!-- end -->\n")
    arguments = ["--results-dir", str(tmp_path / "results"), "--docs", str(tmp_path)]
    assert page.main(arguments) == 0
    written = [tmp_path / "docs" / "reproduction.md", tmp_path / "README.md"]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in written]
    before = [path.read_bytes() for path in written]
    assert b"No runs yet" in before[1]
    assert page.main(arguments) == 0
    assert [path.read_bytes() for path in written] == before
    assert not (tmp_path / "results").exists()
    assert all(f"## Figure {name[3:].replace('_', ' ')}\n" in before[0].decode() for name in PAPER)


def test_a_folder_that_is_no_checkout_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main(["--docs", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'README.md'}")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError):
        docs.write_docs(tmp_path, loader(tmp_path), tmp_path)
