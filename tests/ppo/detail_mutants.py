"""One-line mutants of the production code that the tests of its parts kill; `run_mutants.py` runs them."""

from __future__ import annotations

from blend_mutants import BLENDS
from mutants import (
    ADAM,
    ADVANTAGES,
    AUTOGRAD,
    BACKPROPAGATION,
    BATCH,
    CLOSED_FORM,
    HEAD_GRADIENTS,
    LEARNER_ARRAYS,
    LOSS,
    PROBES,
    PROGRESS,
    ROLLOUT,
    TORCH_HEADS,
    UPDATE,
    Mutant,
)

RECORDED = "townlet_strategies_ppo/recorded.py"
RECORDED_SURVEY = "townlet_strategies_ppo/recorded_survey.py"
DATA_MODES = "townlet_strategies_ppo/data_modes.py"

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
        "- coefficients.entropy_coef * self.entropy",
        "+ coefficients.entropy_coef * self.entropy",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "an entropy penalty, closed form": Mutant(
        CLOSED_FORM,
        "weights * -coefficients.entropy_coef",
        "weights * coefficients.entropy_coef",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "no clipping, closed form": Mutant(
        CLOSED_FORM,
        "np.copyto(free, 0.0, where=free > held)",
        "np.copyto(free, free)",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "a held value is pulled, closed form": Mutant(
        CLOSED_FORM,
        "np.where(inside, held_slopes, 0)",
        "held_slopes",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "absent rows count, closed form": Mutant(
        CLOSED_FORM,
        "weights *= weights.dtype.type(1.0 / minibatch.num_learned)",
        "weights[:] = 1.0 / minibatch.num_learned",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "the slope of tanh is forgotten": Mutant(
        BACKPROPAGATION,
        "np.subtract(1, slope, out=slope)",
        "np.add(1, 0 * slope, out=slope)",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "the critic does not teach the shared layers": Mutant(
        BACKPROPAGATION,
        "below += other",
        "below += 0 * other",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "later shards do not teach": Mutant(
        CLOSED_FORM,
        "enumerate(gradients, start=group.start)",
        "enumerate(gradients[:1], start=group.start)",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "the entropy of a choice has no gradient": Mutant(
        HEAD_GRADIENTS,
        "gradient *= entropy",
        "gradient *= 0 * entropy",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "the deviation of a Gaussian is not learned": Mutant(
        HEAD_GRADIENTS,
        "(standard * standard - 1)",
        "(standard * standard)",
        "test_update.py::test_an_update_equals_the_one_by_hand_to_1e_10",
    ),
    "a deviation with n": Mutant(
        BATCH,
        "/ (count - 1)",
        "/ count",
        "test_loss.py::test_advantages_are_normalised_over_present_rows_with_n_minus_1",
    ),
    "absent rows count": Mutant(
        LOSS,
        "(terms * weights).sum(dim=1)",
        "terms.sum(dim=1)",
        "test_loss.py::test_absent_rows_are_in_no_term",
    ),
    "a mean of means": Mutant(
        LOSS,
        "(terms * weights).sum(dim=1).sum()",
        "((terms * weights).sum(dim=1) / weights.sum(dim=1)).mean() * weights.sum()",
        "test_loss.py::test_a_minibatch_of_uneven_shards_is_one_mean_and_not_a_mean_of_means",
    ),
    "entropy over forbidden actions": Mutant(
        TORCH_HEADS,
        "-(log_probs.exp() * log_probs).sum(dim=-1)",
        "-(torch.softmax(logits, -1) * torch.log_softmax(logits, -1)).sum(dim=-1)",
        "test_distributions.py::test_a_uniform_choice_among_legal_actions_has_the_log_of_their_number_as_entropy",
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
        AUTOGRAD,
        "minibatch, coefficients), weights):",
        "minibatch, coefficients), weights)[:1]:",
        "test_update.py::test_one_shard_and_four_agree_to_rounding",
    ),
    "the learning rate stays": Mutant(
        PROGRESS,
        "settings.learning_rate * (left if",
        "settings.learning_rate * (1.0 if",
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
        LEARNER_ARRAYS,
        "if not is_finite(array):",
        "if array is None:",
        "test_faults.py::test_weights_that_are_not_finite_are_neither_saved_nor_kept_as_a_policy",
    ),
    "a fault leaves its mark": Mutant(
        ROLLOUT,
        "after = self.environment.step(decision.actions)",
        "self.policy._choose.__self__._layers.actor[0][1][:] += 1; after = self.environment.step(decision.actions)",
        "test_faults.py::test_a_fault_in_the_third_rollout_leaves_the_learner_as_the_second_left_it",
    ),
    "a recorded lane that is cut is worth its own last row": Mutant(
        RECORDED,
        "np.minimum(source + 1,",
        "np.minimum(source,",
        "test_recorded.py::test_where_a_lane_ends_within_an_episode_the_value_of_its_next_row_is_bootstrapped",
    ),
    "rejected episodes are learned from": Mutant(
        RECORDED,
        "table.accepted & (usable > 0)",
        "usable > 0",
        "test_recorded.py::test_a_pass_has_every_accepted_row_once_and_buffers_of_about_one_size",
    ),
    "every pass has the same order": Mutant(
        RECORDED,
        '"replay", number)',
        '"replay", 0)',
        "test_recorded.py::test_every_pass_and_seed_has_an_order_of_its_own_and_the_same_one_again",
    ),
    "scripts teach uninvited": Mutant(
        RECORDED_SURVEY,
        "if chosen[number] == 0",
        "if chosen[number] < 0",
        "test_data_modes.py::test_rows_of_a_script_are_refused_unless_they_are_allowed_by_name",
    ),
    "mixed runs never act": Mutant(
        DATA_MODES,
        "of=self._recorded.rows.num_buffers + 1)",
        "of=self._recorded.rows.num_buffers)",
        "test_data_modes.py::test_mixed_is_a_pass_and_then_a_rollout_and_tells_them_apart",
    ),
}

MUTANTS = PROBES | DETAILS | BLENDS

CONTROL = {"nothing is changed": Mutant(LOSS, "return LossSums(", "return LossSums(", PROBES["P6"].test)}
