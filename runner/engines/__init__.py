"""Ways to run a plan. Each is the wiring that gives every lane a driver; the driver does not know which one it is.

``local`` runs all lanes in one process over ``ledger.jsonl``.
"""
