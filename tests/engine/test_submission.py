"""A run that was handed in: its score beside the reference, the rules that it kept, its place on the leaderboard."""

import json
from dataclasses import replace

import pytest

from ris_lib.cli import main
from ris_lib.engine import TrainConfig, train
from ris_lib.engine.leaderboard import enter, read_board
from ris_lib.engine.submission import Rules, model_kept, pictures_of, score_submission, settings_kept, submitted
from ris_lib.models import create_model

KEY = "a key of some letters"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two steps on two pictures."""
    config = TrainConfig(
        out=tmp_path_factory.mktemp("handed_in") / "anna",
        model="baseline_tiny",
        steps=2,
        images_per_step=2,
        limit=4,
        device="cpu",
        threads=1,
    )
    return train(config, progress=False)


@pytest.fixture(scope="module")
def verdict(run):
    return score_submission(run, KEY, 6, Rules(slowness=100), device="cpu", progress=False)


def test_it_is_scored_beside_the_reference_on_the_same_sentences(verdict):
    assert verdict.name == "anna"
    assert verdict.kept
    assert verdict.result.sentences.column("sentence_id") == verdict.reference.sentences.column("sentence_id")
    assert verdict.gain.gain == pytest.approx(verdict.result.scores.miou - verdict.reference.scores.miou)
    assert verdict.gain.high < 0, "two steps are worse than the shipped weights"
    assert json.loads(json.dumps(verdict.to_json()))["result"]["fixed_by"]["key"]


CONFIG = TrainConfig(out="a", model="lavt_tiny", steps=1000, images_per_step=8)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, []),
        ({"steps": 6001}, ["pictures in training"]),
        ({"split": "val"}, ["data of the training"]),
        ({"data": "refcoco", "root": "x"}, ["data of the training"]),
        ({"start": "fresh"}, []),
        ({"start": "runs/longer"}, ["start"]),
    ],
)
def test_rules_of_the_settings(changes, broken):
    checks = settings_kept(replace(CONFIG, **changes), Rules())
    assert [check.rule for check in checks if not check.kept] == broken


def test_rules_of_the_model():
    model = create_model("baseline_tiny")
    assert all(check.kept for check in model_kept(model, 1.0, Rules()))
    size, slow = model_kept(model, 5.0, Rules(parameters=1000))
    assert not size.kept
    assert not slow.kept
    assert (slow.found, slow.allowed) == ("5.0", "4")


def test_pictures_are_counted_with_repetition():
    assert pictures_of(CONFIG) == 8000
    with pytest.raises(ValueError, match="do not say steps"):
        pictures_of(replace(CONFIG, steps=None))


def test_what_is_no_complete_run_is_refused(tmp_path, run):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        submitted(tmp_path / "nobody")
    with pytest.raises(ValueError, match="holds no complete run"):
        submitted(run / "model")


@pytest.mark.parametrize("rules", [{"parameters": 0}, {"slowness": "fast"}, {"pictures": True}, {"picture": 5}])
def test_bad_rules_are_refused(rules):
    with pytest.raises(ValueError, match=r"expected a positive number|picture"):
        Rules.from_dict(rules)


def better(verdict, name, by):
    scores = replace(verdict.result.scores, miou=verdict.result.scores.miou + by)
    return replace(verdict, name=name, result=replace(verdict.result, scores=scores))


def test_the_board_keeps_the_best_of_each_name_and_counts_tries(tmp_path, verdict):
    path = tmp_path / "new" / "board.json"
    for name, by in (("anna", 0.1), ("ben", 0.2), ("anna", 0.3), ("anna", 0.0)):
        enter(path, better(verdict, name, by))
    entries = read_board(path)["entries"]
    assert [(entry["name"], entry["tries"]) for entry in entries] == [("anna", 3), ("ben", 1)]
    assert entries[0]["miou"] == pytest.approx(verdict.result.scores.miou + 0.3)


def test_who_broke_a_rule_stands_below_those_who_did_not(tmp_path, verdict):
    path = tmp_path / "board.json"
    large = replace(verdict.checks[3], kept=False)
    enter(path, replace(better(verdict, "ben", 0.5), checks=(large,)))
    enter(path, verdict)
    board = enter(path, replace(better(verdict, "anna", 0.5), checks=(large,)))
    assert [(entry["name"], entry["broken"]) for entry in board["entries"]] == [("anna", []), ("ben", ["parameters"])]


def test_a_board_of_another_split_or_other_rules_is_refused_and_stays(tmp_path, verdict):
    path = tmp_path / "board.json"
    enter(path, verdict)
    before = path.read_bytes()
    result = verdict.result
    others = {
        "key is": replace(verdict, result=replace(result, fixed_by={"key": "another"})),
        "rule slowness is .* there, 4.0 here": replace(verdict, rules=Rules()),
        "pictures is .* there, 7 here": replace(verdict, result=replace(result, counts=result.counts | {"images": 7})),
    }
    for what, other in others.items():
        with pytest.raises(ValueError, match=f"a board of other scores .*{what}.*take another file"):
            enter(path, other)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"entries": 3}', '{"key": 1, "rules": 2, "entries": [{}]}'])
def test_a_damaged_board_is_refused_and_stays(tmp_path, verdict, content):
    path = tmp_path / "board.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="expected a leaderboard"):
        enter(path, verdict)
    assert path.read_text() == content


def test_the_command(tmp_path, run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "key.txt").write_text(KEY)
    (tmp_path / "rules.json").write_text('{"slowness": 100, "parameters": 1000}')
    board, out = tmp_path / "board.json", tmp_path / "out.json"
    given = ["--key", tmp_path / "key.txt", "--rules", tmp_path / "rules.json", "--leaderboard", board, "--json", out]
    code = main(["eval", "--submission", str(run), *map(str, given), "--limit", "4", "--device", "cpu"])
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert "gain over baseline_tiny" in shown
    assert "broke: parameters" in shown
    assert KEY not in shown + out.read_text() + board.read_text()
    assert read_board(board)["entries"][0]["tries"] == 1
    assert json.loads(out.read_text())["kept"] is False
    monkeypatch.setattr("ris_lib.cli.submission.score_submission", lambda *arguments: pytest.fail("scored before"))
    code = main(["eval", "--submission", str(run), *map(str, given), "--limit", "5", "--device", "cpu"])
    assert code == 2
    assert "pictures is 4 there, 5 here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--submission", "runs/a"], "needs --key"),
        (["--submission", "runs/a", "--key", "k", "--model", "lavt_tiny"], "scored alone"),
        (["--model", "lavt_tiny", "--key", "k"], "belong to --submission"),
        (["--submission", "runs/a", "--key", "nowhere.txt"], "there is no key"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message, capsys):
    assert main(["eval", *flags]) == 2
    assert message in capsys.readouterr().err
