"""One-line mutants of the production code that the probes kill; `detail_mutants.py` has others."""

from __future__ import annotations

from mutation import Mutant

ADVANTAGES = "townlet_strategies_ppo/advantages.py"
BATCH = "townlet_strategies_ppo/batch.py"
LOSS = "townlet_strategies_ppo/loss.py"
STRATEGY = "townlet_strategies_ppo/strategy.py"
PROGRESS = "townlet_strategies_ppo/progress.py"
UPDATE = "townlet_strategies_ppo/update.py"
LEARNER_ARRAYS = "townlet_core/policy/learner_arrays.py"
ROLLOUT = "townlet_core/services/rollout.py"
NUMPY_HEADS = "townlet_core/policy/heads.py"
TORCH_HEADS = "townlet_core/torch/heads.py"
AUTOGRAD = "townlet_strategies_ppo/autograd.py"
CLOSED_FORM = "townlet_strategies_ppo/closed_form.py"
BACKPROPAGATION = "townlet_core/policy/backpropagation.py"
HEAD_GRADIENTS = "townlet_core/policy/head_gradients.py"
ADAM = "townlet_core/torch/adam.py"

PROBES = {
    "P1": Mutant(
        CLOSED_FORM,
        "values *= coefficients.value_coef",
        "values *= -coefficients.value_coef",
        "test_probes.py::test_p1_one_action_and_reward_1_is_worth_1",
    ),
    "P2": Mutant(
        BATCH,
        "flat.take(chosen, axis=0, out=out,",
        "flat.take(chosen[::-1], axis=0, out=out,",
        "test_probes.py::test_p2_a_value_is_what_is_seen",
    ),
    "P3": Mutant(
        ADVANTAGES,
        "values.dtype.type(gamma) * following",
        "following",
        "test_probes.py::test_p3_a_reward_one_step_later_is_worth_gamma",
    ),
    "P4": Mutant(
        CLOSED_FORM,
        "np.negative(free, out=free)",
        "free",
        "test_probes.py::test_p4_the_better_of_two_actions_is_taken",
    ),
    "P5": Mutant(
        CLOSED_FORM,
        "batch.actions.take(rows, axis=0)",
        "batch.actions.take(rows[:, ::-1], axis=0)",
        "test_probes.py::test_p5_the_action_depends_on_what_is_seen",
    ),
    "P6": Mutant(
        NUMPY_HEADS,
        "(noise * cumulative[..., -1])",
        "(noise**2 * cumulative[..., -1])",
        "test_probes.py::test_p6_the_gradient_of_a_softmax_bandit_is_the_exact_expected_one",
    ),
    "P7 time limit": Mutant(
        ROLLOUT,
        "cut = ended & ~after.terminations",
        "cut = ended & after.terminations",
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
        "np.where(mask, logits, logits.dtype.type(MASK_FILL))",
        "logits",
        "test_probes.py::test_p8_a_masked_action_is_never_taken_and_the_best_other_one_is",
    ),
    "P8 learning": Mutant(
        HEAD_GRADIENTS,
        "np.copyto(log_probs, MASK_FILL, where=~mask.transpose(2, 0, 1))",
        "pass",
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
        HEAD_GRADIENTS,
        "log_prob[..., None] * standard * np.exp(-self._log_std)",
        "log_prob[..., None] * -standard * np.exp(-self._log_std)",
        "test_probes.py::test_p12_a_target_out_of_reach_is_approached_up_to_the_bound",
    ),
}
