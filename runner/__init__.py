"""Callsheet: a declarative, resumable batch runner for paid, slow, asynchronous video APIs.

The map, from the doors down (imports go down only; files on one floor do not know each other)::

    doors      __main__, commands/, generated
    terminal   terminal/ | starter/ (what commands print; what ``init`` writes)
    engines    engines/ | reports/ | rehearsal | simulator/
    lanes      feed | driver, above steps/, above lane (what is ready; the loop of one account; what it does to a job)
    opening    choices | planfile | workspace
    action     scheduler | worker
    decisions  plan | budget | gates | people
    campaign   campaign (manifest + catalogue + operations: lazy expansion), above placing | products, above checks, above parameters | variants
    repair     repair | compaction (a damaged ledger made usable, a long one made shorter)
    parts      manifest/ | catalogue | sources/ | ledger | providers/ | artifacts | selection
    reading    salvage, above snapshot | damage, above healing (what a ledger file knew, what is wrong with it, and what can be put right)
    tools      lifecycle | yamltree/ | wire/ | settings | templates/ | fingerprint | journal | limits | media | naming | story, above disk | locking
    words      seams, above events | errors, above model | clock | bounds

``[tool.importlinter]`` in ``pyproject.toml`` holds these floors; ``docs/architecture.md`` has the reasons.

To know the house, read ``model.py``, ``lifecycle.TABLE``, ``commands/run.py``, ``engines/local.py``, ``driver.py``, ``steps/submitting.py``, one adapter in
``providers/`` and the head of ``journal.py``. Importing this package loads nothing else.
"""

__version__ = "0.1.0"
