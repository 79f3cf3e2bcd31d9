"""Every code that `validate` can find: its name, how bad it is, what it means and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from townlet_core.dto.dataset_findings import Severity


@dataclass(frozen=True, slots=True)
class FindingCode:
    """One row of the table; fields as in `Finding`."""

    code: str
    name: str
    severity: Severity
    meaning: str
    remedy: str


_TABLE = (
    # Files
    FindingCode(
        "D001",
        "manifest-damaged",
        "error",
        "`dataset.json` cannot be read, or contradicts itself; nothing else was checked.",
        "Take the file from a copy, or record the dataset again.",
    ),
    FindingCode(
        "D002",
        "file-missing",
        "error",
        "A file that a manifest names is not there.",
        "Take it from a copy, or record the dataset again.",
    ),
    FindingCode(
        "D003",
        "file-damaged",
        "error",
        "A file has another size or SHA-256 than its manifest says, or is no regular file.",
        "Take it from a copy; what was edited on purpose has to be written as a new dataset.",
    ),
    FindingCode(
        "D004",
        "file-unexpected",
        "warning",
        "A file or directory lies in the dataset that no manifest names; it is not read.",
        "Delete it; a writer that was killed leaves such.",
    ),
    FindingCode(
        "D005",
        "shard-manifest-damaged",
        "error",
        "A shard's `manifest.json` is not the one that `dataset.json` names, or lacks a file.",
        "Take the shard from a copy; shards of two datasets cannot be mixed.",
    ),
    FindingCode(
        "D006",
        "column-unreadable",
        "error",
        "A column file is as long as its manifest says, and yet is not an array of the promised type and shape.",
        "Write the dataset again; the program that wrote it is at fault.",
    ),
    FindingCode(
        "D007",
        "episodes-unreadable",
        "error",
        "A shard's `episodes.json` cannot be read, counts other episodes or rows than the manifest, or names a source "
        "that the manifest does not have.",
        "Write the dataset again; the program that wrote it is at fault.",
    ),
    FindingCode(
        "D008",
        "incomplete",
        "warning",
        "The dataset was not completed: its writer is still at work, or was stopped.",
        "Use it as it is, or go on recording into it.",
    ),
    FindingCode("D009", "empty", "error", "The dataset has no shard: nothing was recorded.", "Record again."),
    FindingCode(
        "D010",
        "column-unfit",
        "error",
        "A column has another type or shape than its meaning requires.",
        "Write the dataset again with the type and shape that the detail names.",
    ),
    FindingCode(
        "D011",
        "event-unknown",
        "error",
        "An event is of a kind that the manifest does not name.",
        "Write the dataset again with every kind in `event_kinds`.",
    ),
    FindingCode(
        "D012",
        "column-absent",
        "note",
        "Rewards or ends of episodes were not recorded: policies can be cloned from the rows, and no values learned.",
        "Nothing, if that is what the dataset is for.",
    ),
    # Values
    FindingCode(
        "D101",
        "observation-not-finite",
        "error",
        "An observation is NaN or infinite: it would make every weight NaN.",
        "Find out where it comes from, and leave the episodes out with `townlet replay curate`.",
    ),
    FindingCode(
        "D102",
        "observation-impossible",
        "error",
        "A categorical observation has a value that its space does not have.",
        "Record again with the right space.",
    ),
    FindingCode(
        "D103",
        "observation-out-of-bounds",
        "warning",
        "An observation lies outside the bounds of its space.",
        "Correct the bounds of the environment's space, or the observation.",
    ),
    FindingCode(
        "D104", "action-not-finite", "error", "A continuous action is NaN or infinite.", "Leave the episodes out."
    ),
    FindingCode(
        "D105",
        "action-impossible",
        "error",
        "An action is none of the action space.",
        "Record again with the right space; actions are counted from 0.",
    ),
    FindingCode(
        "D106",
        "action-out-of-bounds",
        "warning",
        "A continuous action that was imported lies outside the bounds of its space. (Townlet itself records what a "
        "policy has sampled, before that is clipped for the environment.)",
        "Nothing, if the environment clipped it too; otherwise correct the bounds of the space.",
    ),
    FindingCode("D107", "reward-not-finite", "error", "A reward is NaN or infinite.", "Leave the episodes out."),
    FindingCode(
        "D108",
        "masked-action",
        "error",
        "An action was taken that its own mask forbids: one of the two is of another step.",
        "Record mask and action of the same step.",
    ),
    FindingCode(
        "D109",
        "mask-empty",
        "error",
        "A mask allows nothing: no distribution over actions is left.",
        "Give the environment an action that is always allowed.",
    ),
    FindingCode(
        "D110",
        "flag-not-boolean",
        "error",
        "A flag or a mask is stored as a byte that is neither 0 nor 1: what reads it may take it for either.",
        "Write the episodes again, as booleans.",
    ),
    # The policy that acted
    FindingCode(
        "D201",
        "log-prob-not-finite",
        "error",
        "A log-probability is NaN or infinite.",
        "Leave the episodes out, or record again.",
    ),
    FindingCode(
        "D202",
        "log-prob-positive",
        "error",
        "A log-probability of a categorical action is above 0: its probability would be above 1.",
        "Record log-probabilities, not probabilities or losses.",
    ),
    FindingCode(
        "D203",
        "log-prob-zero",
        "note",
        "Log-probabilities are 0 throughout an episode: a script acted. It can be cloned; PPO cannot learn from it.",
        "Nothing, if the dataset is for behaviour cloning.",
    ),
    FindingCode(
        "D204",
        "log-prob-absent",
        "note",
        "Log-probabilities or values were not recorded: PPO cannot learn from the dataset.",
        "Nothing, if the dataset is for behaviour cloning.",
    ),
    FindingCode(
        "D205",
        "value-not-finite",
        "error",
        "A predicted value, or the one that an episode is continued with, is NaN or infinite.",
        "Leave the episodes out, or record again.",
    ),
    # Episodes
    FindingCode(
        "D301",
        "end-within-episode",
        "error",
        "A row that is not the last of its episode says that the episode ends.",
        "Write rows after the end as an episode of their own.",
    ),
    FindingCode(
        "D302",
        "ending-contradicted",
        "error",
        "The last row's flags and the episode's `ending` contradict each other.",
        "Write the episode again with the ending that it had.",
    ),
    FindingCode(
        "D303",
        "return-wrong",
        "error",
        "The episode's return is not the sum of its rewards.",
        "Write the episode again.",
    ),
    FindingCode(
        "D304",
        "content-wrong",
        "error",
        "The SHA-256 over an episode's observations, actions and rewards is not the recorded one.",
        "Write the episode again; its rows were changed, or belong to another episode.",
    ),
    FindingCode(
        "D305",
        "bootstrap-of-terminated",
        "error",
        "An episode that terminated is continued with a value other than 0.",
        "Write the episode again: after a termination nothing follows.",
    ),
    FindingCode(
        "D306",
        "duplicate",
        "warning",
        "Two episodes have the same observations, actions and rewards: they count twice.",
        "`townlet replay curate --dedupe`.",
    ),
    FindingCode(
        "D307",
        "overlap",
        "error",
        "One agent has two episodes in one world-episode that overlap in time.",
        "Give world-episodes that are different ones different numbers.",
    ),
    # Independence
    FindingCode(
        "D401",
        "group-in-two-splits",
        "error",
        "Episodes of one world-episode are in different splits: what is held out was half seen.",
        "`townlet replay curate --split`, which keeps world-episodes together.",
    ),
    FindingCode(
        "D402",
        "duplicate-across-splits",
        "error",
        "The same episode is in two splits: what is held out was seen.",
        "`townlet replay curate --dedupe --split`.",
    ),
    FindingCode(
        "D403",
        "duplicate-in-other",
        "error",
        "The same episode is in the other dataset.",
        "Leave it out of one of the two.",
    ),
    FindingCode(
        "D404",
        "seed-in-other",
        "warning",
        "The other dataset has an episode of the same environment and seed: both begin alike.",
        "Capture one of the two with another seed.",
    ),
    FindingCode(
        "D405",
        "seed-repeated",
        "warning",
        "Two world-episodes of one source have the same seed: they begin alike, and intervals will be too narrow.",
        "Capture with another seed.",
    ),
    FindingCode(
        "D406",
        "spaces-differ",
        "warning",
        "The other dataset has other observations or actions: a policy of one of them cannot be measured on the other.",
        "Record both in the same environment; in the town, with the same variant.",
    ),
    # Labels and features
    FindingCode(
        "D501",
        "reward-constant",
        "warning",
        "Every reward is the same: no action is better than another.",
        "Nothing, if the dataset is for behaviour cloning.",
    ),
    FindingCode(
        "D502",
        "action-never-taken",
        "note",
        "A choice was never taken: it cannot be learned.",
        "Capture more, or other, episodes if it matters.",
    ),
    FindingCode(
        "D503",
        "action-single",
        "error",
        "Every row has the same action: a policy that ignores what it sees fits perfectly.",
        "Capture from a policy that does something.",
    ),
    FindingCode(
        "D504",
        "action-majority",
        "warning",
        "More than 99 % of the rows have the same action: accuracy will say nothing.",
        "Weigh classes, or curate episodes in which more happens.",
    ),
    FindingCode(
        "D505",
        "feature-constant",
        "note",
        "An entry of the observations never changes.",
        "Nothing; captured elsewhere, where it changes, the policy will not know it.",
    ),
)

FINDING_CODES = {row.code: row for row in _TABLE}
"""Code -> row, in order."""
