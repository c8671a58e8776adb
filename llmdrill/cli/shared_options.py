"""Give many commands the same options: a function from its own options to a result becomes a typer command."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping


def with_options(
    function: Callable[..., Any],
    shared: Mapping[str, tuple[Any, Any]],
    run: Callable[[dict[str, Any], dict[str, Any]], None],
    *,
    given: Collection[str] = (),
) -> Callable[..., None]:
    """Return a command that takes a function's options and the shared ones.

    Args:
        function: Its signature and docstring become the command's.
        shared: Annotation and default of each further option, by its name.
        run: Called with the function's own options and with the shared ones.
        given: Parameters of the function that are no options, because ``run`` supplies them.
    """

    @functools.wraps(function)
    def command(**options: Any) -> None:  # noqa: ANN401 - whatever the function takes
        run({name: value for name, value in options.items() if name not in shared}, {n: options[n] for n in shared})

    hints = get_type_hints(function, include_extras=True)
    own = [
        one.replace(annotation=hints[one.name])
        for one in inspect.signature(function).parameters.values()
        if one.name not in given
    ]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in shared.items()
    ]
    command.__signature__ = inspect.Signature([*own, *added], return_annotation=None)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    del command.__wrapped__  # or typer would look at the inner function's hints
    return command
