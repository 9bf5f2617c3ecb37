"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

from pipeline.simulator.billing import PRICES
from pipeline.simulator.refusal import Refusal

_CREATED = 1_760_000_000
_MISSING = "missing-"


def all_models() -> dict[str, Any]:
    """Return the list of models that answer."""
    return {"object": "list", "data": [one_model(name) for name in PRICES]}


def one_model(name: str) -> dict[str, Any]:
    """Return the model `name`: every name exists but those that begin with `missing-`.

    Raises:
        Refusal: 404 model_not_found.
    """
    require_model(name)
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "simulator"}


def require_model(name: str) -> None:
    """Refuse a model that does not exist: one whose name begins with `missing-`.

    Raises:
        Refusal: 404 model_not_found.
    """
    if name.startswith(_MISSING):
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise Refusal(404, "invalid_request_error", "model_not_found", message, param="model")
