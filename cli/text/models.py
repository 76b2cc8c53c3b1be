"""The models of the catalog, in the format of image2video, with sizes and prices after it."""

from typing import TYPE_CHECKING, Any

from decision.money import usd_digits
from decision.request.request import AUTO
from decision.rules.catalog import Model

if TYPE_CHECKING:
    from rich.console import Console

BACKEND = "sora2"


def models_document(models: tuple[Model, ...]) -> dict[str, Any]:
    """Return the models as JSON."""
    return {"backend": BACKEND, "default": AUTO, "models": [_document(model) for model in models]}


def _document(model: Model) -> dict[str, Any]:
    costs = {size: model.cost_usd_micros(size, 1) for size in model.sizes}
    return {
        "name": model.name,
        "sizes": list(model.sizes),
        "seconds": list(model.seconds),
        "usd_micros_per_second": costs,
    }


def show_models(console: "Console", models: tuple[Model, ...]) -> None:
    """Print the models as the text that scripts of image2video expect, then sizes and prices."""
    lines = [f"Available models for backend '{BACKEND}':"]
    lines += [f"  - {model.name}{'' if index else ' (default)'}" for index, model in enumerate(models)]
    lines += [
        "",
        f"--model {AUTO} is what happens without --model: {models[0].name}, unless the decision has a",
    ]
    lines += ["reason for another (the purpose, the size), which it tells.", ""]
    for model in models:
        lines += [f"{model.name}: {', '.join(map(str, model.seconds))} seconds"]
        lines += [f"  {size:<10} {_price(model, size)}" for size in model.sizes]
    for line in lines:
        console.print(line, markup=False)


def _price(model: Model, size: str) -> str:
    cost = model.cost_usd_micros(size, 1)
    return "no price known" if cost is None else f"{usd_digits(cost)} USD a second"
