"""One-line mutants of the production code, each with the test that kills it.

A mutant is made in a copy of the package, which is put first on the path; the code itself is never touched. The
libraries are imported once, and every mutant gets a process forked from there. `python tests/ppo/mutants.py [NAME]...`
runs them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PACKAGES = {
    "townlet_core": ROOT / "townlet_core/src/townlet_core",
    "townlet_strategies_ppo": ROOT / "townlet_strategies_ppo/src/townlet_strategies_ppo",
}
SURVIVED, KILLED, NOT_RUN = 0, 1, 99
CRASHES = ("SyntaxError", "ImportError", "NameError", "AttributeError", "TypeError", "IndexError", "RuntimeError")


@dataclass(frozen=True)
class Mutant:
    """In `file`, the text `original`, which stands there once, becomes `mutated`; then `test` has to fail."""

    file: str
    original: str
    mutated: str
    test: str


ADVANTAGES = "townlet_strategies_ppo/advantages.py"
BATCH = "townlet_strategies_ppo/batch.py"
LOSS = "townlet_strategies_ppo/loss.py"
STRATEGY = "townlet_strategies_ppo/strategy.py"
UPDATE = "townlet_strategies_ppo/update.py"
LEARNER = "townlet_strategies_ppo/learner.py"
ROLLOUT = "townlet_core/services/rollout.py"
NUMPY_HEADS = "townlet_core/policy/heads.py"
TORCH_HEADS = "townlet_core/torch/heads.py"
NETWORK = "townlet_core/torch/network.py"
ADAM = "townlet_core/torch/adam.py"

PROBES = {
    "P1": Mutant(
        LOSS,
        "policy + coefficients.value_coef * value",
        "policy - coefficients.value_coef * value",
        "test_probes.py::test_p1_one_action_and_reward_1_is_worth_1",
    ),
    "P2": Mutant(
        BATCH,
        "{name: take(source) for",
        "{name: take(source).roll(1, 1) for",
        "test_probes.py::test_p2_a_value_is_what_is_seen",
    ),
    "P3": Mutant(
        ADVANTAGES,
        "values.dtype.type(gamma) * following",
        "following",
        "test_probes.py::test_p3_a_reward_one_step_later_is_worth_gamma",
    ),
    "P4": Mutant(
        LOSS,
        "policy = -masked_mean(",
        "policy = masked_mean(",
        "test_probes.py::test_p4_the_better_of_two_actions_is_taken",
    ),
    "P5": Mutant(
        BATCH,
        "actions=take(self._actions)",
        "actions=take(self._actions).flip(1)",
        "test_probes.py::test_p5_the_action_depends_on_what_is_seen",
    ),
    "P6": Mutant(
        NUMPY_HEADS,
        "np.minimum(noise * total,",
        "np.minimum(noise * noise * total,",
        "test_probes.py::test_p6_the_gradient_of_a_softmax_bandit_is_the_exact_expected_one",
    ),
    "P7 time limit": Mutant(
        ROLLOUT,
        "cut = after.truncations & ~after.terminations",
        "cut = after.terminations & ~after.truncations",
        "test_probes.py::test_p7_a_time_limit_does_not_change_what_a_state_is_worth",
    ),
    "P7 termination": Mutant(
        STRATEGY,
        "terminations=buffer.terminations,",
        "terminations=buffer.terminations & False,",
        "test_probes.py::test_p7_a_termination_does",
    ),
    "P7 time limit, reset step": Mutant(
        ROLLOUT,
        "buffer.agent_mask[index] = agent_mask",
        "buffer.agent_mask[index] = True",
        "test_probes.py::test_p7_holds_where_the_reset_takes_a_step_of_its_own",
    ),
    "P7 termination, reset step": Mutant(
        ADVANTAGES,
        "np.where(terminations, 0, bootstrap_values)",
        "np.where(terminations, values, bootstrap_values)",
        "test_probes.py::test_p7_a_termination_does_where_the_reset_takes_a_step_of_its_own",
    ),
    "P8 acting": Mutant(
        NUMPY_HEADS,
        "logits = np.where(mask, logits, logits.dtype.type(MASK_FILL))",
        "logits = np.where(mask, logits, logits)",
        "test_probes.py::test_p8_a_masked_action_is_never_taken_and_the_best_other_one_is",
    ),
    "P8 learning": Mutant(
        TORCH_HEADS,
        "logits = torch.where(mask, logits, MASK_FILL)",
        "logits = torch.where(mask, logits, logits)",
        "test_probes.py::test_p8_a_masked_action_is_never_taken_and_the_best_other_one_is",
    ),
    "P9": Mutant(
        ROLLOUT,
        "buffer.rewards[index] = after.rewards",
        "buffer.rewards[index] = after.rewards[:, ::-1]",
        "test_probes.py::test_p9_agents_share_what_they_learn_whatever_their_order",
    ),
    "P10 advantages": Mutant(
        ADVANTAGES,
        "* following - values",
        "* following",
        "test_probes.py::test_p10_the_advantages_of_a_random_process_are_those_of_a_linear_solve",
    ),
    "P10 values": Mutant(
        ROLLOUT,
        "self.policy.values(self.current.observations)",
        "0 * self.policy.values(self.current.observations)",
        "test_probes.py::test_p10_the_values_of_a_random_process_are_those_of_a_linear_solve",
    ),
    "P11": Mutant(
        STRATEGY,
        "rewards = buffer.rewards",
        "rewards = abs(buffer.rewards)",
        "test_probes.py::test_p11_the_opposite_reward_teaches_the_opposite",
    ),
    "P12": Mutant(
        TORCH_HEADS,
        "(-0.5 * standard * standard - log_std",
        "(0.5 * standard * standard - log_std",
        "test_probes.py::test_p12_a_target_out_of_reach_is_approached_up_to_the_bound",
    ),
}

DETAILS = {
    "lambda is ignored": Mutant(ADVANTAGES, "gamma * gae_lambda)", "gamma)", "test_advantages.py::test_known_answers"),
    "errors are carried over a termination": Mutant(
        ADVANTAGES,
        "carry = np.where(ended, 0,",
        "carry = np.where(truncations, 0,",
        "test_advantages.py::test_advantages_are_the_forward_sums_of_each_life",
    ),
    "errors are carried through absence": Mutant(
        ADVANTAGES,
        "carry = np.where(agent_mask, carry, 0)",
        "carry = np.where(agent_mask, carry, carry)",
        "test_advantages.py::test_advantages_are_the_forward_sums_of_each_life",
    ),
    "a truncation wins over a termination": Mutant(
        ADVANTAGES,
        "np.where(terminations, 0, bootstrap_values)",
        "np.where(truncations, bootstrap_values, 0)",
        "test_advantages.py::test_a_step_that_is_both_is_a_termination",
    ),
    "the better of the two surrogates": Mutant(
        LOSS,
        "torch.min(ratio * advantages",
        "torch.max(ratio * advantages",
        "test_loss.py::test_the_gradient_is_0_exactly_where_the_ratio_has_gone_far_enough",
    ),
    "a lopsided clip": Mutant(
        LOSS,
        "1.0 - clip, 1.0 + clip",
        "1.0 - clip, 1.0 + 2 * clip",
        "test_loss.py::test_the_gradient_is_0_exactly_where_the_ratio_has_gone_far_enough",
    ),
    "the smaller value error": Mutant(
        LOSS,
        "error = torch.max(error,",
        "error = torch.min(error,",
        "test_loss.py::test_the_value_loss_is_the_greater_of_the_free_and_the_held_error",
    ),
    "an entropy penalty": Mutant(
        LOSS,
        "- coefficients.entropy_coef * entropy",
        "+ coefficients.entropy_coef * entropy",
        "test_core_details.py::test_detail_10_the_loss_is_policy_plus_value_minus_entropy_each_with_its_weight",
    ),
    "a deviation with n": Mutant(
        LOSS,
        "/ (count - 1)",
        "/ count",
        "test_loss.py::test_advantages_are_normalised_over_present_rows_with_n_minus_1",
    ),
    "absent rows count": Mutant(
        LOSS,
        "(values * weights).sum(dim=1)",
        "values.sum(dim=1)",
        "test_loss.py::test_absent_rows_are_in_no_term",
    ),
    "a mean of means": Mutant(
        LOSS,
        "(values * weights).sum(dim=1).sum() / count",
        "((values * weights).sum(dim=1) / weights.sum(dim=1)).mean()",
        "test_loss.py::test_a_minibatch_of_uneven_shards_is_one_mean_and_not_a_mean_of_means",
    ),
    "entropy over forbidden actions": Mutant(
        TORCH_HEADS,
        "-(log_probs.exp() * log_probs).sum(dim=-1)",
        "-(torch.softmax(logits, -1) * torch.log_softmax(logits, -1)).sum(dim=-1)",
        "test_loss.py::test_a_uniform_choice_among_legal_actions_has_the_log_of_their_number_as_entropy",
    ),
    "Adam's usual epsilon": Mutant(
        ADAM,
        ".add_(self._epsilon)",
        ".add_(1e-8)",
        "test_core_details.py::test_detail_03_adam_is_adam_with_an_epsilon_of_1e_5",
    ),
    "Adam without a corrected second moment": Mutant(
        ADAM,
        "math.sqrt(1.0 - BETA_2**self.num_steps)",
        "1.0",
        "test_core_details.py::test_detail_03_adam_is_adam_with_an_epsilon_of_1e_5",
    ),
    "small gradients are stretched": Mutant(
        ADAM,
        ".clamp(max=1.0)",
        "",
        "test_core_details.py::test_detail_11_the_norm_of_the_whole_gradient_is_limited",
    ),
    "the remainder of a pass is lost": Mutant(
        BATCH,
        "(index + 1) * size // num_minibatches",
        "(index + 1) * (size // num_minibatches)",
        "test_update.py::test_every_row_of_every_shard_is_taken_once_in_a_pass",
    ),
    "all shards are shuffled alike": Mutant(
        BATCH,
        "randomness.permutation(keys,",
        "randomness.permutation(keys[:1],",
        "test_update.py::test_passes_and_shards_are_shuffled_differently",
    ),
    "targets are advantages": Mutant(
        BATCH,
        "advantages + buffer.values",
        "advantages",
        "test_core_details.py::test_detail_05_advantages_are_generalised_and_targets_are_advantages_plus_values",
    ),
    "only the first shard teaches": Mutant(
        NETWORK,
        "total = total + stacked[shard]",
        "total = total + 0 * stacked[shard]",
        "test_update.py::test_one_shard_and_four_agree_to_rounding",
    ),
    "the learning rate stays": Mutant(
        STRATEGY,
        "settings.learning_rate * (1.0 - progress",
        "settings.learning_rate * (1.0",
        "test_core_details.py::test_detail_04_the_learning_rate_falls_linearly_to_its_last_step",
    ),
    "the target KL looks at all passes": Mutant(
        UPDATE,
        "_kl(rows[first:]) > settings.target_kl",
        "_kl(rows) > settings.target_kl",
        "test_update.py::test_the_passes_end_when_the_last_one_is_past_the_target_kl",
    ),
    "infinite losses are kept": Mutant(
        UPDATE,
        "if not np.isfinite(table).all():",
        "if np.isinf(table).all():",
        "test_faults.py::test_an_update_names_what_became_infinite",
    ),
    "infinite weights are kept": Mutant(
        LEARNER,
        "if not is_finite(array):",
        "if array is None:",
        "test_faults.py::test_weights_that_are_not_finite_are_neither_saved_nor_kept_as_a_policy",
    ),
    "a fault leaves its mark": Mutant(
        ROLLOUT,
        "after = self.environment.step(decision.actions)",
        "self.policy._weights['actor.0.bias'][:] += 1; after = self.environment.step(decision.actions)",
        "test_faults.py::test_a_fault_in_the_third_rollout_leaves_the_learner_as_the_second_left_it",
    ),
}

MUTANTS = PROBES | DETAILS

CONTROL = {"nothing is changed": Mutant(LOSS, "return LossTerms(", "return LossTerms(", PROBES["P6"].test)}


def make(mutant: Mutant, target: Path) -> None:
    """Copy the mutant's package into `target`, with its one line changed."""
    package = mutant.file.partition("/")[0]
    shutil.copytree(PACKAGES[package], target / package)
    path = target / mutant.file
    text = path.read_text()
    if text.count(mutant.original) != 1:
        raise ValueError(f"{mutant.file} has {text.count(mutant.original)} times {mutant.original!r}, expected once")
    path.write_text(text.replace(mutant.original, mutant.mutated))


def run(mutant: Mutant, scratch: Path) -> int:
    """Run the mutant's test in this process, which is spoilt by it; return pytest's exit code."""
    import pytest

    package = mutant.file.partition("/")[0]
    module = mutant.file.removesuffix(".py").replace("/", ".")
    sys.path.insert(0, str(scratch))
    os.environ["PYTHONPATH"] = str(scratch)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(scratch / "hypothesis")
    os.environ["COLUMNS"] = "300"
    sys.dont_write_bytecode = True
    options = ["-x", "-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={scratch / 'tmp'}"]
    early = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is imported before pytest is told of it
    code = pytest.main([*options, *early, str(HERE / mutant.test)])
    used = getattr(sys.modules.get(module), "__file__", None) or ""
    assert package in used
    return int(code) if used.startswith(str(scratch)) else NOT_RUN


def run_forked(mutant: Mutant) -> tuple[int, str]:
    """Run the mutant in a child process; return its exit code and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        make(mutant, scratch)
        log = scratch / "log"
        child = os.fork()
        if child == 0:
            code = NOT_RUN
            with log.open("w") as stream:
                os.dup2(stream.fileno(), 1)
                os.dup2(stream.fileno(), 2)
            try:
                code = run(mutant, scratch)
            except BaseException:  # noqa: BLE001  (a child never returns into its parent's code)
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), log.read_text()


def main(names: list[str]) -> int:
    """Run the mutants called `names`, by default all; return how many were not killed."""
    import gymnasium  # noqa: F401  (imported before the fork, so that mutants need not)
    import hypothesis  # noqa: F401
    import pydantic  # noqa: F401
    import pytest  # noqa: F401
    import safetensors.numpy  # noqa: F401
    import torch

    torch.set_num_threads(1)
    assert not any(name.startswith("townlet") for name in sys.modules)
    not_killed = 0
    for name in names or MUTANTS:
        code, said = run_forked((MUTANTS | CONTROL)[name])
        reason = next((line for line in said.splitlines() if line.startswith("FAILED")), "").partition(" - ")[2]
        if reason.partition(":")[0] in CRASHES:  # it fails because it is no program, and not because it is wrong
            code = NOT_RUN
        not_killed += code != KILLED
        outcome = {SURVIVED: "SURVIVED", KILLED: "killed"}.get(code, f"NOT RUN ({code})")
        print(outcome, name, reason, sep="\t", flush=True)  # noqa: T201
        if code not in (SURVIVED, KILLED):
            print(said)  # noqa: T201
    return not_killed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
