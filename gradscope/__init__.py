"""gradscope: the colleague who looks over the shoulder of a PyTorch training loop.

::

    import gradscope

    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer)
    print(scope.report())
"""
from gradscope.errors import GradscopeError, UsageError
from gradscope.scope import Scope, pause, unwatch, watch
from gradscope.version import __version__

__all__ = ["GradscopeError", "Scope", "UsageError", "__version__", "pause", "unwatch", "watch"]
