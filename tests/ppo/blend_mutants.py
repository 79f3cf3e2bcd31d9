"""One-line mutants of what a blend of policy and script is made of and learned from; `run_mutants.py` runs them."""

from __future__ import annotations

from mutants import AUTOGRAD, BATCH, CLOSED_FORM, LOSS, PROGRESS, ROLLOUT, Mutant

POLICY = "townlet_core/services/blend.py"
DEMONSTRATIONS = "townlet_strategies_ppo/demonstrations.py"
DATA_MODES = "townlet_strategies_ppo/data_modes.py"
_ROWS = "test_blend.py::test_to_the_actor_rows_of_the_script_are_absent_and_to_the_critic_they_are_rows_like_others"
_RECORDED = "../policy/test_blended_policy.py::test_what_is_recorded_is_the_probability_under_the_blend"

BLENDS = {
    "the learner acts in the script's share": Mutant(
        POLICY, "noise[..., 0] < self.share", "noise[..., 0] >= self.share", _RECORDED
    ),
    "the learner and the script draw with the same numbers": Mutant(
        POLICY,
        "agent_mask, noise[..., first:])",
        "agent_mask, noise[..., 1:])",
        "../policy/test_blended_policy.py"
        "::test_the_script_acts_in_its_share_of_the_steps_and_the_learner_draws_in_the_others",
    ),
    "what the learner would have done is recorded": Mutant(
        POLICY, "outputs, None, action_mask, actions)", "outputs, None, action_mask, ours)", _RECORDED
    ),
    "the learner's share is forgotten": Mutant(POLICY, "log_probs + np.log1p(-share)", "log_probs + 0.0", _RECORDED),
    "a part of an action is enough to be the script's": Mutant(
        POLICY,
        "-1).all(axis=-1)",
        "-1).any(axis=-1)",
        "../policy/test_blended_policy.py::test_several_choices_are_the_scripts_only_if_all_of_them_are",
    ),
    "who acted is not kept": Mutant(
        ROLLOUT,
        "buffer.blend.is_scripted[index] = decision.blend.is_scripted",
        "pass",
        "test_blend.py::test_the_share_falls_to_next_to_nothing_and_is_told",
    ),
    "the actor learns from the script's rows": Mutant(
        BATCH, "buffer.agent_mask & ~blend.is_scripted", "buffer.agent_mask", _ROWS
    ),
    "absent rows of the script teach the critic": Mutant(
        BATCH, "columns.append(buffer.agent_mask & blend.is_scripted)", "columns.append(blend.is_scripted)", _ROWS
    ),
    "ratios to the blend": Mutant(
        BATCH, "columns[0], columns[4] = blend.learner_log_probs,", "_, columns[4] = 0,", _ROWS
    ),
    "the script's rows count where advantages are normalised": Mutant(
        BATCH, "weights, count - num_scripted)", "weights, count)", _ROWS
    ),
    "the actor's mean is over all rows": Mutant(
        BATCH, "max(1, self.count - self.num_scripted)", "max(1, self.count)", _ROWS
    ),
    "the value loss is a sum over fewer rows": Mutant(LOSS, "* (learned / minibatch.count)", "* 1.0", _ROWS),
    "the critic does not see the script's rows": Mutant(
        LOSS, "weights if scripted is None else weights + scripted", "weights", _ROWS
    ),
    "autograd is not told of the script's rows": Mutant(
        AUTOGRAD, "None if minibatch.scripted is None else sent(minibatch.scripted)", "None", _ROWS
    ),
    "the critic does not see the script's rows, closed form": Mutant(
        CLOSED_FORM, "shares = weights + minibatch.scripted[group]", "shares = weights + 0.0", _ROWS
    ),
    "the value loss of the script's rows is not told": Mutant(
        CLOSED_FORM, "(value * shares).sum(axis=1)", "(value * weights).sum(axis=1)", _ROWS
    ),
    "the share stays": Mutant(
        PROGRESS,
        'if settings.blend_schedule == "linear" else 1.0',
        'if settings.blend_schedule == "other" else 1.0',
        "test_blend.py::test_the_share_falls_to_next_to_nothing_and_is_told",
    ),
    "absent rows are demonstrations": Mutant(
        DEMONSTRATIONS,
        "np.flatnonzero(buffer.blend.is_scripted & buffer.agent_mask)",
        "np.flatnonzero(buffer.blend.is_scripted)",
        "test_blend.py::test_batches_of_demonstrations_go_through_all_of_them_in_turn",
    ),
    "the first rows of the script are shown again and again": Mutant(
        DEMONSTRATIONS,
        "number * size, (number + 1) * size)",
        "0, size)",
        "test_blend.py::test_batches_of_demonstrations_go_through_all_of_them_in_turn",
    ),
    "recorded rows are taken for the script's": Mutant(
        DATA_MODES,
        "replace(self._live.buffer, blend=None)",
        "self._live.buffer",
        "test_blend.py::test_recorded_rows_are_nobodys_but_the_policys_in_a_mixed_run",
    ),
}
