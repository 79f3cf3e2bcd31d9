"""One-line mutants of behaviour cloning that its tests kill; `run_bc_mutants.py` runs them."""

from __future__ import annotations

from mutation import Mutant

BATCHES = "townlet_core/replay/batches.py"
BACKPROPAGATION = "townlet_core/policy/backpropagation.py"
NUMPY_ADAM = "townlet_core/policy/adam.py"
AUTOGRAD = "townlet_strategies_bc/autograd.py"
CEILING = "townlet_strategies_bc/ceiling.py"
CLOSED_FORM = "townlet_strategies_bc/closed_form.py"
DEMONSTRATIONS = "townlet_strategies_bc/demonstrations.py"
GATE = "townlet_strategies_bc/gate.py"
HELD_OUT = "townlet_strategies_bc/held_out.py"
LABELS = "townlet_strategies_bc/labels.py"
LEARNER = "townlet_strategies_bc/learner.py"
LOSS = "townlet_strategies_bc/loss.py"
METRICS = "townlet_strategies_bc/metrics.py"
OPTIMIZER = "townlet_strategies_bc/optimizer.py"
RETURNS = "townlet_strategies_bc/returns.py"
RUN_DATASET = "townlet_core/services/run_dataset.py"
DATASET_FIT = "townlet_core/services/dataset_fit.py"
ROLLOUT = "townlet_strategies_bc/rollout.py"
SCHEDULE = "townlet_strategies_bc/schedule.py"
STRATEGY = "townlet_strategies_bc/strategy.py"
UPDATE = "townlet_strategies_bc/update.py"

BY_HAND = "test_gradients.py::test_choices_have_the_gradient_by_hand"
VALUES_BY_HAND = "test_gradients.py::test_values_and_shared_layers_have_the_gradient_by_hand"
CHOICES_MEASURED = "test_metrics.py::test_choices_are_measured_as_defined"
STOPPED = "test_resume.py::test_a_run_that_was_stopped_ends_as_if_it_had_not_been"
EARLY_STOP = "test_cloning.py::test_a_run_stops_when_the_held_out_loss_falls_no_more_and_keeps_the_best"

MUTANTS = {
    "a handful of rows passes the gate": Mutant(
        GATE,
        "if measured.rows < min_rows:",
        "if False:",
        "test_labels.py::test_the_gate_is_not_passed_on_a_handful_of_rows",
    ),
    "a policy without eyes passes the gate": Mutant(
        GATE,
        "accuracy <= measured.majority_share",
        "accuracy < measured.majority_share",
        "test_labels.py::test_the_gate_is_not_passed_by_what_a_policy_without_eyes_reaches",
    ),
    "settings on which recordings differ are advised": Mutant(
        DATASET_FIT,
        "all(other == values[0] for other in values)",
        "True",
        "test_rollout_score.py::test_where_no_setting_is_known_to_fit_none_is_named",
    ),
    "episodes on both sides go unseen": Mutant(
        HELD_OUT,
        "np.isin(content[split.held_out & (content > 0)], content[split.train])",
        "np.isin(content[split.held_out & (content > 0)], [])",
        "test_held_out.py::test_held_out_episodes_that_are_trained_on_as_well_are_counted",
    ),
    "a run goes on with whatever dataset": Mutant(
        RUN_DATASET,
        "if recorded != dataset.digest:",
        "if False:",
        "test_resume.py::test_a_dataset_that_has_grown_meanwhile_is_refused_and_both_digests_are_named",
    ),
    "illegal actions keep their logits": Mutant(
        CLOSED_FORM, "np.copyto(shifted, MASK_FILL, where=~legal)", "pass", BY_HAND
    ),
    "smoothing reaches illegal actions": Mutant(
        CLOSED_FORM, "probs -= legal * (", "probs -= np.ones_like(legal) * (", BY_HAND
    ),
    "smoothing is not taken off the label": Mutant(
        CLOSED_FORM, "probs[actions, rows] -= 1.0 - smoothing", "probs[actions, rows] -= 1.0", BY_HAND
    ),
    "weights do not reach the gradient": Mutant(CLOSED_FORM, "probs *= weights * share", "probs *= share", BY_HAND),
    "weights do not reach the loss": Mutant(CLOSED_FORM, "loss *= weights", "loss *= 1", BY_HAND),
    "autograd: illegal actions are smoothed": Mutant(
        LOSS, "_mean_of_legal(log_probs, mask)\n", "_mean_of_legal(log_probs, None)\n", BY_HAND
    ),
    "autograd: one weight for all": Mutant(LOSS, "weights[segment][taken]", "weights[segment].mean()", BY_HAND),
    "autograd: the sum is differentiated": Mutant(AUTOGRAD, "total / batch.count", "total", BY_HAND),
    "the value gradient lacks its coefficient": Mutant(
        CLOSED_FORM, "errors *= share * self._terms.value_coef", "errors *= share", VALUES_BY_HAND
    ),
    "the deviations have no gradient": Mutant(
        CLOSED_FORM, "slopes = (1.0 - squares)", "slopes = 0 * (1.0 - squares)", VALUES_BY_HAND
    ),
    "memory is shared by layers": Mutant(
        BACKPROPAGATION,
        'hidden = self.scratch.array(f"{stack} {index}",',
        'hidden = self.scratch.array(f"{stack}",',
        "test_gradients.py::test_both_paths_agree_on_any_network_and_batch",
    ),
    "the decay goes through the moments": Mutant(
        NUMPY_ADAM,
        "parameters *= 1.0 - learning_rate * self._weight_decay",
        "gradient = gradient + self._weight_decay * parameters",
        "../policy/test_numpy_adam.py::test_steps_are_those_by_hand",
    ),
    "a norm is always scaled": Mutant(
        NUMPY_ADAM, "and norm > max_norm", "", "../policy/test_numpy_adam.py::test_a_norm_is_limited_and_told_as_it_was"
    ),
    "rejected episodes are trained on": Mutant(
        HELD_OUT,
        "accepted & ~is_chosen",
        "~is_chosen",
        "test_held_out.py::test_what_a_curator_rejected_is_on_no_side",
    ),
    "held out by episode": Mutant(
        HELD_OUT,
        "is_chosen = np.isin(table.group, chosen)",
        "is_chosen = np.isin(table.group, chosen) & (table.agent == 0)",
        "test_held_out.py::test_no_world_episode_is_on_both_sides_and_every_episode_is_on_one",
    ),
    "every seed holds out the same": Mutant(
        HELD_OUT,
        'randomness.key(seed, "held_out", groups)',
        'randomness.key(0, "held_out", groups)',
        "test_held_out.py::test_another_seed_holds_out_others_and_the_same_seed_the_same",
    ),
    "returns leak into the episode before": Mutant(
        RETURNS,
        "left[:-shift] > shift",
        "left[:-shift] > 0",
        "test_returns.py::test_returns_are_those_of_the_recursion",
    ),
    "a bootstrap is not discounted": Mutant(
        RETURNS,
        "gamma * bootstrap_values.astype",
        "bootstrap_values.astype",
        "test_returns.py::test_a_cut_episode_is_worth_what_the_critic_said_of_the_rest",
    ),
    "an illegal label is learned": Mutant(
        RUN_DATASET,
        "if not legal.all():",
        "if not legal.any():",
        "test_labels.py::test_an_action_that_its_mask_forbids_is_refused",
    ),
    "weights are not balanced": Mutant(
        LABELS,
        "np.count_nonzero(seen) * part[seen]",
        "part[seen]",
        "test_labels.py::test_balanced_weights_give_seen_actions_one_sum_and_rows_a_mean_of_1",
    ),
    "the ceiling forgets the mask": Mutant(
        CEILING, "seen.append(ACTION_MASK)", "pass", "test_labels.py::test_an_action_mask_tells_situations_apart"
    ),
    "the ceiling takes the rarest label": Mutant(
        CEILING, "np.maximum.reduceat", "np.minimum.reduceat", "test_labels.py::test_the_ceiling_is_what_counting_gives"
    ),
    "places do not matter to a hash": Mutant(
        CEILING,
        "np.arange(place, place + words.shape[1])",
        "np.zeros(words.shape[1], int)",
        "test_labels.py::test_swapped_columns_have_other_hashes",
    ),
    "the gate forgets degenerate labels": Mutant(
        GATE,
        "if labels.are_degenerate(settings.degenerate_share):",
        "if False:",
        "test_cloning.py::test_degenerate_labels_are_said_and_never_pass_the_gate",
    ),
    "a bin too many is one too few": Mutant(
        METRICS, "(confidence * NUM_BINS).astype", "(confidence * (NUM_BINS - 1)).astype", CHOICES_MEASURED
    ),
    "precision is recall": Mutant(
        METRICS, "precision=right / predicted if predicted", "precision=right / support if support", CHOICES_MEASURED
    ),
    "one right choice is enough": Mutant(METRICS, "right &= hit", "right |= hit", CHOICES_MEASURED),
    "the critic decays where it does not learn": Mutant(
        OPTIMIZER,
        'if with_critic or not name.startswith("critic."):',
        "if True:",
        "test_optimizer.py::test_what_does_not_learn_does_not_change",
    ),
    "deviations decay": Mutant(
        OPTIMIZER,
        '                weight_decay=0.0 if name == "log_std" else settings.weight_decay,\n            )\n'
        "            for name, part in self._parts.items()\n        }\n"
        "        self._max_grad_norm = settings.max_grad_norm\n        self._totals = np",
        "                weight_decay=settings.weight_decay,\n            )\n"
        "            for name, part in self._parts.items()\n        }\n"
        "        self._max_grad_norm = settings.max_grad_norm\n        self._totals = np",
        "test_optimizer.py::test_what_does_not_learn_does_not_change",
    ),
    "the last weights are called the best": Mutant(
        LEARNER, "self._best if best else self._flat", "self._flat", EARLY_STOP
    ),
    "the best is never replaced": Mutant(
        STRATEGY, "_loss(held_out) < _loss(self.best)", "_loss(held_out) > _loss(self.best)", EARLY_STOP
    ),
    "patience counts from the start": Mutant(
        STRATEGY, "state.epoch - state.best_epoch >= patience", "state.epoch >= patience", EARLY_STOP
    ),
    "sums of a pass begin anew on resume": Mutant(STRATEGY, "if state.batch == 0:", "if True:", STOPPED),
    "the batch is forgotten on resume": Mutant(STRATEGY, "first_batch=state.batch)", "first_batch=0)", STOPPED),
    "the optimiser is forgotten on resume": Mutant(
        LEARNER, "self.updater.load(arrays, self.state.optimizer_steps)", "pass", STOPPED
    ),
    "a demonstrator's cut episodes count": Mutant(
        ROLLOUT,
        "table.accepted & ~np.isin(table.group, cut)",
        "table.accepted",
        "test_rollout_score.py::test_a_demonstrators_return_is_counted_as_an_evaluation_counts",
    ),
    "later lives count in the return": Mutant(
        ROLLOUT,
        "table.life[counted] == 0",
        "table.life[counted] >= 0",
        "test_rollout_score.py::test_a_demonstrators_return_is_counted_as_an_evaluation_counts",
    ),
    "a cosine that is a line": Mutant(
        SCHEDULE,
        "0.5 * (1.0 + math.cos(math.pi * done))",
        "1.0 - done",
        "test_optimizer.py::test_schedules_fall_as_their_names_say",
    ),
    "held-out rows are read as training rows": Mutant(
        DEMONSTRATIONS,
        "self._reader(self.split.held_out,",
        "self._reader(self.split.train,",
        "test_cloning.py::test_the_result_counts_what_the_run_did",
    ),
    "moments of all rows": Mutant(
        DEMONSTRATIONS,
        "episodes=self.split.train,\n            shuffle=False",
        "shuffle=False",
        "test_cloning.py::test_normalised_observations_have_the_moments_of_the_training_rows",
    ),
    "a number that is not finite is kept": Mutant(
        UPDATE,
        "if not math.isfinite(value):",
        "if value is None:",
        "test_cloning.py::test_a_loss_that_is_not_finite_ends_the_run_and_nothing_of_it_is_kept",
    ),
}

CONTROL = {"nothing is changed": Mutant(LOSS, "loss = loss + row", "loss = loss + row", BY_HAND)}
