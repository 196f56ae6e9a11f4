"""All probes, in the order in which they are told."""
from __future__ import annotations

from gradscope.probes.activations import ActivationsProbe
from gradscope.probes.base import Probe
from gradscope.probes.batch_statistics import BatchStatisticsProbe
from gradscope.probes.blocked_gradient import BlockedGradientProbe
from gradscope.probes.clipping import ClippingProbe
from gradscope.probes.constant_guess import ConstantGuessProbe
from gradscope.probes.disconnected_loss import DisconnectedLossProbe
from gradscope.probes.early_scheduler import EarlySchedulerProbe
from gradscope.probes.eval_mode import EvalModeProbe
from gradscope.probes.first_steps import FirstStepsProbe
from gradscope.probes.graph_age import GraphAgeProbe
from gradscope.probes.hyperparameters import HyperparametersProbe
from gradscope.probes.initialization import InitializationProbe
from gradscope.probes.input_codes import InputCodesProbe
from gradscope.probes.input_scale import InputScaleProbe
from gradscope.probes.labels import LabelsProbe
from gradscope.probes.left_in_eval import LeftInEvalProbe
from gradscope.probes.loss_broadcast import LossBroadcastProbe
from gradscope.probes.loss_function import LossFunctionProbe
from gradscope.probes.loss_kind import LossKindProbe
from gradscope.probes.loss_scaling import LossScalingProbe
from gradscope.probes.lost_updates import LostUpdatesProbe
from gradscope.probes.missing_step import MissingStepProbe
from gradscope.probes.no_gradient import NoGradientProbe
from gradscope.probes.normalized_output import NormalizedOutputProbe
from gradscope.probes.not_finite import GradientOriginProbe, LossOriginProbe
from gradscope.probes.ranks import RanksProbe
from gradscope.probes.repeated_batch import RepeatedBatchProbe
from gradscope.probes.schedule import ScheduleProbe
from gradscope.probes.stacked_linear import StackedLinearProbe
from gradscope.probes.underflow import UnderflowProbe
from gradscope.probes.unowned_parameters import UnownedParametersProbe


def make_probes() -> list[Probe]:
    """A fresh set, for one recorder."""
    return [
        NoGradientProbe(),
        UnownedParametersProbe(),
        DisconnectedLossProbe(),
        MissingStepProbe(),
        EarlySchedulerProbe(),
        ScheduleProbe(),
        GraphAgeProbe(),
        EvalModeProbe(),
        LeftInEvalProbe(),
        LossKindProbe(),
        LossFunctionProbe(),
        HyperparametersProbe(),
        FirstStepsProbe(),
        ClippingProbe(),
        LossOriginProbe(),
        GradientOriginProbe(),
        NormalizedOutputProbe(),
        LossBroadcastProbe(),
        StackedLinearProbe(),
        BlockedGradientProbe(),
        ConstantGuessProbe(),
        ActivationsProbe(),
        BatchStatisticsProbe(),
        InitializationProbe(),
        LossScalingProbe(),
        LostUpdatesProbe(),
        UnderflowProbe(),
        LabelsProbe(),
        InputScaleProbe(),
        InputCodesProbe(),
        RepeatedBatchProbe(),
        RanksProbe(),
    ]
