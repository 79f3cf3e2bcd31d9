"""`townlet train` of an anneal run: what it ends with, and what it says comes next."""

import pytest
from annealing import CLONE, anneal_config, balanced_poles

from townlet_core.cli.main import main
from townlet_core.config.dump import dump_yaml


@pytest.mark.parametrize(("threshold", "verdict", "code"), [(0.7, "PASS", 0), (1.0, "FAIL", 2)])
def test_the_exit_code_is_the_verdict_where_that_is_asked_for(tmp_path, capsys, threshold, verdict, code):
    dataset = balanced_poles(tmp_path / "demonstrations")
    config = anneal_config(tmp_path, [CLONE], dataset=dataset, accuracy_threshold=threshold)
    (tmp_path / "anneal.yaml").write_text(dump_yaml(config))
    train = ["train", str(tmp_path / "anneal.yaml"), "--run-dir", str(tmp_path / "run")]
    assert main([*train, "--exit-verdict"]) == code
    assert f"status       {verdict}: " in capsys.readouterr().out
    assert main([*train, "--resume", "--exit-verdict"]) == code, "also of a run that has finished already"
    assert main([*train, "--resume"]) == 0
    assert ("--stochastic" in capsys.readouterr().out) == (verdict == "PASS"), "its episodes were sampled"
