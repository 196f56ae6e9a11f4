"""What the inputs of a model are like, in words, and the code that normalises them."""
from __future__ import annotations

from gradscope.facts.inputs import InputScale
from gradscope.findings import Advice

_FEW = 12  # features whose means and deviations are spelled out in code
_UNIT = 255.0  # the largest value of a pixel
_PIXELS = 48  # features at least of a flattened image


def told(fact: InputScale) -> str:
    """The range, or of several features the largest and how far apart they are."""
    range_ = f"values from {fact.low:.4g} to {fact.high:.4g} (mean {fact.mean:.3g}, std {fact.deviation:.3g})"
    if fact.layer == "convolution" or fact.features == 1 or pixels(fact):
        return range_
    least, _, most = fact.rms_of_features
    if most < 10 * least:
        return f"{fact.features} features, {range_}"
    at, mean, deviation = fact.worst[0], fact.worst_means[0], fact.worst_deviations[0]
    largest = f"feature {at} has mean {mean:.4g} and std {deviation:.3g}"
    return f"{fact.features} features with rms from {least:.2g} to {most:.3g} ({largest})"


def pixels(fact: InputScale) -> bool:
    """Whether they look like an image of 0 to 255."""
    return 0 <= fact.low and 128 < fact.high <= _UNIT and (fact.layer == "convolution" or fact.features >= _PIXELS)


def advice(fact: InputScale) -> tuple[Advice, ...]:
    """The code to paste, with the numbers as measured; the first of them can be tried."""
    again = "the same numbers for test data"
    if pixels(fact):
        scale = _change("x = x / 255 (they are pixels of 0 to 255; the same for test data)", fact, [0.0], [_UNIT])
        if fact.layer == "convolution" and fact.means:
            means, stds = ([value / _UNIT for value in values] for values in (fact.means, fact.deviations))
            text = f"then, if you like, transforms.Normalize(mean={_tuple(means)}, std={_tuple(stds)})"
            return scale, Advice(text)
        return (scale,)
    if fact.features == 1 or not fact.means and _alike(fact):
        text = f"x = (x - {fact.mean:.4g}) / {fact.deviation:.4g} ({again})"
        return (_change(text, fact, [fact.mean], [fact.deviation]),)
    if fact.means and fact.features <= _FEW and min(fact.deviations) > 0:
        mean, std = (f"torch.tensor([{_list(values)}])" for values in (fact.means, fact.deviations))
        shape = ".reshape(-1, 1, 1)" if fact.layer == "convolution" else ""
        text = f"x = (x - {mean}{shape}) / {std}{shape} ({again})"
        return (_change(text, fact, list(fact.means), list(fact.deviations)),)
    worst = [
        f"{at} (mean {mean:.4g}, std {std:.3g})"
        for at, mean, std in zip(fact.worst[:3], fact.worst_means, fact.worst_deviations)
    ]
    text = (
        f"mean, std = features.mean(0), features.std(0).clamp_min(1e-8); features = (features - mean) / std ({again}); "
        f"the largest are {', '.join(worst)}"
    )
    return (_change(text, fact, [], []),)


def _change(text: str, fact: InputScale, mean: list[float], std: list[float]) -> Advice:
    """`mean` and `std` # (1,) or (features,); (): those of a batch."""
    if fact.layer == "recurrent":
        return Advice(text)
    values = {"optimizer": fact.optimizer, "features": fact.features, "mean": mean, "std": std}
    return Advice(text, "scale-inputs", values)


def _alike(fact: InputScale) -> bool:
    """Whether one mean and one deviation do for all features."""
    return fact.rms_of_features[2] < 3 * fact.rms_of_features[1]


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _tuple(values: list[float]) -> str:
    return f"({', '.join(f'{value:.3g}' for value in values)}{',' if len(values) == 1 else ''})"
