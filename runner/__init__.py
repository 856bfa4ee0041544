"""Callsheet: a declarative, resumable batch runner for paid, slow, asynchronous video APIs.

The map, from the doors down (imports go down only; files on one floor do not know each other)::

    doors      __main__, commands/
    engines    engines/ | reports/ | simulator/
    action     scheduler | worker
    decisions  plan | budget | gates
    campaign   campaign (manifest + catalogue + operations: checks and lazy expansion)
    parts      manifest/ | catalogue, sources/ | ledger | providers/ | artifacts
    tools      lifecycle | yamltree | wire | settings | prompts | fingerprint | journal | limits | media | naming
    words      seams | events | model ; errors | clock

To know the house, read ``model.py``, ``lifecycle.TABLE``, ``commands/run.py``, ``engines/local.py``, one adapter in
``providers/`` and the head of ``journal.py``. Importing this package loads nothing else.
"""

__version__ = "0.1.0"
