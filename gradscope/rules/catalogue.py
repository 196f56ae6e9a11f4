"""All rules, by code."""
from __future__ import annotations

import difflib

from gradscope.errors import UsageError
from gradscope.plain import cropped
from gradscope.rules.base import Rule
from gradscope.rules.data.class_imbalance import ClassImbalance
from gradscope.rules.data.input_not_finite import InputNotFinite
from gradscope.rules.data.input_not_normalized import InputNotNormalized
from gradscope.rules.data.repeated_batch import RepeatedBatch
from gradscope.rules.data.unshuffled_data import UnshuffledData
from gradscope.rules.generalization.overfitting import Overfitting
from gradscope.rules.gradients.clipping_always_active import ClippingAlwaysActive
from gradscope.rules.gradients.clipping_ineffective import ClippingIneffective
from gradscope.rules.gradients.gradient_all_zero import GradientAllZero
from gradscope.rules.gradients.gradient_exploding import GradientExploding
from gradscope.rules.gradients.gradient_not_finite import GradientNotFinite
from gradscope.rules.gradients.gradient_vanishing import GradientVanishing
from gradscope.rules.learning_rate.learning_rate_too_high import LearningRateTooHigh
from gradscope.rules.learning_rate.learning_rate_too_low import LearningRateTooLow
from gradscope.rules.learning_rate.schedule_decays_too_fast import ScheduleDecaysTooFast
from gradscope.rules.learning_rate.weight_decay_dominates import WeightDecayDominates
from gradscope.rules.learning_rate.weight_decay_on_norm_or_bias import WeightDecayOnNormOrBias
from gradscope.rules.loop.eval_mode_in_training import EvalModeInTraining
from gradscope.rules.loop.gradient_cleared_before_step import GradientClearedBeforeStep
from gradscope.rules.loop.gradient_is_none import GradientIsNone
from gradscope.rules.loop.graph_kept_alive import GraphKeptAlive
from gradscope.rules.loop.loss_disconnected import LossDisconnected
from gradscope.rules.loop.missing_step import MissingStep
from gradscope.rules.loop.missing_zero_grad import MissingZeroGrad
from gradscope.rules.loop.parameter_not_optimized import ParameterNotOptimized
from gradscope.rules.loop.parameter_not_updated import ParameterNotUpdated
from gradscope.rules.loop.scheduler_before_optimizer import SchedulerBeforeOptimizer
from gradscope.rules.loss.loss_exploding import LossExploding
from gradscope.rules.loss.loss_not_decreasing import LossNotDecreasing
from gradscope.rules.loss.loss_not_finite import LossNotFinite
from gradscope.rules.loss.loss_oscillating import LossOscillating
from gradscope.rules.loss.loss_rising import LossRising
from gradscope.rules.loss.loss_spike import LossSpike
from gradscope.rules.model.batchnorm_small_batch import BatchnormSmallBatch
from gradscope.rules.model.dead_activations import DeadActivations
from gradscope.rules.model.loss_broadcast import LossBroadcasts
from gradscope.rules.model.normalized_output_into_loss import NormalizedOutputIntoLoss
from gradscope.rules.model.poor_initialization import PoorInitialization
from gradscope.rules.model.saturated_activations import SaturatedActivations
from gradscope.rules.model.stacked_linear_layers import StackedLinearLayers
from gradscope.rules.numerics.clip_before_unscale import ClipBeforeUnscale
from gradscope.rules.numerics.low_precision_gradient_underflow import LowPrecisionGradientUnderflow
from gradscope.rules.numerics.low_precision_update_lost import LowPrecisionUpdateLost
from gradscope.rules.numerics.scaler_skips_steps import ScalerSkipsSteps
from gradscope.rules.ranks.gradients_not_synchronized import GradientsNotSynchronized
from gradscope.rules.ranks.ranks_diverged import RanksDiverged

RULES: tuple[Rule, ...] = (
    MissingZeroGrad(),
    GradientIsNone(),
    ParameterNotOptimized(),
    GradientClearedBeforeStep(),
    MissingStep(),
    ParameterNotUpdated(),
    LossDisconnected(),
    SchedulerBeforeOptimizer(),
    GraphKeptAlive(),
    EvalModeInTraining(),
    LossNotFinite(),
    LossExploding(),
    LossRising(),
    LossNotDecreasing(),
    LossOscillating(),
    LossSpike(),
    LearningRateTooHigh(),
    LearningRateTooLow(),
    ScheduleDecaysTooFast(),
    WeightDecayDominates(),
    WeightDecayOnNormOrBias(),
    GradientNotFinite(),
    GradientExploding(),
    GradientVanishing(),
    GradientAllZero(),
    ClippingAlwaysActive(),
    ClippingIneffective(),
    DeadActivations(),
    SaturatedActivations(),
    NormalizedOutputIntoLoss(),
    LossBroadcasts(),
    PoorInitialization(),
    StackedLinearLayers(),
    BatchnormSmallBatch(),
    InputNotNormalized(),
    UnshuffledData(),
    RepeatedBatch(),
    ClassImbalance(),
    InputNotFinite(),
    LowPrecisionUpdateLost(),
    ClipBeforeUnscale(),
    ScalerSkipsSteps(),
    LowPrecisionGradientUnderflow(),
    RanksDiverged(),
    GradientsNotSynchronized(),
    Overfitting(),
)


def find_rule(word: str) -> Rule:
    """The rule with this code or name; UsageError, with the nearest one, where there is none."""
    known = {rule.code.lower(): rule for rule in RULES} | {rule.name: rule for rule in RULES}
    rule = known.get(word.strip().lower())
    if rule is not None:
        return rule
    near = difflib.get_close_matches(word.strip().lower(), known, n=1, cutoff=0.4)
    hint = f"; did you mean {known[near[0]].code} {known[near[0]].name}?" if near else "; see `gradscope rules`"
    raise UsageError(f"there is no rule {cropped(repr(word))}{hint}")


def select(selected: tuple[str, ...] = (), ignored: tuple[str, ...] = ()) -> tuple[Rule, ...]:
    """The rules to run. Entries are codes, names or the start of a code ("GS1"); nothing selected means all."""
    chosen = [rule for rule in RULES if not selected or any(_matches(word, rule) for word in selected)]
    for word in (*selected, *ignored):
        if not any(_matches(word, rule) for rule in RULES):
            find_rule(word)
    return tuple(rule for rule in chosen if not any(_matches(word, rule) for word in ignored))


def _matches(word: str, rule: Rule) -> bool:
    word = word.strip()
    return word.lower() == rule.name or (len(word) >= 3 and rule.code.startswith(word.upper()))
