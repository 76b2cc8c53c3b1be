"""``--list-models``: what can be asked for, in the words of image2video, with ours behind them."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from decision.money import usd_digits
from decision.request.request import AUTO
from decision.rules.catalog import Model

if TYPE_CHECKING:
    from rich.console import Console

BACKEND = "sora2"


def list_models(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take --list-models, passed on as `models`."""
    flag = click.option("--list-models", "models", is_flag=True, help="List the models, and do nothing else.")
    return flag(function)


def show_models(inv: Invocation) -> None:
    """Print the models as the text that scripts of image2video expect; as JSON only if --json asks for it."""
    models = inv.rules.catalog.models
    document = {"backend": BACKEND, "default": AUTO, "models": [_document(model) for model in models]}
    replace(inv, as_json=inv.as_json is True).emit(document, lambda console: _text(console, models))


def _document(model: Model) -> dict[str, Any]:
    costs = {size: model.cost_usd_micros(size, 1) for size in model.sizes}
    return {
        "name": model.name,
        "sizes": list(model.sizes),
        "seconds": list(model.seconds),
        "usd_micros_per_second": costs,
    }


def _text(console: "Console", models: tuple[Model, ...]) -> None:
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
